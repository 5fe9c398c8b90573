"""The compose file runs what the cluster runs: the same commands, variables and ports, published on loopback alone.

pytest tests/unit/test_compose.py
"""

import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from adodn.errors import StackError
from infra import cluster_secrets
from infra.cluster_secrets import COMPOSE
from infra.deployments import ROOT
from tests.manifests import COMPOSE_FILE, command, places, pod, variables

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
SAME = {
    "postgres": ("postgres", 0),
    "s3": ("s3", 0),
    "s3-gateway": ("s3", 1),
    "prefect": ("prefect", 0),
    "worker": ("prefect-worker", 0),
    "mlflow": ("mlflow", 0),
}
"""Services and the cluster's containers that do the same: a pod, and which of its containers."""
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
OWN = {"PGDATA"}
"""Only the cluster's volume has a folder of the file system's own in it."""


def container_of(service: str) -> dict[str, Any]:
    name, number = SAME[service]
    return pod(name).containers()[number]


def environment_of(service: str) -> dict[str, str | tuple[str, str]]:
    """Plain values, and (Secret, key) for secret ones."""
    asked = SERVICES[service]
    found: dict[str, str | tuple[str, str]] = dict(asked.get("environment", {}))
    files = asked.get("env_file", [])
    for file in [files] if isinstance(files, str) else files:
        found |= places() if file.endswith("places.env") else COMPOSE[Path(file).name]
    return found


@pytest.mark.parametrize("service", list(SAME))
def test_a_service_is_what_the_cluster_runs(service: str) -> None:
    """Image, words and variables; only the worker's name says where it is."""
    container = container_of(service)
    words = [str(word) for word in SERVICES[service].get("command", [])]

    assert SERVICES[service]["image"] == container["image"]
    assert ["cluster" if word == "compose" else word for word in words] == command(container)
    expected = variables(container, cluster_secrets.fresh())
    assert environment_of(service) == {name: value for name, value in expected.items() if name not in OWN}


def test_ray_has_the_variables_of_the_clusters_nodes() -> None:
    """And the token, which KubeRay adds there."""
    head = pod("adodn.headGroupSpec").containers()[0]
    added = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": ("ray-auth", "auth_token")}

    assert environment_of("ray") == variables(head, cluster_secrets.fresh()) | added
    assert SERVICES["ray"]["networks"]["default"]["aliases"] == ["adodn-head-svc"]


@pytest.mark.parametrize("service", list(SERVICES))
def test_a_service_has_no_rights_and_is_published_on_loopback_only(service: str) -> None:
    """No capability, no way to more, a limit of memory; and no port of the machine but on 127.0.0.1."""
    asked = SERVICES[service]

    assert asked["cap_drop"] == ["ALL"]
    assert asked["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} == set(asked["deploy"]["resources"]["limits"])
    for port in asked.get("ports", []):
        address, outside, inside = port.split(":")
        assert address == "127.0.0.1" and outside == inside
    assert service == "s3" or "healthcheck" in asked


@pytest.mark.parametrize("service", list(SERVICES))
def test_a_service_starts_on_two_cores(service: str) -> None:
    """Unless it is asked for more: Docker refuses a limit above what the machine has."""
    limit = SERVICES[service]["deploy"]["resources"]["limits"]["cpus"]

    assert float(VARIABLE.sub(r"\2", limit)) <= 2


def test_ray_hands_out_what_its_container_may_use() -> None:
    """The one variable is both, so that no worker waits for cores that another has."""
    limits = SERVICES["ray"]["deploy"]["resources"]["limits"]

    assert VARIABLE.fullmatch(limits["cpus"]) and VARIABLE.fullmatch(limits["memory"])
    assert f"--num-cpus={limits['cpus']}" in SERVICES["ray"]["command"]
    assert "ADODN_RAY_NUM_CPUS" in limits["cpus"]  # as the local stack's share is called
    assert all(name in (ROOT / "infra/README.md").read_text() for name in ("ADODN_RAY_NUM_CPUS", "ADODN_RAY_MEMORY"))


def test_the_secrets_are_files_in_a_closed_folder(tmp_path: Path) -> None:
    """Every file that the compose file names, once; a second time is refused and changes nothing."""
    folder = tmp_path / "secrets"
    made = cluster_secrets.fresh()

    cluster_secrets.write_compose(made, folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == set(COMPOSE)
    text = COMPOSE_FILE.read_text()
    assert [name for name in COMPOSE if f"secrets/{name}" not in text] == []
    assert made["ray-auth"]["auth_token"] in (folder / "ray.env").read_text()
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in COMPOSE if name.endswith(".env")} == {0o600}
    before = (folder / "ray.env").read_text()
    with pytest.raises(StackError, match="is there already"):
        cluster_secrets.write_compose(cluster_secrets.fresh(), folder)
    assert (folder / "ray.env").read_text() == before


def test_secrets_are_new_each_time_and_long() -> None:
    """At least 128 random bits for whatever is secret, and never the same twice."""
    first, second = cluster_secrets.fresh(), cluster_secrets.fresh()

    shared = {
        (name, key) for name, values in first.items() for key, value in values.items() if value == second[name][key]
    }
    assert shared == {("mlflow-client", "USERNAME")}
    secret = [value for name, values in first.items() for key, value in values.items() if "USERNAME" not in key]
    assert min(map(len, secret)) >= 20


def test_the_gateways_keyless_port_is_not_published_and_said() -> None:
    """weed opens it ten thousand above S3's, on the same address."""
    published = [port for asked in SERVICES.values() for port in asked.get("ports", [])]

    assert not [port for port in published if "18333" in port]
    for page in (COMPOSE_FILE, ROOT / "infra/SECURITY.md", ROOT / "infra/kubernetes/README.md"):
        assert "18333" in page.read_text(), page


def test_the_readme_says_where_dns_must_be() -> None:
    """The policy that lets pods ask for names holds for the usual place alone."""
    text = (ROOT / "infra/kubernetes/README.md").read_text()

    assert "NodeLocal" in text and "openshift-dns" in text
