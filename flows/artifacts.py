"""Prefect's artifacts, for which no flow run fails: what the server does not take is left out, and the log says so.

progress = create_progress_artifact(progress=0.0, key="train-progress", description="training first")
update_progress_artifact(progress, progress=50.0)

Prefect's client itself tries again for a minute, which outlasts a server that is started anew.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec
from uuid import UUID, uuid4

import httpx
from prefect import artifacts, get_run_logger
from prefect.exceptions import ObjectNotFound

from adodn import settings

_P = ParamSpec("_P")


def _dispensable(publish: Callable[_P, Any]) -> Callable[_P, UUID]:
    """The same function, answering the artifact's id; of one that could not be published, an id that nobody has."""

    @wraps(publish)
    def published(*args: _P.args, **kwargs: _P.kwargs) -> UUID:
        try:
            found = publish(*args, **kwargs)
        except (httpx.HTTPError, ObjectNotFound) as error:
            get_run_logger().warning("%s left out: %r", kwargs.get("key", "the artifact's progress"), error)
            return uuid4()
        assert isinstance(found, UUID)  # Prefect types this as maybe a coroutine; outside async code it is not
        return found

    return published


create_image_artifact = _dispensable(artifacts.create_image_artifact)
create_markdown_artifact = _dispensable(artifacts.create_markdown_artifact)
create_progress_artifact = _dispensable(artifacts.create_progress_artifact)
create_table_artifact = _dispensable(artifacts.create_table_artifact)
update_progress_artifact = _dispensable(artifacts.update_progress_artifact)
_create_link_artifact = _dispensable(artifacts.create_link_artifact)


def create_link_artifact(*, link: str, link_text: str, key: str) -> UUID:
    """A link as browsers reach it, who may not be where flows are."""
    return _create_link_artifact(link=settings.get().as_link(link), link_text=link_text, key=key)
