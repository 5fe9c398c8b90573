"""One rendered face, from seed to pixels. Not the dataset: splits, keys and JPEG are in `adodn.datasets.synthetic`.

face = render(0, "train", 7, 160)
face.image, face.landmarks, face.visible
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from adodn.datasets.rendering import hair as hairs
from adodn.datasets.rendering.backdrop import draw_backdrop, draw_shoulders
from adodn.datasets.rendering.camera import Camera, rotation
from adodn.datasets.rendering.ears import Ears
from adodn.datasets.rendering.features import placed_landmarks
from adodn.datasets.rendering.light import Light, draw_light, expose, shade
from adodn.datasets.rendering.occluders import Stage, Worn, draw_occluder, pick_occluder, wear
from adodn.datasets.rendering.paint import paint_face, texture_detail
from adodn.datasets.rendering.person import Moment, Person, draw_moment, draw_person
from adodn.datasets.rendering.rasteriser import Raster, rasterise, seen
from adodn.datasets.rendering.shape import bilinear, head_sheet, jaw_places
from adodn.datasets.rendering.surface import draw_surface
from adodn.errors import ConfigError

Floats: TypeAlias = NDArray[np.float32]
Reals: TypeAlias = NDArray[np.float64]
Image: TypeAlias = NDArray[np.uint8]

KINDS = ("train", "val", "common", "challenging")
MIN_SIZE_PX, MAX_SIZE_PX = 64, 512
PHOTOS_PER_PERSON = 2
_HARD_SHARE = {"train": 0.4, "val": 0.4, "common": 0.0, "challenging": 1.0}
_PERSON, _PHOTO = 0, 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RenderedFace:
    """A drawn face and what is known of it."""

    image: Image
    """`[H, W, 3]`, RGB."""
    landmarks: Reals
    """`[68, 2]`, pixels."""
    visible: NDArray[np.bool_]
    """`[68]`; False where turned away or covered by a drawn occluder."""
    occluder_mask: NDArray[np.bool_]
    """`[H, W]`: pixels that an occluder covers; clear glasses count as none."""
    attributes: dict[str, str | float | bool] = field(default_factory=dict)


def render(seed: int, split_kind: str, index: int, size_px: int) -> RenderedFace:
    """Draw a face; equal arguments give equal bytes.

    Args:
        seed: Of the whole dataset.
        split_kind: One of `KINDS`.
        index: Of the face within its kind.
        size_px: Side of the square image.

    Raises:
        ConfigError: If `split_kind` is unknown, or `size_px` out of range.
    """
    if split_kind not in KINDS:
        raise ConfigError(f"split_kind must be one of {', '.join(KINDS)}, got {split_kind!r}")
    check_size(size_px)
    kind = KINDS.index(split_kind)
    person = _person(seed, kind, index // PHOTOS_PER_PERSON)
    rng = np.random.default_rng([seed, kind, index, _PHOTO])
    hard = bool(rng.random() < _HARD_SHARE[split_kind])
    moment = draw_moment(rng, hard=hard)
    occluder = pick_occluder(rng, hard=hard, turned=abs(moment.yaw_deg) > 35)
    return draw(person, moment, occluder, rng, size_px=size_px, hard=hard)


@lru_cache(maxsize=8)
def _person(seed: int, kind: int, number: int) -> Person:
    """Photos of one person are mostly asked for one after another."""
    return draw_person(np.random.default_rng([seed, kind, number, _PERSON]))


def check_size(size_px: int) -> None:
    """Refuse a picture too small to hold a face, or too large for the head's detail.

    Raises:
        ConfigError: If it is.
    """
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise ConfigError(f"size_px must lie in {MIN_SIZE_PX} … {MAX_SIZE_PX}, got {size_px!r}")


def draw(
    person: Person, moment: Moment, occluder: str, rng: np.random.Generator, *, size_px: int, hard: bool
) -> RenderedFace:
    """Draw a given person in a given moment; the rest (light, lens, background, noise) comes from `rng`."""
    light = draw_light(rng, hard=hard)
    mean_landmarks = placed_landmarks(person, moment)
    skin = _deformed(person, moment)
    places = head_sheet().locate(mean_landmarks)
    places[:17] = jaw_places()
    points = bilinear(skin, places[:, 0], places[:, 1])
    camera, landmarks, heights = _aim(points, moment, rng, size_px)
    worn = wear(occluder, rng)
    image, raster, covered = _picture(person, moment, skin, mean_landmarks, camera, light, worn, rng, size_px)
    stage = Stage(
        image=image,
        covered=covered,
        camera=camera,
        raster=raster,
        landmarks=landmarks,
        person=person,
        light=light,
        yaw_deg=moment.yaw_deg,
    )
    draw_occluder(stage, occluder, rng)
    return RenderedFace(
        image=expose(image, rng, hard=hard),
        landmarks=landmarks,
        visible=seen(raster, covered, landmarks, heights),
        occluder_mask=covered > 0,
        attributes=_attributes(person, moment, occluder, hard),
    )


def _attributes(person: Person, moment: Moment, occluder: str, hard: bool) -> dict[str, str | float | bool]:
    return {
        "yaw_deg": round(moment.yaw_deg, 3),
        "pitch_deg": round(moment.pitch_deg, 3),
        "roll_deg": round(moment.roll_deg, 3),
        "expression": moment.expression,
        "occluder": occluder,
        "hair": person.hair_style,
        "beard": person.beard > 0.5,
        "hard": hard,
    }


def _deformed(person: Person, moment: Moment) -> Floats:
    """Vertices `[3, C, R]` of this person's head with this expression."""
    neutral, weights = _neutral(person), moment.weights
    expressions = head_sheet().modes[-len(weights) :]
    return neutral + (weights @ expressions.reshape(len(weights), -1)).reshape(neutral.shape)


