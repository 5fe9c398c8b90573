"""What the faces of one dataset look like: a mean shape and its modes, fitted so that bad faces do not bend it.

It judges no face; that is done in `adodn.validation.shapes`. Shapes are complex here, x + iy, because a similarity is
then one complex product.

    shapes = standardised(landmarks)                       # landmarks are [N, L, 2]
    model = fit(shapes, protocol)
    far = deviations(model, shapes)                        # [N, L], in units of the protocol's normaliser
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from adodn.protocols import LandmarkProtocol

Shapes: TypeAlias = NDArray[np.complex128]
Reals: TypeAlias = NDArray[np.float64]

_FIT_FACES = 20_000
"""Of more faces than this, evenly spaced ones are fitted, to bound memory."""
_MEDOID_FACES = 100
_FAR = 3.0
"""Points farther out than this, in median distances from the centre, are pulled in before a face is turned."""
_MAX_MODES, _ROWS_PER_MODE = 25, 16
_VARIANCE_SHARE, _TRIMMED, _TRIMS = 0.98, 0.1, 3
_STRANGE = 7.0
"""A face with a landmark this many times farther from the mean shape's than is usual has no say in the modes."""
_SOFTENING = (8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Times the tolerance of each reweighting: a wide one first, so that a good start is not needed."""
_TOLERANCE = 3.0
_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShapeModel:
    """A mean shape, and how the faces of a dataset differ from it in pose, expression and person."""

    mean: Shapes
    """`[L]`, symmetric, its centre at 0."""
    modes: Reals
    """`[2L, K]`, orthonormal columns; x of all landmarks, then y."""
    variances: Reals
    """`[K]`, of the modes."""
    noise: float
    """Variance of a coordinate that the modes leave."""
    spread: Reals
    """`[L]`, median distance of each landmark from the mean shape's."""
    usual: Reals
    """`[L]`, scale of each landmark's distance from where the model has it: how exactly it is annotated."""
    unit: float
    """The protocol's normaliser in the mean shape."""


def standardised(landmarks: Reals) -> Shapes:
    """Faces moved and scaled so that single points, however far out, hardly matter.

    Args:
        landmarks: `[N, L, 2]`, finite, no face in one point.

    Returns:
        `[N, L]`: the geometric median at 0, the median distance from it 1.
    """
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    centre = points.mean(axis=1, keepdims=True)
    reach = np.abs(points - centre).max(axis=1, keepdims=True)
    for _ in range(30):  # Weiszfeld
        weight = 1 / np.maximum(np.abs(points - centre), 1e-6 * reach)
        centre = (points * weight).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    points = points - centre
    typical = np.median(np.abs(points), axis=1, keepdims=True)
    return np.asarray(points / np.where(typical > 1e-3 * reach, typical, reach))


def mirrored(shapes: Shapes, protocol: LandmarkProtocol) -> Shapes:
    """The same faces in mirrored images: `[N, L]`, points renamed by the protocol's flip."""
    return np.asarray(-shapes.conj()[:, list(protocol.flip)])


def procrustes_distance(shapes: Shapes, mean: Shapes) -> Reals:
    """`[N]`, 0 … 1: what no shift, turn and scale brings onto the mean shape; 0 for the same shape.

    Source: the full Procrustes distance of D. G. Kendall's shape spaces, in its closed form for planar points.
    """
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    product = np.abs(centred.conj() @ (mean - mean.mean()))
    lengths = np.linalg.norm(centred, axis=1) * np.linalg.norm(mean - mean.mean())
    return np.asarray(np.sqrt(np.maximum(0, 1 - (product / lengths) ** 2)))


def fit(shapes: Shapes, protocol: LandmarkProtocol) -> ShapeModel:
    """Fit the model to the faces and to their mirror images.

    Faces nearer to the mean shape with left and right exchanged than without have no say in the modes, nor have strange
    ones: many faces with the same fault would become a mode of their own.

    Args:
        shapes: `[N, L]`, as `standardised` gives them.
        protocol: Their layout; it has at least one normaliser.
    """
    chosen = shapes[:: -(-len(shapes) // _FIT_FACES)]
    first = _mean_shape(chosen, protocol)
    renamed = chosen[:, list(protocol.flip)]
    sound = chosen[procrustes_distance(chosen, first) < procrustes_distance(renamed, first)]
    mean = _mean_shape(sound, protocol)
    rows = _rows(np.concatenate([sound, mirrored(sound, protocol)]), mean)
    far = _lengths(rows)
    spread = np.maximum(np.median(far, axis=0), 1e-9)
    modes, variances, noise = _modes(rows[(far < _STRANGE * spread).all(axis=1)])
    model = ShapeModel(
        mean=mean,
        modes=modes,
        variances=variances,
        noise=noise,
        spread=spread,
        usual=np.ones(len(mean)),
        unit=float(np.abs(_across(mean, protocol))),
    )
    usual = np.median(_reweighted(model, rows, model.spread), axis=0)
    return ShapeModel(**{**{name: getattr(model, name) for name in model.__slots__}, "usual": usual})


def deviations(model: ShapeModel, shapes: Shapes) -> Reals:
    """How far each landmark lies from where the others and the model have it.

    Args:
        model: Of the same protocol.
        shapes: `[N, L]`, as `standardised` gives them.

    Returns:
        `[N, L]`, in units of the normaliser of a mean face as large as this one.
    """
    parts = [shapes[start : start + _CHUNK] for start in range(0, len(shapes), _CHUNK)]
    found = [_reweighted(model, _rows(part, model.mean), model.usual) for part in parts]
    return np.concatenate(found) / model.unit


def _mean_shape(shapes: Shapes, protocol: LandmarkProtocol) -> Shapes:
    """A generalised Procrustes mean of the faces and their mirror images, by medians; it starts at a medoid.

    The medoid is turned upright, for medians of x and y are not those of turned shapes turned back.
    """
    some = shapes[:: -(-len(shapes) // _MEDOID_FACES)]
    medoid = some[np.argmin([np.median(procrustes_distance(some, shape)) for shape in some])]
    across = _across(medoid, protocol)
    mean = medoid * (across.conjugate() / max(abs(across), 1e-12))
    both = np.concatenate([shapes, mirrored(shapes, protocol)])
    for _ in range(10):
        turned = _turned(both, mean)
        median = np.median(turned.real, axis=0) + 1j * np.median(turned.imag, axis=0)
        mean = median - median.mean()
        mean = mean / np.median(np.abs(mean))
    return np.asarray(mean)


def _across(shape: Shapes, protocol: LandmarkProtocol) -> complex:
    """From the person's right to the left, along the protocol's first normaliser."""
    right, left = next(iter(protocol.normalisers.values()))
    return complex(shape[list(left)].mean() - shape[list(right)].mean())


def _turned(shapes: Shapes, mean: Shapes) -> Shapes:
    near = shapes / np.maximum(1, np.abs(shapes) / _FAR)
    turn = near.conj() @ mean
    return np.asarray(shapes * (turn / np.maximum(np.abs(turn), 1e-12))[:, None])


def _rows(shapes: Shapes, mean: Shapes) -> Reals:
    """`[N, 2L]`: x, then y, of the turned faces less the mean shape."""
    differences = _turned(shapes, mean) - mean
    return np.concatenate([differences.real, differences.imag], axis=1)


def _lengths(rows: Reals) -> Reals:
    half = rows.shape[1] // 2
    return np.hypot(rows[:, :half], rows[:, half:])


def _modes(rows: Reals) -> tuple[Reals, Reals, float]:
    """Modes, their variances, and the variance of a coordinate that they leave.

    The first modes are those of the directions alone, in which no face weighs more than another (spherical principal
    components); then the worst tenth of the faces is left out, three times over.
    """
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    modes, variances, noise = _principal(rows / np.maximum(length, 1e-12))
    for _ in range(_TRIMS):
        left = np.square(rows - rows @ modes @ modes.T).sum(axis=1)
        modes, variances, noise = _principal(rows[left <= np.quantile(left, 1 - _TRIMMED)])
    return modes, variances, noise


def _principal(rows: Reals) -> tuple[Reals, Reals, float]:
    freedom = rows.shape[1] - 4  # a similarity takes four coordinates
    variances, modes = np.linalg.eigh(rows.T @ rows / len(rows))
    variances, modes = variances[::-1], modes[:, ::-1]
    enough = int(np.searchsorted(np.cumsum(variances), _VARIANCE_SHARE * variances.sum())) + 1
    count = max(1, min(enough, freedom // 3, len(rows) // _ROWS_PER_MODE, _MAX_MODES))
    noise = max(float(variances[count:].sum()) / (freedom - count), 1e-12)
    return modes[:, :count], np.maximum(variances[:count], 1e-12), noise


def _reweighted(model: ShapeModel, rows: Reals, scale: Reals) -> Reals:
    """`[N, L]`: distances of the landmarks from the model, fitted to each face with less weight on those far off."""
    columns = np.concatenate([_similarities(model.mean), model.modes], axis=1)
    prior = np.diag(np.concatenate([np.zeros(4), model.noise / model.variances]))
    products = (columns[:, :, None] * columns[:, None, :]).reshape(2, len(model.mean), -1).sum(axis=0)
    far, tolerance = _lengths(rows), _TOLERANCE * model.spread
    for softening in _SOFTENING:
        weight = (1 + np.square(far / (softening * tolerance))) ** -2  # Geman and McClure's
        both = np.concatenate([weight, weight], axis=1)
        normal = (weight @ products).reshape(-1, *prior.shape) + prior
        found = np.linalg.solve(normal, ((rows * both) @ columns)[..., None])[..., 0]
        far = _lengths(rows - found @ columns.T)
        tolerance = _TOLERANCE * np.maximum(scale, 1e-9)
    size = np.abs(1 + found[:, 0] + 1j * found[:, 1])
    return far / np.maximum(size, 0.1)[:, None]


def _similarities(mean: Shapes) -> Reals:
    """`[2L, 4]`: what scaling, turning and shifting do to the mean shape."""
    moves = np.stack([mean, 1j * mean, np.ones_like(mean), 1j * np.ones_like(mean)], axis=1)
    return np.concatenate([moves.real, moves.imag], axis=0)
