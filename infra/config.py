"""What the local stack is told: ports, Ray's share of the machine, databases, secrets. It starts nothing.

config = StackConfig.wanted(StackFolder(home()))      # from ADODN_PORT_… and ADODN_RAY_…, secrets made once
config = StackConfig.recorded(StackFolder(home()))    # what the running stack was started with
"""

import json
import os
import socket
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adodn.errors import StackError
from infra.credentials import Credentials
from infra.databases import SQLITE, Databases
from infra.folder import StackFolder

HOST = "127.0.0.1"
BUCKETS = ("adodn", "mlflow")
_SHARED = ip_network("100.64.0.0/10")
"""Not routed on the internet, and what overlay networks give out; Python does not count it as private."""
TWIN_OFFSET = 10_000
"""SeaweedFS opens a gRPC port this far above every HTTP port."""

Port = Annotated[int, Field(ge=1024, le=65535)]
TwinnedPort = Annotated[int, Field(ge=1024, le=65535 - TWIN_OFFSET)]


class StackPorts(BaseSettings):
    """The ports of the local stack; `ADODN_PORT_S3=9333` and the like change them."""

    model_config = SettingsConfigDict(env_prefix="ADODN_PORT_", frozen=True, extra="forbid")

    s3: TwinnedPort = 8333
    s3_master: TwinnedPort = 9333
    s3_filer: TwinnedPort = 8888
    s3_volume: TwinnedPort = 9340
    s3_admin: TwinnedPort = 8646
    prefect: Port = 4200
    mlflow: Port = 5500
    ray_gcs: Port = 6380
    ray_dashboard: Port = 8265

    @model_validator(mode="after")
    def _are_distinct(self) -> "StackPorts":
        twice = [port for port, count in Counter(port for port, _ in self.opened()).items() if count > 1]
        if twice:
            raise ValueError(f"port {twice[0]} is given twice, counting the twins at +{TWIN_OFFSET} of the s3 ports")
        return self

    def opened(self) -> list[tuple[int, str]]:
        """Every port that will be listened on, with the field it comes from; twins included."""
        fields = self.model_dump()
        twins = [(port + TWIN_OFFSET, name) for name, port in fields.items() if name.startswith("s3")]
        return [(port, name) for name, port in fields.items()] + twins


