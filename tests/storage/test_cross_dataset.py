"""Models on datasets of other protocols, with masks and other boxes, and cells of a matrix that are kept, on a real S3.

pytest tests/storage/test_cross_dataset.py
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from adodn import datasets, models, publish, recipes, settings
from adodn.cli import build
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import read_manifest, shard_dataset
from adodn.data.store import S3Store
from adodn.errors import ConfigError, DataError
from adodn.evaluate import ERRORS, FIGURES, paired, read_report
from adodn.evaluate.running import Showing
from adodn.matrix import Column, Given, Prepared, prepare, run_matrix
from adodn.matrix.cells import evaluate_cell, forget, kept
from adodn.model_files import write_model
from adodn.protocols.maps import get_map

pytestmark = pytest.mark.integration

FACES = {"num_train": 0, "num_val": 0, "num_common": 3, "num_challenging": 3, "size_px": 80}


@pytest.fixture
def dataset(s3: S3Store, s3_folder: str) -> str:
    """Six rendered faces with 68 landmarks."""
    return shard_dataset(datasets.open("synthetic", seed=1, **FACES), s3, s3_folder, ImagePolicy())[0]


@pytest.fixture
def in_29(s3: S3Store, s3_folder: str) -> str:
    """The same faces in 29 landmarks."""
    raw = datasets.open("mapped", source="synthetic", protocol="29", seed=1, **FACES)
    return shard_dataset(raw, s3, s3_folder, ImagePolicy())[0]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two untrained models of 68 landmarks as files."""
    folders = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    config = recipes.adodn_smoke()
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        write_model(folder, models.build_for(config).state_dict(), config)
    return folders


@pytest.fixture
def model(both: tuple[Path, Path]) -> Path:
    return both[0]


