"""An experiment as a whole: its identity, its JSON, and how its parts must fit together.

config.fingerprint()          # the same on every machine, changed by anything that changes the result
ExperimentConfig.from_json(config.to_json()) == config
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from adodn import protocols
from adodn.config.data import DataConfig, Source
from adodn.config.model import LossConfig, ModelConfig
from adodn.config.ranges import STRICT
from adodn.config.training import TrainConfig
from adodn.errors import ConfigError
from adodn.protocols import LandmarkProtocol


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentConfig:
    """Everything that decides what an experiment computes."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    """For people; not part of the fingerprint."""
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        faces, batch = self.model.batch_norm_faces, self.train.global_batch
        if batch % faces:
            raise ConfigError(
                f"model.batch_norm_faces must divide train.global_batch, got {faces} and {batch}; "
                f"choose a divisor of {batch}"
            )
        if self.data.sources and self.model.head != "cnt_branch":
            raise ConfigError(
                f"data.sources go with model.head 'cnt_branch', got {self.model.head!r}; train on one dataset instead"
            )
        if self.model.initial_weights and self.train.initial_model:
            raise ConfigError(
                f"training starts from weights of the trunk (model.initial_weights {self.model.initial_weights!r}) or "
                f"from a whole model (train.initial_model {self.train.initial_model!r}), not both; leave one out"
            )

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "ExperimentConfig":
        """Read what `to_json` wrote.

        Raises:
            ConfigError: If a key is unknown, or a value is outside its range.
        """
        return _validated(json.loads(text))

    def with_fields(self, changes: dict[str, object]) -> "ExperimentConfig":
        """A copy with dotted fields replaced, e.g. `{"train.epochs": 3}`.

        Raises:
            ConfigError: If a field does not exist, or a value is outside its range.
        """
        tree = asdict(self)
        for path, value in changes.items():
            *parents, leaf = path.split(".")
            node = tree
            for parent in parents:
                node = node.get(parent, {}) if isinstance(node, dict) else {}
            if not isinstance(node, dict) or leaf not in node:
                raise ConfigError(f"config has no field {path!r}")
            node[leaf] = value
        return _validated(tree)

    def fields(self) -> dict[str, Any]:
        """Dotted field → value as JSON has it."""
        return dict(_leaves(json.loads(self.to_json())))

    def differences(self, other: "ExperimentConfig") -> dict[str, Any]:
        """Dotted fields in which another experiment differs, with its values: what `with_fields` takes."""
        mine = self.fields()
        return {field: value for field, value in other.fields().items() if value != mine[field]}

    def on_dataset(self, digest: str, protocol: LandmarkProtocol) -> "ExperimentConfig":
        """This experiment on the dataset whose manifest has that digest, predicting its landmarks."""
        definition = protocols.own_definition(protocol)
        model = replace(self.model, protocol=protocol.name, protocol_definition=definition)
        return replace(self, model=model, data=replace(self.data, dataset=digest))

    def on_sources(self, sources: Iterable[Source]) -> "ExperimentConfig":
        """This experiment on several datasets at once; the order in which they are named does not matter.

        Raises:
            ConfigError: If there are none, two have name and protocol in common, or the model has no branches.
        """
        ordered = tuple(sorted(sources, key=lambda source: (source.branch, source.name, source.dataset)))
        named = [(source.name, source.protocol) for source in ordered]
        if not named or len(set(named)) < len(named):
            raise ConfigError(
                f"cross-protocol training takes datasets that differ in name or protocol, got {named!r}; "
                "name each once, in one version"
            )
        return replace(self, data=replace(self.data, dataset="", sources=ordered))

    @property
    def branches(self) -> tuple[LandmarkProtocol, ...]:
        """The protocols of the sources, each once: the branches of the first stage, in their order."""
        found = {source.branch: source.landmark_protocol for source in self.data.sources}
        return tuple(found[branch] for branch in sorted(found))

    def branch_number(self, protocol: LandmarkProtocol) -> int:
        """The place of a protocol among `branches`.

        Raises:
            ConfigError: If no source has it.
        """
        if protocol not in self.branches:
            having = ", ".join(branch.name for branch in self.branches) or "none"
            raise ConfigError(f"experiment {self.name!r} has no branch for protocol {protocol.name!r}; it has {having}")
        return self.branches.index(protocol)

    def fingerprint(self) -> str:
        """12 hex digits over all that decides the result."""
        return hashlib.sha256(replace(self, name="").to_json().encode()).hexdigest()[:12]

    @property
    def run_name(self) -> str:
        """The name of this experiment's run: never a timestamp, so that a restarted run finds itself."""
        return f"{self.name}-{self.fingerprint()}"


def local_batch(config: ExperimentConfig, num_workers: int) -> int:
    """Faces that each of `num_workers` takes of a global batch.

    Raises:
        ConfigError: If the batch cannot be shared so that the result stays the same.
    """
    worker_counts(config, fewest=num_workers, most=num_workers)
    return config.train.global_batch // num_workers


def worker_counts(config: ExperimentConfig, *, fewest: int, most: int) -> tuple[int, ...]:
    """The numbers of workers, from `fewest` to `most`, that can share the global batch; ascending.

    Raises:
        ConfigError: If there is none.
    """
    if fewest > most:
        raise ConfigError(
            f"min_workers (--min-workers) must be at most the number of workers, {most}, got {fewest}; lower it or "
            "take more workers"
        )
    batch, faces = config.train.global_batch, config.model.batch_norm_faces
    groups = batch // faces
    counts = tuple(count for count in range(max(1, fewest), most + 1) if groups % count == 0)
    if not counts:
        fits = ", ".join(str(n) for n in range(1, groups + 1) if groups % n == 0)
        wanted = str(most) if fewest == most else f"{fewest} to {most}"
        raise ConfigError(
            f"train.global_batch {batch} in groups of model.batch_norm_faces {faces} cannot be shared by {wanted} "
            f"workers; use {fits} workers, or another batch_norm_faces"
        )
    return counts


def check_micro_batch(config: ExperimentConfig, micro_batch: int | None) -> None:
    """Refuse a number of faces to process at a time that would change the result.

    Raises:
        ConfigError: If it does not hold whole runs of the batch norms, or their statistics cover the whole batch.
    """
    if micro_batch is not None and config.model.batch_norm == "synchronised":
        raise ConfigError(
            f"a micro-batch must not change the result, got {micro_batch!r} with model.batch_norm 'synchronised', "
            "whose statistics would cover that many faces of each worker only; use model.batch_norm 'virtual', or no "
            "micro-batch"
        )
    faces = config.model.batch_norm_faces
    if micro_batch is not None and (micro_batch < 1 or micro_batch % faces):
        raise ConfigError(
            f"a micro-batch must be a multiple of model.batch_norm_faces {faces}, got {micro_batch!r}; "
            f"use {max(1, round(micro_batch / faces)) * faces}"
        )


def _leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _validated(tree: object) -> ExperimentConfig:
    try:
        return TypeAdapter(ExperimentConfig).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"config field {where}: {first['msg']}, got {first['input']!r}") from None
