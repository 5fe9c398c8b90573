"""Reads files of the public web over https, and nothing of the network that this machine stands in.

content = read("https://example.org/resnet18.pth", max_bytes=2_000_000_000)

An address that a user is given may point at a cloud's metadata (169.254.169.254), at a service on loopback or at a
machine behind the firewall, by itself, by a name, or by a redirection. So each host on the way must have public
addresses alone, and what was connected to is looked at before anything is asked of it.
"""

import ipaddress
import socket
import urllib.request
from http.client import HTTPMessage, HTTPSConnection
from typing import IO, Any
from urllib.parse import urlsplit

_TIMEOUT_S = 60.0
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def read(url: str, *, max_bytes: int) -> bytes:
    """The bytes at an address.

    Raises:
        OSError: If it may not be read, cannot be, or is larger.
    """
    _check(url)
    with urllib.request.build_opener(_Https, _Redirections).open(url, timeout=_TIMEOUT_S) as response:
        content = bytes(response.read(max_bytes + 1))
    if len(content) > max_bytes:
        raise OSError(f"it has more than {max_bytes} bytes")
    return content


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, as it stands or as IPv6 wraps it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(ip.packed[-4:]) if ip in _NAT64 else ip)
    return ip.is_global and not ip.is_multicast


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise OSError(f"{url!r} must be https://HOST/…, without a user name")
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return  # not known here: a proxy may know it, else connecting says so
    for *_, address in found:
        _require_public(str(address[0]), parts.hostname)


def _require_public(address: str, host: str) -> None:
    if not is_public(address):
        raise OSError(f"{host!r} is {address}, which is no address of the public internet; fetch the file yourself")


class _Connection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # A name may have become another address since it was looked up. A proxy's address says nothing of the host.
        if not getattr(self, "_tunnel_host", None):
            _require_public(self.sock.getpeername()[0], self.host)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Connection, req)


class _Redirections(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
