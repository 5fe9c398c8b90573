"""A manifest is read as it was written, and anything else is refused by name.

pytest tests/unit/test_manifest.py
"""

import json
from typing import Any

import pytest

from adodn.data.manifest import ImagePolicy, Manifest, ShardEntry
from adodn.errors import ManifestError

WHERE = "s3://bucket/datasets/toy/v1/manifest.json"
ENTRY = ShardEntry(name="train-000000.tar", bytes=10, sha256="0" * 64, samples=3)
MANIFEST = Manifest(dataset="toy", version="v1", protocol="68", image_policy=ImagePolicy(), splits={"train": (ENTRY,)})


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(MANIFEST.to_json()) | changes)


def entry(**changes: Any) -> dict[str, Any]:
    return {"name": ENTRY.name, "bytes": 10, "sha256": ENTRY.sha256, "samples": 3} | changes


def test_a_manifest_comes_back() -> None:
    """What is written is read to an equal manifest with an equal digest."""
    read = Manifest.from_json(MANIFEST.to_json(), WHERE)
    assert (read, read.digest) == (MANIFEST, MANIFEST.digest)


def test_any_other_byte_is_another_dataset() -> None:
    """A tampered entry changes the digest by which experiments know their data."""
    read = Manifest.from_json(changed(splits={"train": [entry(sha256="1" * 64)]}), WHERE)
    assert read.digest != MANIFEST.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(MANIFEST.to_json()[:-20], "not a Manifest", id="cut"),
        pytest.param("<html>503</html>", "not a Manifest", id="an error page"),
        pytest.param("[" * 100_000, "not a Manifest", id="deeply nested"),
        pytest.param(changed(schema_version=2), "schema_version is 2, this adodn reads 1", id="newer"),
        pytest.param(changed(surprise=1), "not a Manifest: surprise", id="an unknown field"),
        pytest.param(changed(splits={"train": [entry()], "val": [entry()]}), "shards named twice: train-0", id="twice"),
        pytest.param(changed(splits={"train": [entry(samples=0)]}), "samples", id="a shard without faces"),
        *(
            pytest.param(changed(splits={"train": [entry(name=name)]}), "name", id=f"out of its folder: {name}")
            for name in (
                *(
                    "../train-000000.tar",
                    "../../x",
                    "/etc/passwd",
                    "..",
                    "a/../train-000000.tar",
                    "train-000000.tar/..",
                ),
                *("http://169.254.169.254/train-000000.tar", "s3://other/train-000000.tar", "pipe:id", "file:///x.tar"),
                *("train-000000.tar\n", "train-000000.tar; id", "..\\train-000000.tar", "%2e%2e/train-000000.tar"),
            )
        ),
        *(
            pytest.param(changed(**{field: value}), field, id=f"{field}: {value}")
            for field in ("dataset", "version")
            for value in ("../../x", "/etc", "http://169.254.169.254/", "", "a\n")
        ),
        pytest.param(changed(splits={"train": [entry(sha256="0")]}), "sha256", id="no digest"),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, message: str) -> None:
    """Fault 11: one error with the address and the field."""
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.from_json(text, WHERE)
    assert str(caught.value).startswith(WHERE)
