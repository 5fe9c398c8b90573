"""The services of the local stack: their commands and environments. It starts nothing.

    command = SERVICES["s3"].command(config)
    os.execve(command.argv[0], command.argv, {**os.environ, **command.env})

Everything binds to 127.0.0.1, but Ray to `ADODN_RAY_HOST` where that is set. Secrets
go by environment, never on a command line. Nothing reports to its makers.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from adodn.errors import StackError
from infra import storage
from infra.config import BUCKETS, HOST, StackConfig
from infra.credentials import USER
from infra.databases import with_driver
from infra.processes import MARK_HOME

WORK_POOL = "local"
HEARTBEAT_S = 60
"""How often a flow run says that it is alive."""
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Where Prefect's server keeps whose turn it is in a deployment. In memory, as by default, a restart would forget it,
and the next renewal would end the flow runs that have their turn."""
_REGION = "us-east-1"
_OFFLINE = {
    "DO_NOT_TRACK": "1",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_FOREIGN = ("AWS_", "MLFLOW_", "PREFECT_", "RAY_", "ADODN_S3_", "ADODN_MLFLOW_", "ADODN_PREFECT_", "ADODN_RAY_")
"""Prefixes of the caller's variables that would send a service, or a flow, to other servers than the stack's."""
_TUNING = ("RAY_health_check_", "RAY_memory_")
"""Prefixes of those among them that are handed on: they tune the stack's Ray and name no other server."""


@dataclass(frozen=True)
class Command:
    """What to execute, and what its environment has beyond `base_environment`."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Service:
    """One supervised process and what the stack must know of it."""

    command: Callable[[StackConfig], Command]
    port: str | None
    """Field of `StackPorts` that its URL shows; None: it has no URL."""
    after: tuple[str, ...] = ()
    """Services that must be healthy before it starts."""
    deadline_s: float
    """Time to become healthy, generous: a busy laptop is not a failure."""
    owns_children: bool = True
    """Its children end with it. Flow runs outlive their worker: they report to the server by themselves."""
    stop_signal: str = "TERM"


def base_environment(config: StackConfig) -> dict[str, str]:
    """The environment that all services share: the caller's, without what would mislead them."""
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(_TUNING) or not name.startswith(_FOREIGN)
    }
    binaries = str(Path(sys.executable).parent)
    return {
        **kept,
        **_OFFLINE,
        "ADODN_HOME": str(config.folder.home),
        MARK_HOME: str(config.folder.home),
        "SPT_NOENV": "1",  # Ray's process titles would overwrite the mark
        "PATH": os.pathsep.join([binaries, kept.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [_source_root(), kept.get("PYTHONPATH")])),
        "NO_PROXY": ",".join(filter(None, [HOST, "localhost", kept.get("NO_PROXY")])),
    }


def _source_root() -> str:
    """The checkout, so that services see the code that started them; empty when adodn is installed."""
    root = Path(__file__).resolve().parents[1]
    return "" if root.name == "site-packages" else str(root)


def _s3(config: StackConfig) -> Command:
    data, run, ports = config.folder.data / "s3", config.folder.run, config.ports
    data.mkdir(parents=True, exist_ok=True)
    (data / "mini.options").unlink(missing_ok=True)  # it would bring back the options of an earlier start
    argv = [_program("weed"), "-logtostderr=true", "mini", f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}"]
    argv += [f"-s3.port={ports.s3}", f"-master.port={ports.s3_master}", f"-filer.port={ports.s3_filer}"]
    argv += [f"-volume.port={ports.s3_volume}", f"-admin.port={ports.s3_admin}"]
    argv += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    argv += [f"-bucket={','.join(BUCKETS)}", "-s3.autoCreateBucket=false", "-master.telemetry=false"]
    argv += [f"-filer.localSocket={run}/filer.sock", f"-s3.localSocket={run}/s3.sock"]
    argv += [f"-s3.config={storage.identities(config)}"]
    # Go keeps up to twice the live heap unless told otherwise; a limit that large writes reach keeps it collecting.
    return Command(argv, {**storage.locks(config), "GOGC": "50", "GOMEMLIMIT": "1GiB"})


def _prefect(config: StackConfig) -> Command:
    argv = [_program("prefect"), "server", "start", "--host", HOST, "--port", str(config.ports.prefect)]
    env = {
        "PREFECT_HOME": str(config.folder.data / "prefect"),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        "PREFECT_SERVER_API_AUTH_STRING": config.credentials.prefect_auth_string,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": config.url("prefect"),
    }
    url = with_driver(config.databases.prefect, "asyncpg")
    return Command(argv, env | ({"PREFECT_SERVER_DATABASE_CONNECTION_URL": url} if url else {}))


