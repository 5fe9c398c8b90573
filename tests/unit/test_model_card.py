"""Cards of models: what stands in them, how long they get, and that no name in them is markup.

pytest tests/unit/test_model_card.py
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from scipy import stats

from adodn import protocols
from adodn.config import ExperimentConfig
from adodn.datasets.terms import terms_of
from adodn.evaluate import EvaluationReport, FaceErrors, report
from adodn.model_card import DESCRIPTION_CHARACTERS, CardFacts, TrainedOn, as_code, model_card

DIGEST = "ab" * 32
MARKDOWN = MarkdownIt("gfm-like", {"html": True, "linkify": False}).disable("linkify")


def a_report(nme: list[float], subsets: list[tuple[str, ...]], dataset: str = "rendered") -> EvaluationReport:
    target = np.zeros((len(nme), 68, 2))
    target[:, 45, 0] = 1  # eyes one pixel apart, so that an error is an NME
    faces = FaceErrors(
        protocol=protocols.get("68"),
        normaliser="outer_eye_corners",
        keys=tuple(f"face-{number:03d}" for number in range(len(nme))),
        subsets=tuple(subsets),
        predicted=target + np.array(nme)[:, None, None] * np.array([0, 1]),
        target=target,
        visible=np.ones((len(nme), 68), dtype=np.bool_),
        boxes=np.array([[0.0, 0, 2, 2]] * len(nme)),
    )
    return report(faces, dataset, DIGEST, "outer_eye_corners")


ERRORS = [0.02, 0.04, 0.05, 0.12]


@cache
def facts(name: str = "tiny", subset: str = "hard", dataset: str = "rendered") -> CardFacts:
    return CardFacts(
        config=ExperimentConfig(name=name),
        reports=(a_report(ERRORS, [("easy",), ("easy",), (subset,), (subset,)], dataset),),
        trained_on=(TrainedOn(name="300w", digest=DIGEST, uri="s3://adodn/datasets/300w/1/manifest.json"),),
        run_name="tiny-0a1b2c3d4e5f",
        run_id="1" * 32,
        commit="2" * 40 + "+",
        sha256={"data/model.pt2": "3" * 64, "extra_files/weights.safetensors": "4" * 64, "conda.yaml": "5" * 64},
    )


def cells(text: str, start: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| `{start}` |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_card_says_all_that_is_asked_of_it() -> None:
    """Every section; data, code and files by their digests; terms; what was not measured."""
    text = model_card(facts())

    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    wanted = ["Intended use", "Training data", "Evaluation", "Limits", "Licence and terms", "Provenance"]
    assert titles == wanted
    for part in (DIGEST, "s3://adodn/datasets/300w/1/manifest.json", "1" * 32, "2" * 40, "3" * 64, "4" * 64):
        assert f"`{part}`" in text
    assert "with files that differed from it" in text
    assert "https://ibug.doc.ic.ac.uk/resources/300-W/" in text
    assert "`rendered`: unknown to adodn" in text
    assert "the model does not tell visibility" in text
    assert facts().config.fingerprint() in text


def test_intervals_are_those_of_scipy() -> None:
    """Student's t for the mean, Wilson for a share, and none where faces do not differ."""
    text = model_card(facts())

    low, high = stats.t.interval(0.95, 3, loc=np.mean(ERRORS), scale=stats.sem(ERRORS))
    assert cells(text, "rendered/all nme@outer_eye_corners")[1:] == [
        "5.75 %",
        f"{100 * max(0, low):.2f} % to {100 * high:.2f} %",
        "4",
    ]
    wilson = stats.binomtest(1, 4).proportion_ci(0.95, "wilson")
    assert cells(text, "rendered/all failure_rate@0.10")[1:] == [
        "25.00 %",
        f"{100 * wilson.low:.2f} % to {100 * wilson.high:.2f} %",
        "4",
    ]
    one = replace(facts(), reports=(a_report([0.05], [("easy",)]),))
    assert cells(model_card(one), "rendered/all nme@outer_eye_corners")[1:] == ["5.00 %", "–", "1"]
    assert cells(model_card(one), "rendered/all auc@0.08")[2] == "–"


def test_a_description_fits_into_mlflow() -> None:
    """Rows go until it does, the card says how many, and every section stays; nothing else is lost."""
    many = a_report([0.01 * (face + 1) for face in range(40)], [(f"part-{face}",) for face in range(40)])
    long = replace(facts(), reports=(many,))
    assert len(model_card(long)) > DESCRIPTION_CHARACTERS

    short = model_card(long, max_characters=DESCRIPTION_CHARACTERS)

    assert len(short) <= DESCRIPTION_CHARACTERS
    assert short.count("\n## ") == 6
    kept = sum(line.startswith("| `rendered/") for line in short.splitlines())
    assert "`rendered/all nme@outer_eye_corners`" in short, "what matters most goes last"
    assert f"{41 * 5 - kept} more rows are in the whole card" in short
    assert model_card(facts(), max_characters=DESCRIPTION_CHARACTERS) == model_card(facts())


@pytest.mark.parametrize("limit", [100, 500, 2000])
def test_no_limit_is_exceeded(limit: int) -> None:
    """Not even one that the bare sections do not fit into."""
    assert len(model_card(facts(), max_characters=limit)) <= limit


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_a_name_is_one_piece_of_code_and_nothing_else(name: str) -> None:
    """In a line and in a table: no HTML, link, image, new row or cell, whatever it holds."""
    shown = as_code(name)
    tokens = MARKDOWN.parse(f"| a | b |\n| --- | --- |\n| {shown} | after |\n")

    kinds = [token.type for token in tokens]
    assert kinds.count("tr_open") == 2
    assert kinds.count("td_open") == 2
    first, after = [token for token in tokens if token.type == "inline"][2:]
    assert after.content == "after"
    assert [child.type for child in first.children or []] in (["code_inline"], ["text"])
    assert all(letter.isprintable() for letter in shown)


EVIL = "x` <script>alert(1)</script> [a](javascript:b) ![c](http://d) | e\n# f \x1b[2J\u202e"


def test_names_from_outside_stay_names() -> None:
    """Of experiment, subset, dataset, run and file: rendered, the card has the sections and cells of a tame one."""
    evil = replace(facts(EVIL, EVIL, EVIL), run_name=EVIL, commit=EVIL, sha256={f"{EVIL}.pt2": EVIL})
    evil = replace(evil, trained_on=(TrainedOn(name=EVIL, digest=EVIL, uri=EVIL),))
    kinds = [token.type for token in MARKDOWN.parse(model_card(evil))]
    tame = [token.type for token in MARKDOWN.parse(model_card(replace(facts(), sha256={"a.pt2": "b"})))]

    assert kinds.count("heading_open") == tame.count("heading_open")
    assert kinds.count("table_open") == tame.count("table_open")
    assert kinds.count("html_block") == 0
    inline = [child for token in MARKDOWN.parse(model_card(evil)) for child in token.children or []]
    assert {child.type for child in inline} <= {"text", "code_inline", "softbreak"}
    assert "\x1b" not in model_card(evil)
    assert "\u202e" not in model_card(evil)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("300w", "resources/300-W/"),
        ("masked-300w", "resources/300-W/"),
        ("wflw-as-68", "WFLW"),
        ("masked-cofw-as-29", "caltech"),
        ("synthetic", "no photo"),
        ("coco", "unknown"),
        ("300w\n", "unknown"),
    ],
)
def test_terms_are_those_of_the_faces(name: str, part: str) -> None:
    """Masks and mapped landmarks change no terms; of unknown data nothing is claimed."""
    assert part in terms_of(name)
