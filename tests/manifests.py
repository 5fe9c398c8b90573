"""The cluster's manifests and the compose file, read and taken apart; tests say what must hold.

for pod in pods(): ...
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.deployments import ROOT

FOLDER = ROOT / "infra" / "kubernetes"
COMPOSE_FILE = ROOT / "infra" / "compose" / "compose.yaml"
_URL = re.compile(r"(?:http|postgresql\+\w+)://(?:\w+@)?([a-z0-9-]+):(\d+)")


@dataclass(frozen=True)
class Pod:
    """A template of pods, wherever it stands."""

    name: str
    app: str
    """Label that network policies know it by."""
    spec: dict[str, Any]

    def containers(self) -> list[dict[str, Any]]:
        """Init containers included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def documents(path: Path) -> list[dict[str, Any]]:
    """All documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def resources() -> list[dict[str, Any]]:
    """Everything that `kubectl apply` sends as it is written."""
    paths = sorted(FOLDER.rglob("*.yaml"))
    return [document for path in paths if path.name != "kustomization.yaml" for document in documents(path)]


def kustomization(folder: str = ".") -> dict[str, Any]:
    """What one of the folders' kustomization.yaml says."""
    (found,) = documents(FOLDER / folder / "kustomization.yaml")
    return found


def resource(kind: str, name: str) -> dict[str, Any]:
    """The one of that kind and name."""
    (found,) = [one for one in resources() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> list[Pod]:
    """Of all workloads, those of Ray included."""
    return [
        Pod(f"{one['metadata']['name']}{where}", template["metadata"]["labels"]["app"], template["spec"])
        for one in resources()
        for where, template in _templates(one.get("spec", {}), "")
    ]


def pod(name: str) -> Pod:
    """The one of a workload."""
    (found,) = [one for one in pods() if one.name == name]
    return found


def _templates(tree: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("template", "submitterPodTemplate"):
                yield f"{path}", value
            else:
                yield from _templates(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _templates(value, f"{path}.{number}")


def places() -> dict[str, str]:
    """The variables of places.env, which cluster and compose share."""
    lines = (FOLDER / "places.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def variables(container: dict[str, Any], made: dict[str, dict[str, str]]) -> dict[str, str | tuple[str, str]]:
    """What a container's environment will hold: plain values, and (Secret, key) for secret ones.

    Args:
        container: Of a manifest.
        made: The Secrets that will be there, by name and key.
    """
    found: dict[str, str | tuple[str, str]] = {}
    for source in container.get("envFrom", []):
        if "secretRef" in source:
            name = source["secretRef"]["name"]
            found |= {source.get("prefix", "") + key: (name, key) for key in made[name]}
        else:
            assert source["configMapRef"]["name"] == "places"
            found |= places()
    for entry in container.get("env", []):
        if "value" in entry:
            found[entry["name"]] = entry["value"]
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            found[entry["name"]] = (reference["name"], reference["key"])
    return found


def addresses(values: dict[str, Any]) -> set[tuple[str, int]]:
    """Host and port of every address among the values of an environment."""
    return {(host, int(port)) for value in values.values() for host, port in _URL.findall(str(value))}


def command(container: dict[str, Any]) -> list[str]:
    """The words that a container runs."""
    return [str(word) for word in [*container.get("command", []), *container.get("args", [])]]