@lru_cache(maxsize=8)
def _neutral(person: Person) -> Floats:
    """Vertices `[3, C, R]` of this person's head at rest."""
    sheet, weights = head_sheet(), person.traits
    shift = weights @ sheet.modes[: len(weights)].reshape(len(weights), -1)
    return np.asarray(sheet.vertices + shift.reshape(sheet.vertices.shape))


def _aim(points: Reals, moment: Moment, rng: np.random.Generator, size_px: int) -> tuple[Camera, Reals, Reals]:
    """A camera whose picture holds the landmarks in about the middle, at about half its side.

    Also what it sees of the landmarks `points` `[3, 68]`: their pixels `[68, 2]` and heights towards it `[68]`.
    """
    turn = rotation(*map(math.radians, (moment.yaw_deg, moment.pitch_deg, moment.roll_deg)))
    rough = Camera(rotation=turn, distance=rng.uniform(550, 1800), scale=1.0, offset=np.zeros(2))
    pixels, heights = rough.project(points)
    low, high = pixels.min(1), pixels.max(1)
    scale = rng.uniform(0.5, 0.62) * size_px / float((high - low).max())
    middle = (size_px - 1) / 2 + rng.uniform(-0.04, 0.04, 2) * size_px
    offset = middle - scale * (low + high) / 2
    camera = Camera(rotation=turn, distance=rough.distance, scale=scale, offset=offset)
    return camera, np.asarray(scale * pixels.T + offset), np.asarray(heights)


def _picture(
    person: Person,
    moment: Moment,
    skin: Floats,
    mean_landmarks: Reals,
    camera: Camera,
    light: Light,
    worn: Worn | None,
    rng: np.random.Generator,
    size_px: int,
) -> tuple[Image, Raster, Image]:
    """The picture without held things, what each of its pixels shows of the head, and what is covered."""
    fine = texture_detail(size_px)
    texture = paint_face(person, moment, mean_landmarks, fine, rng)
    shell, hair = skin, hairs.grow(person)
    if hair is not None:
        shell = hairs.thicken(skin, hair)
        hairs.paint_hair(texture, hair, fine)
    cloth = np.zeros(texture.shape[:2], np.uint8)
    outside = shell if worn is None else worn.put_on(shell, texture, cloth, fine)
    raster = rasterise(*camera.project(outside), size_px)
    image = draw_backdrop(rng, size_px)
    draw_shoulders(image, camera, math.radians(moment.yaw_deg), light, rng)
    ears = Ears(camera, skin, person, light) if hair is None or not hair.is_long else None
    if ears:
        ears.draw(image, near=False)
    draw_surface(image, raster, texture, shade(outside, camera.rotation, light))
    if ears:
        ears.draw(image, near=True)
    covered = np.zeros(image.shape[:2], np.uint8) if worn is None else _worn_part(raster, cloth, fine)
    return image, raster, covered


def _worn_part(raster: Raster, cloth: Image, fine: int) -> Image:
    """`[S, S]`: 255 where a pixel shows `cloth` `[C · fine, R · fine]`; outside the head is outside the cloth."""
    x, y = ((places + np.float32(0.5)) * fine - np.float32(0.5) for places in (raster.row, raster.column))
    return np.asarray(cv2.remap(cloth, x, y, cv2.INTER_NEAREST))
