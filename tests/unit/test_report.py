"""What a report says: figures that are the evaluation's, words that follow from them, and names that stay text.

pytest tests/unit/test_report.py
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from adodn import evaluate, models, protocols
from adodn.cli import build
from adodn.errors import ConfigError, DataError
from adodn.evaluate import EvaluationReport, Jittered
from adodn.model_files import write_model
from adodn.protocols import LandmarkProtocol
from adodn.report import (
    PROVENANCE,
    Subject,
    compared_faces,
    comparison_page,
    face_maps,
    model_page,
    provenance_of,
    read_evaluation,
    render,
    shown_faces,
    summary_markdown,
    tables,
    words,
)
from adodn.report.blocks import Gallery, Page, Table
from adodn.report.published import PUBLISHED, beside
from adodn.report.statistics import Look, compare
from adodn.statistics import adjusted_pvalues, paired_permutation_test
from tests.report_subjects import CONFIG, MASKED, errors, provenance, report, with_pictures
from tests.unit.test_report_page import EVIL

OFFICIAL = [("common", "full")] * 554 + [("challenging", "full")] * 135
SMALL = LandmarkProtocol(name="small", num_landmarks=3, flip=(0, 1, 2), normalisers={})


def blocks_of(page: Page, kind: type) -> list[object]:
    return [block for section in page.sections for block in section.blocks if isinstance(block, kind)]


def cells(table: Table, row: str) -> dict[str, str]:
    (found,) = (cells for cells in table.rows if cells[0] == row)
    return dict(zip(table.heads, found, strict=True))


def test_the_headline_is_the_evaluations() -> None:
    """Four faces of known error: mean, failures and AUC of each subset, worked out by hand."""
    found = report([0.02, 0.04, 0.06, 0.12], subsets=[("easy",), ("easy",), (), ()])

    table = tables.headline(found, "all")

    assert cells(table, "easy")["NME, %"] == "3.00"
    whole = cells(table, "all")
    assert (whole["faces"], whole["NME, %"], whole["failures above 0.10, %"]) == ("4", "6.00", "25.00")
    assert whole["AUC to 0.10"] == f"{np.mean([0.8, 0.6, 0.4, 0.0]):.4f}"
    low, high = (float(bound) for bound in whole["95 % interval"].split(" to "))
    assert 2.0 <= low < 6.0 < high <= 12.0
    assert table.strong == {1}


def test_papers_stand_beside_the_same_faces_alone() -> None:
    """With 554 and 135 faces ours stand beside ADODN's; a face less, and there is none of ours where it belonged."""
    found = report(errors(689, 0.04), subsets=OFFICIAL)
    fewer = report(errors(688, 0.04), subsets=OFFICIAL[:-1])

    (group,) = beside([("whole", found), ("cut", fewer)])

    (_, whole), (_, cut) = group.ours
    assert group.columns == (("common", "nme"), ("challenging", "nme"), ("full", "nme"))
    assert whole == tuple(
        pytest.approx(100 * found.value(f"300w/{subset} nme@outer_eye_corners")) for subset, _ in group.columns
    )
    assert cut[0] == pytest.approx(100 * fewer.value("300w/common nme@outer_eye_corners")) and cut[1:] == (None, None)
    assert {paper.method: tuple(paper.values.values()) for paper in group.papers}["ADODN"] == (2.80, 5.81, 3.35)


def test_a_paper_is_matched_by_its_own_normaliser() -> None:
    """AFLW is printed by the width and by the size of the box; each group has our figure by its own."""
    found = report([0.03] * 5, dataset="aflw", subsets=[("frontal",)] * 5)

    groups = {group.normaliser: group for group in beside([("ours", found)])}

    assert set(groups) == {"box_width", "box_size"}
    by_width = dict(zip(groups["box_width"].columns, groups["box_width"].ours[0][1], strict=True))
    assert by_width["frontal", "nme"] == pytest.approx(100 * 0.03 * 40 / 80)
    assert by_width["full", "nme"] is None


def test_published_rows_name_what_they_are_of() -> None:
    """No paper's row lacks its table, and its values are per cents."""
    for row in PUBLISHED:
        assert "Table" in row.where and row.values and all(0.3 < value < 20 for value in row.values.values())


