"""Who may do what on the stack's S3 server, and that its other ports are no way round it.

pytest tests/storage/test_storage_roles.py
"""

import json
import shutil
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from adodn.data.store import S3Store
from adodn.errors import StackError, StorageError
from adodn.settings import Settings
from infra import storage
from infra.config import StackConfig
from infra.credentials import OWNER, ROLES, Credentials
from infra.folder import StackFolder
from infra.services import SERVICES, base_environment
from infra.storage import WRITES
from tests.benchmarks.s3_server import configured_server, store_of

KNOWN = "known"
"""Folder with a copy of the certificate that the server was started with."""
FOLDERS = [folder for folders in WRITES.values() for folder in folders]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackConfig]:
    """An S3 server with an object in each folder of the data's bucket, and one of MLflow's."""
    with configured_server(tmp_path_factory.mktemp("roles")) as config:
        owner = store_of(config, OWNER)
        for folder in FOLDERS:
            owner.put(f"s3://adodn/{folder}/kept", b"kept")
        owner.put("s3://mlflow/artifacts/kept", b"kept")
        (config.folder.home / KNOWN).mkdir()
        for file in config.folder.run.glob("*.pem"):
            shutil.copy(file, config.folder.home / KNOWN)
        yield config


def refused(store: S3Store, uri: str) -> bool:
    """Whether the store lets nobody write there, in any way: a refusal is a StorageError that says so."""
    for attempt in (
        lambda: store.put(uri, b"changed"),
        lambda: store.put(f"{uri}-{uuid4().hex}", b"new", if_absent=True),
        lambda: store.delete(uri),
    ):
        try:
            attempt()
        except StorageError as error:
            assert "AccessDenied" in str(error) or "refuse" in str(error), error
        else:
            return False
    return True


@pytest.mark.parametrize("role", list(WRITES))
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_role_writes_in_its_own_folders_alone(server: StackConfig, role: str, folder: str) -> None:
    """The trainer cannot change data or the registry's record, the writer of shards no checkpoint, and so on."""
    store, uri = store_of(server, role), f"s3://adodn/{folder}/kept"
    assert store.get(uri) == b"kept"
    assert refused(store, uri) == (folder not in WRITES[role])
    store_of(server, OWNER).put(uri, b"kept")


@pytest.mark.parametrize("role", list(WRITES))
@pytest.mark.parametrize("uri", ["s3://adodn/elsewhere", "s3://adodn/runsx/a", "s3://mlflow/artifacts/kept"])
def test_no_role_writes_elsewhere(server: StackConfig, role: str, uri: str) -> None:
    """Neither beside the folders nor where MLflow keeps models; the latter not even to be read."""
    assert refused(store_of(server, role), uri)
    if uri.startswith("s3://mlflow/"):
        with pytest.raises(StorageError):
            store_of(server, role).get(uri)


def test_mlflow_sees_its_bucket_alone(server: StackConfig) -> None:
    """Its server reads and writes artifacts, and neither data nor checkpoints."""
    store = store_of(server, "mlflow")
    assert store.get("s3://mlflow/artifacts/kept") == b"kept"
    store.put("s3://mlflow/artifacts/new", b"new")
    store.delete("s3://mlflow/artifacts/new")
    with pytest.raises(StorageError):
        store.get("s3://adodn/datasets/kept")
    assert refused(store, "s3://adodn/datasets/kept")


def test_the_ports_beside_s3_hand_out_nothing(server: StackConfig) -> None:
    """SeaweedFS's own servers tell and store nothing for who comes without the keys of the start."""
    filer, volume = server.url("s3_filer"), server.url("s3_volume")
    put = urllib.request.Request(f"{filer}/buckets/adodn/datasets/kept", data=b"changed", method="PUT")
    delete = urllib.request.Request(f"{filer}/buckets/adodn?recursive=true", method="DELETE")
    for request in (f"{filer}/buckets/adodn/datasets/kept", f"{filer}/", put, delete, f"{volume}/ui/index.html"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=30)
        assert caught.value.code == 401
    assert store_of(server, OWNER).get("s3://adodn/datasets/kept") == b"kept"


