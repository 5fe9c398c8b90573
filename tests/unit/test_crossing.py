"""Where protocols meet, what results of it are called, and that the numbers are those worked out by hand.

pytest tests/unit/test_crossing.py
"""

import itertools
import json
import re
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adodn import evaluate, protocols
from adodn.errors import ConfigError, DataError
from adodn.evaluate import Conditions
from adodn.evaluate.conditions import tight_boxes
from adodn.evaluate.crossing import MetBatches, mapped
from adodn.evaluate.measuring import Seen
from adodn.protocols import LandmarkProtocol, toml_file
from adodn.protocols.mapping import ProtocolMap
from adodn.protocols.maps import get_map, known
from adodn.protocols.meeting import Meeting, guessed_points, meet
from adodn.samples import Batch

NAMES = ("5", "19", "21", "29", "68", "98", "106")
PAIRS = tuple(itertools.product(NAMES, NAMES))
SIDE = 40.0


def place_of(model: str, dataset: str) -> Meeting:
    return meet(protocols.get(model), protocols.get(dataset))


def faces_of(protocol: str, count: int = 3) -> Batch:
    """Faces of random points, in crops that are the image itself, `SIDE` pixels wide."""
    points = protocols.get(protocol).num_landmarks
    truth = torch.rand(count, points, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * SIDE
    visible = torch.rand(count, points, generator=torch.Generator().manual_seed(1)) > 0.3
    to_image = torch.tensor([[SIDE, 0, 0], [0, SIDE, 0]], dtype=torch.float64).expand(count, 2, 3)
    return Batch(
        images=torch.arange(count).to(torch.uint8)[:, None, None, None].expand(count, 3, 2, 2),
        landmarks=(truth / SIDE).float(),
        visible=visible,
        crop_to_image=to_image,
        image_landmarks=truth,
        image_boxes=torch.tensor([[0.0, 0, SIDE, SIDE]]).expand(count, 4).double(),
        indices=torch.arange(count),
        is_padding=torch.zeros(count, dtype=torch.bool),
        positions=torch.arange(count),
        keys=[f"face-{number}" for number in range(count)],
        subsets=[("full",)] * count,
    )


@pytest.mark.parametrize(("model", "dataset"), PAIRS)
def test_they_meet_in_the_most_points_that_both_reach(model: str, dataset: str) -> None:
    """No known pair of maps, identities among them, ends in a protocol with more points."""
    ends = [
        {known_map.target.name for known_map in known() if known_map.source.name == side} | {side}
        for side in (model, dataset)
    ]
    most = max(protocols.get(name).num_landmarks for name in ends[0] & ends[1])

    place = place_of(model, dataset)

    assert place.protocol.num_landmarks == most
    assert (place.from_model.source.name, place.from_dataset.source.name) == (model, dataset)


def test_names_say_what_was_mapped_and_how_well() -> None:
    """`via` is of predictions, `against` of the annotation; each name is told apart and one that MLflow takes."""
    names = {pair: place_of(*pair).name for pair in PAIRS}

    assert names["68", "19"] == "via 68-to-19 approximate 7 of 19"
    assert names["5", "68"] == "against 68-to-5 approximate 2 of 5"
    assert names["98", "5"] == "via 98-to-5 exact"
    assert names["19", "29"] == "via 19-to-5 against 29-to-5 exact"
    assert names["68", "68"] == ""
    crossing = [name for (model, dataset), name in names.items() if model != dataset]
    assert len(set(crossing)) == len(crossing) == 42
    assert all(re.fullmatch(r"[a-z0-9_\-. :/]+", name) for name in crossing)


def test_guessed_points_are_those_of_another_name_or_of_several_points() -> None:
    """68 has no brow centre, no pupil, no wing of AFLW's and no mouth centre; all else of 19 it has."""
    place = place_of("68", "19")

    assert [place.protocol.names[point] for point in place.guessed] == [
        *("right_brow_centre", "left_brow_centre", "right_pupil", "left_pupil"),
        *("right_nose_wing", "left_nose_wing", "mouth_centre"),
    ]
    assert guessed_points(get_map("21", "19")) == ()
    # Jaw points that are only counted may have one name and lie apart.
    assert protocols.get("98").names[0] == protocols.get("68").names[0] == "jaw_0"
    assert 0 in guessed_points(get_map("98", "68"))


def test_predictions_are_mapped_and_compared_with_the_annotation_as_it_is() -> None:
    """Nineteen annotated points; a model of 68 that puts each source point two pixels to the right of its mean."""
    place, batch = place_of("68", "19"), faces_of("19")
    answers = torch.zeros(3, 68, 2, dtype=torch.float64)
    for point, row in enumerate(place.from_model.rows):
        for source in row:
            answers[:, source] = (batch.image_landmarks[:, point] + torch.tensor([2.0, 0])) / SIDE

    errors = evaluate.face_errors(
        mapped(lambda images: answers[images[:, 0, 0, 0].long()], place),
        MetBatches([batch], place),
        place.protocol,
        "outer_eye_corners",
    )

    eyes = batch.image_landmarks[:, 11] - batch.image_landmarks[:, 6]
    used = Counter(source for row in place.from_model.rows for source in set(row))
    alone = [point for point, row in enumerate(place.from_model.rows) if all(used[source] == 1 for source in row)]
    assert len(alone) == 13  # the corners of eyes are points of their own and part of the pupils' mean
    wanted = (2.0 / eyes.norm(dim=1)).numpy()
    for point in alone:
        assert errors.landmark_errors[:, point] == pytest.approx(wanted, rel=1e-9)
    assert np.array_equal(errors.target, batch.image_landmarks.numpy())
    assert np.array_equal(errors.visible, batch.visible.numpy())


@pytest.mark.parametrize("pair", [("68", "29"), ("29", "68"), ("106", "21"), ("19", "29")])
def test_batch_size_changes_no_bit_of_a_crossing(pair: tuple[str, str]) -> None:
    """Faces in batches of one or of five: the same landmarks and errors to the last bit."""
    place, whole = place_of(*pair), faces_of(pair[1], 5)
    points = protocols.get(pair[0]).num_landmarks
    answers = torch.rand(5, points, 2, generator=torch.Generator().manual_seed(3))
    alone = [replace(whole, **{name: value[i : i + 1] for name, value in _fields(whole)}) for i in range(5)]

    together, apart = (
        evaluate.face_errors(
            mapped(lambda images: answers[images[:, 0, 0, 0].long()], place),
            MetBatches(batches, place),
            place.protocol,
            "box_size",
        )
        for batches in ([whole], alone)
    )

    assert together.predicted.tobytes() == apart.predicted.tobytes()
    assert together.target.tobytes() == apart.target.tobytes() and together.nme.tobytes() == apart.nme.tobytes()


def _fields(batch: Batch) -> list[tuple[str, Any]]:
    return [(field.name, getattr(batch, field.name)) for field in fields(batch)]


def test_the_annotation_is_mapped_where_the_model_has_fewer_points() -> None:
    """A model of five points that answers the mean of each eye's six is without error on 68."""
    place, batch = place_of("5", "68"), faces_of("68")
    truth = batch.image_landmarks
    five = torch.stack([truth[:, 36:42].mean(1), truth[:, 42:48].mean(1), truth[:, 30], truth[:, 48], truth[:, 54]], 1)

    errors = evaluate.face_errors(
        mapped(lambda images: five / SIDE, place), MetBatches([batch], place), place.protocol, "pupils"
    )

    assert errors.nme == pytest.approx(np.zeros(3), abs=1e-12)
    assert errors.visible[:, 0].tolist() == batch.visible[:, 36:42].all(1).tolist()
    assert errors.visible[:, 4].tolist() == batch.visible[:, 54].tolist()


def test_told_visibility_is_mapped_as_well() -> None:
    """A mapped point is said to be visible where all that it is made of are."""
    place, batch = place_of("68", "5"), faces_of("68")

    said = mapped(lambda images: Seen(landmarks=batch.landmarks, visible=batch.visible), place)(batch.images)

    assert isinstance(said, Seen)
    assert said.visible.tolist() == get_map("68", "5").visible(batch.visible).tolist()


def test_nothing_changes_where_protocols_are_the_same() -> None:
    """The very batches and the very model, to the last bit."""
    place, batch = place_of("29", "29"), faces_of("29")

    assert next(iter(MetBatches([batch], place))) is batch
    assert mapped(str.upper, place) is str.upper  # type: ignore[arg-type, comparison-overlap]
    assert (place.name, place.digest, place.guessed) == ("", "", ())


def own(name: str, points: int = 2) -> LandmarkProtocol:
    return LandmarkProtocol(name=name, num_landmarks=points, flip=tuple(range(points)), normalisers={})


def test_what_cannot_meet_is_one_error_with_both_names_and_the_maps_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"the model's 'mine' and the dataset's '29'.*first to none.*second to '5'.*--maps"
    ):
        meet(own("mine"), protocols.get("29"))