def test_a_dataset_of_no_paper_says_so() -> None:
    """Instead of an empty table."""
    page = model_page(with_pictures("x", report([0.1, 0.2, 0.3], dataset="mine")))

    assert "None of the papers" in render(page)


def test_looks_are_adjusted_together() -> None:
    """The p-values of a table are Holm's of the permutation tests of its rows; 2 and 3 faces have no more than that."""
    subsets = [("few",)] * 3 + [("many",)] * 40 + [("one",)]
    a = report(errors(44, 0.05), subsets=subsets)
    b = report([value + 0.004 for value in errors(44, 0.05)[:43]] + [0.2], subsets=subsets)

    looks = compare(a, b, {name: (name, "nme") for name in ("few", "many", "one")})

    raw = {name: paired_permutation_test(*evaluate.paired(a, b, subset=name)).pvalue for name in ("few", "many")}
    assert {look.name: look.adjusted for look in looks} == adjusted_pvalues(raw)
    many = looks[1]
    assert many.is_found and many.difference == pytest.approx(-0.004) and many.better == 1
    assert not looks[0].is_found


@pytest.mark.parametrize(("difference", "better"), [(-0.004, "A is better than B"), (0.004, "B is better than A")])
def test_a_verdict_names_the_better_one(difference: float, better: str) -> None:
    """A negative difference is in favour of A; what was not found is never called alike."""
    look = Look(
        name="full",
        faces=100,
        a=0.05,
        b=0.05 - difference,
        difference=difference,
        low=difference - 0.001,
        high=difference + 0.001,
        adjusted=0.0002,
        better=0.6,
        better_low=0.5,
        better_high=0.7,
        detectable=0.002,
    )

    found, open_ = words.verdict(look, "A", "B"), words.verdict(replace(look, adjusted=0.2), "A", "B")

    assert found.startswith(better) and "0.40 points" in found and "p < 0.001" in found
    assert open_.startswith("No difference was found") and "does not show that the two are alike" in open_
    assert "0.20 points" in open_ and "p = 0.200" in open_ and "is better" not in open_


@pytest.mark.parametrize(
    ("difference", "shown"), [(0.0093, "+0.93"), (-0.0008, "−0.08"), (-0.00004, "0.00"), (0.0, "0.00"), (0.1, "+10.00")]
)
def test_differences_have_a_sign_where_it_means_something(difference: float, shown: str) -> None:
    """In percentage points; zero has none."""
    assert words.points(difference) == shown


def test_models_on_other_data_are_not_compared() -> None:
    """Another digest is refused before anything is drawn."""
    a, b = report([0.1] * 3), report([0.1] * 3, digest="f" * 64)

    with pytest.raises(DataError, match="one dataset_digest only"):
        comparison_page(with_pictures("a", a), with_pictures("b", b))


def test_faces_that_differ_most_are_shown_by_both() -> None:
    """The faces with the largest difference either way come first, each as A and as B saw it."""
    values = np.full(20, 0.05)
    other = values.copy()
    other[3], other[7], other[11] = 0.09, 0.02, 0.04
    a, b = report(values.tolist()), report(other.tolist())

    page = comparison_page(with_pictures("a", a), with_pictures("b", b))

    gallery = blocks_of(page, Gallery)[0]
    assert isinstance(gallery, Gallery)
    assert [title for title, _ in gallery.rows] == ["A is better by most", "B is better by most"]
    assert [(face.name, face.caption) for _, row in gallery.rows for face in row] == [
        ("A 5.00 %", "face-0003"),
        ("B 9.00 %", "face-0003"),
        ("A 5.00 %", "face-0007"),
        ("B 2.00 %", "face-0007"),
        ("A 5.00 %", "face-0011"),
        ("B 4.00 %", "face-0011"),
    ]
    assert compared_faces(a, b, "all") == {"face-0003", "face-0007", "face-0011"}


def test_what_is_lacking_is_said() -> None:
    """Without crops, maps and provenance the page still stands, and names each."""
    bare = render(model_page(Subject(label="folder", report=report(errors(10, 0.05)))))

    for word in ("Faces: they are not stored", "does not say where it comes from", "occlusion_precision"):
        assert word in bare
    assert "Best, median and worst" not in bare


