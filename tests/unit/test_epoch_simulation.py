"""The simulation behind docs/scaling.md, held against cases that can be worked out by hand.

pytest tests/unit/test_epoch_simulation.py
"""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.epoch_simulation import Cluster, Costs, download_s, epoch, ring_s, search_s
from tests.benchmarks.scaling import simulated

EVEN = Costs(fixed_s=0.1, face_s=0.05, spread=0.0, decode_s=0.001, face_bytes=3e4, gradient_bytes=1e8)


def test_one_worker_is_its_steps() -> None:
    """1600 faces, 16 a step, 0.1 + 16 × 0.05 s each, and the first batch's decoding before them."""
    found = epoch(EVEN, Cluster(workers=1), faces=1600, warm=True)

    assert found.seconds == pytest.approx(100 * 0.9 + 0.016)
    assert found.exchange == found.stragglers == 0


def test_an_epoch_is_as_slow_as_the_slowest_of_computing_decoding_and_downloading() -> None:
    """Each of the three in turn is the narrow place; the others then hardly count."""
    faces, alone = 16_000, Cluster(workers=1)
    decoding = replace(EVEN, decode_s=0.1)
    network = replace(alone, network_bytes_s=16 * 3e4 / 2)

    assert epoch(decoding, alone, faces=faces, warm=True).seconds == pytest.approx(1000 * 1.6, rel=1e-2)
    assert epoch(decoding, replace(alone, loader_threads=4), faces=faces, warm=True).waiting < 0.01
    assert epoch(EVEN, network, faces=faces, warm=False).seconds == pytest.approx(1000 * 2.0, rel=1e-2)
    assert epoch(EVEN, network, faces=faces, warm=True).seconds == pytest.approx(1000 * 0.9, rel=1e-2)


def test_gradients_travel_twice_whatever_the_number_of_workers() -> None:
    """A ring's share of the wire is 2 (N - 1) / N of them; of two workers, exactly once."""
    assert ring_s(EVEN, Cluster(workers=1)) == 0
    assert ring_s(EVEN, Cluster(workers=2, hop_s=0)) == pytest.approx(1e8 / 1.25e9)
    assert ring_s(EVEN, Cluster(workers=64, hop_s=0)) == pytest.approx(2 * 63 / 64 * 1e8 / 1.25e9)


def test_every_node_downloads_everything() -> None:
    """N nodes fetch N times the dataset, so the store's own bandwidth becomes the narrow place."""
    found = epoch(EVEN, Cluster(workers=8), faces=12_800, warm=False)

    assert found.downloaded_bytes == 8 * 12_800 * 3e4
    few, many = (Cluster(workers=count, s3_bytes_s=1.25e9) for count in (1, 64))
    assert download_s(EVEN, many) == pytest.approx(64 * 64 * download_s(EVEN, few))


@given(spread=st.just(0.0) | st.floats(1e-3, 0.3), workers=st.sampled_from([2, 8, 64]))
def test_stragglers_cost_more_the_more_workers_there_are(spread: float, workers: int) -> None:
    """The slowest of N is never faster than the mean; without spread nobody waits."""
    costs = replace(EVEN, spread=spread)
    faces = 16 * workers * 50

    found = epoch(costs, Cluster(workers=workers), faces=faces, warm=True)

    assert found.stragglers >= -1e-9
    assert (found.stragglers < 1e-9) == (spread < 1e-9)


def test_a_search_is_its_longest_queue() -> None:
    """Four trials of 10, 1, 1, 1 s, half a second each beside: two at a time end with the long one."""
    assert search_s([10, 1, 1, 1], at_once=1, overhead_s=0.5) == 15
    assert search_s([10, 1, 1, 1], at_once=2, overhead_s=0.5) == 10.5


def test_the_page_has_what_the_simulation_prints() -> None:
    """Every line of its tables."""
    page = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()

    for line in simulated():
        assert not line.startswith("|") or line in page, line
