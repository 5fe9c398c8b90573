"""How many rendered faces one core makes in a second of its own time, with JPEG and without.

import bench_render; bench_render.run()
"""

import time

import cv2

from adodn.datasets.synthetic import encode, render

FACES = 100
REPEATS = 3
SIZE_PX = 160


def run() -> list[dict[str, str | float]]:
    """Best of a few repeats, by process time, so that other work on the machine counts as little as possible."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        _faces_per_second(encoded=True)
        return [
            {
                "name": "render",
                "value": round(max(_faces_per_second(encoded=encoded) for _ in range(REPEATS)), 1),
                "unit": "faces/s/core",
                "variant": f"{SIZE_PX} px, {'with' if encoded else 'without'} JPEG",
            }
            for encoded in (True, False)
        ]
    finally:
        cv2.setNumThreads(threads)


def _faces_per_second(*, encoded: bool) -> float:
    start = time.process_time()
    for index in range(FACES):
        face = render(0, "train", index, SIZE_PX)
        if encoded:
            encode(face.image)
    return FACES / (time.process_time() - start)