def test_a_page_tells_under_which_conditions_it_was_measured() -> None:
    """Masks, another crop, a map between protocols and moved boxes stand on the page; no paper stands beside them."""
    moved = Jittered(
        change="shift 0.05", nme=0.06, difference=0.01, low=0.005, high=0.02, confidence=0.95, num_faces=10
    )
    found = replace(report(errors(10, 0.05), conditions=MASKED), box_jitter=(moved,))

    page = render(model_page(Subject(label="folder", report=found)))
    text = summary_markdown(found, model="folder")

    for word in (
        "put on all faces, seed 7",
        "trained with 1.3",
        "via 98-to-68 approximate 2 of 68",
        "guessed: nose tip",
    ):
        assert word in page, word
    assert "shift 0.05" in page and "6.00" in page
    assert "this dataset does not have just the faces" in page
    assert f"300w, subset all, {MASKED.qualifier}" in text.replace("\\", "")
    plain = render(model_page(Subject(label="folder", report=report(errors(10, 0.05)))))
    assert "seed 7" not in plain and "Beside what papers print" in plain


@pytest.mark.parametrize("degenerate", [6, 3])
def test_faces_whose_landmarks_lie_in_one_place_have_a_page(degenerate: int) -> None:
    """Annotations that no shape can be fitted to, all of them or some, cost the page its mean face, not the page."""
    found = report(errors(6, 0.05)).errors
    target = found.target.copy()
    target[:degenerate] = 0
    target[:, 45, 0] += 40
    flat = replace(found, target=target, predicted=target + 1)

    page = render(model_page(Subject(label="flat", report=evaluate.report(flat, "300w", "a" * 64, flat.normaliser))))

    assert "Where errors lie on a face" in page


@pytest.mark.parametrize("protocol", [*(protocols.get(name) for name in ("5", "19", "21", "29", "98", "106")), SMALL])
@pytest.mark.parametrize("faces", [1, 2, 7])
def test_every_protocol_has_a_page(protocol: LandmarkProtocol, faces: int) -> None:
    """From a single face on, with parts of one landmark, without parts, without a normaliser of its own."""
    target = np.random.default_rng(0).uniform(10, 90, (faces, protocol.num_landmarks, 2))
    found = evaluate.FaceErrors(
        protocol=protocol,
        normaliser=protocol.usual_normaliser,
        keys=tuple(f"face-{place}" for place in range(faces)),
        subsets=((),) * faces,
        predicted=target + 1,
        target=target,
        visible=np.ones((faces, protocol.num_landmarks), dtype=np.bool_),
        boxes=np.repeat([[0.0, 0.0, 100.0, 100.0]], faces, axis=0),
    )
    result = evaluate.report(found, "mine", "0" * 64, protocol.usual_normaliser)

    page = render(model_page(with_pictures("x", result)))

    assert page.count("<img ") >= 2 + faces if faces > 1 else page.count("<img ") >= 2


def test_an_unknown_subset_is_one_error() -> None:
    """Which names those there are."""
    with pytest.raises(ConfigError, match="no subset 'none' in dataset '300w'; it has all"):
        model_page(Subject(label="x", report=report([0.1, 0.2])), "none")


def test_maps_are_the_networks() -> None:
    """ADODN has three maps, of which P″ is the sigmoid of A; a network without the module has none."""
    torch.manual_seed(0)
    crops = with_pictures("x", report([0.1, 0.2])).crops
    plain = CONFIG.with_fields({"model.occlusion": "none"})

    maps = face_maps(models.build_for(CONFIG).eval(), crops)

    assert set(maps) == set(crops) and set(maps["face-0000"]) == {"P′", "P″", "A"}
    one = maps["face-0001"]
    assert one["A"].shape == (2, 2) and one["P″"] == pytest.approx(1 / (1 + np.exp(-one["A"])), abs=1e-6)
    assert face_maps(models.build_for(plain).eval(), crops) == {}


def test_provenance_has_the_hashes_of_the_model_files(tmp_path: Path) -> None:
    """Those that `write_model` and the registry tell; and it names neither this machine nor its user."""
    network = models.build_for(CONFIG)

    known = provenance_of(network, CONFIG)

    assert known.sha256 == write_model(tmp_path, network.state_dict(), CONFIG)
    assert known.fingerprint == CONFIG.fingerprint()
    assert str(Path.home()) not in known.to_json() and set(known.environment) >= {"adodn", "Python", "torch"}


