"""The cluster's manifests, the compose file and the image's file against the schemas of those who read them.

pytest tests/unit/test_cluster_schemas.py
"""

import copy
import json
import re
import subprocess
import sys
from functools import cache
from importlib import resources as packaged
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from infra import cluster_secrets
from infra.deployments import ROOT
from tests.kuberay_schema import schema_of
from tests.manifests import COMPOSE_FILE, resource, resources

OLDEST, NEWEST = "1.30", "1.37"
DEFINITIONS = {
    "Deployment": "apps.v1.Deployment",
    "Namespace": "core.v1.Namespace",
    "NetworkPolicy": "networking.v1.NetworkPolicy",
    "PersistentVolumeClaim": "core.v1.PersistentVolumeClaim",
    "Secret": "core.v1.Secret",
    "Service": "core.v1.Service",
    "StatefulSet": "apps.v1.StatefulSet",
}
"""Kubernetes' own name of each kind that we use; Ray's kinds are KubeRay's."""


def named(one: dict[str, Any]) -> str:
    return f"{one['kind']}-{one['metadata']['name']}"


@cache
def definitions(version: str) -> Registry[Any]:
    folder = packaged.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    contents = json.loads((folder / "_definitions.json").read_text())
    return Registry().with_resource("_definitions.json", Resource.from_contents(contents, DRAFT202012))


def problems(one: dict[str, Any], version: str) -> list[str]:
    """What is wrong with a manifest, one line each."""
    if one["kind"] in DEFINITIONS:
        schema = {"$ref": f"_definitions.json#/$defs/io.k8s.api.{DEFINITIONS[one['kind']]}"}
    else:
        schema = schema_of(one["kind"])
    validator = jsonschema.Draft202012Validator(schema, registry=definitions(version))
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(one)]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("one", resources(), ids=named)
def test_the_cluster_takes_it(one: dict[str, Any], version: str) -> None:
    """By the schemas of the oldest and the newest Kubernetes that is meant; unknown fields are refused."""
    assert problems(one, version) == []


def test_the_secrets_are_what_kubernetes_takes() -> None:
    """Of the command that makes them, each."""
    made = cluster_secrets.as_kubernetes(cluster_secrets.fresh())["items"]

    assert len(made) == len(cluster_secrets.fresh())
    assert [problem for secret in made for problem in problems(secret, OLDEST)] == []


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("Deployment", "prefect", "spec.template.spec.containers.0"),
        ("NetworkPolicy", "ray", "spec.ingress.0"),
        ("RayCluster", "adodn", "spec.headGroupSpec"),
        ("RayCluster", "adodn", "spec.workerGroupSpecs.0.template.spec"),
        ("RayJob", "search", "spec"),
    ],
)
def test_a_misspelt_field_is_seen_wherever_it_stands(kind: str, name: str, path: str) -> None:
    """In a pod, in a policy, and in what is KubeRay's own."""
    one = copy.deepcopy(resource(kind, name))
    place = one
    for step in path.split("."):
        place = place[int(step)] if step.isdigit() else place[step]
    place["servicetype"] = "ClusterIP"

    assert len(problems(one, OLDEST)) == 1


def compose_schema() -> dict[str, Any]:
    folder = packaged.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema: dict[str, Any] = json.loads((folder / "compose-spec.json").read_text())
    return schema


def test_compose_takes_the_file() -> None:
    """By the schema of the compose specification, which refuses what it does not know."""
    file = yaml.safe_load(COMPOSE_FILE.read_text())
    validator = jsonschema.validators.validator_for(compose_schema())(compose_schema())

    validator.validate(file)

    file["services"]["postgres"]["healthchek"] = file["services"]["postgres"].pop("healthcheck")
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(file)


def test_the_image_file_has_no_known_mistake(tmp_path: Path) -> None:
    """Hadolint finds nothing; in a file with a mistake it does."""
    hadolint = Path(sys.executable).parent / "hadolint"
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN cd /app && sudo true\n")

    found = [subprocess.run([hadolint, file], capture_output=True, text=True) for file in (_DOCKERFILE, bad)]

    assert found[0].returncode == 0, found[0].stdout
    assert found[1].returncode == 1


_DOCKERFILE = ROOT / "infra" / "Dockerfile"


def test_the_image_has_what_reads_gpus() -> None:
    """docs/observation.md promises their figures with the extra `gpu`, and whoever runs an image cannot add it."""
    installed = re.search(r"--editable '\.\[([a-z,]+)\]'", _DOCKERFILE.read_text())

    assert installed and set(installed[1].split(",")) == {"local", "search", "gpu"}


def test_what_the_image_copies_is_there_and_sent_to_the_builder() -> None:
    """Each source exists, and .dockerignore, which leaves out everything else, lets it through."""
    text = _DOCKERFILE.read_text()
    sources = [
        word for line in re.findall(r"^COPY (?!--from)(.+)$", text, flags=re.MULTILINE) for word in line.split()[:-1]
    ]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert {"adodn", "flows", "infra", "tune", "constraints.txt"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert set(sources) == let_through
