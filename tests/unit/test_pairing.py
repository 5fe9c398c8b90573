"""Comparing models face by face: the same faces, annotation and measure, or an error that says what differs."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from adodn import evaluate
from adodn.errors import ConfigError, DataError
from adodn.samples import Batch
from tests.unit.test_evaluate import PROTOCOL, make_batch, report_of, shifted_in_image


def reported(*batches: Batch, pixels: float = 1.0, digest: str = "0" * 64) -> evaluate.EvaluationReport:
    found = evaluate.face_errors(shifted_in_image(pixels, 10), batches, PROTOCOL, "outer_eye_corners")
    return report_of(found, digest)


def doctored(report: evaluate.EvaluationReport, name: str, content: bytes) -> bytes:
    """The report's npz with another member in the place of one."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(report.files()["errors.npz"])) as old,
        zipfile.ZipFile(file, "w") as new,
    ):
        for entry in old.infolist():
            new.writestr(entry, content if entry.filename == name else old.read(entry))
    return file.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_pairs_are_of_the_same_face_in_any_order() -> None:
    """One model measured backwards, another in two batches: each pair is of one face."""
    a, b = evaluate.paired(
        reported(make_batch(3, 3), make_batch(0, 3)), reported(make_batch(0, 6), pixels=2), subset="common"
    )

    assert a == pytest.approx([1 / 10, 1 / 30, 1 / 50], rel=1e-4)
    assert b == pytest.approx(2 * a, rel=1e-4)


def test_models_are_compared_by_a_part_and_by_covered_landmarks() -> None:
    """Faces without a covered landmark have no pair; the others keep theirs."""
    batch = make_batch(0, 5)
    batch.visible[[1, 3], 5] = False
    first, second = reported(batch), reported(batch, pixels=3)

    covered = evaluate.paired(first, second, figure="nme/occluded")
    nose = evaluate.paired(first, second, figure="nme/part/nose_base", subset="challenging")

    assert [values.tolist() for values in covered] == [
        pytest.approx([1 / 20, 1 / 40], rel=1e-4),
        pytest.approx([3 / 20, 3 / 40], rel=1e-4),
    ]
    assert len(nose[0]) == len(nose[1]) == 2


def test_trainings_stand_in_rows() -> None:
    """Several trainings on the same faces are one array, a row each, in the order given."""
    rows = evaluate.aligned([reported(make_batch(0, 4), pixels=p) for p in (3, 1, 2)])

    assert rows / rows[1] == pytest.approx(np.repeat([[3.0], [1.0], [2.0]], 4, axis=1), rel=1e-4)


def test_another_dataset_digest_is_refused() -> None:
    """Faces of the same keys from two versions of a dataset are not the same faces."""
    with pytest.raises(DataError, match=r"one dataset_digest only, got '0000.*'1111"):
        evaluate.paired(reported(make_batch(0, 2)), reported(make_batch(0, 2), digest="1" * 64))


def test_missing_faces_are_refused() -> None:
    """A face that only one model has seen is an error that names it, never a smaller comparison."""
    with pytest.raises(DataError, match=r"got 3 and 2, of which 1 are in one only \(e.g. \['face-2'\]\)"):
        evaluate.paired(reported(make_batch(0, 3)), reported(make_batch(0, 2)))


def test_another_normaliser_is_refused() -> None:
    """An error by the eyes and one by the box have no difference."""
    batch = make_batch(0, 2)
    by_box = evaluate.face_errors(shifted_in_image(1, 10), [batch], PROTOCOL, "box_size")

    with pytest.raises(DataError, match="one normaliser only"):
        evaluate.paired(reported(batch), evaluate.report(by_box, "300w", "0" * 64, "box_size"))


@pytest.mark.parametrize("field", ["image_landmarks", "visible", "image_boxes", "subsets"])
def test_another_annotation_under_the_same_digest_is_refused(field: str) -> None:
    """A digest alone is not believed: what was measured against must be equal, face by face."""
    plain, other = make_batch(0, 3), make_batch(0, 3)
    if field == "subsets":
        other.subsets[1] = ("challenging", "full", "dark")
    else:
        changed = getattr(other, field)
        changed[1, 3] = ~changed[1, 3] if field == "visible" else changed[1, 3] + 1

    with pytest.raises(DataError, match=r"of 1 faces differ, first 'face-1'"):
        evaluate.paired(reported(plain), reported(other))


