"""The local stack: S3, Prefect with a worker, MLflow and a Ray head, as supervised processes on loopback.

    info = up(progress=print)
    for service in status(): print(service.name, service.state)
    down()

State lies in `$ADODN_HOME`; data outlives `down`. It is for one user on one machine, not for a cluster.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from adodn import settings
from adodn.errors import StackError
from infra import addresses, health, journal, processes
from infra.config import HOST, StackConfig, StackPorts, require_free
from infra.folder import StackFolder
from infra.services import SERVICES
from infra.supervision import ProgramState, Supervisor

Progress = Callable[[str], None]

_POLL_S = 0.25
_NEVER = ProgramState("STOPPED", None, 0.0)
_WORDS = {"RUNNING": "running", "STARTING": "starting", "BACKOFF": "restarting", "FATAL": "failed"}


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """A stack that is up."""

    home: Path
    ports: StackPorts
    s3_url: str
    prefect_url: str
    mlflow_url: str
    ray_url: str
    already_running: bool
    """True: this `up` had nothing to start."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One service, as it is now."""

    name: str
    state: str
    """running, starting, restarting, failed, stopped; unsupervised: alive although its supervisor was killed."""
    pid: int | None
    healthy: bool
    problem: str | None
    """Why it is not healthy."""
    rss_mb: float
    """Of the service and its children."""
    url: str | None


def up(*, progress: Progress) -> StackInfo:
    """Start what is not running, and wait until every service is healthy.

    Args:
        progress: Told of every service that has become healthy, and if the internet may reach Ray.

    Raises:
        StackError: a port is taken, a service keeps dying, or is not healthy in time. What this call started is
            stopped again.
    """
    began = time.monotonic()
    folder = StackFolder(settings.home())
    folder.create()
    with _alone(folder):
        supervisor = Supervisor(folder)
        launched = not supervisor.is_alive()
        try:
            config = _launch(folder, supervisor) if launched else StackConfig.recorded(folder)
            if config.ray.host != HOST and (reachable := addresses.public_addresses()):
                progress(addresses.warning(reachable))
            started = _start_services(config, supervisor, progress)
        except BaseException:
            if launched:
                _stop(folder)
            raise
    return StackInfo(
        home=folder.home,
        ports=config.ports,
        s3_url=config.url("s3"),
        prefect_url=config.url("prefect"),
        mlflow_url=config.url("mlflow"),
        ray_url=config.url("ray_dashboard"),
        already_running=not started,
        seconds=time.monotonic() - began,
    )


def down() -> bool:
    """Stop the stack and leave no process, socket or temporary folder behind; data stays.

    Returns:
        Whether anything ran.

    Raises:
        StackError: a process cannot be ended.
    """
    folder = StackFolder(settings.home())
    if not folder.home.exists():
        return False
    with _alone(folder):
        ran = bool(processes.marked(folder.home))
        _stop(folder)
    return ran


def status() -> list[ServiceStatus]:
    """Every service as it is now; asks them all at the same time."""
    folder = StackFolder(settings.home())
    if not folder.record.exists():
        return [_status_of(name, None, _NEVER, 0.0) for name in SERVICES]
    config, supervisor = StackConfig.recorded(folder), Supervisor(folder)
    states = supervisor.states() if supervisor.is_alive() else {}
    memory = {name: processes.rss_mb(group) for name, group in processes.by_service(folder.home).items()}
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        pending = [
            pool.submit(_status_of, name, config, states.get(name, _NEVER), memory.get(name, 0.0)) for name in SERVICES
        ]
        return [future.result() for future in pending]


def logs(service: str, *, lines: int = 50, follow: bool = False) -> Iterator[str]:
    """The last lines of a service's log, then, if asked, new ones for ever.

    Args:
        service: A service, or `supervisor`.
        lines: How many of the last lines.
        follow: Go on with lines as they are written.

    Raises:
        StackError: there is no such service.
    """
    names = [*SERVICES, "supervisor"]
    if service not in names:
        raise StackError(f"there is no service {service!r}; choose one of {', '.join(names)}")
    path = StackFolder(settings.home()).log(service)
    return _chain(journal.last_lines(path, lines), journal.follow(path) if follow else iter(()))


def _chain(first: list[str], then: Iterator[str]) -> Iterator[str]:
    yield from first
    yield from then


@contextmanager
def _alone(folder: StackFolder) -> Iterator[None]:
    lock = FileLock(folder.lock, timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise StackError(f"another `adodn up` or `adodn down` is at work in {folder.home}; wait for it") from error


def _launch(folder: StackFolder, supervisor: Supervisor) -> StackConfig:
    config = StackConfig.wanted(folder)
    processes.end_all(folder.home)  # orphans of a supervisor that was killed
    require_free(config.ports, config.ray.host)
    config.save()
    supervisor.launch(config)
    return config


def _start_services(config: StackConfig, supervisor: Supervisor, progress: Progress) -> bool:
    """Start each service when those it needs are healthy; answers whether any had to be started."""
    began: dict[str, float] = {}
    healthy: set[str] = set()
    started = False
    while len(healthy) < len(SERVICES):
        states = supervisor.states()
        for name, service in SERVICES.items():
            if name not in began and healthy.issuperset(service.after):
                began[name] = time.monotonic()
                if states[name].pid is None:
                    started = True
                    supervisor.start(name)
            elif name in began and name not in healthy and _is_healthy(name, config, states[name], began[name]):
                healthy.add(name)
                progress(f"{name} is healthy after {time.monotonic() - began[name]:.1f} s")
        time.sleep(_POLL_S)
    return started


def _is_healthy(name: str, config: StackConfig, state: ProgramState, began: float) -> bool:
    problem = health.problem(name, config, state.started_at)
    if problem is None and state.pid is not None:
        return True
    if state.state == "FATAL":
        raise _failure(name, config, "keeps dying")
    if time.monotonic() - began > SERVICES[name].deadline_s:
        raise _failure(name, config, f"is not healthy after {SERVICES[name].deadline_s:.0f} s: {problem}")
    return False


def _failure(name: str, config: StackConfig, what: str) -> StackError:
    log = config.folder.log(name)
    tail = "\n".join(f"  {line}" for line in journal.last_lines(log, 15))
    return StackError(f"the service {name!r} {what}; mend what its log {log} says and run `adodn up` again:\n{tail}")


def _stop(folder: StackFolder) -> None:
    """Those that need others go first: a worker does not end while it cannot reach its server."""
    supervisor = Supervisor(folder)
    if supervisor.is_alive():
        supervisor.stop(["worker"])
        supervisor.stop(["prefect", "mlflow", "ray"])
        supervisor.stop(["s3"])
        supervisor.shutdown()
    processes.end_all(folder.home)
    folder.remove_run()


def _status_of(name: str, config: StackConfig | None, state: ProgramState, rss_mb: float) -> ServiceStatus:
    word = _WORDS.get(state.state, "stopped")
    if state.pid is None and rss_mb:
        word = "unsupervised"
    problem = health.problem(name, config, state.started_at) if config and rss_mb else "it is not running"
    port = SERVICES[name].port
    return ServiceStatus(
        name=name,
        state=word,
        pid=state.pid,
        healthy=problem is None,
        problem=problem,
        rss_mb=round(rss_mb, 1),
        url=config.url(port) if config and port else None,
    )
