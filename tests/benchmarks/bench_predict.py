"""What prediction costs from RGB array and box to landmarks, beside the bare network on a tensor that is ready.

import bench_predict; bench_predict.run()
"""

import torch

from adodn import models, recipes
from adodn.datasets.synthetic import render
from adodn.predict import Predictor
from tests.benchmarks.measure import Row, Spent, alternately, row

_SIZE_PX = 256
_BATCH = 32
_LIMIT = "the bare network on a tensor that is ready"


def run_latency() -> list[Row]:
    """The measurement `predict_latency`."""
    ours, bare = _compare(faces=1, repeats=15)
    return [row("predict_latency", 1000 * ours.cpu_s, "ms", limit=1000 * bare.cpu_s, limit_is=_LIMIT, variant="p50")]


def run_throughput() -> list[Row]:
    """The measurement `predict_throughput`."""
    ours, bare = _compare(faces=_BATCH, repeats=3)
    return [
        row(
            "predict_throughput",
            _BATCH / ours.cpu_s,
            "faces/s/core",
            limit=_BATCH / bare.cpu_s,
            limit_is=_LIMIT,
            variant=f"batches of {_BATCH}",
        )
    ]


def _compare(*, faces: int, repeats: int) -> list[Spent]:
    torch.set_num_threads(1)
    config = recipes.adodn_300w_small()
    network = models.build(config.model)
    predictor = Predictor(network, config)
    face = render(0, "train", 0, _SIZE_PX)
    (x0, y0), (x1, y1) = face.landmarks.min(0).tolist(), face.landmarks.max(0).tolist()
    images, boxes = [face.image] * faces, [(x0, y0, x1, y1)] * faces
    side = config.model.input_px
    crops = torch.randint(0, 256, (faces, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)

    def bare() -> None:
        with torch.inference_mode():
            network(crops)

    return alternately(lambda: predictor(images, boxes), bare, repeats=repeats)
