"""Puts a face mask on a photo: warped to the lower face, lit by it, with straps that the turned-away side hides.

    fit = Wearer(protocols.get("68"))
    masked, hidden = fit.put_on(pixels, landmarks, MaskDesign(cut="surgical", colour=(150, 196, 214)))

With a jaw line (68, 98, 106) the mask follows it by a thin-plate spline through jaw, nose, mouth and eyes. Without one
(5, 19, 21, 29) it is placed by an affine through eyes, mouth and, where there is one, chin, and its halves are made
narrower and wider as the nose tip points aside. Eyes are never covered.
"""

from functools import cache, lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.errors import ConfigError
from adodn.occlusion.board import Floats, Reals, Sprite
from adodn.occlusion.face import Anatomy, eyes_of, points_of
from adodn.occlusion.layers import OPAQUE
from adodn.occlusion.masks import MaskCut, MaskDesign, draw_cloth, draw_straps
from adodn.protocols import LandmarkProtocol

Image: TypeAlias = NDArray[np.uint8]

_MASK_PX = 44
"""Pixels a face unit of the flat mask: 88 between the eyes, more than sharded faces have."""
_GRID_PER_UNIT = 8
"""The spline is computed at so many places a face unit, between them by lines: fine enough for a nose in profile."""
_STIFFNESS = 0.02
"""Cloth off the midline need not touch every anchor; the nose, over which it hangs, and the chin hold it fast."""
_LEAST_DEPTH = 0.2
"""Of the half of a mask that is turned away, as a share of its width from the front: cloth stands off the face."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_USUAL_SKIN = np.array([1.26, 0.94, 0.78], np.float32)
"""Its red, green and blue, over its luma."""
# The jaw line of a face that looks at us, at equal steps, in face units.
_JAW_LINE = (
    *((-2.15, -0.05), (-2.13, 0.52), (-2.07, 1.08), (-1.99, 1.63), (-1.81, 2.18), (-1.5, 2.68), (-1.09, 3.13)),
    *((-0.58, 3.5), (0.0, 3.6), (0.58, 3.5)),
    *((1.09, 3.13), (1.5, 2.68), (1.81, 2.18), (1.99, 1.63), (2.07, 1.08), (2.13, 0.52), (2.15, -0.05)),
)
_SPOTS = {
    "right_eye_outer": (-1.42, 0.0),
    "left_eye_outer": (1.42, 0.0),
    "right_eye_inner": (-0.55, 0.05),
    "left_eye_inner": (0.55, 0.05),
    "right_mouth_corner": (-0.87, 2.08),
    "left_mouth_corner": (0.87, 2.08),
    "upper_lip_top": (0.0, 1.9),
}
_SIDES = ((-2.7, 0.0), (-2.7, 1.6), (-2.2, 3.2), (0.0, 4.6), (2.2, 3.2), (2.7, 1.6), (2.7, 0.0))
"""Beyond the face, where the spline would otherwise bend freely."""


class Wearer:
    """Puts masks on faces of one protocol.

    Args:
        protocol: Its points must tell eyes and mouth.

    Raises:
        ConfigError: If they do not.
    """

    def __init__(self, protocol: LandmarkProtocol) -> None:
        self._anatomy = Anatomy.of(protocol)
        if self._anatomy.lower is None:
            raise ConfigError(
                f"protocol {protocol.name!r}: a mask is fitted to eyes and mouth, and no points are named so; name "
                "them in the protocol, e.g. right_pupil, left_pupil and mouth_0"
            )
        right, left = eyes_of(protocol)
        self._eyes = (list(right), list(left))
        self._anchors = _anchors(protocol)
        self._jaw = list(protocol.parts["jaw"]) if self._anchors is not None else None
        self._nose = next(iter(points_of(protocol, "nose_tip")), None)

    def put_on(self, pixels: Image, landmarks: Reals, design: MaskDesign) -> tuple[Image, NDArray[np.bool_]]:
        """Draw a mask on a face.

        Args:
            pixels: `[H, W, 3]`, RGB; left as they are.
            landmarks: `[L, 2]`, pixels from the centre of the first.
            design: The mask.

        Returns:
            The photo with the mask, and `[L]`, True for landmarks that the mask hides.
        """
        frame = self._anatomy.frame(landmarks, lower=True)
        x0, y0, x1, y1 = window = _window(frame, landmarks, pixels.shape[1], pixels.shape[0])
        masked = pixels.copy()
        if x0 >= x1 or y0 >= y1:
            return masked, np.zeros(len(landmarks), np.bool_)
        units, places = self._units(frame, landmarks, window), landmarks - (x0, y0)
        rgba = _warped(_flat(design), units)
        straps = _flat_straps(design.cut)
        if straps is not None:
            rgba = _over(_warped(straps, units) * self._behind_the_far_cheek(landmarks, frame, units)[..., None], rgba)
        rgba *= self._clear_of_eyes(places, frame, units.shape[:2])[..., None]
        face = pixels[y0:y1, x0:x1].astype(np.float32)
        opacity = rgba[..., 3:] / np.float32(255)
        drawn = face * (1 - opacity) + _lit(rgba[..., :3], face, places, frame) + _grain(face, opacity)
        masked[y0:y1, x0:x1] = np.clip(np.rint(drawn), 0, 255)
        return masked, _hidden(np.rint(rgba[..., 3]), places)

    def _units(self, frame: Reals, landmarks: Reals, window: tuple[int, int, int, int]) -> Floats:
        """`[h, w, 2]`: face units at every pixel of a window."""
        x0, y0, x1, y1 = window
        step = max(1, int(_unit_px(frame) / _GRID_PER_UNIT))
        rows, columns = -(-(y1 - y0) // step) + 1, -(-(x1 - x0) // step) + 1
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) * float(step) + (x0, y0)
        back = np.linalg.inv(np.vstack([frame, (0, 0, 1)]))[:2]
        coarse = np.asarray(grid @ back[:, :2].T + back[:, 2], np.float64)
        if self._anchors is not None:
            points, places = self._anchors
            coarse = _bent(coarse, _unfolded(landmarks[points] @ back[:, :2].T + back[:, 2], places), places)
        elif self._nose is not None:
            coarse = _turned(coarse, float((landmarks[self._nose] @ back[:, :2].T + back[:, 2])[0]))
        whole = cv2.resize(coarse.astype(np.float32), None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        # `resize` puts a coarse cell's value at the cell's middle, not at its first pixel.
        shift = np.array([[1, 0, (1 - step) / 2], [0, 1, (1 - step) / 2]])
        moved: Floats = cv2.warpAffine(whole, shift, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE)
        return moved

    def _behind_the_far_cheek(self, landmarks: Reals, frame: Reals, units: Floats) -> Floats:
        """`[h, w]`: 0 beside the cheek that is turned away, whose ear is not seen, 1 elsewhere."""
        if self._jaw is None:
            return np.ones(units.shape[:2], np.float32)
        nose = landmarks[self._jaw].mean(axis=0) if self._nose is None else landmarks[self._nose]
        right, left = (np.linalg.norm(landmarks[self._jaw[end]] - nose) for end in (0, -1))
        if min(right, left) > 0.8 * max(right, left):
            return np.ones(units.shape[:2], np.float32)
        outwards = units[..., 0] if left < right else -units[..., 0]
        return np.asarray(np.clip((np.float32(2.1) - outwards) / np.float32(0.08), 0, 1), np.float32)

    def _clear_of_eyes(self, places: Reals, frame: Reals, size: tuple[int, ...]) -> Floats:
        """`[h, w]`: 0 on the eyes, 1 away from them."""
        unit = _unit_px(frame)
        clear = np.full(size[:2], 255, np.uint8)
        for eye in self._eyes:
            hull = cv2.convexHull(np.rint(places[eye] * 16).astype(np.int32))
            cv2.fillPoly(clear, [hull], (0,), cv2.LINE_8, 4)
            cv2.polylines(clear, [hull], True, (0,), max(3, round(0.3 * unit)), cv2.LINE_8, 4)
        # Blurred outwards only: the eye itself stays wholly clear.
        soft = cv2.GaussianBlur(clear, (0, 0), max(0.05 * unit, 0.5))
        return np.asarray(np.minimum(soft, clear), np.float32) / np.float32(255)


def _anchors(protocol: LandmarkProtocol) -> tuple[list[int], Reals] | None:
    """Landmarks that bend the mask and where they are in face units; None without a jaw line."""
    jaw = protocol.parts.get("jaw", ())
    if len(jaw) < 5:
        return None
    steps, (across, down) = range(len(_JAW_LINE)), np.array(_JAW_LINE).T
    places = {
        point: (float(np.interp(at, steps, across)), float(np.interp(at, steps, down)))
        for point, at in zip(jaw, np.linspace(0, steps[-1], len(jaw)), strict=True)
    }
    bridge = protocol.parts.get("nose_bridge", ())
    for point, share in zip(bridge, np.linspace(0, 1, len(bridge)).tolist(), strict=True):
        places[point] = (0.0, -0.05 + 1.18 * share)
    for name, place in _SPOTS.items():
        places |= dict.fromkeys(points_of(protocol, name), place)
    return list(places), np.array(list(places.values()))


def _unfolded(points: Reals, places: Reals) -> Reals:
    """Points of the half that is turned away, moved out until they lie beyond the midline, as the cloth there does."""
    midline = points[places[:, 0] == 0]
    midline = midline[midline[:, 1].argsort()]
    middle = np.interp(points[:, 1], midline[:, 1], midline[:, 0])
    side, width = np.sign(places[:, 0]), np.abs(places[:, 0])
    depth = np.maximum((points[:, 0] - middle) * side / np.maximum(width, 1e-9), _LEAST_DEPTH)
    for half in (-1, 1):
        # A mouth that stands out beyond the jaw stretches the cloth.
        mouth = (side == half) & (width < 1) & (places[:, 1] > 1)
        cheek = (side == half) & (width > 1) & (places[:, 1] > 1)
        depth[cheek] = np.maximum(depth[cheek], 0.75 * depth[mouth].max(initial=0.0))
    return np.column_stack([np.where(side == 0, points[:, 0], middle + side * depth * width), points[:, 1]])


def _bent(grid: Reals, points: Reals, places: Reals) -> Reals:
    """The grid, in face units by the affine frame, moved so that points fall on their places: a thin-plate spline."""
    sides = np.array(_SIDES)
    nodes = np.concatenate([points, sides])
    offsets = np.concatenate([places - points, _nearest_offset(sides, points, places)])
    count = len(nodes)
    system = np.zeros((count + 3, count + 3))
    off_midline = np.concatenate([places[:, 0] != 0, np.ones(len(sides), np.bool_)])
    system[:count, :count] = _kernel(nodes, nodes) + np.diag(_STIFFNESS * off_midline)
    system[:count, count:] = np.column_stack([np.ones(count), nodes])
    system[count:, :count] = system[:count, count:].T
    weights = np.linalg.solve(system, np.concatenate([offsets, np.zeros((3, 2))]))
    flat = grid.reshape(-1, 2)
    even = np.column_stack([np.ones(len(flat)), flat]) @ weights[count:]
    return np.asarray((flat + even + _kernel(flat, nodes) @ weights[:count]).reshape(grid.shape))


def _turned(grid: Reals, nose: float) -> Reals:
    """The grid of a face whose nose tip points aside: the half that it points to is narrower, the other wider."""
    turn = min(abs(nose), 0.9)
    towards = grid[..., 0] * np.sign(nose) > 0
    width = np.where(towards, 1 - 0.5 * turn, 1 + 0.35 * turn)
    return np.stack([grid[..., 0] / width, grid[..., 1]], axis=-1)


def _nearest_offset(sides: Reals, points: Reals, places: Reals) -> Reals:
    """Beyond the face the cloth moves as the nearest of its anchors does."""
    nearest = np.linalg.norm(sides[:, None] - points[None], axis=2).argmin(axis=1)
    return np.asarray((places - points)[nearest])


def _kernel(a: Reals, b: Reals) -> Reals:
    square = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    return np.asarray(0.5 * square * np.log(square + 1e-12))


@cache
def _flat_straps(cut: MaskCut) -> Sprite | None:
    return draw_straps(cut, px=_MASK_PX)


@lru_cache(maxsize=512)
def _flat(design: MaskDesign) -> Sprite:
    return draw_cloth(design, px=_MASK_PX)


def _unit_px(frame: Reals) -> float:
    """Length of a face unit in the photo."""
    return float(np.hypot(frame[0, 1], frame[1, 1]))


def _window(frame: Reals, landmarks: Reals, width: int, height: int) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1): the part of the photo that a mask can reach: a face from the front, and a nose in profile."""
    corners = np.array([(-3.2, -0.8), (3.2, -0.8), (3.2, 6.0), (-3.2, 6.0)]) @ frame[:, :2].T + frame[:, 2]
    reach = np.concatenate([corners, landmarks - 0.5 * _unit_px(frame), landmarks + 0.5 * _unit_px(frame)])
    (x0, y0), (x1, y1) = np.floor(reach.min(axis=0)).astype(int), np.ceil(reach.max(axis=0)).astype(int) + 1
    return max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1))


