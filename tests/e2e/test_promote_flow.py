"""Deployment `promote-adodn` by its bare name, on models made by hand.

pytest tests/e2e/test_promote_flow.py
"""

import json
from collections.abc import Iterator

import pytest

from adodn import registry
from tests.prefect_client import flow_run, prefect, run_id
from tests.registered import NAME, fresh_registry, holder, register

pytestmark = [pytest.mark.integration, pytest.mark.e2e]

ERRORS_ALONE = {"gate": {"primary": {"dataset": "rendered"}}}
"""The models here are none that a config builds, so nothing is asked of networks."""


@pytest.fixture
def training(deployed: None) -> Iterator[str]:
    """A training run, and a registry that holds no model yet."""
    with fresh_registry() as run:
        yield run


def test_the_bare_name_promotes_and_a_refusal_fails_the_run(training: str) -> None:
    """A better challenger becomes champion; one that the gate refuses leaves a failed flow run with the reason."""
    first = register(training, 0.10)
    words = ("deployment", "run", "promote-adodn", "--watch")

    done = prefect(*words, "--params", json.dumps(ERRORS_ALONE))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert holder() == first.version
    entry = registry.audit(NAME)[-1]
    assert entry.why.startswith(f"flow run {flow_run(run_id(done.stdout))['name']} (the first champion")

    register(training, 0.11)
    refused = prefect(*words, "--params", json.dumps(ERRORS_ALONE))
    assert refused.returncode == 1
    state = flow_run(run_id(refused.stdout))["state"]
    assert state["type"] == "FAILED" and "not better: rendered/all nme" in state["message"]
    assert holder() == first.version
