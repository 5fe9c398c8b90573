"""Whether a service does its work, asked the way its clients would ask. A port that answers is not enough.

problem("s3", config, since=0.0)     # None: healthy; else what is wrong
"""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from http.client import HTTPException
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.config import BUCKETS, StackConfig
from infra.credentials import OWNER, USER
from infra.services import WORK_POOL

_TIMEOUT_S = 3.0
_PROBE = {"Bucket": "mlflow", "Key": "health-probe"}
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach our loopback


def problem(service: str, config: StackConfig, since: float) -> str | None:
    """Ask a service.

    Args:
        service: Name in `infra.services.SERVICES`.
        config: Of the running stack.
        since: When the service's process started, in seconds since the epoch.

    Returns:
        None if it is healthy, else what is wrong.
    """
    try:
        return _CHECKS[service](config, since)
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}"
    except (OSError, HTTPException, ValueError, BotoCoreError, ClientError) as error:
        return f"it does not answer ({error})"


def s3_client(config: StackConfig) -> Any:
    """A boto3 client with the owner's credentials that gives up soon."""
    return boto3.client(
        "s3",
        endpoint_url=config.url("s3"),
        aws_access_key_id=config.credentials.s3[OWNER].access_key,
        aws_secret_access_key=config.credentials.s3[OWNER].secret_key,
        region_name="us-east-1",
        config=Config(
            connect_timeout=_TIMEOUT_S,
            read_timeout=_TIMEOUT_S,
            retries={"total_max_attempts": 1},
            proxies={},
            s3={"addressing_style": "path"},
        ),
    )


def _s3(config: StackConfig, since: float) -> str | None:
    """All buckets are there, and an object can be read: after a crash names come back before contents do."""
    client = s3_client(config)
    missing = set(BUCKETS) - {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    if missing:
        return f"buckets {sorted(missing)} are missing"
    try:
        client.get_object(**_PROBE)["Body"].read()
    except client.exceptions.NoSuchKey:
        client.put_object(**_PROBE, Body=b"healthy")
    return None


def _prefect(config: StackConfig, since: float) -> str | None:
    answer = _http(config.url("prefect") + "/api/health")
    if json.loads(answer) is not True:
        return f"its health is {answer!r}"
    _http(config.url("prefect") + "/api/admin/version", headers=_basic(config.credentials.prefect_auth_string))
    return None


def _worker(config: StackConfig, since: float) -> str | None:
    """Online, and heard of since its process started: the server believes in a dead worker for a while."""
    base, headers = config.url("prefect") + "/api", _basic(config.credentials.prefect_auth_string)
    token = json.loads(_http(f"{base}/csrf-token?client=health", headers=headers))["token"]
    headers |= {"Prefect-Csrf-Client": "health", "Prefect-Csrf-Token": token}
    workers = json.loads(_http(f"{base}/work_pools/{WORK_POOL}/workers/filter", data=b"{}", headers=headers))
    heard = [datetime.fromisoformat(w["last_heartbeat_time"]).timestamp() for w in workers if w["status"] == "ONLINE"]
    return None if any(time >= since for time in heard) else "it has not reported to the Prefect server"


def _mlflow(config: StackConfig, since: float) -> str | None:
    answer = _http(config.url("mlflow") + "/health")
    if answer != b"OK":
        return f"its health is {answer!r}"
    url = config.url("mlflow") + "/api/2.0/mlflow/experiments/get?experiment_id=0"
    _http(url, headers=_basic(f"{USER}:{config.credentials.mlflow_password}"))
    return None


def _ray(config: StackConfig, since: float) -> str | None:
    headers = {"Authorization": f"Bearer {config.credentials.ray_auth_token}"}
    base = config.url("ray_dashboard")
    _http(base + "/api/jobs/", headers=headers)
    nodes = json.loads(_http(base + "/nodes?view=summary", headers=headers))["data"]["summary"]
    alive = [node for node in nodes if node.get("raylet", {}).get("state") == "ALIVE"]
    return None if alive else "its node is not alive yet"


def _basic(user_and_password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user_and_password.encode()).decode()}


def _http(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    with _opener.open(request, timeout=_TIMEOUT_S) as response:
        return bytes(response.read())


_CHECKS: dict[str, Callable[[StackConfig, float], str | None]] = {
    "s3": _s3,
    "prefect": _prefect,
    "worker": _worker,
    "mlflow": _mlflow,
    "ray": _ray,
}
