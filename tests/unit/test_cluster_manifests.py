"""What no schema sees in the cluster's manifests: that names, ports, secrets, versions and rights agree.

pytest tests/unit/test_cluster_manifests.py
"""

import configparser
import re
import shlex
import tomllib
from typing import Any

import click
import pytest
import typer
from mlflow import environment_variables as mlflow_variables
from prefect.settings import Settings as PrefectSettings
from prefect.settings.base import PrefectBaseSettings
from pydantic import AliasChoices

from adodn import cli
from adodn.settings import Settings
from infra import cluster_secrets
from infra.deployments import ROOT
from tests.manifests import (
    FOLDER,
    Pod,
    addresses,
    command,
    kustomization,
    places,
    pod,
    pods,
    resource,
    resources,
    variables,
)

MADE = cluster_secrets.fresh()
PODS = pods()
CONTAINERS = [(one, container) for one in PODS for container in one.containers()]
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
)
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH_STRING|ACCESS_KEY")
ALLOWED = {
    ("prefect", "postgres", 5432),
    ("prefect-worker", "prefect", 4200),
    ("prefect-worker", "postgres", 5432),
    ("prefect-worker", "s3", 8333),
    ("prefect-worker", "mlflow", 5500),
    ("prefect-worker", "ray", 8265),
    ("mlflow", "postgres", 5432),
    ("mlflow", "s3", 8333),
    ("ray", "ray", None),
    ("ray", "postgres", 5432),
    ("ray", "s3", 8333),
    ("ray", "mlflow", 5500),
    ("ray-submitter", "ray", 8265),
}
"""Who may speak to whom on which port, and nobody else to anybody."""


def test_all_workloads_are_looked_at() -> None:
    """The pods of services, of Ray's nodes, and of the job that submits."""
    assert {one.app for one in PODS} == {
        *("postgres", "s3", "prefect", "prefect-worker", "mlflow", "ray", "ray-submitter"),
    }
    assert len(PODS) == 10


@pytest.mark.parametrize("one", PODS, ids=lambda one: one.name)
def test_pods_have_no_rights(one: Pod) -> None:
    """As the `restricted` standard of the namespace wants it, and no token of Kubernetes' API, nor stray variables."""
    assert one.spec["automountServiceAccountToken"] is False
    assert one.spec["enableServiceLinks"] is False
    assert one.spec["securityContext"]["runAsNonRoot"] is True
    assert one.spec["securityContext"]["runAsUser"] >= 999
    assert one.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in one.containers():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in container["securityContext"]
    assert not any("hostPath" in volume for volume in one.spec.get("volumes", []))
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(one.spec)


@pytest.mark.parametrize(("one", "container"), CONTAINERS, ids=lambda one: one.name if isinstance(one, Pod) else "")
def test_every_container_says_what_it_takes(one: Pod, container: dict[str, Any]) -> None:
    """Requests and limits of processor and memory; Ray's are equal, since Ray hands out what the limit says."""
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert set(requests) == {"cpu", "memory"} <= set(limits)
    if one.app == "ray":
        assert requests == {name: limits[name] for name in requests}


def test_services_are_asked_whether_they_live() -> None:
    """Each container that listens has a probe for its start and one for its life; Ray's are given by KubeRay."""
    listening = [container for one, container in CONTAINERS if one.app != "ray" and "ports" in container]

    assert len(listening) == 5
    for container in listening:
        assert {"startupProbe", "livenessProbe"} <= set(container)


def test_secrets_stand_nowhere_as_text() -> None:
    """What is secret by its name comes from a Secret, and no address carries a password."""
    literal = [
        f"{one.name}: {name}"
        for one, container in CONTAINERS
        for name, value in variables(container, MADE).items()
        if SECRET_NAME.search(name) and not isinstance(value, tuple)
    ]
    assert literal == []
    texts = [path.read_text() for path in FOLDER.rglob("*") if path.is_file()]
    assert len(texts) > 10
    assert not [found for text in texts for found in re.findall(r"://[^/\s@:]+:[^/\s@]+@", text)]


def test_every_secret_that_is_asked_for_is_made_and_used() -> None:
    """By name and key, as variable or as file; `s3-owner` alone is for people."""
    asked = {
        value
        for _, container in CONTAINERS
        for value in variables(container, MADE).values()
        if isinstance(value, tuple)
    }
    files = {
        volume["secret"]["secretName"] for one in PODS for volume in one.spec.get("volumes", []) if "secret" in volume
    }
    ray = {one["spec"].get("rayClusterSpec", one["spec"])["authOptions"]["secretName"] for one in of_ray()}

    assert [f"{name}/{key}" for name, key in asked if key not in MADE.get(name, {})] == []
    assert files | ray <= set(MADE)
    assert set(MADE) - {name for name, _ in asked} - files - ray == {"s3-owner"}


