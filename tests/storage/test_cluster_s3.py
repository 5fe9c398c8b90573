"""The two processes of the cluster's S3, run as the manifest says: who gets in, and who can do what.

pytest tests/storage/test_cluster_s3.py
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import psutil
import pytest
import tenacity
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra import cluster_secrets
from tests.container_commands import running
from tests.manifests import pod
from tests.ports import free_ports

MADE = cluster_secrets.fresh()
Served = tuple[dict[str, Any], list[int], int]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A client of each role, the ids of both processes, and the port that is meant to be reached."""
    folder, ports = tmp_path_factory.mktemp("s3"), free_ports()
    (folder / "data").mkdir()
    (folder / "identities.json").write_text(MADE["s3-identities"]["identities.json"])
    swaps = {
        "-dir=/data": f"-dir={folder}/data",
        "/roles/identities.json": f"{folder}/identities.json",
        "port=9333": f"port={ports.s3_master}",
        "port=8888": f"port={ports.s3_filer}",
        "127.0.0.1:8888": f"127.0.0.1:{ports.s3_filer}",
        "port=9340": f"port={ports.s3_volume}",
        "port=8333": f"port={ports.s3}",
        "port=8646": f"port={ports.s3_admin}",
    }
    with ExitStack() as both:
        processes = [both.enter_context(running(one, MADE, swaps, folder)) for one in pod("s3").containers()]
        roles = [name.removeprefix("s3-") for name in MADE if name.startswith("s3-") and name != "s3-identities"]
        clients = {role: client(f"http://127.0.0.1:{ports.s3}", role) for role in roles}
        wait_for_buckets(clients["owner"])
        yield clients, [process.pid for process in processes], ports.s3


def client(address: str, role: str) -> Any:
    keys = MADE[f"s3-{role}"]
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=keys["ACCESS_KEY"],
        aws_secret_access_key=keys["SECRET_KEY"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


@tenacity.retry(
    wait=tenacity.wait_fixed(0.2),
    stop=tenacity.stop_after_delay(120),
    retry=tenacity.retry_if_exception_type((BotoCoreError, ClientError, AssertionError)),
    reraise=True,
)
def wait_for_buckets(owner: Any) -> None:
    assert {bucket["Name"] for bucket in owner.list_buckets()["Buckets"]} == {"adodn", "mlflow"}
    owner.put_object(Bucket="adodn", Key="datasets/there", Body=b"there")


def test_only_the_gateway_is_reached_from_outside(served: Served) -> None:
    """Master, filer and volume, which ask nobody for a key, listen on loopback; the gateway on all addresses."""
    _, (store, gateway), port = served
    listening = {
        pid: {one.laddr for one in psutil.Process(pid).net_connections("tcp") if one.status == "LISTEN"}
        for pid in (store, gateway)
    }

    assert len(listening[store]) >= 6 and {address.ip for address in listening[store]} == {"127.0.0.1"}
    assert port in {address.port for address in listening[gateway] if address.ip in ("0.0.0.0", "::")}


WRITES = {
    "trainer": {"runs", "searches", "weights", "patterns", "evaluations"},
    "shards": {"datasets"},
    "registry": {"registry"},
    "mlflow": set(),
}


@pytest.mark.parametrize("role", list(WRITES))
def test_a_role_writes_where_it_may_and_nowhere_else(served: Served, role: str) -> None:
    """Each tries every folder of the bucket `adodn`, and the bucket of MLflow."""
    clients, _, _ = served
    folders = sorted(set().union(*WRITES.values()))

    written = {folder for folder in folders if may(clients[role], "put", "adodn", f"{folder}/by-{role}")}

    assert written == WRITES[role]
    assert may(clients[role], "get", "adodn", "datasets/there") is (role != "mlflow")
    assert may(clients[role], "put", "mlflow", "artifacts/one") is (role == "mlflow")
    assert may(clients[role], "delete", "adodn", "datasets/other") is (role == "shards")


def may(one: Any, operation: str, bucket: str, key: str) -> bool:
    """Whether an operation is let through; any error but a refusal is one of the test."""
    try:
        getattr(one, f"{operation}_object")(Bucket=bucket, Key=key, **({"Body": b""} if operation == "put" else {}))
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied", error
        return False
    return True
