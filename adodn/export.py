"""A model as a folder that needs no server and says where it came from; what comes from the registry is verified first.

export("models:/adodn-68@champion", Path("champion"), settings.get(), whole=True)
Predictor.load("champion"), mlflow.pytorch.load_model("champion/mlflow")
"""

import shutil
from dataclasses import replace
from pathlib import Path

from adodn import publish
from adodn.errors import ConfigError
from adodn.model_files import CONFIG, WEIGHTS, new_folder, write_model
from adodn.model_origin import ORIGIN, ModelOrigin
from adodn.settings import Settings

WHOLE = "mlflow"
"""Folder for all that MLflow keeps of a model, the exported graph included."""


def export(model: str, folder: Path, places: Settings, *, whole: bool = False) -> dict[str, str]:
    """Write a model's weights and config, and `origin.json`; the folder appears when all of it is there.

    Args:
        model: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a run's name, or another folder.
        folder: Must not be there, or be empty.
        places: Where stores and servers are.
        whole: Also all files of the registered model, below `mlflow/`, as other tools read them.

    Returns:
        File → sha256.

    Raises:
        CheckpointError: If there is no such model, or a file of it is not what was registered.
        ConfigError: If the folder is not empty, or `whole` is asked of a model that is not registered.
    """
    registered = model.startswith("models:/")
    if whole and not registered:
        raise ConfigError(f"only a registered model has more than weights and config, got {model!r}; leave out --all")
    with new_folder(folder) as aside:
        return _from_registry(model, aside, whole=whole) if registered else _from_elsewhere(model, aside, places)


def _from_registry(model: str, folder: Path, *, whole: bool) -> dict[str, str]:
    from adodn import registry  # MLflow takes seconds to import, and others do not need it

    with registry.fetched(model) as found:
        for name in (CONFIG, WEIGHTS):
            # The very bytes that were verified, and no copy through a network.
            shutil.copyfile(found.own_folder / name, folder / name)
        if whole:
            shutil.copytree(found.folder, folder / WHOLE)
        digests = dict(found.origin.sha256)
        _say_origin(folder, found.origin, digests)
        return digests | ({f"{WHOLE}/{name}": sha256 for name, sha256 in found.sha256.items()} if whole else {})


def _from_elsewhere(model: str, folder: Path, places: Settings) -> dict[str, str]:
    known = publish.load_known(model, places)
    digests = write_model(folder, known.network.state_dict(), known.config)
    _say_origin(folder, known.origin, digests)
    return digests


def _say_origin(folder: Path, origin: ModelOrigin, digests: dict[str, str]) -> None:
    text = replace(origin, sha256={**origin.sha256, **digests}).to_json()
    (folder / ORIGIN).write_text(text + "\n", encoding="utf-8")