def test_variables_are_known_to_those_who_read_them() -> None:
    """Each ADODN_… is a setting, each PREFECT_… one of Prefect's, each MLFLOW_… one of MLflow's."""
    known = {f"ADODN_{name.upper()}" for name in Settings.model_fields} | {"ADODN_HOME"} | prefect_names()
    known |= {name for name in dir(mlflow_variables) if name.startswith("MLFLOW_")}
    known |= {"MLFLOW_BACKEND_STORE_URI"}  # of the command line, below
    given = {name for _, container in CONTAINERS for name in variables(container, MADE)}

    assert "--backend-store-uri" in mlflow_server_options()
    foreign = {name for name in given if name.startswith(("ADODN_", "PREFECT_", "MLFLOW_"))} - known
    assert foreign - {"PREFECT_PASSWORD", "MLFLOW_PASSWORD"} == set()  # those of databases.sh
    assert {"ADODN_S3_SECRET_KEY", "PREFECT_API_AUTH_STRING", "MLFLOW_AUTH_CONFIG_PATH"} <= given


def prefect_names(model: type[PrefectBaseSettings] = PrefectSettings) -> set[str]:
    """All variables that Prefect reads."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, PrefectBaseSettings):
            found |= prefect_names(field.annotation)
        elif isinstance(field.validation_alias, AliasChoices):
            found |= {word.upper() for word in field.validation_alias.choices if isinstance(word, str)}
        else:
            found.add(f"{model.model_config.get('env_prefix', '')}{name}".upper())
    return found


def mlflow_server_options() -> set[str]:
    from mlflow.cli import server

    return {word for option in server.params for word in option.opts}


def test_commands_have_only_options_that_exist() -> None:
    """Of Prefect's server and worker, of MLflow, and of the search that the RayJob runs."""
    (words,) = [command(container) for container in pod("mlflow").containers()]
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= mlflow_server_options()

    words = shlex.split(resource("RayJob", "search")["spec"]["entrypoint"])
    assert words[:2] == ["adodn", "search"]
    group = typer.main.get_command(cli.build("search", "stack"))
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    search = group.commands["search"]  # type: ignore[attr-defined]
    assert search.make_context("search", words[2:]).params["resume"] is True


def test_versions_agree() -> None:
    """Ray's with constraints.txt, ours with pyproject.toml, and no image without a version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    images = {container["image"] for _, container in CONTAINERS}

    assert images == {f"adodn:{project['version']}", "postgres:15.18"}
    for one in of_ray():
        assert one["spec"].get("rayClusterSpec", one["spec"])["rayVersion"] == PINNED["ray"]
    for folder in (".", "search"):
        (image,) = kustomization(folder)["images"]
        assert (image["name"], image["newTag"]) == ("adodn", project["version"])
    assert kustomization()["images"] == kustomization("search")["images"]


def of_ray() -> list[dict[str, Any]]:
    return [one for one in resources() if one["kind"] in ("RayCluster", "RayJob")]


def test_a_search_of_its_own_has_the_clusters_nodes() -> None:
    """The RayJob's cluster is the RayCluster, and both want the token."""
    cluster = resource("RayCluster", "adodn")["spec"]

    assert resource("RayJob", "search")["spec"]["rayClusterSpec"] == cluster
    assert cluster["authOptions"] == {"mode": "token", "secretName": "ray-auth"}
    assert set(MADE["ray-auth"]) == {"auth_token"}, "the key that KubeRay reads"


def test_every_address_leads_to_a_port_that_listens() -> None:
    """From an address to a Service, to a port of its pods by name, for all that is in any environment."""
    asked = {place for _, container in CONTAINERS for place in addresses(variables(container, MADE))}
    sign_in = configparser.ConfigParser()
    sign_in.read(FOLDER / "sign-in.ini")
    asked |= addresses(dict(sign_in["mlflow"]))

    assert {host for host, _ in asked} == {"s3", "mlflow", "prefect", "postgres", "adodn-head-svc"}
    for host, port in asked:
        assert port in service_ports(host), f"nothing listens on {host}:{port}"


def service_ports(name: str) -> set[int]:
    """The ports of a Service that its pods have; KubeRay makes the head's."""
    if name == f"{resource('RayCluster', 'adodn')['metadata']['name']}-head-svc":
        return {port["containerPort"] for port in ray_head()["ports"]}
    service = resource("Service", name)["spec"]
    named = {
        port["name"]: port["containerPort"]
        for one, container in CONTAINERS
        if one.app == service["selector"]["app"]
        for port in container.get("ports", [])
    }
    assert {named[port["targetPort"]] for port in service["ports"]} == {port["port"] for port in service["ports"]}
    return {port["port"] for port in service["ports"]}


