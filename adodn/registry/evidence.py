"""What is kept of a model at its registration, and what is found when it is judged.

    tags = {**kept_errors(name, reports), **kept_answer(model, config)}      # of a new version
    ours, theirs = gathered(gate, challenger, champion)

The errors of each face lie on S3 under their sha256, which the version's tags name. The answer to one fixed picture is
a tag: whoever loads the model must get it again.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adodn import models
from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError, ConfigError, DataError
from adodn.evaluate import ERRORS, EvaluationReport, read_report
from adodn.registry.aliases import ledger_of
from adodn.registry.gate import Gate
from adodn.registry.judging import Evidence
from adodn.registry.loading import load_state
from adodn.registry.versions import ModelVersion

_ERRORS_TAG = "errors."
_ANSWER_TAG = "smoke_answer"
_ROUNDS = 5
"""Each model is timed so often, by turns, and its best time counts: other work on the machine slows both."""


def kept_errors(name: str, reports: Sequence[EvaluationReport]) -> dict[str, str]:
    """Put the errors of each face on S3; the tags that name them.

    Raises:
        StorageError: If the store does not answer.
    """
    ledger, tags = ledger_of(name), {}
    for report in reports:
        content = report.files()[ERRORS]
        digest = hashlib.sha256(content).hexdigest()
        # Even where it lies already: what was damaged there is mended so.
        ledger.store.put(_address(name, digest), content)
        qualifier = f":{report.qualifier}" if report.qualifier else ""
        tags[f"{_ERRORS_TAG}{report.dataset}:{report.normaliser}{qualifier}"] = digest
    return tags


def kept_answer(model: torch.nn.Module, config: ExperimentConfig) -> dict[str, str]:
    """The tag with a model's landmarks of the fixed picture."""
    return {_ANSWER_TAG: json.dumps(_answer(model, config.model.input_px).tolist())}


def gathered(gate: Gate, challenger: ModelVersion, champion: ModelVersion | None) -> tuple[Evidence, Evidence | None]:
    """Load both models by their hashes, read their evaluations, and measure what the gate asks of networks.

    What is wrong with a model's files is evidence too; a server that is away is an error.

    Raises:
        StorageError: If the store does not answer.
        TrackingError: If the server refuses or cannot be reached.
    """
    found = [_examined(version, gate) for version in (challenger, champion) if version]
    networks = [one.network for one in found]
    speeds: list[float | None] = [None] * len(found)
    if gate.speed and None not in networks:
        speeds = [*_faces_per_s([(one.network, one.input_px) for one in found], gate.speed.batch)]
    evidence = [one.evidence(speed) for one, speed in zip(found, speeds, strict=True)]
    return evidence[0], evidence[1] if champion else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Examined:
    version: ModelVersion
    reports: tuple[EvaluationReport, ...]
    damage: tuple[str, ...]
    network: Any = None
    input_px: int = 0

    def evidence(self, faces_per_s: float | None) -> Evidence:
        network = self.network
        return Evidence(
            version=self.version.version,
            reports=self.reports,
            damage=self.damage,
            parameters=sum(parameter.numel() for parameter in network.parameters()) if network is not None else None,
            faces_per_s=faces_per_s,
            smoke_difference=self._smoke_difference() if network is not None else None,
        )

    def _smoke_difference(self) -> float | None:
        if _ANSWER_TAG not in self.version.tags:
            return None
        kept, now = np.array(json.loads(self.version.tags[_ANSWER_TAG])), _answer(self.network, self.input_px)
        return float(np.abs(kept - now).max()) if kept.shape == now.shape else float("inf")


def _examined(version: ModelVersion, gate: Gate) -> _Examined:
    reports, damage = [], []
    for tag, digest in sorted(version.tags.items()):
        if tag.startswith(_ERRORS_TAG):
            try:
                reports.append(_report(version.name, digest))
            except DataError as cause:
                damage.append(str(cause))
    try:
        state, config = load_state(version.uri)
        network = _network(state, config, version) if gate.needs_network else None
    except CheckpointError as cause:
        return _Examined(version=version, reports=tuple(reports), damage=(*damage, str(cause)))
    return _Examined(
        version=version,
        reports=tuple(reports),
        damage=tuple(damage),
        network=network,
        input_px=config.model.input_px,
    )


def _report(name: str, digest: str) -> EvaluationReport:
    store, address = ledger_of(name).store, _address(name, digest)
    if not store.exists(address):
        raise DataError(f"{address}: the errors of an evaluation are missing; evaluate again")
    return read_report(store.get(address), address, sha256=digest)


def _network(state: dict[str, torch.Tensor], config: ExperimentConfig, version: ModelVersion) -> torch.nn.Module:
    try:
        network = models.build_for(config)
        network.load_state_dict(state)
    except (RuntimeError, ConfigError) as cause:
        raise CheckpointError(f"{version.uri}: weights do not fit the model of its config: {cause}") from cause
    return network.eval()


def _address(name: str, digest: str) -> str:
    return f"{ledger_of(name).folder}/errors/{digest}.npz"


def _pictures(count: int, side: int) -> torch.Tensor:
    """`[B, 3, S, S]`, uint8: of plain arithmetic, so that no library's random numbers matter."""
    values = torch.arange(count * 3 * side * side, dtype=torch.int64)
    return (values * 7919 % 65_537 % 256).to(torch.uint8).view(count, 3, side, side)


def _answer(model: torch.nn.Module, side: int) -> NDArray[np.float64]:
    """`[L, 2]`, fractions of the crop."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    training = model.training
    model.eval()
    with torch.inference_mode():
        landmarks = model(_pictures(1, side).to(device)).landmarks[0].double().cpu().numpy()
    model.train(training)
    return np.asarray(landmarks, dtype=np.float64)


def _faces_per_s(networks: Sequence[tuple[torch.nn.Module, int]], batch: int) -> list[float]:
    best = [float("inf")] * len(networks)
    inputs = [_pictures(batch, side) for _, side in networks]
    with torch.inference_mode():
        for round_number in range(_ROUNDS + 1):
            for i, (network, _) in enumerate(networks):
                began = time.perf_counter()
                network(inputs[i])
                if round_number:  # the first warms up
                    best[i] = min(best[i], time.perf_counter() - began)
    return [batch / seconds for seconds in best]