def _worker(config: StackConfig) -> Command:
    argv = [_program("prefect"), "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", WORK_POOL]
    env = {
        "PREFECT_HOME": str(config.folder.data / "prefect"),
        "PREFECT_API_URL": config.url("prefect") + "/api",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        "PREFECT_API_AUTH_STRING": config.credentials.prefect_auth_string,
        **_s3_roles(config),
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # what the server answers while its PostgreSQL is away
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # a run on a laptop should not wait ten seconds to be seen
    }
    return Command(argv, env)


def _mlflow(config: StackConfig) -> Command:
    data = config.folder.data / "mlflow"
    data.mkdir(parents=True, exist_ok=True)
    argv = [_program("mlflow"), "server", "--host", HOST, "--port", str(config.ports.mlflow), "--workers", "1"]
    argv += ["--app-name", "basic-auth"]
    argv += ["--serve-artifacts", "--artifacts-destination", "s3://mlflow/artifacts"]
    env = {
        "AWS_ACCESS_KEY_ID": config.credentials.s3["mlflow"].access_key,
        "AWS_SECRET_ACCESS_KEY": config.credentials.s3["mlflow"].secret_key,
        "AWS_DEFAULT_REGION": _REGION,
        "MLFLOW_BACKEND_STORE_URI": with_driver(config.databases.mlflow, "psycopg") or f"sqlite:///{data}/mlflow.db",
        "MLFLOW_S3_ENDPOINT_URL": config.url("s3"),
        "MLFLOW_AUTH_CONFIG_PATH": str(_mlflow_users(data, config)),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": config.credentials.mlflow_password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": config.credentials.mlflow_session_key,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its eight job processes serve LLM evaluation only
    }
    return Command(argv, env)


def _mlflow_users(data: Path, config: StackConfig) -> Path:
    """The file that says how MLflow signs people in; it holds no secret.

    A password counts only when its user is made: so the users of another password, whose `stack.env` was lost, stay
    in another database.
    """
    known_by = hashlib.sha256(config.credentials.mlflow_password.encode()).hexdigest()[:12]
    path = data / "sign-in.ini"
    rules = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{data}/users-{known_by}.db",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": "600",  # else every request hashes the password anew, which takes a tenth of a second
    }
    # MLflow's reader takes a lone percent sign, as in a folder's name, for the beginning of a variable.
    lines = (f"{name} = {value.replace('%', '%%')}\n" for name, value in rules.items())
    config.folder.write_private(path, "[mlflow]\n" + "".join(lines))
    return path


def _ray(config: StackConfig) -> Command:
    argv = [_program("ray"), "start", "--head", "--block", "--node-ip-address", config.ray.host]
    argv += ["--port", str(config.ports.ray_gcs)]
    argv += ["--dashboard-host", HOST, "--dashboard-port", str(config.ports.ray_dashboard)]
    argv += ["--num-cpus", str(config.ray.num_cpus), "--object-store-memory", str(config.ray.object_store_bytes)]
    argv += ["--temp-dir", str(config.folder.run), "--disable-usage-stats", "--no-monitor"]
    # 0: any free port, so that two stacks can live on one machine.
    argv += ["--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]
    env = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": config.credentials.ray_auth_token,
        **_s3_roles(config),
        "RAY_START_HOOK": "infra.ray_head.without_client_server",
        "RAY_ADDRESS": config.ray_address,  # for jobs: there may be another Ray on this machine
        "DASHBOARD_METRIC_PORT": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",  # a training that is stopped tells MLflow, which may be busy
        # A process of each training that looks out for nodes to be taken away: one node alone stays.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0" if config.ray.host == HOST else "1",
        # Off, Ray keeps the loopback address it is given; on, it takes the machine's own and listens on all interfaces.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if config.ray.host == HOST else "1",
    }
    return Command(argv, env)


def _s3_roles(config: StackConfig) -> dict[str, str]:
    """Jobs and flows train; what they shard or register they write in the role for that."""
    pairs = config.credentials.s3
    return pairs["trainer"].variables() | pairs["shards"].variables("shards") | pairs["registry"].variables("registry")


def _program(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise StackError(f"the program {name!r} is not in {path.parent}; install it with: pip install 'adodn[local]'")
    return str(path)


SERVICES: dict[str, Service] = {
    "s3": Service(command=_s3, port="s3", deadline_s=60),
    "prefect": Service(command=_prefect, port="prefect", deadline_s=300),
    "mlflow": Service(command=_mlflow, port="mlflow", after=("s3",), deadline_s=300),
    # A Ray head keeps nothing worth a farewell, and takes half a minute to say it.
    "ray": Service(command=_ray, port="ray_dashboard", deadline_s=300, stop_signal="KILL"),
    "worker": Service(command=_worker, port=None, after=("prefect",), deadline_s=180, owns_children=False),
}
"""In the order in which they are shown; they stop in the reverse order."""