@pytest.mark.parametrize(("subset", "figure"), [("ibug", "nme"), ("all", "nme/part/tail"), ("all", "nme/occluded")])
def test_what_cannot_be_compared_is_named(subset: str, figure: str) -> None:
    """An unknown subset or figure, or one that no face has, is an error."""
    report = reported(make_batch(0, 2))

    with pytest.raises(ConfigError, match=f"'{subset if subset != 'all' else figure}'"):
        evaluate.paired(report, report, subset=subset, figure=figure)


def test_changed_errors_are_refused() -> None:
    """One byte of difference is found by the digest that the figures name."""
    report = reported(make_batch(0, 2))
    files = report.files()
    digest = json.loads(files["figures.json"])["files"]["errors.npz"]
    changed = bytearray(files["errors.npz"])
    changed[200] ^= 1

    assert evaluate.read_report(files["errors.npz"], "here", sha256=digest) == report
    with pytest.raises(DataError, match=rf"^run/errors\.npz: sha256 must be {digest}, got"):
        evaluate.read_report(bytes(changed), "run/errors.npz", sha256=digest)


def test_no_pickle_is_ever_loaded() -> None:
    """An array of objects, which numpy would unpickle, is refused by its type."""
    harmful = np.array([{"__reduce__": "anything"}], dtype=object)

    with pytest.raises(DataError, match=r"array 'boxes' must be f8"):
        evaluate.read_report(doctored(reported(make_batch(0, 2)), "boxes.npy", as_npy(harmful)), "here")


def test_sizes_in_headers_are_not_believed() -> None:
    """An array that claims more than the file holds is refused, not allocated."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50, 4)})

    with pytest.raises(DataError, match="not the errors of an evaluation"):
        evaluate.read_report(doctored(reported(make_batch(0, 2)), "boxes.npy", header.getvalue()), "here")


@pytest.mark.parametrize("content", [b"", b"key,subset\n", b"PK\x03\x04 and no more"])
def test_other_files_are_refused_with_their_address(content: bytes) -> None:
    """A file that is not errors of an evaluation is named."""
    with pytest.raises(DataError, match=r"^run/errors\.npz: not the errors"):
        evaluate.read_report(content, "run/errors.npz")


def test_compressed_members_are_refused() -> None:
    """Nothing is unpacked that could be larger than the file."""
    file = io.BytesIO()
    report = reported(make_batch(0, 2))
    with np.load(io.BytesIO(report.files()["errors.npz"])) as arrays:
        np.savez_compressed(file, **arrays)

    with pytest.raises(DataError, match="stored and not compressed"):
        evaluate.read_report(file.getvalue(), "here")


def test_protocols_of_one_name_are_not_taken_for_one() -> None:
    """Two own protocols that share a name and not their points are not compared."""
    reports = []
    for chin in (8, 9):
        own = replace(PROTOCOL, name="mine", parts={"chin": (chin,)}, closed_parts=frozenset())
        errors = evaluate.face_errors(shifted_in_image(1, 10), [make_batch(0, 2)], own, "outer_eye_corners")
        reports.append(report_of(errors))

    with pytest.raises(DataError, match="called 'mine' differ"):
        evaluate.paired(*reports)


def test_visibility_told_by_some_batches_only_is_refused() -> None:
    """One model either tells visibility or does not."""

    def moody(images: torch.Tensor) -> torch.Tensor | evaluate.Seen:
        batch = make_batch(int(images[0, 0, 0, 0]), len(images))
        told = evaluate.Seen(landmarks=batch.landmarks, visible=batch.visible)
        return told if batch.keys[0] == "face-0" else batch.landmarks

    with pytest.raises(ValueError, match="telling visibility"):
        evaluate.face_errors(moody, [make_batch(0, 2), make_batch(2, 2)], PROTOCOL, "outer_eye_corners")