class RayShare(BaseSettings):
    """How much of the machine Ray may hand out, and to whom; `ADODN_RAY_NUM_CPUS`, `ADODN_RAY_HOST` and the like."""

    model_config = SettingsConfigDict(env_prefix="ADODN_RAY_", frozen=True, extra="ignore")

    num_cpus: Annotated[int, Field(ge=1)] = os.cpu_count() or 1
    object_store_bytes: Annotated[int, Field(ge=80_000_000)] = 300_000_000
    """Shared memory for objects. Batches never travel through it, so little is enough."""
    host: str = HOST
    """Address of this machine at which others may take part in its Ray (`adodn join`); by default none may."""

    @field_validator("host")
    @classmethod
    def _is_private(cls, host: str) -> str:
        address = ip_address(host)
        if address.is_unspecified or address.is_multicast or not (address.is_private or address in _SHARED):
            raise ValueError(
                f"must be an address of this machine in a private network, for Ray does not encrypt: {host}"
            )
        return host


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """All that the services are started with."""

    folder: StackFolder
    ports: StackPorts
    ray: RayShare
    credentials: Credentials = field(repr=False)
    databases: Databases = field(default=SQLITE, repr=False)

    @classmethod
    def wanted(cls, folder: StackFolder) -> "StackConfig":
        """From the environment; secrets are those of `stack.env`, or new ones.

        Raises:
            StackError: a port, a share or a database is not allowed.
        """
        try:
            known = _read_env(folder)
            secrets, databases = Credentials.of(known), Databases.wanted(known)
            return cls(folder=folder, ports=StackPorts(), ray=RayShare(), credentials=secrets, databases=databases)
        except ValidationError as error:
            raise not_allowed(error) from error

    @classmethod
    def recorded(cls, folder: StackFolder) -> "StackConfig":
        """What the last `adodn up` wrote down.

        Raises:
            StackError: there is no record, or it cannot be read, or secrets are missing.
        """
        try:
            record = json.loads(folder.record.read_text(encoding="utf-8"))
            ports, ray = StackPorts(**record["ports"]), RayShare(**record["ray"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StackError(f"the stack's record {folder.record} cannot be read ({error}); run: adodn up") from error
        known = _read_env(folder)
        secrets, databases = Credentials.of(known), Databases.recorded(known)
        if missing := sorted(set(secrets.lines()) - set(known)):
            raise StackError(
                f"{folder.env} lacks {', '.join(missing)}, as one of an older adodn does; run: adodn down; adodn up"
            )
        return cls(folder=folder, ports=ports, ray=ray, credentials=secrets, databases=databases)

    def save(self) -> None:
        """Write `stack.json` (ports, shares), `stack.env` and `node.env` (endpoints, secrets: see `adodn.settings`)."""
        record = {"ports": self.ports.model_dump(), "ray": self.ray.model_dump()}
        self.folder.write_private(self.folder.record, json.dumps(record, indent=2) + "\n")
        lines = {**_read_env(self.folder), **self._endpoints(), **self.credentials.lines(), **self.databases.lines()}
        self.folder.write_private(self.folder.env, _env_text(lines))
        self.folder.write_private(self.folder.node_env, _env_text(self._endpoints() | self.credentials.of_a_node()))

    def _endpoints(self) -> dict[str, str]:
        return {
            "ADODN_S3_ENDPOINT_URL": self.url("s3"),
            "ADODN_MLFLOW_TRACKING_URI": self.url("mlflow"),
            "ADODN_PREFECT_API_URL": self.url("prefect") + "/api",
            "ADODN_RAY_ADDRESS": self.ray_address,
            "ADODN_RAY_DASHBOARD_URL": self.url("ray_dashboard"),
        }

    @property
    def ray_address(self) -> str:
        """Of Ray's head, `HOST:PORT`."""
        return f"{self.ray.host}:{self.ports.ray_gcs}"

    def url(self, port_name: str) -> str:
        """`http://127.0.0.1:PORT` of a field of `StackPorts`."""
        return f"http://{HOST}:{getattr(self.ports, port_name)}"


def not_allowed(error: ValidationError) -> StackError:
    """What is wrong with variables of ports or of Ray's share, in one sentence."""
    reasons = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'ports'}: {e['msg']}" for e in error.errors())
    return StackError(
        f"the stack's settings are not allowed: {reasons}. Change the ADODN_PORT_… or ADODN_RAY_… variables."
    )


def _env_text(lines: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def require_free(ports: StackPorts, ray_host: str = HOST) -> None:
    """Check that nothing listens on a port that the stack will open.

    Raises:
        StackError: a port is taken; names it, the service, and the variable that changes it. Or this machine has not
            the address that its Ray shall have.
    """
    if ray_host != HOST and _is_taken(ports.ray_gcs, ray_host):
        raise StackError(
            f"ADODN_RAY_HOST must be an address of this machine where port {ports.ray_gcs} is free, got {ray_host!r}"
        )
    for port, name in ports.opened():
        if _is_taken(port):
            twin = "" if getattr(ports, name) == port else f" (the gRPC twin of {port - TWIN_OFFSET})"
            raise StackError(
                f"port {port}{twin}, which the service {name.split('_')[0]!r} needs on {HOST}, is taken by another "
                f"process; stop that, or choose another port with the environment variable ADODN_PORT_{name.upper()}"
            )


def _is_taken(port: int, host: str = HOST) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _read_env(folder: StackFolder) -> dict[str, str]:
    if not folder.env.exists():
        return {}
    lines = (line.partition("=") for line in folder.env.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}
