"""Milliseconds that covering a 224-px training face takes, over all kinds that are on by default, by one thread.

import bench_occlusion; bench_occlusion.run()
"""

import time
from collections.abc import Callable
from statistics import mean

import cv2
import numpy as np

from adodn import datasets
from adodn.config import AugmentConfig
from adodn.data import images, transforms
from adodn.occlusion.occluder import Occluder, Occlusion, draw_occlusion
from tests.benchmarks.measure import Row, row

_INPUT_PX = 224
_FACES = 12
_EACH = 16
_REPEATS = 30


def run() -> list[Row]:
    """The measurement `occlusion`."""
    cv2.setNumThreads(0)  # as in the loader
    dataset = datasets.open("synthetic", num_train=0, num_val=0, num_common=_FACES, num_challenging=0)
    faces = list(dataset)
    boxes, jpegs = np.array([face.box for face in faces]), [face.image for face in faces]
    affines = transforms.crop_affine(boxes, crop_scale=1.3, augmentation=transforms.Augmentation())
    crops = np.empty((_FACES, _INPUT_PX, _INPUT_PX, 3), np.uint8)
    sources = [images.decode(jpeg, "face") for jpeg in jpegs]
    for source, affine, crop in zip(sources, affines, crops, strict=True):
        transforms.warp(source, affine, crop)
    landmarks = transforms.move(np.stack([face.landmarks for face in faces]), transforms.invert(affines))
    occluder, kinds = Occluder(dataset.protocol, AugmentConfig()), AugmentConfig().occluders
    taken = {kind: mean(_best(occluder, crops, landmarks, one) for one in _some(kind)) for kind in kinds}
    warp = min(_timed(lambda: transforms.warp(sources[0], affines[0], crops[0])) for _ in range(_REPEATS))
    each = {f"{kind}_ms": 1e3 * seconds for kind, seconds in taken.items()}
    return [row("occlusion", 1e3 * mean(taken.values()), "ms/face", **each, crop_of_the_same_face_ms=1e3 * warp)]


def _some(kind: str) -> list[Occlusion]:
    config = AugmentConfig(occlusion_probability=1.0)
    drawn = [draw_occlusion(config, row_) for row_ in transforms.sample_draws(0, 0, np.arange(_EACH)).tolist()]
    return [Occlusion(kind, one.numbers) for one in drawn if one is not None]


def _best(occluder: Occluder, crops: transforms.Image, landmarks: transforms.Reals, occlusion: Occlusion) -> float:
    """Seconds a face in the least disturbed of several rounds; drawn before, as it stays drawn while one trains."""
    face = int(occlusion.numbers[-1] * len(crops))
    return min(_timed(lambda: occluder.cover(crops[face], landmarks[face], occlusion)) for _ in range(_REPEATS))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
