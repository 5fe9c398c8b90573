"""A matrix as tables and picture, and the cells that it plans; what Ray and S3 do is tested elsewhere.

pytest tests/unit/test_matrix.py
"""

import csv
import io
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from adodn import evaluate, protocols, settings
from adodn.cli import build
from adodn.commands.matrix import _given
from adodn.errors import ConfigError
from adodn.evaluate import FaceErrors, Jittered
from adodn.evaluate.running import Showing
from adodn.matrix import Column, Entry, Given, Matrix, prepare
from adodn.matrix.cells import Cell
from adodn.matrix.picture import heat_map
from adodn.matrix.table import _letters
from adodn.protocols.meeting import meet
from tests.unit.test_crossing import CONDITIONS

PLACES = settings.Settings(bucket="here")
JITTER = (Jittered(change="shift 0.05", nme=0.05, difference=0.01, low=0.005, high=0.02, confidence=0.95, num_faces=9),)


def report_of(values: list[float], **changes: Any) -> evaluate.EvaluationReport:
    """Faces of 68 points with these errors; the first third are `hard`."""
    count = len(values)
    target = np.zeros((count, 68, 2))
    target[:, 45, 0] = 1
    faces = FaceErrors(
        protocol=protocols.get("68"),
        normaliser="outer_eye_corners",
        keys=tuple(f"face-{number:03d}" for number in range(count)),
        subsets=tuple(("hard",) if number < count // 3 else () for number in range(count)),
        predicted=target + np.array(values)[:, None, None] * np.array([0, 1.0]),
        target=target,
        visible=np.ones((count, 68), dtype=np.bool_),
        boxes=np.array([[0.0, 0, 2, 2]] * count),
    )
    conditions = replace(CONDITIONS, via="", maps_digest="", guessed=(), **changes)
    return evaluate.report(faces, "300w", "d" * 64, "outer_eye_corners", conditions=conditions)


def cell(model: str = "new", dataset: str = "300w") -> Cell:
    return Cell(
        model=model,
        dataset=dataset,
        model_digest="m" * 64,
        dataset_digest="d" * 64,
        dataset_uri="s3://here",
        showing=Showing(),
        asked_digest="a" * 64,
    )


VALUES = np.random.default_rng(0).gamma(2, 0.02, 60).tolist()


def entry(
    values: list[float] = VALUES,
    subset: str = "all",
    trained_on: str = "",
    of: tuple[str, str] = ("new", "300w"),
    **changes: Any,
) -> Entry:
    made = Entry.of(
        cell(*of), replace(report_of(values, **changes), box_jitter=JITTER), subset, trained_on, True, PLACES
    )
    assert isinstance(made, Entry)
    return made


@pytest.fixture
def small() -> Matrix:
    """Two models on two datasets; one cell failed, and one was trained on the very data."""
    entries = {
        ("new", "300w"): entry(trained_on="d" * 64),
        ("old|er", "300w"): entry([0.1] * 9, of=("old|er", "300w")),
        ("new", "300w masked 0"): entry(mask_seed=0, of=("new", "300w masked 0")),
    }
    failed = {("old|er", "300w masked 0"): "no worker came back"}
    return Matrix.of(["new", "old|er"], ["300w", "300w masked 0"], "all", entries, failed)


def test_a_cell_is_the_mean_over_faces_with_a_bca_interval() -> None:
    """As SciPy's bootstrap of the mean itself has it; `subset` chooses the faces."""
    made, hard = entry(), entry(subset="hard")
    wanted = stats.bootstrap(
        (np.array(VALUES),), np.mean, n_resamples=10_000, method="BCa", rng=np.random.default_rng(1)
    )

    assert made.nme == pytest.approx(np.mean(VALUES))
    assert (made.low, made.high) == pytest.approx(tuple(wanted.confidence_interval), rel=0.02)
    assert (made.num_faces, hard.num_faces) == (60, 20)
    assert hard.nme == pytest.approx(np.mean(VALUES[:20]))
    assert made.figure == "300w/all nme@outer_eye_corners" and hard.figure.startswith("300w/hard ")
    assert made.address == f"s3://here/evaluations/{'m' * 64}/{'d' * 64}/{'a' * 64}"


def test_a_subset_that_is_not_there_is_a_reason() -> None:
    assert Entry.of(cell(), report_of(VALUES), "easy", "", False, PLACES) == (
        "no subset 'easy' in dataset '300w'; it has hard, all"
    )


def test_the_table_marks_other_points_the_models_own_data_and_failures(small: Matrix) -> None:
    text = small.to_markdown()
    own, worse = small.shown("new", "300w"), small.shown("old|er", "300w")

    assert worse == "10.00 [10.00, 10.00] a"
    assert own.endswith("] a =") and small.shown("new", "300w masked 0").endswith("] b")
    assert "| old\\|er | 10.00 [10.00, 10.00] a | failed |" in text
    assert "* b: 68 landmarks, nme@outer_eye_corners masked 0" in text
    assert "* =: trained on the train split of this very dataset" in text
    assert "* failed: old|er on 300w masked 0: no worker came back" in text
    assert "| new | 300w | +1.00 [+0.50, +2.00] |" in text


def test_one_kind_of_points_needs_no_marks() -> None:
    one = Matrix.of(["new"], ["300w"], "all", {("new", "300w"): entry([0.1] * 9)}, {})

    assert one.shown("new", "300w") == "10.00 [10.00, 10.00]"
    assert one.legend()[1:] == ["68 landmarks, nme@outer_eye_corners"]
    assert [_letters(place) for place in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]


def test_programs_get_every_cell_to_the_last_bit(small: Matrix) -> None:
    rows = list(csv.DictReader(io.StringIO(small.to_csv())))
    plain = json.loads(small.to_json())

    assert [(row["model"], row["dataset"]) for row in rows] == [(r, c) for r in small.rows for c in small.columns]
    assert float(rows[0]["nme"]) == small.entries["new", "300w"].nme == plain["cells"][0]["nme"]
    assert (rows[0]["same_data"], rows[1]["same_data"]) == ("True", "False")
    assert rows[3]["error"] == "no worker came back" and rows[3]["nme"] == ""
    assert plain["failed"] == [{"model": "old|er", "dataset": "300w masked 0", "error": "no worker came back"}]
    assert plain["cells"][1]["conditions"]["mask_seed"] == 0
    assert plain["cells"][0]["box_jitter"][0]["change"] == "shift 0.05"


def test_a_cell_without_number_and_reason_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\('new', 'b'\) has none"):
        Matrix.of(["new"], ["a", "b"], "all", {("new", "a"): entry()}, {})


def test_the_picture_is_darker_where_errors_are_larger(small: Matrix) -> None:
    """Failed cells stay grey; a matrix of which all failed is a picture as well."""
    picture = cv2.imdecode(np.frombuffer(heat_map(small), np.uint8), cv2.IMREAD_COLOR)
    nothing = Matrix.of(["a"], ["b"], "all", {}, {("a", "b"): "why"})

    assert picture.shape[0] > 150 and picture.shape[1] > 400
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    areas = colours[counts > 2000].mean(axis=1)
    assert areas.min() < 100 < areas.max() and [228, 228, 228] in colours[counts > 2000].tolist()
    assert heat_map(nothing).startswith(b"\x89PNG")


def test_models_have_names_of_their_own() -> None:
    assert _given("new=models:/adodn-68@champion") == Given(label="new", name="models:/adodn-68@champion")
    assert _given("models:/adodn-68@champion").label == "models:/adodn-68@champion"
    assert _given("/a/folder=with/sign").label == "/a/folder=with/sign"


@pytest.mark.parametrize(
    ("models", "columns"),
    [([], ["s3://a/b"]), (["a"], []), (["a", "a"], ["s3://a/b"]), (["a"], ["s3://a/b", "s3://a/b"])],
)
def test_a_matrix_has_each_row_and_column_once(models: list[str], columns: list[str]) -> None:
    with pytest.raises(ConfigError, match="each once"):
        prepare([Given(label=m, name=m) for m in models], [Column(uri=uri) for uri in columns], Showing(), PLACES)


def test_what_is_asked_decides_what_a_cell_is_known_by() -> None:
    """Normaliser, masks, crop, jitter and the maps that are used; not maps that are not."""
    usual, mapped = (meet(protocols.get("68"), protocols.get(name)) for name in ("68", "29"))
    asked = [
        Showing(),
        Showing(normaliser="pupils"),
        Showing(mask_seed=0),
        Showing(mask_seed=1),
        Showing(crop_scale=1.3),
        Showing(box_jitter=True),
    ]

    digests = {showing.digest(place) for showing in asked for place in (usual, mapped)}

    assert len(digests) == 2 * len(asked)
    assert Showing(own_maps=(mapped.from_model,)).digest(usual) == Showing().digest(usual)


@pytest.mark.parametrize("wrong", [{"crop_scale": 0.0}, {"crop_scale": float("inf")}, {"mask_seed": -1}])
def test_a_question_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Showing(**wrong)


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes: here while the models are loaded."""

    def interrupted(*words: object) -> SimpleNamespace:
        raise KeyboardInterrupt

    monkeypatch.setattr("adodn.commands.matrix.prepare", interrupted)

    done = CliRunner().invoke(build("matrix"), ["matrix", "--model", "a", "--dataset", "s3://here/there"])

    assert done.exit_code == 130
    assert done.stderr == "stopped; what is finished is kept, and the same command goes on from there\n"
