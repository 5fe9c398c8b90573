"""Models and faces for tests of reports, made by hand: errors of known size, noise for pictures.

one = subject("one", shift=0.01), other = subject("other", shift=0.03)
"""

from collections.abc import Sequence

import numpy as np

from adodn import evaluate, protocols
from adodn.config import ExperimentConfig, ModelConfig
from adodn.evaluate import Conditions, Crop, EvaluationReport
from adodn.report import Provenance, Subject

PROTOCOL = protocols.get("68")
CONFIG = ExperimentConfig(
    name="tiny", model=ModelConfig(input_px=64, geometry="none", low_rank=False, grid=1, reduction=64)
)
_EYES_PX = 40.0


def truth(faces: int) -> np.ndarray:
    """`[N, 68, 2]`: rings of landmarks whose outer eye corners lie 40 pixels apart."""
    angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.stack([80 + 30 * np.cos(angle), 90 + 40 * np.sin(angle)], axis=-1)
    points[[36, 45]] = [[60, 70], [60 + _EYES_PX, 70]]
    return np.repeat(points[None], faces, axis=0) + np.arange(faces)[:, None, None] % 3


def report(
    errors: Sequence[float],
    *,
    dataset: str = "300w",
    digest: str = "a" * 64,
    subsets: Sequence[tuple[str, ...]] | None = None,
    keys: Sequence[str] | None = None,
    covered: int = 0,
    conditions: Conditions | None = None,
) -> EvaluationReport:
    """A report whose faces have just these NMEs.

    Args:
        errors: Fractions, one a face.
        dataset: Its name.
        digest: Its digest.
        subsets: Of each face.
        keys: Of each face, ascending.
        covered: The first so many landmarks of the first face are covered.
        conditions: Under which they were measured.
    """
    faces = len(errors)
    target = truth(faces)
    visible = np.ones((faces, 68), dtype=np.bool_)
    visible[0, :covered] = False
    found = evaluate.FaceErrors(
        protocol=PROTOCOL,
        normaliser="outer_eye_corners",
        keys=tuple(keys or (f"face-{place:04d}" for place in range(faces))),
        subsets=tuple(subsets or [()] * faces),
        predicted=target + np.array([1.0, 0.0]) * _EYES_PX * np.asarray(errors)[:, None, None],
        target=target,
        visible=visible,
        boxes=np.repeat([[40.0, 40.0, 120.0, 140.0]], faces, axis=0),
    )
    return evaluate.report(found, dataset, digest, "outer_eye_corners", conditions=conditions)


MASKED = Conditions(
    model_protocol="98",
    dataset_protocol="68",
    via="via 98-to-68 approximate 2 of 68",
    guessed=("nose_tip",),
    maps_digest="b" * 64,
    box_source="dataset",
    tight_boxes=2,
    box_policy="landmarks",
    stored_margin=2.0,
    stored_max_px=384,
    crop_scale=1.6,
    trained_crop_scale=1.3,
    input_px=64,
    mask_seed=7,
)
"""As unusual as conditions can be."""


def provenance(experiment: str = "tiny") -> Provenance:
    """As a process that measured would tell it."""
    return Provenance(
        experiment=experiment,
        fingerprint="0123456789ab",
        training_datasets={"": "b" * 64},
        sha256={"weights.safetensors": "c" * 64, "config.json": "d" * 64},
        commit="e" * 40,
        environment={"adodn": "0.1.0", "Python": "3.11.0"},
        config=CONFIG.to_json(),
    )


def with_pictures(label: str, found: EvaluationReport, known: Provenance | None = None) -> Subject:
    """The subject with a crop and maps of every face."""
    rng = np.random.default_rng(0)
    to_image = np.array([[160.0, 0.0, 0.0], [0.0, 180.0, 0.0]])
    crops = {
        key: Crop(image=rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), crop_to_image=to_image)
        for key in found.errors.keys
    }
    maps = {
        key: {symbol: rng.random((2, 2), dtype=np.float32) for symbol in ("P′", "P″", "A")} for key in found.errors.keys
    }
    return Subject(label=label, report=found, provenance=known, crops=crops, maps=maps)


def errors(faces: int, mean: float, seed: int = 0) -> list[float]:
    """Skewed errors around a mean, as models have them."""
    drawn = np.random.default_rng(seed).gamma(4.0, mean / 4, faces)
    return [float(value) for value in drawn]