def ray_head() -> dict[str, Any]:
    (head,) = resource("RayCluster", "adodn")["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    return dict(head)


def test_servers_listen_where_their_ports_say() -> None:
    """The number in the command is the number of the container's port."""
    for name, option in (("prefect", "--port"), ("mlflow", "--port")):
        (container,) = pod(name).containers()
        words = command(container)
        assert int(words[words.index(option) + 1]) == container["ports"][0]["containerPort"]
        assert words[words.index("--host") + 1] == "0.0.0.0"
    store, gateway = pod("s3").containers()
    assert "-ip.bind=127.0.0.1" in command(store) and "ports" not in store
    assert f"-port={gateway['ports'][0]['containerPort']}" in command(gateway)


def test_mlflow_knows_the_names_it_is_asked_by() -> None:
    """Every host:port of clients is allowed, else the answer is 403."""
    (words,) = [command(container) for container in pod("mlflow").containers()]
    allowed = next(word.split("=")[1] for word in words if word.startswith("--allowed-hosts")).split(",")

    assert places()["ADODN_MLFLOW_TRACKING_URI"].removeprefix("http://") in allowed
    assert "127.0.0.1:5500" in allowed, "a browser's, through kubectl port-forward"


def spoken(direction: str) -> set[tuple[str, str, int | None]]:
    """Who may speak to whom on which port, as the policies of one direction have it."""
    found = set()
    for one in policies():
        (own,) = apps(one["spec"]["podSelector"]) or ["*"]
        for rule in one["spec"].get(direction, []):
            for peer in rule["to" if direction == "egress" else "from"]:
                if "namespaceSelector" in peer:
                    continue
                for app in apps(peer["podSelector"]):
                    pair = (own, app) if direction == "egress" else (app, own)
                    found |= {(*pair, port["port"]) for port in rule.get("ports", [{"port": None}])}
    return found


def policies() -> list[dict[str, Any]]:
    outside = "s3-outside"  # is not applied with the others
    return [one for one in resources() if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] != outside]


def apps(selector: dict[str, Any]) -> list[str]:
    """The pods that a selector means."""
    matched = [value for key, value in selector.get("matchLabels", {}).items() if key == "app"]
    return matched + [app for one in selector.get("matchExpressions", []) for app in one["values"]]


def test_the_network_lets_through_what_is_needed_and_nothing_else() -> None:
    """Both sides of each policy say the same; nobody is the rule, names may be looked up."""
    nobody = resource("NetworkPolicy", "nobody")["spec"]

    assert nobody == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert spoken("egress") == ALLOWED
    assert spoken("ingress") == ALLOWED
    assert {port["port"] for port in resource("NetworkPolicy", "names")["spec"]["egress"][0]["ports"]} == {53}


def test_the_network_lets_through_every_address() -> None:
    """Whatever address a pod is given, it may be reached by it."""
    pods_of = {"adodn-head-svc": "ray"}
    wanted = {
        (one.app, pods_of.get(host, host), port)
        for one, container in CONTAINERS
        for host, port in addresses(variables(container, MADE))
    }

    # A job on Ray knows where Prefect is, as all that read places.env do, and never asks it.
    assert wanted - ALLOWED == {("ray", "prefect", 4200), ("ray", "ray", 8265)}
    assert ("ray", "ray", None) in ALLOWED


def test_all_files_are_applied() -> None:
    """Each manifest is in a kustomization, but the policy that only a provider's S3 needs."""
    applied = {FOLDER / name for name in kustomization()["resources"]}
    applied |= {FOLDER / "search" / name for name in kustomization("search")["resources"]}
    made = {file for one in kustomization()["configMapGenerator"] for file in one.get("envs", one.get("files"))}

    here = {path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml"}
    assert here - applied == {FOLDER / "s3-outside-policy.yaml"} and applied <= here
    assert all((FOLDER / file).is_file() for file in made)
    mounted = {
        volume["configMap"]["name"] for one in PODS for volume in one.spec.get("volumes", []) if "configMap" in volume
    }
    assert mounted | {"places"} == {one["name"] for one in kustomization()["configMapGenerator"]}


def test_the_cache_fits_its_volume() -> None:
    """The loader keeps no more than the volume may hold."""
    sizes = {
        volume["emptyDir"]["sizeLimit"]
        for one in PODS
        for volume in one.spec.get("volumes", [])
        if volume["name"] == "cache"
    }
    assert sizes == {"60Gi"}
    assert int(places()["ADODN_CACHE_MAX_BYTES"]) < 60 * 2**30


def test_the_readme_says_what_the_pods_ask_for() -> None:
    """The sum of all requests, each as often as it is replicated."""
    units = {"m": 1e-3, "Mi": 1 / 1024, "Gi": 1}
    sums = {"cpu": 0.0, "memory": 0.0}
    for one in PODS:
        if one.name.startswith("search"):
            continue  # a search of its own asks for as much again
        times = 2 if "workerGroupSpecs" in one.name else 1
        for container in one.containers():
            for name, asked in container["resources"]["requests"].items():
                number, unit = re.fullmatch(r"(\d+)(\D*)", asked).groups()  # type: ignore[union-attr]
                sums[name] += times * int(number) * (units[unit] if unit else 1)

    assert resource("RayCluster", "adodn")["spec"]["workerGroupSpecs"][0]["replicas"] == 2
    assert f"adds up to {sums['cpu']:g} CPUs and {sums['memory']:g} GiB" in (FOLDER / "README.md").read_text()