def evaluated(model: Path, dataset: str, out: Path, *words: str) -> dict[str, object]:
    command = ["evaluate", str(model), "--dataset", dataset, "--out", str(out), "--json", *words]
    done = CliRunner().invoke(build("evaluate"), command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer: dict[str, object] = json.loads(done.stdout)
    assert json.loads((out / FIGURES).read_text()) == answer | {
        "files": json.loads((out / FIGURES).read_text())["files"]
    }
    return answer


def test_a_model_is_measured_on_another_protocol(
    places: object, dataset: str, in_29: str, model: Path, tmp_path: Path
) -> None:
    """Its predictions, mapped, on the annotation as it is: what the same faces give by hand; maps end each name."""
    plain = evaluated(model, dataset, tmp_path / "plain")
    crossed = evaluated(model, in_29, tmp_path / "crossed")

    assert plain["qualifier"] == ""
    assert crossed["qualifier"] == "via 68-to-29 approximate 15 of 29"
    names = [result["name"] for result in crossed["results"]]  # type: ignore[attr-defined]
    assert "synthetic-as-29/all nme@outer_eye_corners via 68-to-29 approximate 15 of 29" in names
    assert all(name.endswith(" via 68-to-29 approximate 15 of 29") for name in names)
    conditions = crossed["conditions"]
    assert isinstance(conditions, dict)
    expected = {"model_protocol": "68", "dataset_protocol": "29", "box_policy": "landmarks", "stored_margin": 2.0}
    assert expected.items() <= conditions.items()
    assert (conditions["crop_scale"], conditions["input_px"]) == (1.3, recipes.adodn_smoke().model.input_px)
    assert "right_pupil" in conditions["guessed"] and "chin" in conditions["guessed"]
    # The box of the mapped dataset is that of all 68 points.
    assert (conditions["box_source"], conditions["tight_boxes"]) == ("dataset", 0)
    report = read_report((tmp_path / "crossed" / ERRORS).read_bytes(), "crossed")
    of_68 = read_report((tmp_path / "plain" / ERRORS).read_bytes(), "plain")
    assert report.errors.keys == of_68.errors.keys
    assert np.allclose(report.errors.predicted, get_map("68", "29").apply(of_68.errors.predicted), atol=1e-4)
    assert report.conditions is not None and report.conditions.to_plain() == conditions


def test_results_of_other_conditions_are_not_compared(
    places: object, dataset: str, model: Path, tmp_path: Path
) -> None:
    """Masks and another crop end the names of all figures, and are refused beside faces as they are."""
    plain, masked, wide = (
        evaluated(model, dataset, tmp_path / name, *words)
        for name, words in (("plain", []), ("masked", ["--mask-seed", "0"]), ("wide", ["--crop-scale", "1.6"]))
    )

    assert (masked["qualifier"], wide["qualifier"]) == ("masked 0", "crop 1.6")
    a, b, c = (read_report((tmp_path / name / ERRORS).read_bytes(), name) for name in ("plain", "masked", "wide"))
    assert (a.errors.visible.sum(), a.errors.predicted.tobytes()) != (
        b.errors.visible.sum(),
        b.errors.predicted.tobytes(),
    )
    assert a.errors.target.tobytes() == b.errors.target.tobytes() == c.errors.target.tobytes()
    for other in (b, c):
        with pytest.raises(DataError, match="one qualifier only, got '' and"):
            paired(a, other)
    assert plain["conditions"]["box_source"] == "landmarks"  # type: ignore[index]


def test_box_jitter_is_told_with_intervals(places: object, dataset: str, model: Path, tmp_path: Path) -> None:
    """Four changes of the boxes, each against the same faces, the same again; a table for people."""
    first = evaluated(model, dataset, tmp_path / "first", "--box-jitter")
    again = evaluated(model, dataset, tmp_path / "again", "--box-jitter")
    told = CliRunner().invoke(build("evaluate"), ["evaluate", str(model), "--dataset", dataset, "--box-jitter"])

    rows = {row["change"]: row for row in first["box_jitter"]}  # type: ignore[attr-defined]
    base = {result["name"]: result["value"] for result in first["results"]}["synthetic/all nme@outer_eye_corners"]  # type: ignore[attr-defined]
    assert list(rows) == ["shift 0.05", "shift 0.10", "scale 0.90", "scale 1.10"]
    for row in rows.values():
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["nme"] - base == pytest.approx(row["difference"])
        assert row["difference"] != 0 and row["num_faces"] == 6
    assert first["box_jitter"] == again["box_jitter"]
    assert "shift 0.05" in told.stdout and "difference, points" in told.stdout


def test_an_impossible_normaliser_names_where_they_meet(places: object, in_29: str, model: Path) -> None:
    network, config = publish.load(str(model), settings.get())
    five = config.with_fields({"model.protocol": "5"})

    with pytest.raises(
        ConfigError, match=r"protocol '5', where the model's '5' and the dataset's '29' meet, has no normaliser"
    ):
        publish.measure(network, five, in_29, settings.get(), showing=Showing(normaliser="outer_eye_corners"))


def planned(places: settings.Settings, folders: tuple[Path, Path], *uris: str, **asked: object) -> Prepared:
    given = [Given(label=label, name=str(folder)) for label, folder in zip("ab", folders, strict=True)]
    columns = [Column(uri=uri, mask_seed=seed) for uri in uris for seed in (None, 0)]
    return prepare(given, columns, Showing(**asked), places)  # type: ignore[arg-type]


def must_not_start() -> None:
    raise AssertionError("all cells are kept")


def test_cells_that_are_kept_need_no_cluster(
    places: settings.Settings, dataset: str, in_29: str, both: tuple[Path, Path], tmp_path: Path
) -> None:
    """Every cell evaluated once; the matrix then reads them back, and its numbers are those of `adodn evaluate`."""
    prepared = planned(places, both, dataset, in_29)
    for cell in prepared.cells:
        assert kept(cell, places) is None
        evaluate_cell(cell, prepared.models[cell.model].content, places)
    alone = evaluated(both[0], in_29, tmp_path / "alone", "--mask-seed", "0")
    told: list[tuple[str, str, str]] = []

    found = run_matrix(prepared, places, start=must_not_start, told=lambda *news: told.append(news))

    assert found.columns == ("synthetic", "synthetic masked 0", "synthetic-as-29", "synthetic-as-29 masked 0")
    assert len(found.entries) == 8 == len(told) and not found.failed
    entry = found.entries["a", "synthetic-as-29 masked 0"]
    values = {result["name"]: result["value"] for result in alone["results"]}  # type: ignore[attr-defined]
    assert entry.nme == values[entry.figure]
    assert entry.figure.endswith(" via 68-to-29 approximate 15 of 29 masked 0")
    assert entry.kept and not entry.same_data


def test_another_question_is_another_cell(places: settings.Settings, dataset: str, both: tuple[Path, Path]) -> None:
    """Normaliser, crop, masks and jitter are part of what a cell is known by; labels and addresses are not."""
    keys = {
        cell.key
        for asked in ({}, {"normaliser": "pupils"}, {"crop_scale": 1.5}, {"box_jitter": True})
        for cell in planned(places, both, dataset, **asked).cells
    }
    renamed = prepare(
        [Given(label="other", name=str(both[0]))],
        [Column(uri=dataset.removesuffix("/manifest.json"))],
        Showing(),
        places,
    )

    assert len(keys) == 2 * 2 * 4
    assert renamed.cells[0].key in keys


def test_the_first_writer_of_a_cell_wins_and_damage_is_mended(
    places: settings.Settings, s3: S3Store, dataset: str, both: tuple[Path, Path]
) -> None:
    """A second evaluation leaves the cell as it is; one whose errors were changed is named, removed and made again."""
    prepared = planned(places, both, dataset)
    cell = prepared.cells[0]
    evaluate_cell(cell, prepared.models[cell.model].content, places)
    before = s3.get(f"{cell.folder(places)}/{FIGURES}")
    evaluate_cell(cell, prepared.models[cell.model].content, places)
    assert s3.get(f"{cell.folder(places)}/{FIGURES}") == before

    [errors] = [info.uri for info in s3.list(cell.folder(places)) if info.uri.endswith(".npz")]
    data = bytearray(s3.get(errors))
    data[len(data) // 2] ^= 1
    s3.put(errors, bytes(data))
    with pytest.raises(DataError, match="sha256 must be"):
        kept(cell, places)

    forget(cell, places)
    assert kept(cell, places) is None
    evaluate_cell(cell, prepared.models[cell.model].content, places)
    again = kept(cell, places)
    assert again is not None and json.loads(before) == json.loads(again.files()[FIGURES])


def test_what_cannot_be_is_told_cell_by_cell(
    places: settings.Settings,
    dataset: str,
    both: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that is not there and a dataset that is not there cost their own row and column only, and exit code 1."""
    prepared = planned(places, both, dataset)
    evaluate_cell(prepared.cells[0], prepared.models["a"].content, places)
    command = ["matrix", "--model", f"a={both[0]}", "--model", "gone", "--dataset", dataset]
    command += ["--dataset", "s3://adodn/nothing/here", "--out", str(tmp_path / "out")]

    monkeypatch.setattr("adodn.commands.matrix._connect", lambda *words: must_not_start())

    done = CliRunner().invoke(build("matrix"), [*command, "--json"], catch_exceptions=False)

    assert done.exit_code == 1, done.output
    answer = json.loads(done.stdout)
    assert [(cell["model"], cell["dataset"]) for cell in answer["cells"]] == [("a", "synthetic")]
    why = {(cell["model"], cell["dataset"]): cell["error"] for cell in answer["failed"]}
    assert "no finished run 'gone'" in why["gone", "synthetic"]
    assert "no manifest here" in why["a", "s3://adodn/nothing/here"]
    assert done.stderr.count("failed: a on s3://adodn/nothing/here: ") == 1
    assert json.loads((tmp_path / "out" / "matrix.json").read_text()) == answer
    assert (tmp_path / "out" / "matrix.png").read_bytes().startswith(b"\x89PNG")
    shown = CliRunner().invoke(build("matrix"), command)
    assert "failed" in shown.stdout and "BCa" in shown.stdout


def test_one_face_has_no_interval_and_no_jitter(
    places: settings.Settings, s3: S3Store, s3_folder: str, both: tuple[Path, Path]
) -> None:
    one = datasets.open("synthetic", num_train=0, num_val=0, num_common=1, num_challenging=0, size_px=80)
    uri, _ = shard_dataset(one, s3, s3_folder, ImagePolicy())
    prepared = planned(places, both, uri)
    for cell in prepared.cells:
        evaluate_cell(cell, prepared.models[cell.model].content, places)

    found = run_matrix(prepared, places, start=must_not_start, told=lambda *news: None)

    assert all(entry.low is None and entry.high is None for entry in found.entries.values())
    assert "[" not in found.shown("a", "synthetic")
    jittered = dataclasses.replace(prepared.cells[0], showing=Showing(box_jitter=True))
    with pytest.raises(DataError, match="at least 2, got 1"):
        evaluate_cell(jittered, prepared.models["a"].content, places)
    assert read_manifest(s3, uri).num_samples("test") == 1
