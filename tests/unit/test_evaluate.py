"""Evaluation: faces measured in original pixels, each once, and results that name everything."""

import csv
import hashlib
import io
import json
import math

import numpy as np
import pytest
import torch

from adodn import evaluate, protocols
from adodn.errors import ConfigError, DataError, TrainingDivergedError
from adodn.evaluate.consistency import check
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


def report_of(errors: evaluate.FaceErrors, digest: str = "0" * 64) -> evaluate.EvaluationReport:
    return evaluate.report(errors, "300w", digest, "outer_eye_corners")


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
    assert report.rows()[-1][1] == "0.0000"
    assert (stored["dataset_digest"], stored["protocol"], stored["num_faces"]) == ("ab" * 32, "68", 1)
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


def test_csv_has_every_figure_of_every_face_to_the_same_bits() -> None:
    """CSV out and in again gives each face the same float of each figure, and nothing where it has none."""
    batch = make_batch(0, 5)
    batch.visible[2, :10] = False
    errors = measure(batch)
    rows = list(csv.DictReader(io.StringIO(report_of(errors).files()["errors.csv"].decode())))

    assert list(rows[0])[:3] == ["key", "subset", "nme@outer_eye_corners"]
    assert [row["key"] for row in rows] == list(errors.keys)
    assert rows[0]["subset"] == "common|full"
    assert [float(row["nme@outer_eye_corners"]) for row in rows] == errors.nme.tolist()
    assert [float(row["nme/landmark/chin@outer_eye_corners"]) for row in rows] == errors.landmark_errors[:, 8].tolist()
    assert [bool(row["nme/occluded@outer_eye_corners"]) for row in rows] == [False, False, True, False, False]


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


def test_details_are_the_means_of_what_they_name() -> None:
    """Parts, landmarks, visible and covered landmarks and other normalisers, each worked out from the landmarks."""
    batch = make_batch(0, 4)
    batch.visible[1, 36:42] = False
    batch.visible[3, :] = False
    pixels = torch.arange(68).double()

    def off_by_its_number(images: torch.Tensor) -> torch.Tensor:
        """Landmark i is found i pixels to the right."""
        turn = torch.linalg.inv(batch.crop_to_image[:, :, :2])
        shift = torch.stack([pixels, torch.zeros(68)], dim=1)
        return batch.landmarks.double() + shift @ turn.mT

    report = report_of(evaluate.face_errors(off_by_its_number, [batch], PROTOCOL, "outer_eye_corners"))
    over = np.array([1 / 10, 1 / 20, 1 / 30, 1 / 40])
    details = {result.name: (result.value, result.num_faces) for result in report.details}

    def expect(figure: str, value: float, num_faces: int) -> None:
        assert details[f"300w/{figure}"] == (pytest.approx(value, rel=1e-3), num_faces)

    expect("all nme/part/right_eye@outer_eye_corners", 38.5 * over.mean(), 4)
    expect("common nme/landmark/chin@outer_eye_corners", 8 * over[[0, 2]].mean(), 2)
    expect("all nme/occluded@outer_eye_corners", (38.5 * over[1] + 33.5 * over[3]) / 2, 2)
    without_eye = (33.5 * 68 - 38.5 * 6) / 62
    expect("all nme/visible@outer_eye_corners", (33.5 * (over[0] + over[2]) + without_eye * over[1]) / 3, 3)
    expect("full nme@box_width", 33.5 / 40, 4)
    expect("full nme@box_diagonal", 33.5 / 40 / math.sqrt(2), 4)
    squares = math.sqrt(float((pixels**2).sum()))
    expect("all nrmse_eq10@outer_eye_corners", squares / 68 * over.mean(), 4)
    assert "no covered landmark" in report.left_out["300w/common nme/occluded@outer_eye_corners"]


def test_what_a_report_lacks_is_named_with_the_reason() -> None:
    """No figure is silently absent or NaN: visibility of a model that tells none, normalisers that are 0 on a face."""
    batch = make_batch(0, 3)
    batch.image_boxes[1, 2] = 0
    report = report_of(measure(batch))

    assert report.left_out["300w/all occlusion_recall"] == "the model does not tell visibility"
    assert report.left_out["300w/all nme@box_size"] == "it is 0 on 1 of these faces, first 'face-1'"
    assert "300w/common nme@box_size" not in report.left_out
    with pytest.raises(ConfigError, match=r"'300w/all nme@box_size': it is 0 on 1 .*'face-1'"):
        report.value("300w/all nme@box_size")


