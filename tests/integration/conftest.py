"""A registry of hand-made models, empty before and after a test."""

from collections.abc import Iterator

import pytest

from infra.stack import StackInfo


@pytest.fixture
def run_id(stack: StackInfo) -> Iterator[str]:
    """A training run, and a registry that holds no model yet."""
    # MLflow takes seconds to import, which other tests here need not wait for.
    from tests.registered import fresh_registry

    with fresh_registry() as run:
        yield run


@pytest.fixture
def two(run_id: str) -> tuple[int, int]:
    """A champion, and a better challenger."""
    from tests.registered import promote, register

    first = register(run_id, 0.10)
    promote("start")
    return first.version, register(run_id, 0.05).version
