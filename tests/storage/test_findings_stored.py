"""What a search leaves, kept on a real S3.

pytest tests/storage/test_findings_stored.py
"""

import json

import pytest

from adodn.data.store import S3Store
from adodn.errors import StorageError
from tune.findings import Findings

pytestmark = pytest.mark.integration


def test_findings_are_read_as_they_were_written(s3: S3Store, s3_folder: str) -> None:
    """Files and reasons come back, and a file that a search left before it was resumed does not."""
    Findings(files={"front.png": b"old", "history.png": b"old"}, left_out={}).write(s3, s3_folder)
    now = Findings(files={"history.png": b"new"}, left_out={"front.png": "one objective"})

    now.write(s3, s3_folder)

    assert Findings.read(s3, s3_folder) == now


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"files": 1, "left_out": {}}',
        b'{"files": [1], "left_out": {}}',
        b'{"files": [], "left_out": 1}',
    ],
)
def test_what_is_no_list_is_one_clear_error(s3: S3Store, s3_folder: str, content: bytes) -> None:
    """The address is named, and nothing else is read."""
    s3.put(f"{s3_folder}/findings.json", content)

    with pytest.raises(StorageError, match=r"findings\.json: must list a search's files"):
        Findings.read(s3, s3_folder)


def test_a_list_does_not_lead_out_of_its_folder(s3: S3Store, s3_folder: str) -> None:
    """A name with folders in it is taken for the file of that name here."""
    s3.put(f"{s3_folder}/secret", b"secret")
    s3.put(f"{s3_folder}/search/secret", b"own")
    s3.put(f"{s3_folder}/search/findings.json", json.dumps({"files": ["../secret"], "left_out": {}}).encode())

    assert Findings.read(s3, f"{s3_folder}/search").files == {"secret": b"own"}
