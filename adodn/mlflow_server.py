"""An MLflow server as others reach it: a client that does not hang, and one clear error for whatever goes wrong.

    with reaching(uri, "find run 'first'"):
        run = client_of(uri).get_run(run_id)

Importing this module takes seconds, because MLflow does; import it where it is used.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from adodn import settings
from adodn.errors import TrackingAwayError, TrackingError

_T = TypeVar("_T")
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Some 7 s of retries, where MLflow's own defaults hold a caller for minutes when the server is down; and nothing
printed, since standard output is for `--json`."""
_CONNECT_S = 5.0


def client_of(uri: str) -> MlflowClient:
    """A client of the server at that address, which is there.

    Raises:
        TrackingError: If nothing listens.
    """
    prepare()
    address = urlsplit(uri)
    if address.scheme in ("http", "https"):
        port = address.port or (443 if address.scheme == "https" else 80)
        with (
            reaching(uri, "connect"),
            socket.create_connection((address.hostname or "", port), timeout=_CONNECT_S),
        ):
            pass
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def prepare() -> None:
    """Have MLflow's own clients in this process sign in, and give up early; it asks no server."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(sign_in(settings.get()))


def sign_in(places: settings.Settings) -> dict[str, str]:
    """The variables by which MLflow's own clients sign in; MLflow reads them at every request, and nothing else."""
    if not places.mlflow_username:
        return {}
    password = places.mlflow_password.get_secret_value()
    return {"MLFLOW_TRACKING_USERNAME": places.mlflow_username, "MLFLOW_TRACKING_PASSWORD": password}


@contextmanager
def reaching(uri: str, doing: str) -> Iterator[None]:
    """Turn whatever MLflow and the network raise inside into one clear error.

    Raises:
        TrackingError: Naming the address, what was being done, and the way out.
    """
    try:
        yield
    except (MlflowException, OSError) as cause:
        raise explained(cause, uri, doing) from cause


def patiently(uri: str, doing: str, call: Callable[[], _T], patience_s: float) -> _T:
    """Call again while the server is away, for so long.

    Raises:
        TrackingError: If the server refuses or stays away.
    """
    attempts = Retrying(
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(1),
        retry=retry_if_exception_type(TrackingAwayError),
        reraise=True,
    )
    return attempts(reaching(uri, doing)(call))


def explained(cause: Exception, uri: str, doing: str) -> TrackingError:
    """What MLflow or the network raised, as one clear error."""
    if is_outage(cause):
        return TrackingAwayError(
            f"MLflow at {uri!r} could not be reached (to {doing}): {type(cause).__name__}; "
            f"start it with `adodn up`, or set ADODN_MLFLOW_TRACKING_URI to where it is"
        )
    return TrackingError(f"MLflow at {uri!r} refused to {doing}: {cause}{_way_out(cause)}")


def _way_out(cause: Exception) -> str:
    status = cause.get_http_status_code() if isinstance(cause, MlflowException) else 0
    if "Invalid Host header" in str(cause):
        return (
            "; the server does not know itself by that name: start it with `mlflow server --allowed-hosts HOST:PORT`, "
            "or set ADODN_MLFLOW_TRACKING_URI to a name that it allows"
        )
    if status in (401, 403) or "error code 401" in str(cause):
        return "; check ADODN_MLFLOW_USERNAME and ADODN_MLFLOW_PASSWORD"
    return ""


def is_outage(cause: BaseException) -> bool:
    """Whether the same call may well succeed a little later."""
    if isinstance(cause, RestException):
        return bool(cause.get_http_status_code() >= 500)
    return isinstance(cause, OSError) or (isinstance(cause, MlflowException) and isinstance(cause.__context__, OSError))
