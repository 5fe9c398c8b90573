"""A config as a file: a recipe that no function stands for, such as the best of a search. JSON, and never executed.

    Path("best.json").write_bytes(config_file(config, about={"search": "night"}))
    read_config_file(Path("best.json")).config          # adodn train --config best.json --dataset …

Like a recipe it is on no data yet: dataset and protocol are those that it meets.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adodn.config import ExperimentConfig, ModelConfig
from adodn.errors import ConfigError

MAX_BYTES = 200_000
_SCHEMA = 1
_KEYS = {"schema", "fingerprint", "experiment", "about"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
"""It becomes part of addresses and of commands."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigFile:
    """What such a file holds."""

    config: ExperimentConfig
    about: dict[str, Any]
    """Where it comes from; decides nothing."""


def config_file(config: ExperimentConfig, *, about: Mapping[str, object]) -> bytes:
    """The file of an experiment, without the data that it may be on.

    Args:
        config: The experiment.
        about: Where it comes from, as plain JSON.

    Raises:
        ConfigError: If its name cannot be part of an address, or it mixes datasets.
    """
    plain = ModelConfig()
    model = replace(config.model, protocol=plain.protocol, protocol_definition=plain.protocol_definition)
    bare = replace(config, model=model, data=replace(config.data, dataset=""))
    recipe = bare.with_fields({})  # numbers as reading has them: a 0 in place of 0.0 has another fingerprint
    _check(recipe, f"experiment {config.name!r}")
    tree = {
        "schema": _SCHEMA,
        "fingerprint": recipe.fingerprint(),
        "experiment": asdict(recipe),
        "about": dict(about),
    }
    return (json.dumps(tree, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_config_file(path: Path) -> ConfigFile:
    """Read what `config_file` wrote; whoever changes the experiment in it must change the fingerprint too.

    Raises:
        ConfigError: If it cannot be read, is something else, or is not what its fingerprint says.
    """
    tree = _parsed(_content(path), path)
    if not isinstance(tree, dict) or tree.keys() != _KEYS or not isinstance(tree["about"], dict):
        raise ConfigError(
            f"{path}: a config file is an object of {', '.join(sorted(_KEYS))}; `adodn search` writes one"
        )
    if tree["schema"] != _SCHEMA:
        raise ConfigError(f"{path}: schema must be {_SCHEMA}, got {tree['schema']!r:.40}; write it with this adodn")
    try:
        config = ExperimentConfig.from_json(json.dumps(tree["experiment"]))
        _check(config, str(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if config.fingerprint() != tree["fingerprint"]:
        raise ConfigError(
            f"{path}: fingerprint is {tree['fingerprint']!r:.40}, that of its experiment {config.fingerprint()}; it "
            "was changed: put it back, or write the new fingerprint if that was meant"
        )
    return ConfigFile(config=config, about=tree["about"])


def _check(config: ExperimentConfig, where: str) -> None:
    """Refuse what could lead somewhere else, and data."""
    if not _NAME.fullmatch(config.name):
        raise ConfigError(f"name of {where} must be of letters, digits, '_', '-' and '.', got {config.name!r:.80}")
    if config.data.dataset or config.data.sources or config.model.protocol_definition:
        raise ConfigError(f"{where} must be on no data: leave data.dataset, data.sources and the protocol as they are")
    if config.model.protocol != ModelConfig().protocol:
        raise ConfigError(f"model.protocol of {where} is that of the data, got {config.model.protocol!r:.80}")
    digests = (config.model.initial_weights, config.train.initial_model, config.data.augment.occlusion_patterns)
    for digest in digests:
        if digest and not _DIGEST.fullmatch(digest):
            raise ConfigError(f"{where} names files by their sha256, got {digest!r:.80}")


def _content(path: Path) -> str:
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file, or not a plain one; give the config file's path")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: has more than {MAX_BYTES} bytes, which no config has")
    return text


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON of a config: {str(error) or 'nested too deep'}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key comes twice among {[key for key, _ in pairs][:8]}")
    return found


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number of a config")