def _warped(flat: Sprite, units: Floats) -> Floats:
    """`[h, w, 4]`: the flat mask as each pixel sees it."""
    (scale, _, left), (_, _, top) = flat.to_units.tolist()
    x = (units[..., 0] - np.float32(left)) / np.float32(scale) - np.float32(0.5)
    y = (units[..., 1] - np.float32(top)) / np.float32(scale) - np.float32(0.5)
    # A photo smaller than the flat mask would skip its pixels: it is shrunk first.
    step = float(np.median(np.hypot(np.diff(x, axis=1)[:-1], np.diff(y, axis=1)[:-1])))
    shrink = max(1, int(step))
    picture = flat.rgba
    if shrink > 1:
        size = (max(1, picture.shape[1] // shrink), max(1, picture.shape[0] // shrink))
        x = (x + np.float32(0.5)) * np.float32(size[0] / picture.shape[1]) - np.float32(0.5)
        y = (y + np.float32(0.5)) * np.float32(size[1] / picture.shape[0]) - np.float32(0.5)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    drawn = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0, 0))
    return np.asarray(drawn, np.float32)


def _over(below: Floats, above: Floats) -> Floats:
    """One drawn layer on another, both with their colours multiplied by their opacity."""
    return np.asarray(above + below * (1 - above[..., 3:] / np.float32(255)), np.float32)