def test_own_maps_lead_on_through_known_ones(tmp_path: Path) -> None:
    """A file's map to 98 brings its protocol to 29 as well; residuals add up, and the file's word comes first."""
    rows = json.dumps([[point] for point in range(98)])
    names = ", ".join(f'"spot_{point}"' for point in range(98))
    flip = json.dumps(list(protocols.get("98").flip))
    file = tmp_path / "mine.toml"
    head = f'name = "mine"\nnum_landmarks = 98\nflip = {flip}\nnames = [{names}]\n'
    file.write_text(f"{head}[map.98]\npoints = {rows}\nresidual = 0.5\n")
    held = toml_file.load(file)

    place = meet(held.protocol, protocols.get("29"), held.maps)

    assert place.protocol.name == "29"
    assert place.from_model.residual == pytest.approx(0.5 + get_map("98", "29").residual)
    assert place.name == "via mine-to-29 approximate 29 of 29"
    assert place.digest != replace(place, from_model=replace(place.from_model, residual=0.6)).digest


def test_of_two_ways_the_one_that_leaves_the_annotation_alone_is_taken() -> None:
    """Two protocols of as many points that map to each other: the dataset's own counts."""
    ours, theirs = own("ours"), own("theirs")
    both = [
        ProtocolMap(source=a, target=b, rows=((0,), (1,)), exact=True, residual=0.0)
        for a, b in ((ours, theirs), (theirs, ours))
    ]

    assert meet(ours, theirs, both).name == "via ours-to-theirs exact"


