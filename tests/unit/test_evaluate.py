"""Evaluation: faces measured in original pixels, each once, and results that name everything."""

import json
import math

import numpy as np
import pytest
import torch

from adodn import evaluate, protocols
from adodn.errors import ConfigError, DataError, TrainingDivergedError
from adodn.samples import Batch

PROTOCOL = protocols.get("68")
SIDE = 8


def make_batch(first: int, count: int, padding: int = 0) -> Batch:
    """Faces first … first + count - 1; each has its own turned and scaled crop, and eyes 10 · (index + 1) apart."""
    indices = torch.arange(first, first + count)
    generator = [torch.Generator().manual_seed(int(i)) for i in indices]
    matrices = torch.stack([torch.rand(2, 3, generator=g, dtype=torch.float64) for g in generator])
    matrices += torch.tensor([[20.0, 0, 100], [0, 20.0, 50]])
    truth = torch.stack([torch.rand(68, 2, generator=g, dtype=torch.float64) for g in generator]) * 30
    truth[:, 36] = 0
    truth[:, 45] = torch.stack([10.0 * (indices + 1), torch.zeros(count)], dim=1)
    inverse = torch.linalg.inv(matrices[:, :, :2])
    fractions = (truth - matrices[:, None, :, 2]) @ inverse.mT
    return Batch(
        images=indices.to(torch.uint8)[:, None, None, None].expand(count, 3, SIDE, SIDE),
        landmarks=fractions.float(),
        visible=torch.ones(count, 68, dtype=torch.bool),
        crop_to_image=matrices,
        image_landmarks=truth,
        image_boxes=torch.tensor([[0.0, 0, 40, 40]]).expand(count, 4).double(),
        indices=indices,
        is_padding=torch.arange(count) >= count - padding,
        positions=torch.arange(count),
        keys=[f"face-{i}" for i in indices],
        subsets=[("common", "full") if i % 2 == 0 else ("challenging", "full") for i in indices.tolist()],
    )


def shifted_in_image(pixels: float, faces: int) -> evaluate.PredictFn:
    """A model that finds each landmark `pixels` to the right, in pixels of the original image."""
    whole = make_batch(0, faces)

    def predict(images: torch.Tensor) -> torch.Tensor:
        chosen = images[:, 0, 0, 0].long()
        shift = torch.tensor([pixels, 0.0], dtype=torch.float64)
        turn = torch.linalg.inv(whole.crop_to_image[chosen][:, :, :2])
        return whole.landmarks[chosen].double() + (shift @ turn.mT)[:, None]

    return predict


def measure(*batches: Batch, pixels: float = 1.0) -> evaluate.FaceErrors:
    return evaluate.face_errors(shifted_in_image(pixels, 10), batches, PROTOCOL, "outer_eye_corners")


def test_errors_are_measured_in_original_pixels() -> None:
    """One pixel to the right in the original image is an NME of 1 / Ω, whatever the crop's turn and scale."""
    errors = measure(make_batch(0, 4))

    assert errors.nme == pytest.approx([1 / 10, 1 / 20, 1 / 30, 1 / 40], rel=1e-4)
    assert errors.predicted == pytest.approx(make_batch(0, 4).image_landmarks.numpy() + np.array([1, 0]), abs=1e-4)


def test_batch_size_and_order_change_nothing() -> None:
    """Faces in batches of 1, 3 or 10, and batches in reverse, give the same report to the last bit."""
    reports = []
    for size in (1, 3, 10):
        batches = [make_batch(first, min(size, 10 - first)) for first in range(0, 10, size)]
        reports += [
            evaluate.report(measure(*order), "d", "0" * 64, "outer_eye_corners") for order in (batches, batches[::-1])
        ]

    assert all(report.results == reports[0].results for report in reports)


def test_padding_is_left_out() -> None:
    """Faces that only fill the last batch count nowhere."""
    padded = measure(make_batch(0, 3), make_batch(3, 4, padding=2))
    plain = measure(make_batch(0, 5))

    assert padded.keys == plain.keys
    assert padded.nme.tolist() == plain.nme.tolist()


def test_results_name_dataset_subset_normaliser_and_threshold() -> None:
    """Each subset and `all` has each figure, with its number of faces, worked out by hand."""
    errors = measure(make_batch(0, 3), pixels=1.0)
    report = evaluate.report(errors, "300w", "0" * 64, "outer_eye_corners", thresholds=(0.08, 0.099, 0.10))
    values = {result.name: (result.value, result.num_faces) for result in report.results}

    assert values["300w/challenging nme@outer_eye_corners"] == (pytest.approx(1 / 20, rel=1e-4), 1)
    assert values["300w/common nme@outer_eye_corners"] == (pytest.approx((1 / 10 + 1 / 30) / 2, rel=1e-4), 2)
    assert values["300w/all nme@outer_eye_corners"] == (pytest.approx((1 / 10 + 1 / 20 + 1 / 30) / 3, rel=1e-4), 3)
    assert values["300w/all failure_rate@0.08"] == (1 / 3, 3)
    assert values["300w/all auc@0.08"] == (pytest.approx((0.03 + 0.08 - 1 / 30) / 3 / 0.08, rel=1e-4), 3)
    assert {name.split()[0] for name in values} == {"300w/all", "300w/challenging", "300w/common", "300w/full"}
    assert {"300w/full failure_rate@0.10", "300w/full auc@0.099"} <= values.keys()


