"""How many rendered faces one core makes in a second of its own time, with JPEG and without.

import bench_render; bench_render.run()
"""

import cv2

from adodn.datasets.synthetic import encode, render
from tests.benchmarks.measure import Row, alternately, row

_FACES = 100
_SIZE_PX = 160


def run() -> list[Row]:
    """The measurement `render`, twice."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with_jpeg, without = alternately(lambda: _render(encoded=True), lambda: _render(encoded=False), repeats=5)
    finally:
        cv2.setNumThreads(threads)
    return [
        row("render", _FACES / with_jpeg.cpu_s, "faces/s/core", variant=f"{_SIZE_PX} px, with JPEG"),
        row("render", _FACES / without.cpu_s, "faces/s/core", variant=f"{_SIZE_PX} px, without JPEG"),
    ]


def _render(*, encoded: bool) -> None:
    for index in range(_FACES):
        face = render(0, "train", index, _SIZE_PX)
        if encoded:
            encode(face.image)