def _lit(colours: Floats, face: Floats, places: Reals, frame: Reals) -> Floats:
    """`[h, w, 3]`: cloth as bright, as tinted and as colourful as the face's light makes it."""
    unit = _unit_px(frame)
    step = max(1, int(unit / 12))
    size = (-(-face.shape[1] // step), -(-face.shape[0] // step))
    small = cv2.resize(face, size, interpolation=cv2.INTER_AREA) / np.float32(255)
    skin = np.full(small.shape[:2], 1e-3, np.float32)
    hull = cv2.convexHull(np.rint(places / step * 16).astype(np.int32))
    cv2.fillPoly(skin, [hull], (1.0,), cv2.LINE_8, 4)
    mean = np.asarray((small * skin[..., None]).sum(axis=(0, 1)) / skin.sum(), np.float32)
    luma = max(float(mean @ _LUMA), 0.02)
    sigma = max(0.8 * unit / step, 0.5)
    slow = cv2.GaussianBlur(small @ _LUMA * skin, (0, 0), sigma) / cv2.GaussianBlur(skin, (0, 0), sigma)
    brightness = np.clip(slow / luma, 0.45, 1.5) * np.clip(luma / 0.5, 0.3, 1.12) ** 0.8
    light = cv2.resize(np.asarray(brightness, np.float32), face.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    # Half of how the face departs from the usual colour of skin is laid to the light.
    cast = np.clip(mean / luma / _USUAL_SKIN, 0.6, 1.5) ** 0.5
    grey = (colours @ _LUMA)[..., None]
    lively = np.float32(np.clip(12 * float(np.ptp(mean)) / luma - 0.6, 0, 1))  # 0 for grey photos
    tinted = grey + lively * (colours * (1 + lively * (cast - 1)) - grey)
    return np.asarray(tinted * light[..., None], np.float32)


def _grain(face: Floats, opacity: Floats) -> Floats:
    """`[h, w, 3]`: the photo's own fine noise, which cloth drawn by a computer has not."""
    fine = face - cv2.GaussianBlur(face, (0, 0), 1.0)
    return np.asarray(np.clip(fine, -6, 6) * 0.6 * opacity, np.float32)


def _hidden(opacity: Floats, landmarks: Reals) -> NDArray[np.bool_]:
    """`[L]`: which landmarks lie in a pixel that is covered."""
    height, width = opacity.shape
    columns, rows = np.rint(landmarks).astype(int).T
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    hidden = np.zeros(len(landmarks), np.bool_)
    hidden[inside] = opacity[rows[inside], columns[inside]] >= OPAQUE
    return hidden
