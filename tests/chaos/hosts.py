"""Several machines on this one: network namespaces with addresses of their own, joined by a bridge.

    with network(Path("/tmp/somewhere")) as net:
        host = net.add_host("worker")
        host.start(["ray", "start", "--block", …], env, log)
        host.cut()            # its cable is pulled
        host.mend()
        host.power_off()      # every process in it dies at once

Hosts share the kernel and the processes' numbers with this machine. Cables, addresses and loopback are their own, and
so is one folder, `Network.own`: the same path on each, with other files. As on Debian, a host's name means loopback.
What a killed session left behind is removed by the next.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil

from tests.processes import TIMEOUT_S

_MARK = re.compile(r"^adodn-(\d+)-")
_WAIT_S = 60
_WITH_OWN = 'mount --bind "$0" "$1" && shift && exec "$@"'


class Host:
    """One machine. `Network.add_host` makes it.

    Args:
        name: Of its namespace.
        cable: The bridge's end of its cable.
        address: IPv4.
        files: Its own, as this machine sees them.
        own: Where it sees them itself.
    """

    def __init__(self, name: str, cable: str, address: str, files: Path, own: Path) -> None:
        self.name, self.address, self.files = name, address, files
        self._cable, self._own = cable, own

    def start(self, argv: Sequence[str], env: Mapping[str, str], log: Path | IO[Any] | int) -> subprocess.Popen[bytes]:
        """Run a command in it, its output to a file."""
        inside = self._inside(argv)
        if isinstance(log, Path):
            with log.open("ab") as output:
                return subprocess.Popen(inside, env=dict(env), stdout=output, stderr=output, start_new_session=True)
        return subprocess.Popen(inside, env=dict(env), stdout=log, stderr=log, start_new_session=True)

    def run(self, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command in it to its end."""
        inside = self._inside(argv)
        return subprocess.run(inside, env=dict(env), capture_output=True, text=True, timeout=TIMEOUT_S)

    def pids(self) -> list[int]:
        """All processes that run in it."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    def cut(self) -> None:
        """Pull its cable: nothing goes in or out, and nobody is told."""
        _ip("link", "set", self._cable, "down")

    def mend(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self._cable, "up")

    def lose(self, other: "Host") -> None:
        """Nothing goes between it and another host; both reach all others."""
        for here, there in ((self, other), (other, self)):
            _ip("-n", here.name, "route", "add", "blackhole", there.address)

    def find(self, other: "Host") -> None:
        """Undo `lose`."""
        for here, there in ((self, other), (other, self)):
            _ip("-n", here.name, "route", "delete", "blackhole", there.address)

    def power_off(self) -> None:
        """Kill everything in it, also what is born meanwhile.

        Raises:
            AssertionError: If something cannot be killed.
        """
        deadline = time.monotonic() + _WAIT_S
        while pids := [pid for pid in self.pids() if _runs(pid)]:
            assert time.monotonic() < deadline, f"processes {pids} of {self.name} cannot be killed"
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def _inside(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, "sh", "-c", _WITH_OWN, str(self.files), str(self._own), *argv]

    def remove(self) -> None:
        """Kill everything in it and take it off the bridge."""
        self.power_off()
        _ip("netns", "delete", self.name)
        shutil.rmtree(Path("/etc/netns") / self.name, ignore_errors=True)


class Network:
    """A bridge with this machine at its first address, and the hosts on it. Use `network()`.

    Args:
        folder: Holds the hosts' files.
    """

    def __init__(self, folder: Path) -> None:
        self.own = folder / "own"
        self.own.mkdir(parents=True)
        self._bridge = f"ad{os.getpid()}b"
        self._prefix = _free_prefix()
        self.address = f"{self._prefix}.1"
        """Of this machine, as hosts see it."""
        self.hosts: list[Host] = []
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add_host(self, name: str) -> Host:
        """One more machine, with nothing running."""
        number = len(self.hosts) + 2
        space, cable = f"adodn-{os.getpid()}-{name}", f"ad{os.getpid()}h{number}"
        files = self.own.with_name(name)
        files.mkdir()
        host = Host(space, cable, f"{self._prefix}.{number}", files, self.own)
        _own_names(space)
        _ip("netns", "add", space)
        self.hosts.append(host)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", cable, "master", self._bridge, "up")
        _ip("-n", space, "address", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", space, "link", "set", device, "up")
        return host

    def close(self) -> None:
        """Remove all hosts, whatever runs in them, and the bridge."""
        for host in self.hosts:
            host.remove()
        _ip("link", "delete", self._bridge)


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """A network of this process, removed afterwards but for its files; so is first what dead processes left behind."""
    remove_stale()
    made = Network(folder)
    try:
        yield made
    finally:
        made.close()


def not_permitted() -> str | None:
    """Why hosts cannot be made here; None: they can."""
    if shutil.which("ip") is None:
        return "there is no program `ip` (Debian: iproute2)"
    try:
        with tempfile.TemporaryDirectory() as folder, network(Path(folder)) as net:
            done = net.add_host("trial").run(["true"], os.environ)
            return done.stderr or None
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(error.cmd)}`: {error.stderr.strip()}; it takes root, or CAP_NET_ADMIN and CAP_SYS_ADMIN"


def remove_stale() -> None:
    """Remove hosts and bridges of test sessions that are no more."""
    for line in _ip("netns", "list").splitlines():
        found = _MARK.match(line)
        if found and not psutil.pid_exists(int(found[1])):
            Host(line.split()[0], "", "", Path(), Path()).remove()
    for name in re.findall(r"^\d+: (ad\d+b)[:@]", _ip("-o", "link", "show", "type", "bridge"), re.MULTILINE):
        if not psutil.pid_exists(int(name[2:-1])):
            _ip("link", "delete", name)


def _own_names(space: str) -> None:
    """What `ip netns exec` puts in place of /etc/hosts."""
    folder = Path("/etc/netns") / space
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {os.uname().nodename}\n")


def _free_prefix() -> str:
    taken = _ip("-4", "-o", "address")
    for shift in range(10_000):
        number = (os.getpid() + shift) % 10_000
        prefix = f"10.{200 + number // 200}.{number % 200}"
        if f" {prefix}." not in taken:
            return prefix
    raise AssertionError("no free addresses for a network")


def _runs(pid: int) -> bool:
    """Whether a process is more than an entry that its parent has yet to read."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
