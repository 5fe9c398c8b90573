"""This machine as one more node of another machine's Ray: what `adodn join` becomes, given that machine's `node.env`.

    become_node(settings.get(), num_cpus=8)      # does not return

Only Ray goes between machines by itself, with its token. S3 and MLflow are asked where `stack.env` says.
"""

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from pydantic import ValidationError

from adodn.errors import StackError
from adodn.settings import Settings
from infra import addresses
from infra.config import HOST, RayShare, not_allowed

_ANSWER_S = 10.0


def become_node(places: Settings, num_cpus: int | None) -> NoReturn:
    """Check that all is reached that a training needs, then execute `ray start` in this process's place.

    Args:
        places: From the first machine's `node.env`.
        num_cpus: What Ray may hand out of this machine; None: all of them, or `ADODN_RAY_NUM_CPUS`.

    Raises:
        StackError: Ray, S3 or MLflow does not answer where `stack.env` says, Ray there is for that machine alone, or
            its share of this one is not allowed.
    """
    try:
        share = RayShare() if num_cpus is None else RayShare(num_cpus=num_cpus)
    except ValidationError as error:
        raise not_allowed(error) from error
    own = _require_all(places)
    argv = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats"]
    argv += ["--address", places.ray_address, "--node-ip-address", own, "--num-cpus", str(share.num_cpus)]
    argv += ["--object-store-memory", str(share.object_store_bytes), "--min-worker-port", "0", "--max-worker-port", "0"]
    if reachable := addresses.public_addresses():
        sys.stderr.write(addresses.warning(reachable) + "\n")
    token = places.ray_auth_token.get_secret_value()
    os.execve(argv[0], argv, {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})


def _require_all(places: Settings) -> str:
    """Answers the address of this machine by which it reaches Ray's head."""
    if places.ray_address.rpartition(":")[0] in ("", HOST, "localhost"):
        raise StackError(
            f"Ray's head must have an address that other machines reach, stack.env says {places.ray_address!r}; on the "
            "first machine run `ADODN_RAY_HOST=ITS_ADDRESS adodn up`; its node.env is the stack.env in $ADODN_HOME here"
        )
    _answer("S3", places.s3_endpoint_url)
    _answer("MLflow", places.mlflow_tracking_uri)
    return _answer("Ray", f"ray://{places.ray_address}")


def _answer(service: str, url: str) -> str:
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        with socket.create_connection((place.hostname or "", port), timeout=_ANSWER_S) as answered:
            return str(answered.getsockname()[0])
    except OSError as error:
        tunnel = f"; if it is the first machine's own: ssh -N -L {port}:{HOST}:{port} FIRST_MACHINE"
        raise StackError(
            f"{service} does not answer at {place.hostname}:{port}, as stack.env has it: {error}"
            f"{tunnel if place.hostname in (HOST, 'localhost') else ''}"
        ) from error