def test_the_servers_own_shell_wants_the_certificate(server: StackConfig) -> None:
    """Its gRPC ports list the names of objects for who has the certificate of the start, and for nobody else."""
    assert "kept" in _shell(server, certificate=server.folder.home / KNOWN, patience_s=300)
    storage.locks(server)  # writes a certificate as good as the first, but not that of the start
    assert "kept" not in _shell(server, certificate=server.folder.run, patience_s=5)
    assert "kept" not in _shell(server, certificate=None, patience_s=5)


def test_secrets_lie_in_private_files_and_no_command_line(server: StackConfig) -> None:
    """What the server is told of identities only its user can read; its command line has no key."""
    path = server.folder.run / "s3-identities.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {identity["name"] for identity in json.loads(path.read_text())["identities"]} == set(ROLES)
    argv = " ".join(SERVICES["s3"].command(server).argv)
    assert not [pair for pair in server.credentials.s3.values() if pair.secret_key in argv or pair.access_key in argv]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in server.folder.run.glob("*.pem"))
    assert server.credentials.s3[OWNER].secret_key not in repr(server)


@pytest.mark.parametrize("service", ["ray", "worker"])
def test_jobs_and_flows_are_no_owners(server: StackConfig, monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    """What they inherit makes them the trainer, in the other roles only for what these are for."""
    command = SERVICES[service].command(server)
    for name, value in (base_environment(server) | command.env).items():
        monkeypatch.setenv(name, value)
    server.save()
    places, pairs = _places(server), server.credentials.s3
    for role, asked in (("trainer", "own"), ("shards", "shards"), ("registry", "registry")):
        access, secret = places.s3_keys(asked)  # type: ignore[arg-type]
        assert (access, secret.get_secret_value()) == (pairs[role].access_key, pairs[role].secret_key)
    owner = pairs[OWNER]
    assert owner.secret_key not in str(command) and owner.access_key not in str(command)


def test_the_owner_needs_no_roles(server: StackConfig) -> None:
    """In a person's shell every kind of work is done with the owner's keys, which `stack.env` has."""
    server.save()
    places, owner = _places(server), server.credentials.s3[OWNER]
    assert {places.s3_keys(role)[0] for role in ("own", "shards", "registry")} == {owner.access_key}


def test_secrets_are_made_once() -> None:
    """Written down and read again they are the same, and no two of them are equal."""
    made = Credentials.of({})
    assert Credentials.of(made.lines()) == made
    values = list(made.lines().values())
    assert len(set(values)) == len(values)


def test_a_stack_of_an_older_adodn_is_one_clear_error(tmp_path: Path) -> None:
    """Its `stack.env` lacks secrets: the message names them, and how to get there."""
    folder = StackFolder(tmp_path / "old")
    folder.create()
    StackConfig.wanted(folder).save()
    assert StackConfig.recorded(folder) == StackConfig.recorded(folder)
    kept = [line for line in folder.env.read_text().splitlines() if not line.startswith("ADODN_MLFLOW_PASSWORD")]
    folder.env.write_text("\n".join(kept))
    with pytest.raises(StackError, match=r"lacks ADODN_MLFLOW_PASSWORD.*adodn down; adodn up"):
        StackConfig.recorded(folder)


def _shell(server: StackConfig, *, certificate: Path | None, patience_s: float) -> str:
    """What SeaweedFS's own shell lists of the folder of datasets, with the certificate of a folder, or none."""
    argv = ["weed", "shell", f"-master={_address(server.ports.s3_master)}", f"-filer={_address(server.ports.s3_filer)}"]
    variables = base_environment(server)
    if certificate:
        shown = certificate / "s3-certificate.pem"
        files = {"CA": shown, "CLIENT_CERT": shown, "CLIENT_KEY": certificate / "s3-key.pem"}
        variables |= {f"WEED_GRPC_{name}": str(file) for name, file in files.items()}
    try:
        done = subprocess.run(
            argv,
            input="fs.ls /buckets/adodn/datasets\n",
            env=variables,
            capture_output=True,
            text=True,
            timeout=patience_s,
        )
    except subprocess.TimeoutExpired as error:  # refused, it asks again for ever
        return str(error.stdout)
    return done.stdout


def _places(server: StackConfig) -> Settings:
    """The settings of a process on this stack."""
    return Settings(_env_file=server.folder.env)  # type: ignore[call-arg]


def _address(port: int) -> str:
    return f"127.0.0.1:{port}"