def parsed(markdown: str) -> list[str]:
    """Kinds of all tokens of GitHub's Markdown, with HTML allowed, as a careless viewer has it."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    return [token.type for outer in tokens for token in (outer, *(outer.children or ()))]


def test_the_summary_has_the_figures_and_nothing_else() -> None:
    """Hostile names are text: no HTML, link, image or code, and every row has its cells."""
    evil = f"{EVIL} | `code` [link](http://example.com) ![i](x.png)\n# head"
    found = report(errors(12, 0.05), subsets=[(evil, "full")] * 12, dataset="300w")

    markdown = summary_markdown(found, model=evil, decision=evil)

    kinds = parsed(markdown)
    assert not {"html_block", "html_inline", "link_open", "image", "fence"} & set(kinds)
    assert kinds.count("heading_open") == 1 and kinds.count("table_open") == 2
    assert kinds.count("code_inline") == 1  # the digest
    assert kinds.count("td_open") == 3 * 8 + 4 * 5
    assert f"{100 * found.value('300w/full nme@outer_eye_corners'):.2f}" in markdown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `adodn evaluate --out` leaves."""
    return written(tmp_path / "first", report(errors(12, 0.05)))


def written(folder: Path, found: EvaluationReport) -> Path:
    folder.mkdir()
    for name, content in found.files().items():
        (folder / name).write_bytes(content)
    (folder / PROVENANCE).write_text(provenance().to_json())
    return folder


def test_an_evaluation_is_read_back(folder: Path) -> None:
    """Figures, and where they come from."""
    subject = read_evaluation(folder)

    assert subject.name == "tiny-0123456789ab" and subject.label == "first"
    assert subject.report == report(errors(12, 0.05)) and subject.provenance == provenance()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("errors.npz", b"PK other", "sha256 must be"),
        ("figures.json", b"{}", "does not name the sha256"),
        ("figures.json", b"\xff", "does not name the sha256"),
        (PROVENANCE, b"{}", "not the provenance"),
        (PROVENANCE, json.dumps({**json.loads(provenance().to_json()), "config": "{}"}).encode(), "not the provenance"),
    ],
)
def test_a_damaged_evaluation_is_one_error(folder: Path, name: str, content: bytes, match: str) -> None:
    """It names the file."""
    (folder / name).write_bytes(content)

    with pytest.raises(DataError, match=f"{name}: .*{match}"):
        read_evaluation(folder)


def test_the_command_writes_a_page_of_folders_alone(folder: Path, tmp_path: Path) -> None:
    """One model, and two; with `--json` for machines; the summary is what the page's lead says."""
    other, out = written(tmp_path / "other", report(errors(12, 0.09, seed=3))), tmp_path / "pages" / "page.html"

    one = CliRunner().invoke(build("report"), ["report", str(folder), "--out", str(out), "--json"])
    first = out.read_text(encoding="utf-8")
    two = CliRunner().invoke(build("report"), ["report", str(folder), "--against", str(other), "--out", str(out)])

    assert one.exit_code == two.exit_code == 0, one.output + two.output
    told = json.loads(one.stdout)
    assert told["title"] in first and told["out"] == str(out)
    assert "against B: " in out.read_text(encoding="utf-8")
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_what_cannot_be_done_leaves_the_old_page(folder: Path, tmp_path: Path) -> None:
    """A model without a dataset, a folder that belongs to no run, other data: one error, nothing written."""
    write_model(tmp_path / "model", models.build_for(CONFIG).state_dict(), CONFIG)
    other = written(tmp_path / "other", report(errors(12, 0.09), digest="f" * 64))
    out = tmp_path / "page.html"
    out.write_text("old")
    cases = {
        "name the dataset: --dataset": [str(tmp_path / "model")],
        "belongs to no MLflow run": [str(folder), "--register"],
        "one dataset_digest only": [str(folder), "--against", str(other)],
        "no subset 'none'": [str(folder), "--subset", "none"],
    }

    for message, arguments in cases.items():
        done = CliRunner().invoke(build("report"), ["report", *arguments, "--out", str(out)])
        assert done.exit_code == 1 and message in str(done.exception), done.output
    assert out.read_text() == "old" and shown_faces(report([0.1]), "all") == {"face-0000"}
