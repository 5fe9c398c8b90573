"""The files of a registered model in the artifact store, and the sha256 of each that its version has on record.

digests_of(folder)                                  # path in the folder → sha256
fetch_verified(uri, version, location, folder)      # all of them, or an error that names the one that was changed

Hashes lie in the database of MLflow, files in the artifact store: who can write to the store alone changes no model.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import mlflow

from adodn.errors import CheckpointError
from adodn.registry.versions import ModelVersion

FILES_TAG = "files_sha256"
"""Tag of a version: JSON, path in the model's folder → sha256. Tags hold 100,000 characters, a model 2,000 of them."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WAY_OUT = "restore it from a backup, or register the model again: `adodn evaluate RUN --dataset … --register`"


def digests_of(folder: Path) -> dict[str, str]:
    """Path in the folder, with slashes → sha256, of every file below it, sorted."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def on_record(version: ModelVersion, where: str) -> dict[str, str]:
    """The hashes that were recorded at registration.

    Args:
        version: With its tags.
        where: What to call it in messages.

    Raises:
        CheckpointError: If there are none, or they are not paths inside a folder with a sha256 each.
    """
    text = version.tags.get(FILES_TAG)
    if text is None:
        raise CheckpointError(f"{where} has no tag {FILES_TAG!r}; this adodn did not register it: {_WAY_OUT}")
    try:
        recorded = json.loads(text)
    except ValueError:
        recorded = None
    if not isinstance(recorded, dict) or not all(_is_plain(name, sha256) for name, sha256 in recorded.items()):
        raise CheckpointError(
            f"{where}: tag {FILES_TAG!r} must be JSON of paths inside the model's folder and their sha256, "
            f"got {text[:80]!r}; {_WAY_OUT}"
        )
    return recorded


def fetch_verified(uri: str, version: ModelVersion, location: str, folder: Path) -> dict[str, str]:
    """Download all files of a model; nothing that has another name or hash than was registered is left to be read.

    Args:
        uri: MLflow's address.
        version: Whose files.
        location: Folder of the model in the artifact store, as MLflow writes it.
        folder: Where they go; made when missing.

    Returns:
        Path in the folder → sha256.

    Raises:
        CheckpointError: If a file is missing, was added or was changed; it names the model, the file and both hashes.
        MlflowException: If the server refuses or cannot be reached.
    """
    where = f"{version.uri} on {uri}"
    recorded = on_record(version, where)
    # Names first: what was added is never downloaded, however large it is.
    compare_names(recorded, _stored(uri, location, recorded), where)
    mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=str(folder), tracking_uri=uri)
    fetched = folder / PurePosixPath(location).name
    for path in fetched.iterdir():
        path.rename(folder / path.name)
    fetched.rmdir()
    compare_digests(recorded, digests_of(folder), where)
    return recorded


def compare_names(recorded: Mapping[str, str], stored: set[str], where: str) -> None:
    """Refuse a folder that has other files than were registered.

    Raises:
        CheckpointError: Naming the first that is missing or was added.
    """
    for name in sorted(stored - recorded.keys()):
        raise CheckpointError(
            f"{where}: {name!r} was added in the artifact store: no sha256 is on record for it, and it was not "
            "downloaded; delete it there, and find out who put it there"
        )
    for name in sorted(recorded.keys() - stored):
        raise CheckpointError(
            f"{where}: file {name!r} must have sha256 {recorded[name]}, got no file; it was deleted from the artifact "
            f"store: {_WAY_OUT}"
        )


def compare_digests(recorded: Mapping[str, str], found: Mapping[str, str], where: str) -> None:
    """Refuse a folder whose files are not those that were registered, to the last bit.

    Raises:
        CheckpointError: Naming the first that differs, with both hashes.
    """
    compare_names(recorded, set(found), where)
    for name, expected in sorted(recorded.items()):
        if found[name] != expected:
            raise CheckpointError(
                f"{where}: sha256 of {name} must be {expected}, got {found[name]}; it was changed in the artifact "
                f"store: {_WAY_OUT}"
            )


def _stored(uri: str, location: str, recorded: Mapping[str, str]) -> set[str]:
    """Names of the files in the store, up to the first that is not on record.

    Folders without files are nothing: some stores keep one after its last file is deleted.
    """
    names: set[str] = set()
    waiting, seen = [""], {""}
    while waiting:
        folder = waiting.pop()
        address = f"{location}/{folder}".rstrip("/")
        for entry in mlflow.artifacts.list_artifacts(artifact_uri=address, tracking_uri=uri):
            name = f"{folder}/{PurePosixPath(entry.path).name}".lstrip("/")
            if entry.is_dir and name not in seen:
                waiting.append(name)
                seen.add(name)
                continue
            names.add(name)
            if name not in recorded:
                return names
    return names


def _is_plain(name: object, sha256: object) -> bool:
    """Whether it is a path that stays inside a folder, and a hash."""
    if not isinstance(name, str) or not isinstance(sha256, str) or "\\" in name or "\0" in name:
        return False
    steps = name.split("/")
    return all(step not in ("", ".", "..") for step in steps) and _SHA256.fullmatch(sha256) is not None


def _sha256(path: Path) -> str:
    if path.is_symlink():
        raise CheckpointError(f"{path}: is a link, and a model has plain files only; copy the file instead")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