def test_a_report_prints_percent_and_keeps_fractions() -> None:
    """Tables show NME and failures in percent; JSON keeps fractions, the digest and the protocol."""
    report = evaluate.report(measure(make_batch(0, 1)), "300w", "ab" * 32, "outer_eye_corners")
    stored = json.loads(report.to_json())

    assert report.rows()[0] == ("300w/common nme@outer_eye_corners", "10.00 %", "1")
    assert (stored["dataset_digest"], stored["protocol"]) == ("ab" * 32, "68")
    assert stored["results"][0]["value"] == report.value("300w/common nme@outer_eye_corners")


def test_an_unknown_result_lists_those_there_are() -> None:
    """Asking for a figure that was not measured names those that were."""
    report = evaluate.report(measure(make_batch(0, 1)), "300w", "ab" * 32, "outer_eye_corners")

    with pytest.raises(ConfigError, match=r"'300w/ibug nme'.*300w/common nme@outer_eye_corners"):
        report.value("300w/ibug nme")


def test_a_report_keeps_to_the_normaliser_it_was_measured_with() -> None:
    """An NME is never labelled with another normaliser."""
    with pytest.raises(ValueError, match=r"measured with normaliser 'outer_eye_corners', not 'pupils'"):
        evaluate.report(measure(make_batch(0, 1)), "300w", "ab" * 32, "pupils")


def test_per_face_errors_read_back_to_the_same_bits() -> None:
    """CSV out and in again gives the same key and the same float for each face."""
    errors = measure(make_batch(0, 5))

    assert evaluate.read_csv(errors.to_csv(), "here") == dict(zip(errors.keys, errors.nme.tolist(), strict=True))
    assert errors.to_csv().splitlines()[0] == "key,subset,nme@outer_eye_corners"
    assert errors.to_csv().splitlines()[1].startswith("face-0,common|full,0.1")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "key,subset,nme@x\nface,all,oops\n", "key,subset,nme@x\nface\n"])
def test_other_csv_is_refused_with_its_address(text: str) -> None:
    """A file that is not per-face errors is named."""
    with pytest.raises(DataError, match=r"^run/errors\.csv: "):
        evaluate.read_csv(text, "run/errors.csv")


def test_pairs_are_in_one_order_and_of_the_same_faces() -> None:
    """Two models are paired by key; a face that only one has seen is an error that names it."""
    first, second = evaluate.paired({"b": 2.0, "a": 1.0}, {"a": 3.0, "b": 4.0})

    assert (first.tolist(), second.tolist()) == ([1, 2], [3, 4])
    with pytest.raises(DataError, match=r"\['c'\]"):
        evaluate.paired({"a": 1.0}, {"a": 1.0, "c": 2.0})


def test_extremes_are_ranked_by_error() -> None:
    """Best, median and worst faces come in order of error."""
    extremes = measure(make_batch(0, 5)).extremes(1)

    assert extremes == {"best": ("face-4",), "median": ("face-2",), "worst": ("face-0",)}


def test_a_face_that_comes_twice_is_refused() -> None:
    """A face cannot count twice."""
    with pytest.raises(DataError, match="'face-1' came twice"):
        measure(make_batch(0, 2), make_batch(1, 2))


def test_no_face_at_all_is_refused() -> None:
    """There is no mean over nothing."""
    with pytest.raises(DataError, match="at least one face"):
        measure(make_batch(0, 1, padding=1))


def test_a_prediction_that_is_not_finite_names_the_face() -> None:
    """A diverged model is an error, not a score."""

    def predict(images: torch.Tensor) -> torch.Tensor:
        landmarks = torch.zeros(len(images), 68, 2)
        landmarks[1, 5, 0] = math.nan
        return landmarks

    with pytest.raises(TrainingDivergedError, match=r"'face-1' \(1 of 3"):
        evaluate.face_errors(predict, [make_batch(0, 3)], PROTOCOL, "outer_eye_corners")


def test_a_face_without_a_size_is_named() -> None:
    """A normaliser of 0 names the face and the way out."""
    batch = make_batch(0, 2)
    batch.image_landmarks[1, 45] = 0

    with pytest.raises(DataError, match="'face-1': normaliser 'outer_eye_corners' must be above 0"):
        measure(batch)


def test_a_prediction_of_another_shape_is_refused() -> None:
    """Nothing is broadcast over landmarks."""
    with pytest.raises(ValueError, match=r"\[2, 68, 2\].*\[2, 1, 2\]"):
        evaluate.face_errors(lambda _: torch.zeros(2, 1, 2), [make_batch(0, 2)], PROTOCOL, "outer_eye_corners")


def test_crop_fractions_map_to_pixels_by_the_matrix() -> None:
    """A matrix of scale 10 and shift (5, -5) takes (0.5, 1) to (10, 5)."""
    matrix = torch.tensor([[[10.0, 0, 5], [0, 10, -5]]])

    assert np.array_equal(evaluate.to_image(torch.tensor([[[0.5, 1.0]]]), matrix), [[[10, 5]]])