CONDITIONS = Conditions(
    model_protocol="68",
    dataset_protocol="19",
    via="via 68-to-19 approximate 7 of 19",
    guessed=("right_pupil",),
    maps_digest="a" * 64,
    box_source="landmarks",
    tight_boxes=3,
    box_policy="landmarks",
    stored_margin=2.0,
    stored_max_px=384,
    crop_scale=1.3,
    trained_crop_scale=1.3,
    input_px=64,
    mask_seed=None,
)


def crossed(**changes: object) -> evaluate.EvaluationReport:
    batch = faces_of("19")
    errors = evaluate.face_errors(lambda images: batch.landmarks, [batch], protocols.get("19"), "pupils")
    conditions = replace(CONDITIONS, **changes)  # type: ignore[arg-type]
    return evaluate.report(errors, "aflw", "0" * 64, "pupils", conditions=conditions)


def test_every_result_is_named_by_its_conditions_and_comes_back_so() -> None:
    report = crossed()
    back = evaluate.read_report(report.files()["errors.npz"], "npz")

    every = [result.name for result in (*report.results, *report.details)]
    assert every and all(name.endswith(" via 68-to-19 approximate 7 of 19") for name in every)
    assert "aflw/all nme@pupils via 68-to-19 approximate 7 of 19" in every
    assert back == report and back.conditions == CONDITIONS
    assert json.loads(report.to_json())["conditions"]["crop_scale"] == 1.3
    assert crossed(mask_seed=3, crop_scale=2.0).qualifier == "via 68-to-19 approximate 7 of 19 masked 3 crop 2"


@pytest.mark.parametrize(
    "change", [{"via": "via 98-to-19 exact"}, {"maps_digest": "b" * 64}, {"mask_seed": 0}, {"crop_scale": 1.5}]
)
def test_results_of_other_conditions_are_refused_beside_each_other(change: dict[str, object]) -> None:
    assert len(evaluate.paired(crossed(), crossed())) == 2
    with pytest.raises(DataError, match="models are compared by one"):
        evaluate.paired(crossed(), crossed(**change))


def test_files_from_before_conditions_are_still_read() -> None:
    """They have the format they always had, and come back without conditions."""
    batch = faces_of("19")
    errors = evaluate.face_errors(lambda images: batch.landmarks, [batch], protocols.get("19"), "pupils")
    report = evaluate.report(errors, "aflw", "0" * 64, "pupils")

    back = evaluate.read_report(report.files()["errors.npz"], "npz")

    assert back == report and back.conditions is None and back.qualifier == ""
    with pytest.raises(DataError, match="one qualifier only"):
        evaluate.paired(report, crossed())


@pytest.mark.parametrize(
    "change", [{"crop_scale": "wide"}, {"surplus": 1}, {"box_source": "guess"}, {"input_px": True}]
)
def test_conditions_that_were_made_up_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"conditions: {next(iter(change))}"):
        Conditions.from_plain(CONDITIONS.to_plain() | change)
    with pytest.raises(ValueError, match="conditions"):
        Conditions.from_plain([1, 2])


def test_tight_boxes_are_counted() -> None:
    landmarks = np.random.default_rng(0).uniform(0, 90, (4, 5, 2))
    boxes = np.concatenate([landmarks.min(1), landmarks.max(1)], axis=1)
    boxes[1] += 1e-9
    boxes[2, 3] += 0.5

    assert tight_boxes(boxes, landmarks) == 3
