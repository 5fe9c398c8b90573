"""The hook that `ray start` calls through `RAY_START_HOOK` before it starts a head. Nothing else imports it."""

from typing import Any


def without_client_server(ray_params: Any, head: bool) -> None:
    """Leave out the Ray Client server: jobs are submitted over HTTP, and its fixed port is one more to clash."""
    ray_params.ray_client_server_port = None
