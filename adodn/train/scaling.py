"""How many workers a training has: of the numbers that can share its batch, the largest that the cluster has room for.

    room = Room(per_worker={"CPU": 1.0}, sizes=worker_counts(config, fewest=1, most=4), patience_s=300)
    await_room(room)
    Trainer(worker.run, room=room, …).fit()

Ray itself takes any number between two, and waits for ever where there are too few. Its policies are not public:
this file is the only one that knows of them, and `test_elastic.py` and `test_memory.py` fail where another release has
changed them.
"""

import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.exceptions import OutOfMemoryError
from ray.train import TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2._internal.execution.failure_handling.default import DefaultFailurePolicy
from ray.train.v2._internal.execution.preemption import _get_draining_nodes
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ScalingDecision,
)
from ray.util.placement_group import placement_group, remove_placement_group

from adodn.errors import ResourcesError

_LOOK_S = 1.0
_SETTLE_S = 10.0
"""For so long Ray may still count as held what a group that ended has given back."""
_Resources = Mapping[str, Mapping[str, float]]
"""Node → resource → amount."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What a training asks of a cluster."""

    per_worker: dict[str, float]
    """Resource → amount, e.g. CPU and GPU."""
    sizes: tuple[int, ...]
    """Numbers of workers that will do, ascending."""
    patience_s: float
    """How long it waits for the least of them."""

    def __str__(self) -> str:
        asked = " and ".join(f"{amount:g} {kind}" for kind, amount in self.per_worker.items())
        return f"{self.sizes[0]} workers of {asked} each"

    def refused(self, waited_s: float) -> ResourcesError:
        """The error for a cluster that has not become large enough."""
        has = ", ".join(f"{ray.cluster_resources().get(kind, 0):g} {kind}" for kind in self.per_worker)
        return ResourcesError(
            f"the training asks for {self}, the Ray cluster has {has} on {len(_alive())} nodes, and no more came in "
            f"{waited_s / 60:.1f} minutes; ask for fewer workers or less for each, or add nodes and start the run "
            "again under its name; --wait-minutes waits longer"
        )


def await_room(room: Room) -> None:
    """Wait until the cluster is large enough, busy or not; a cluster that grows by itself is asked to.

    It is asked by a placement group, which is this training's own and goes with it; `request_resources` is one for the
    whole cluster, so that trainings would take back each other's.

    Raises:
        ResourcesError: If it is not, after `room.patience_s`.
    """
    start, fewest = time.monotonic(), room.sizes[0]
    if capacity(room.per_worker) >= fewest:
        return
    minutes = room.patience_s / 60
    sys.stderr.write(f"waiting up to {minutes:.1f} minutes for room in the Ray cluster: {room}\n")
    asked = placement_group([dict(room.per_worker) for _ in range(fewest)])
    try:
        while capacity(room.per_worker) < fewest:
            if (waited_s := time.monotonic() - start) >= room.patience_s:
                raise room.refused(waited_s)
            time.sleep(min(_LOOK_S, room.patience_s))
    finally:
        remove_placement_group(asked)


def capacity(per_worker: dict[str, float]) -> int:
    """Workers that the cluster's nodes would hold if nothing else ran there."""
    return _held([node["Resources"] for node in _alive()], per_worker)


def _held(nodes: Iterable[Mapping[str, float]], per_worker: dict[str, float]) -> int:
    """Workers that nodes with these resources hold. In floats 4.0 // 0.8 is 4, but Ray places five."""
    wanted = {kind: amount for kind, amount in per_worker.items() if amount > 0}
    return sum(min(math.floor(has.get(kind, 0) / amount + 1e-9) for kind, amount in wanted.items()) for has in nodes)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def startup_error(error: object, room: Room) -> ResourcesError | None:
    """What Ray's giving up on starting workers means; None if it is another error."""
    if not isinstance(error, WorkerGroupStartupTimeoutError):
        return None
    free = ", ".join(f"{ray.available_resources().get(kind, 0):g} {kind}" for kind in room.per_worker)
    return ResourcesError(
        f"the training asks for {error.num_workers} workers of {room.per_worker} each, but other work holds the Ray "
        f"cluster, where {free} are free; wait for it or ask for less, then start the run again under its name"
    )


