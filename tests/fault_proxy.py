"""A proxy between a client and the real S3 server, which spoils requests by a script. In this process, one thread each.

    with FaultProxy(store.endpoint_url) as proxy:
        proxy.spoil("GET", "train-000000.tar", answer(503, "SlowDown"), times=2)   # the first two, then all is well
        through = replace(store, endpoint_url=proxy.url, deadline_s=1, read_timeout_s=0.2, pause_s=0.01)
        through.get("s3://adodn/…/train-000000.tar")
        assert proxy.seen("GET", "train-000000.tar") == 3

What a fault does not say, goes through: signatures hold, because the host's name is passed on as the client wrote it.
"""

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, NoReturn, Self
from urllib.parse import urlsplit


class _EndedError(Exception):
    """A fault closes the connection."""


@dataclass
class Exchange:
    """One request as it came, and both ways on."""

    client: socket.socket
    upstream: tuple[str, int]
    head: bytes
    """Request line and headers, with the blank line."""
    body: bytes

    def forward(self) -> tuple[bytes, bytes]:
        """Head and body of the server's answer."""
        method, target, _ = self.head.split(b"\r\n", 1)[0].decode().split(" ")
        connection = http.client.HTTPConnection(*self.upstream, timeout=30)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for line in self.head.split(b"\r\n")[1:-2]:
            name, _, value = line.decode().partition(":")
            if name.lower() not in ("expect", "connection"):
                connection.putheader(name, value.strip())
        connection.endheaders(self.body)
        answer = connection.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        if "content-length" not in {name.lower() for name, _ in kept}:
            kept.append(("Content-Length", str(len(content))))
        connection.close()
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{name}: {value}" for name, value in kept), "", ""]
        return "\r\n".join(lines).encode(), content

    def end(self) -> NoReturn:
        """Close the connection in order."""
        raise _EndedError

    def reset(self) -> NoReturn:
        """Close the connection so that the client sees a reset, not an end."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _EndedError


_HOP_BY_HOP = {"transfer-encoding", "connection", "keep-alive"}
Fault = Callable[[Exchange], None]


def passed_on(exchange: Exchange) -> None:
    """No fault."""
    head, body = exchange.forward()
    exchange.client.sendall(head + body)


def answer(status: int, code: str) -> Fault:
    """An S3 error in place of the server's answer; the server hears nothing."""

    def fault(exchange: Exchange) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>by the test</Message></Error>".encode()
        head = f"HTTP/1.1 {status} x\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        exchange.client.sendall(head.encode() + (b"" if exchange.head.startswith(b"HEAD") else body))

    return fault


def late(seconds: float) -> Fault:
    """The right answer, after a while."""

    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        passed_on(exchange)

    return fault


def reset_at_once(exchange: Exchange) -> None:
    """Reset before the server hears of it."""
    exchange.reset()


def reset_in_request(share: float = 0.5) -> Fault:
    """The server gets the head and a part of the body, then both connections break."""

    def fault(exchange: Exchange) -> None:
        with socket.create_connection(exchange.upstream) as server:
            server.sendall(exchange.head + exchange.body[: int(len(exchange.body) * share)])
        exchange.reset()

    return fault


def lost_answer(exchange: Exchange) -> None:
    """The server does all that was asked, and the client never hears of it."""
    exchange.forward()
    exchange.reset()


def reset_in_answer(share: float = 0.5) -> Fault:
    """A part of the answer's body, then a reset."""

    def fault(exchange: Exchange) -> None:
        head, body = exchange.forward()
        exchange.client.sendall(head + body[: int(len(body) * share)])
        time.sleep(0.05)  # a reset at once would discard what is on the way
        exchange.reset()

    return fault


def cut_answer(share: float = 0.5) -> Fault:
    """A part of the answer's body under the right Content-Length, then an orderly end."""

    def fault(exchange: Exchange) -> None:
        head, body = exchange.forward()
        exchange.client.sendall(head + body[: int(len(body) * share)])
        exchange.end()

    return fault


def wrong_length(change: int) -> Fault:
    """The whole body under a Content-Length that is too large or, below 0, too small; then an orderly end."""

    def fault(exchange: Exchange) -> None:
        head, body = exchange.forward()
        claimed = b"Content-Length: %d" % (len(body) + change)
        exchange.client.sendall(re.sub(rb"(?i)content-length: \d+", claimed, head) + body)
        exchange.end()

    return fault


def flipped_bit(exchange: Exchange) -> None:
    """The answer with one bit of its body's middle byte turned over."""
    head, body = exchange.forward()
    middle = len(body) // 2
    exchange.client.sendall(head + body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :])


def stall(seconds: float, share: float = 0.0) -> Fault:
    """Head and a part of the answer's body, then silence, then a reset; with no share not even the head."""

    def fault(exchange: Exchange) -> None:
        if share:
            head, body = exchange.forward()
            exchange.client.sendall(head + body[: int(len(body) * share)])
        time.sleep(seconds)
        exchange.reset()

    return fault


def drip(bytes_per_s: float) -> Fault:
    """The right answer, slower than anyone would wait for, but never silent for long."""

    def fault(exchange: Exchange) -> None:
        head, body = exchange.forward()
        exchange.client.sendall(head)
        pause = 0.02
        size = max(1, int(bytes_per_s * pause))
        for start in range(0, len(body), size):
            exchange.client.sendall(body[start : start + size])
            time.sleep(size / bytes_per_s)

    return fault


@dataclass
class _Rule:
    method: str
    key_end: str
    fault: Fault
    left: int


@dataclass
class FaultProxy:
    """Listens on a port of its own on loopback while it is entered.

    A request is spoiled by the first rule, in the order they were given, that fits it and is not used up.
    """

    target: str
    """Address of the real server, `http://HOST:PORT`."""
    _rules: list[_Rule] = field(default_factory=list)
    _log: list[tuple[str, str]] = field(default_factory=list)

    def spoil(self, method: str, key_end: str, fault: Fault, *, times: int = 1) -> None:
        """Spoil the next requests of a method whose path ends so."""
        self._rules.append(_Rule(method, key_end, fault, times))

    def mend(self) -> None:
        """Forget all rules, and what was seen."""
        with self._lock:
            self._rules.clear()
            self._log.clear()

    def seen(self, method: str, key_end: str) -> int:
        """How many such requests came."""
        with self._lock:
            return sum(m == method and path.endswith(key_end) for m, path in self._log)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone does not wake the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        url = urlsplit(self.target)
        try:
            with client, client.makefile("rb") as lines:
                while (exchange := _read(client, lines, (str(url.hostname), int(url.port or 80)))) is not None:
                    self._fault(exchange)(exchange)
        except (_EndedError, OSError):
            pass  # OSError: the client has gone, as a client of a spoiled answer may

    def _fault(self, exchange: Exchange) -> Fault:
        method, target, _ = exchange.head.split(b"\r\n", 1)[0].decode().split(" ")
        path = urlsplit(target).path
        with self._lock:
            self._log.append((method, path))
            for rule in self._rules:
                if rule.left > 0 and rule.method == method and path.endswith(rule.key_end):
                    rule.left -= 1
                    return rule.fault
        return passed_on


def _read(client: socket.socket, lines: BinaryIO, upstream: tuple[str, int]) -> Exchange | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line: bytes = lines.readline()
        if not line:
            return None
        head += line
    if b"100-continue" in head.lower():
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    body: bytes = lines.read(int(length[1])) if length else b""
    return Exchange(client, upstream, head, body)
