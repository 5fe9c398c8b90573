"""Where an evaluation comes from: the experiment, its data, the weights, the code and what it ran on.

provenance_of(network, config).to_json()        # `provenance.json` beside the figures
"""

import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from adodn import __version__
from adodn.config import ExperimentConfig
from adodn.errors import ConfigError, DataError
from adodn.model_files import write_model
from adodn.provenance import git_commit

PROVENANCE = "provenance.json"
"""Name of the file."""
_PACKAGES = ("torch", "numpy", "scipy", "opencv-python-headless")


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Which model was measured, and by what."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    experiment: str
    fingerprint: str
    training_datasets: dict[str, str]
    """Name → digest of its manifest; the name is empty where the config does not say it."""
    sha256: dict[str, str]
    """Model file → its hash, as the registry has it."""
    commit: str
    """Of the code that measured; `+` behind it where files differ."""
    environment: dict[str, str]
    """What it ran on: name → version."""
    config: str
    """The whole experiment, as JSON."""

    def to_json(self) -> str:
        """What `read_provenance` reads."""
        return json.dumps(asdict(self), indent=2)


def provenance_of(network: torch.nn.Module, config: ExperimentConfig) -> Provenance:
    """The provenance of what this process measures with this model."""
    with tempfile.TemporaryDirectory() as aside:
        hashes = write_model(Path(aside), network.state_dict(), config)
    return Provenance(
        experiment=config.name,
        fingerprint=config.fingerprint(),
        training_datasets={source.name: source.dataset for source in config.data.sources} or {"": config.data.dataset},
        sha256=hashes,
        commit=git_commit(),
        environment=environment(),
        config=config.to_json(),
    )


def environment() -> dict[str, str]:
    """Versions that a result may hang on. Nothing that names the machine or its user."""
    found = {"adodn": __version__, "Python": platform.python_version()}
    found |= {package: version(package) for package in _PACKAGES}
    return found | {"system": f"{platform.system()} {platform.machine()}"}


def read_provenance(content: bytes, where: str) -> Provenance:
    """What a `provenance.json` says. It is what its writer claims: nothing here can prove it.

    Raises:
        DataError: If it is another file.
    """
    try:
        said = TypeAdapter(Provenance).validate_json(content)
        ExperimentConfig.from_json(said.config)
    except (ValidationError, ConfigError, ValueError, TypeError) as cause:
        raise DataError(f"{where}: not the provenance of an evaluation: {cause}; evaluate again") from cause
    return said
