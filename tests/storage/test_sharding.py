"""Sharding against a real S3: what is published is whole, never changes, and is made only once."""

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import webdataset
from pydantic import SecretStr

from adodn import datasets
from adodn.data.manifest import FaceRecord, ImagePolicy
from adodn.data.shards import MANIFEST, read_manifest, shard_dataset
from adodn.data.store import S3Store
from adodn.errors import AnnotationError, ManifestError, StorageError
from adodn.samples import Dataset, FaceSample, SampleRef

pytestmark = pytest.mark.integration

FACES = {"num_train": 6, "num_val": 2, "num_common": 2, "num_challenging": 2}


def rendered(**options: int) -> Dataset:
    return datasets.open("synthetic", **(FACES | options))


class Damaged:
    """Rendered faces of which the last is no image."""

    def __init__(self) -> None:
        self._whole = rendered()
        self.name, self.protocol, self.problems = "damaged", self._whole.protocol, ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def read(self, ref: SampleRef) -> FaceSample:
        sample = self._whole.read(ref)
        return replace(sample, image=b"no image") if ref == self._whole.index()[-1] else sample


def test_manifest_names_every_byte(s3: S3Store, s3_folder: str, tmp_path: Path) -> None:
    """Each shard is as long as the manifest says, has its sha256, and stock WebDataset reads all faces from it."""
    uri, manifest = shard_dataset(rendered(), s3, s3_folder, ImagePolicy())
    assert read_manifest(s3, uri) == read_manifest(s3, uri.removesuffix(f"/{MANIFEST}")) == manifest
    folder = uri.removesuffix(f"/{MANIFEST}")
    keys = []
    for entry in (entry for shards in manifest.splits.values() for entry in shards):
        path = tmp_path / entry.name
        s3.download(f"{folder}/{entry.name}", path)
        assert len(path.read_bytes()) == entry.bytes
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
        keys += [sample["__key__"] for sample in webdataset.WebDataset(str(path), shardshuffle=False)]
    assert sorted(keys) == sorted(ref.key for ref in rendered().index())
    assert {split: manifest.num_samples(split) for split in manifest.splits} == {"train": 6, "val": 2, "test": 4}
    assert manifest.subsets == {"challenging": 2, "common": 2, "full": 4}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_sharding_again_changes_nothing(s3: S3Store, s3_folder: str) -> None:
    """Equal input gives the same address and digest, and a shard that was lost comes back byte by byte."""
    uri, manifest = shard_dataset(rendered(), s3, s3_folder, ImagePolicy())
    lost = f"{uri.removesuffix(MANIFEST)}train-000000.tar"
    before = s3.get(lost)
    s3.delete(lost)
    assert shard_dataset(rendered(), s3, s3_folder, ImagePolicy()) == (uri, manifest)
    assert s3.get(lost) == before
    assert shard_dataset(rendered(seed=1), s3, s3_folder, ImagePolicy())[0] != uri


def test_a_cut_run_is_invisible_and_goes_on(s3: S3Store, s3_folder: str) -> None:
    """A run that ends between shards leaves no manifest, and the next writes what is missing."""

    class CutError(Exception):
        pass

    def cut(stage: str, done: int, total: int) -> None:
        if stage == "write":
            raise CutError

    with pytest.raises(CutError):
        shard_dataset(rendered(), s3, s3_folder, ImagePolicy(), progress=cut)
    first, *_ = left = list(s3.list(s3_folder))
    assert not any(info.uri.endswith(MANIFEST) for info in left)
    with pytest.raises(ManifestError, match="no manifest here"):
        read_manifest(s3, first.uri.rpartition("/")[0])
    shard_dataset(rendered(), s3, s3_folder, ImagePolicy())
    assert sum(info.uri.endswith(".tar") for info in s3.list(s3_folder)) == 3


def test_a_bad_face_publishes_nothing(s3: S3Store, s3_folder: str) -> None:
    """One face that is no image stops the run with its name, before a manifest is written."""
    with pytest.raises(AnnotationError, match="neither a JPEG nor a PNG"):
        shard_dataset(Damaged(), s3, s3_folder, ImagePolicy())
    assert not any(info.uri.endswith(MANIFEST) for info in s3.list(s3_folder))


def test_a_published_version_never_changes(s3: S3Store, s3_folder: str) -> None:
    """Where another manifest, or a foreign object, has the address, the run is refused and nothing is overwritten."""
    uri, manifest = shard_dataset(rendered(), s3, s3_folder, ImagePolicy())
    other = replace(manifest, split_rule="another").to_json().encode()
    s3.put(uri, other)
    with pytest.raises(ManifestError, match="is published with digest"):
        shard_dataset(rendered(), s3, s3_folder, ImagePolicy())
    assert s3.get(uri) == other
    shard = f"{uri.removesuffix(MANIFEST)}train-000000.tar"
    s3.put(shard, b"foreign")
    with pytest.raises(StorageError, match="is not the shard that was planned there"):
        shard_dataset(rendered(), s3, s3_folder, ImagePolicy())
    assert s3.get(shard) == b"foreign"


def test_conditional_put_lets_one_win(s3: S3Store, s3_folder: str) -> None:
    """`if_absent` says whether it wrote, and leaves what was there."""
    uri = f"{s3_folder}/once"
    assert s3.head(uri) is None
    assert s3.put(uri, b"first", if_absent=True, metadata={"who": "me"})
    assert not s3.put(uri, b"second", if_absent=True)
    found = s3.head(uri)
    assert found is not None
    assert (found.bytes, found.metadata["who"]) == (5, "me")
    assert s3.get(uri) == b"first"


def test_refusals_say_what_to_mend(s3: S3Store, s3_folder: str, tmp_path: Path) -> None:
    """A wrong name, a wrong secret, a missing bucket and a missing key are four different, clear errors."""
    uri = f"{s3_folder}/absent"
    for wrong in (replace(s3, access_key="nobody"), replace(s3, secret_key=SecretStr("wrong"))):
        for action in (wrong.head, wrong.get, lambda u, s=wrong: s.put(u, b"")):
            with pytest.raises(StorageError, match="refused the credentials"):
                action(uri)
    with pytest.raises(StorageError, match=r"the bucket does not exist .* ADODN_BUCKET"):
        s3.put("s3://no-such-bucket-here/key", b"")
    with pytest.raises(StorageError, match="no such object"):
        s3.download(uri, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_real_faces_keep_their_bytes(s3: S3Store, s3_folder: str, shared_data: Path) -> None:
    """The 300W images here are small enough that each is stored as it is, and the test set claims HELEN alone."""
    dataset = datasets.open("300w", shared_data / "300w")
    uri, manifest = shard_dataset(dataset, s3, s3_folder, ImagePolicy())
    assert sum(manifest.num_samples(split) for split in manifest.splits) == len(dataset)
    assert set(manifest.subsets) == {"helen"}
    (entry, *_) = manifest.splits["test"]
    data = s3.get(f"{uri.removesuffix(MANIFEST)}{entry.name}")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        contents = [archive.extractfile(member).read() for member in archive]  # type: ignore[union-attr]
    for jpeg, record in zip(contents[::2], contents[1::2], strict=True):
        assert hashlib.sha256(jpeg).hexdigest() == FaceRecord.from_json(record, "here").image_sha256
