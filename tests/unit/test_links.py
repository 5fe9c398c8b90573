"""Links on Prefect's pages lead where browsers can follow.

pytest tests/unit/test_links.py
"""

import pytest

from adodn import settings
from adodn.settings import Settings
from flows import artifacts
from tests.manifests import places

MLFLOW, RAY = "http://mlflow:5500", "http://adodn-head-svc:8265"


@pytest.mark.parametrize(
    ("reached", "seen"),
    [
        (RAY, "http://127.0.0.1:8265"),
        (MLFLOW, "http://127.0.0.1:5500"),
        (f"{MLFLOW}/#/experiments/1/runs/2", "http://127.0.0.1:5500/#/experiments/1/runs/2"),
        (f"{MLFLOW}1/#/models/x", f"{MLFLOW}1/#/models/x"),
        ("https://example.com/", "https://example.com/"),
    ],
)
def test_a_clusters_addresses_are_not_a_browsers(monkeypatch: pytest.MonkeyPatch, reached: str, seen: str) -> None:
    """As places.env has them; addresses of others stay as they are."""
    for name, value in places().items():
        monkeypatch.setenv(name, value)
    given: list[str] = []
    monkeypatch.setattr(settings, "get", Settings)
    monkeypatch.setattr(artifacts, "_create_link_artifact", lambda **known: given.append(known["link"]))

    artifacts.create_link_artifact(link=reached, link_text="a link", key="a-link")

    assert given == [seen]


def test_without_such_addresses_links_are_as_reached() -> None:
    """On one machine they are the same."""
    found = Settings(mlflow_tracking_uri=f"{MLFLOW}/", ray_dashboard_url=RAY)

    assert [found.as_link(url) for url in (f"{MLFLOW}/#/x", RAY)] == [f"{MLFLOW}/#/x", RAY]
    public = Settings(mlflow_tracking_uri=f"{MLFLOW}/", mlflow_public_url="https://ml.example.com/mlflow/")
    assert public.as_link(f"{MLFLOW}/#/x") == "https://ml.example.com/mlflow/#/x"
