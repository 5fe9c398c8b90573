"""How many workers a group takes on a cluster that others use as well; the cluster itself is `test_elastic.py`'s.

pytest tests/unit/test_scaling.py
"""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision

from adodn import recipes
from adodn.errors import ResourcesError
from adodn.train import distributed, scaling
from adodn.train.distributed import Resources
from adodn.train.scaling import Room, usable

FOUR = {node: {"CPU": 1.0} for node in "abcd"}
ROOM = Room(per_worker={"CPU": 1.0}, sizes=(1, 2, 4), patience_s=300)


def test_what_others_hold_is_not_for_a_group() -> None:
    """What its own workers hold is; Ray promises no less than a node has, and here no more than is there."""
    free, own = {"a": {"CPU": 0.0}, "b": {"CPU": 1.7}}, {"a": {"CPU": 2.0}, "b": {"CPU": 3 * 0.1}}

    assert usable({"a": {"CPU": 4.0}, "b": {"CPU": 2.0}, "gone": {"CPU": 8.0}}, free, own) == {
        "a": {"CPU": 2.0},
        "b": {"CPU": 2.0},
        "gone": {"CPU": 0.0},
    }


class Cluster:
    """Four nodes of one CPU, as Ray tells of them.

    Args:
        patch: Puts it in Ray's place.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.free: dict[str, dict[str, float]] = FOUR
        self.now = 100.0
        config = ScalingConfig(
            num_workers=(1, 4), resources_per_worker={"CPU": 1.0}, elastic_resize_monitor_interval_s=60
        )
        self.policy = scaling._Sizes(config, ROOM)
        self.leaving: dict[str, int] = {}
        patch.setattr(scaling, "_get_draining_nodes", lambda: self.leaving)
        patch.setattr(scaling, "available_resources_per_node", lambda: self.free)
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=lambda seconds: None)
        patch.setattr("adodn.train.scaling.time", clock)
        patch.setattr(self.policy, "_maybe_send_resource_request", lambda: None)
        patch.setattr(self.policy, "_get_reserved_resources", lambda: FOUR)

    def running(self, *nodes: str) -> Any:
        """What becomes of a group of a worker on each of some nodes."""
        workers = [SimpleNamespace(metadata=SimpleNamespace(node_id=node)) for node in nodes]
        self.policy._latest_monitor_time = float("-inf")
        state: Any = SimpleNamespace(start_time=float("-inf"), workers=workers, num_workers=len(workers))
        return self.policy.make_decision_for_running_worker_group(state, None)

    def begin(self, after_s: float = 0) -> int:
        """How many workers are started; 0: it is asked again."""
        self.now += after_s
        decision = self.policy.make_decision_for_non_running_worker_group()
        return decision.num_workers if isinstance(decision, ResizeDecision) else 0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with monkeypatch.context() as patch:
        yield Cluster(patch)


def test_a_group_does_not_grow_into_what_others_hold(cluster: Cluster) -> None:
    """Two workers train, two more nodes are there, which another job holds: they go on. It ends: there are four."""
    cluster.free = {}
    assert isinstance(cluster.running("a", "b"), NoopDecision)

    cluster.free = {"c": {"CPU": 1.0}, "d": {"CPU": 1.0}}
    assert cluster.running("a", "b").num_workers == 4


def test_a_group_works_until_its_node_is_gone(cluster: Cluster) -> None:
    """With notice it is not made smaller at once: it saves first. What begins anew leaves that node alone."""
    cluster.free = {**FOUR, "a": {"CPU": 0.0}, "b": {"CPU": 0.0}}
    cluster.leaving = {"b": 0}

    assert isinstance(cluster.running("a", "b"), NoopDecision)
    assert cluster.begin() == 2


def test_a_group_begins_with_what_is_free(cluster: Cluster) -> None:
    """After a while, in which Ray may come to know that an earlier group is gone. At once, where all is free."""
    cluster.free = {"c": {"CPU": 1.0}, "d": {"CPU": 1.0}}
    assert [cluster.begin(), cluster.begin(after_s=1), cluster.begin(after_s=9.5)] == [0, 0, 2]

    assert isinstance(cluster.running("c", "d"), NoopDecision)
    assert [cluster.begin(), cluster.begin(after_s=1)] == [0, 0]
    cluster.free = FOUR
    assert cluster.begin(after_s=1) == 4


def test_where_nothing_is_free_the_least_is_asked_for(cluster: Cluster) -> None:
    """So that Ray puts it in line, and gives up in its own time with our error."""
    cluster.free = {}
    assert [cluster.begin(), cluster.begin(after_s=11)] == [0, 1]


def test_who_waits_asks_by_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which nobody else's end takes back, and which is taken back at the end, here an error."""
    asked: list[Any] = []
    given_back: list[str] = []

    def ask(bundles: Any) -> str:
        asked.append(bundles)
        return "mine"

    monkeypatch.setattr(scaling, "capacity", lambda per_worker: 0)
    monkeypatch.setattr(scaling, "_alive", list)
    monkeypatch.setattr("adodn.train.scaling.ray", SimpleNamespace(cluster_resources=dict))
    monkeypatch.setattr(scaling, "placement_group", ask)
    monkeypatch.setattr(scaling, "remove_placement_group", given_back.append)

    with pytest.raises(ResourcesError):
        scaling.await_room(Room(per_worker={"CPU": 2.0}, sizes=(2, 4), patience_s=0.01))

    assert (asked, given_back) == ([[{"CPU": 2.0}, {"CPU": 2.0}]], ["mine"])


def test_fault_59_a_gpu_that_is_not_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--gpu` on a machine without one: what was asked for, that there is none, and what to change."""
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}])
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 8.0})
    for name in ("placement_group", "remove_placement_group"):
        monkeypatch.setattr(scaling, name, lambda bundles: None)
    asked = Resources(num_workers=2, use_gpu=True, wait_minutes=0)

    with pytest.raises(
        ResourcesError, match=r"2 workers of 1 CPU and 1 GPU each, .* has 8 CPU, 0 GPU on 1 nodes.*less"
    ):
        scaling.await_room(distributed._room(recipes.get("adodn_smoke"), asked))
    scaling.await_room(distributed._room(recipes.get("adodn_smoke"), replace(asked, use_gpu=False)))
