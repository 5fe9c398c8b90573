"""The repository's deployments, made once for all tests of the whole chain."""

import pytest

from infra import deployments
from infra.stack import StackInfo


@pytest.fixture(scope="session")
def deployed(stack: StackInfo) -> None:
    """The deployments of prefect.yaml, on the stack's server."""
    deployments.deploy()
