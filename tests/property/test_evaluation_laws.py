"""Who measured which faces, and in which order, changes no bit of an evaluation."""

from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from adodn import evaluate
from adodn.samples import Batch
from tests.unit.test_evaluate import PROTOCOL, make_batch, report_of

FACES = 7
WHOLE = make_batch(0, FACES)
WHOLE.visible[::2, 3:9] = False
unhurried = settings(deadline=None, max_examples=25)


def taken(places: list[int], padding: int) -> Batch:
    """Some of the faces as a batch, the first of them repeated as padding."""
    chosen = torch.tensor([*places, *places[:1] * padding])
    fields = ("images", "landmarks", "visible", "crop_to_image", "image_landmarks", "image_boxes", "indices")
    return Batch(
        **{name: getattr(WHOLE, name)[chosen] for name in fields},
        is_padding=torch.arange(len(chosen)) >= len(places),
        positions=torch.arange(len(chosen)),
        keys=[WHOLE.keys[i] for i in chosen],
        subsets=[WHOLE.subsets[i] for i in chosen],
    )


def predict(images: torch.Tensor) -> torch.Tensor:
    """Misses each face by an amount of its own."""
    faces = images[:, 0, 0, 0].long()
    return WHOLE.landmarks[faces] + (faces[:, None, None] + 1) * torch.linspace(-0.01, 0.02, 68)[:, None]


def measured(batches: list[Batch]) -> evaluate.FaceErrors:
    return evaluate.face_errors(predict, batches, PROTOCOL, "outer_eye_corners")


EXPECTED = report_of(measured([WHOLE])).files()


@unhurried
@given(st.randoms(use_true_random=False), st.integers(1, FACES), st.integers(1, 3), st.integers(0, 2))
def test_no_partition_of_faces_changes_a_bit(random: Random, size: int, workers: int, padding: int) -> None:
    """Any order, batch size, number of workers and padding give equal figures and files of equal bytes."""
    order = random.sample(range(FACES), FACES)
    batches = [taken(order[start : start + size], padding) for start in range(0, FACES, size)]
    shares = [batches[worker::workers] for worker in range(workers)]
    errors = evaluate.joined([measured(share) for share in shares if share])

    assert report_of(errors).files() == EXPECTED


def test_removing_a_face_is_seen_in_the_files() -> None:
    """The law above is not empty: without one face the files differ, and do so by which face it is."""
    without = {
        report_of(measured([taken([i for i in range(FACES) if i != gone], 0)])).files()["errors.npz"]
        for gone in range(FACES)
    }

    assert len(without | {EXPECTED["errors.npz"]}) == FACES + 1
