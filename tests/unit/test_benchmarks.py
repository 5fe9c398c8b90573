"""The benchmarks: which there are, and what a line of `bench.jsonl` holds.

pytest tests/unit/test_benchmarks.py
"""

import csv
import json
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks import bench_sampler, bench_sharding, main
from tests.benchmarks.measure import alternately, row
from tests.benchmarks.search_surface import PATH, Surface


def test_every_promised_benchmark_exists() -> None:
    """The names are those of the contract."""
    assert set(main.BENCHMARKS) == {
        "render",
        "sharding",
        "loader_cold",
        "loader_warm",
        "loader_parts",
        "loader_planning",
        "occlusion",
        "search_sampler",
        "train_step",
        "nuclear_norm",
        "checkpoint",
        "training_parts",
        "training_loop",
        "training_workers",
        "training_gpu",
        "geometry_outer",
        "backbones",
        "search_trial_overhead",
        "predict_latency",
        "predict_throughput",
    }


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    """A name that is none ends the program and lists the others."""
    with pytest.raises(SystemExit, match=r"unknown benchmark 'rendering'.*render, sharding"):
        main.main("rendering")


def test_a_real_measurement_becomes_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A benchmark's lines have name, value, unit and machine, and ratios that are value over limit and over peer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(main.BENCHMARKS, "sharding", lambda: bench_sharding.run(faces=1, repeats=1))
    main.main("sharding")
    [line] = map(json.loads, Path("bench.jsonl").read_text().splitlines())
    assert (line["name"], line["unit"]) == ("sharding", "faces/s")
    assert line["machine"] and min(line["value"], line["limit"], line["best_peer"]) > 0
    assert line["ratio_to_limit"] == pytest.approx(line["value"] / line["limit"])
    assert line["ratio_to_best_peer"] == pytest.approx(line["value"] / line["best_peer"])
    assert "sharding" in capsys.readouterr().out


def test_the_table_says_which_row_is_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row's variant stands in the table beside its figure."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(
        main.BENCHMARKS, "render", lambda: [row("render", 1.5, "ms", variant="one"), row("render", 2.5, "ms")]
    )
    main.main("render")
    table = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [[cell.strip() for cell in line[1:5]] for line in table] == [
        ["render", "one", "ms", "1.5"],
        ["render", "", "ms", "2.5"],
    ]


def test_limit_and_peer_are_left_out_where_there_are_none() -> None:
    """A measurement without limit and peer has neither, nor ratios; with them value is divided by each."""
    assert row("a", 2.0, "ms", variant="x") == {"name": "a", "value": 2.0, "unit": "ms", "variant": "x"}
    both = row("a", 2.0, "ms", limit=1.0, best_peer=4.0)
    assert (both["ratio_to_limit"], both["ratio_to_best_peer"]) == (2.0, 0.5)


def test_calls_take_turns() -> None:
    """Calls are made round by round, rounds of warming up included, and each has its own figure."""
    made: list[str] = []
    spent = alternately(partial(made.append, "a"), partial(made.append, "b"), repeats=3, warm_up=1)
    assert made == ["a", "b"] * 4
    assert len(spent) == 2


def test_the_recorded_surface_has_the_recorded_errors() -> None:
    """At each point that was trained it is what was measured there, and 100 % where a training went astray."""
    surface = Surface.read()
    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(PATH.open())]
    trained = [row for row in rows if row["seed"] == 0]

    assert len(trained) > 60
    assert [surface.nme(row) for row in trained] == pytest.approx([min(1.0, row["nme"]) for row in trained], rel=1e-6)
    assert 0 < surface.noise < 0.1


def test_ways_to_search_are_compared_over_equal_searches() -> None:
    """Both begin with the same trials, so until TPE has learned from ten there is no gain of either."""
    [first, later] = bench_sampler.run(searches=2, trials=(10, 12))

    assert (first["gain_points"], first["value"]) == (0, first["best_peer"])
    assert later["value"] <= first["value"] * 1.1
    assert later["after_trials"] == 12
