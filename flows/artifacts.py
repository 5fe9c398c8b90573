"""Prefect's artifacts, for which no flow run fails: what the server does not take in a minute is left out, and said so.

progress = create_progress_artifact(progress=0.0, key="train-progress", description="training first")
update_progress_artifact(progress, progress=50.0)        # tried once: the next one follows soon
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec
from uuid import UUID, uuid4

import httpx
from prefect import artifacts, get_run_logger
from prefect.exceptions import ObjectNotFound
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

_PATIENCE_S = 60.0
"""A server that is started again takes half a minute."""
_P = ParamSpec("_P")


def _patient(publish: Callable[_P, Any], patience_s: float = _PATIENCE_S) -> Callable[_P, UUID]:
    """The same function, answering the artifact's id; of one that could not be published, an id that nobody has."""

    @wraps(publish)
    def published(*args: _P.args, **kwargs: _P.kwargs) -> UUID:
        attempts = Retrying(
            stop=stop_after_delay(patience_s),
            wait=wait_fixed(2),
            retry=retry_if_exception_type(httpx.HTTPError),
            reraise=True,
        )
        try:
            found = attempts(publish, *args, **kwargs)
        except (httpx.HTTPError, ObjectNotFound) as error:
            get_run_logger().warning("left out artifact %s: %r", kwargs.get("key", ""), error)
            return uuid4()
        assert isinstance(found, UUID)  # Prefect types this as maybe a coroutine; outside async code it is not
        return found

    return published


create_image_artifact = _patient(artifacts.create_image_artifact)
create_link_artifact = _patient(artifacts.create_link_artifact)
create_markdown_artifact = _patient(artifacts.create_markdown_artifact)
create_progress_artifact = _patient(artifacts.create_progress_artifact)
create_table_artifact = _patient(artifacts.create_table_artifact)
update_progress_artifact = _patient(artifacts.update_progress_artifact, patience_s=0.0)
