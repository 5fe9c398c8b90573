"""Who may do what on S3, in SeaweedFS's words: a role for each kind of work, with keys of its own.

identities({"owner": ("ACCESS", "SECRET"), "trainer": (…), …})      # for `weed s3 -config`
"""

from collections.abc import Mapping
from typing import Any

_READ = ("Read:adodn", "List:adodn")
ROLES: dict[str, tuple[str, ...]] = {
    "owner": ("Admin",),
    "trainer": (
        *_READ,
        *(f"Write:adodn/{folder}/*" for folder in ("runs", "searches", "weights", "patterns", "evaluations")),
    ),
    "shards": (*_READ, "Write:adodn/datasets/*"),
    "registry": (*_READ, "Write:adodn/registry/*"),
    "mlflow": ("Read:mlflow", "List:mlflow", "Write:mlflow"),
}
"""Actions of each role; `Write` deletes as well."""


def identities(keys: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The roles with their keys.

    Args:
        keys: Access and secret key of every role.
    """
    return {
        "identities": [
            {
                "name": role,
                "credentials": [{"accessKey": access, "secretKey": secret}],
                "actions": list(ROLES[role]),
            }
            for role, (access, secret) in keys.items()
        ]
    }
