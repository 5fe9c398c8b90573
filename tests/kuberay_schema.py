"""The fields of KubeRay's RayCluster and RayJob (ray.io/v1) that our manifests may use, as JSON Schema.

Written from the API reference of KubeRay 1.6 and 1.7, because no package brings its CRDs. What is not named here is
refused, so that a new field is looked up before it is used. Pod templates are checked by Kubernetes' own schema.

Source: https://docs.ray.io/en/master/kuberay/references/api.html
"""

from typing import Any

POD_TEMPLATE = {"$ref": "_definitions.json#/$defs/io.k8s.api.core.v1.PodTemplateSpec"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


CLUSTER_SPEC = _object(
    ("headGroupSpec",),
    rayVersion=_TEXT,
    authOptions=_object((), mode={"enum": ["disabled", "token"]}, secretName=_TEXT),
    headGroupSpec=_object(
        ("template",),
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]},
        rayStartParams=_TEXTS,
        template=POD_TEMPLATE,
    ),
    workerGroupSpecs={
        "type": "array",
        "items": _object(
            ("groupName", "minReplicas", "maxReplicas", "template"),
            groupName=_TEXT,
            replicas=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            rayStartParams=_TEXTS,
            template=POD_TEMPLATE,
        ),
    },
)
JOB_SPEC = _object(
    (),
    entrypoint=_TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=_COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=_COUNT,
    submitterPodTemplate=POD_TEMPLATE,
    rayClusterSpec=CLUSTER_SPEC,
)
SPECS = {"RayCluster": CLUSTER_SPEC, "RayJob": JOB_SPEC}


def schema_of(kind: str) -> dict[str, Any]:
    """The whole resource."""
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata={"$ref": "_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
        spec=SPECS[kind],
    )