def test_visibility_is_measured_where_a_model_tells_it() -> None:
    """Of four landmarks said to be covered three are, of six that are covered three are found."""
    batch = make_batch(0, 2)
    batch.visible[0, :6] = False
    said = batch.visible.clone()
    said[0, :3], said[1, 0] = True, False
    errors = evaluate.face_errors(
        lambda _: evaluate.Seen(landmarks=batch.landmarks, visible=said), [batch], PROTOCOL, "outer_eye_corners"
    )
    report = report_of(errors)

    assert report.value("300w/all occlusion_precision") == 3 / 4
    assert report.value("300w/all occlusion_recall") == 3 / 6
    assert report.value("300w/all occlusion_f1") == pytest.approx(2 * 0.75 * 0.5 / 1.25, rel=1e-15)
    assert evaluate.read_report(report.files()["errors.npz"], "here") == report


def test_files_name_each_others_digests() -> None:
    """The figures hold the sha256 of both files of errors, and equal errors give equal bytes."""
    files, again = (report_of(measure(make_batch(0, 3))).files() for _ in range(2))

    assert files == again
    assert json.loads(files["figures.json"])["files"] == {
        name: hashlib.sha256(files[name]).hexdigest() for name in ("errors.csv", "errors.npz")
    }


def test_the_report_is_made_anew_of_its_errors() -> None:
    """Errors read back give every figure again, of own protocols too, and files of the same bytes."""
    own = protocols.LandmarkProtocol(
        name="mine", num_landmarks=68, flip=PROTOCOL.flip, normalisers={"eyes": ((36,), (45,))}, parts={"chin": (8,)}
    )
    errors = evaluate.face_errors(shifted_in_image(1, 10), [make_batch(0, 5)], own, "eyes")
    report = evaluate.report(errors, "mine", "ab" * 32, "eyes", thresholds=(0.05,))

    again = evaluate.read_report(report.files()["errors.npz"], "here")

    assert again == report
    assert again.files() == report.files()


def test_full_must_be_common_and_challenging() -> None:
    """A face of `full` that is in neither part is named, and no figure of it is made."""
    batch = make_batch(0, 4)
    batch.subsets[2] = ("full",)

    with pytest.raises(DataError, match=r"'face-2' is in \['full'\] \(1 such"):
        report_of(measure(batch))


def test_a_report_says_what_was_checked() -> None:
    """Three checks apply to faces of 300W; the last does not where there are no such subsets."""
    plain = make_batch(0, 3)
    plain.subsets[:] = [("easy",)] * 3

    assert len(report_of(measure(make_batch(0, 3))).checks) == 3
    assert len(report_of(measure(plain)).checks) == 2


@pytest.mark.parametrize(("figure", "wrong"), [("nme@outer_eye_corners", 0.07), ("auc@0.10", 0.9)])
def test_figures_that_contradict_each_other_are_refused(figure: str, wrong: float) -> None:
    """A mean that its landmarks do not give, or an AUC that the mean does not allow, is never reported."""
    errors = measure(make_batch(1, 3))
    figures = {"nme@outer_eye_corners": float(errors.nme.mean()), "failure_rate@0.10": 0.0}
    figures["auc@0.10"] = 1 - figures["nme@outer_eye_corners"] / 0.10
    everyone = {"all": np.ones(3, dtype=np.bool_)}
    assert check(errors, everyone, {"all": figures}, (0.10,))

    with pytest.raises(ValueError, match="must"):
        check(errors, everyone, {"all": figures | {figure: wrong}}, (0.10,))


@pytest.mark.parametrize("field", ["image_landmarks", "image_boxes"])
def test_an_annotation_that_is_not_finite_names_the_face(field: str) -> None:
    """A face that cannot be measured is never measured as NaN."""
    batch = make_batch(0, 3)
    getattr(batch, field)[2, 0] = math.nan

    with pytest.raises(DataError, match=r"'face-2': (target|boxes) must be finite"):
        measure(batch)