def usable(promised: _Resources, free: _Resources, own: _Resources) -> dict[str, dict[str, float]]:
    """What a group can have on each node: of what Ray promises it, what is free or held by the group itself.

    Ray promises from all that a node has, whoever holds it.
    """

    def there(node: str, kind: str) -> float:
        return round(free.get(node, {}).get(kind, 0) + own.get(node, {}).get(kind, 0), 4)  # as finely as Ray counts

    return {
        node: {kind: min(amount, there(node, kind)) for kind, amount in has.items()} for node, has in promised.items()
    }


class Trainer(TorchTrainer):  # type: ignore[misc]  # Ray is not typed
    """Ray's trainer, whose group of workers has only sizes that can share the batch, and outlives want of memory.

    Args:
        args: As `TorchTrainer`.
        room: What the training asks for.
        kwargs: As `TorchTrainer`.
    """

    def __init__(self, *args: Any, room: Room, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = room

    def _initialize_and_run_controller(self, **given: Any) -> Any:
        if self.scaling_config.elasticity_enabled:
            given["scaling_policy"] = _Sizes(self.scaling_config, self._room)
        given["failure_policy"] = _Failures(self.run_config.failure_config)
        return super()._initialize_and_run_controller(**given)


class _Failures(DefaultFailurePolicy):  # type: ignore[misc]
    """Ray's own, which takes a worker killed for want of memory while its group starts for a bug of the controller."""

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        """Called by Ray's controller after a failure: whether to start another group."""
        cause = getattr(training_failed_error, "controller_failure", None)
        if isinstance(cause, OutOfMemoryError):
            training_failed_error = WorkerGroupError(str(cause), {0: cause})
        return super().make_decision(training_failed_error)


class _Sizes(ElasticScalingPolicy):  # type: ignore[misc]
    """Takes the largest of some sizes that there is room for, and waits for the smallest no longer than it may."""

    def __init__(self, scaling_config: Any, room: Room) -> None:
        super().__init__(scaling_config)
        self._room = room
        self._waiting_since: float | None = None
        self._held_since: float | None = None
        self._nodes: list[str] | None = None
        """Of the group's workers; None: there is no group."""

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        leaving = _get_draining_nodes()  # where nothing new is started
        staying = {node: has for node, has in reserved_resources.items() if node not in leaving}
        most = self._largest(staying)
        running = Counter(self._nodes or ())
        own = {
            node: {kind: count * amount for kind, amount in self._room.per_worker.items()}
            for node, count in running.items()
        }
        size = self._largest(usable(staying, available_resources_per_node(), own))
        if self._nodes is None and size < most:
            return self._settled(size)
        self._held_since = None
        return size

    def _largest(self, resources: _Resources) -> int:
        possible = _held(resources.values(), self._room.per_worker)  # Ray's own count is of floats, and of TPUs
        return max((size for size in self._room.sizes if size <= possible), default=0)

    def _settled(self, size: int) -> int:
        """While others seem to hold some of the cluster: nothing, for a while; then what is free, or the least."""
        now = time.monotonic()
        self._held_since = self._held_since or now
        if now - self._held_since < min(_SETTLE_S, self._room.patience_s / 2):
            return 0
        return size or self._room.sizes[0]

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        """Called by Ray's controller, over and over, while the workers run."""
        self._nodes = [worker.metadata.node_id for worker in worker_group_state.workers]
        if not _get_draining_nodes().keys().isdisjoint(self._nodes):
            return (
                NoopDecision()
            )  # it works and saves until the node is gone: a smaller group would begin at an older state
        return super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Called by Ray's controller, over and over, while there are no workers.

        Raises:
            ResourcesError: If there has been no room for too long.
        """
        self._nodes = None
        decision = super().make_decision_for_non_running_worker_group()
        if not isinstance(decision, NoopDecision):
            self._waiting_since = None
            return decision
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if now - self._waiting_since >= self._room.patience_s:
            raise self._room.refused(now - self._waiting_since)
        time.sleep(min(_LOOK_S, self._room.patience_s))  # it asks again at once
        return decision
