"""Masked datasets: what masks hide, that they never hide eyes, and that the same face always wears the same mask."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from adodn import datasets, protocols
from adodn.data import images
from adodn.data.manifest import FaceRecord, ImagePolicy
from adodn.data.plan import plan
from adodn.data.shards import build_shard
from adodn.datasets.masked import MaskedDataset
from adodn.errors import ConfigError
from adodn.occlusion.masks import CUTS, MaskDesign, draw_mask, draw_straps
from adodn.occlusion.wearing import Wearer
from adodn.protocols import LandmarkProtocol
from adodn.protocols.placing import place
from adodn.samples import Dataset, FaceSample, SampleRef

EYES, MOUTH, LOW_JAW, NOSE_TIP = slice(36, 48), slice(48, 68), slice(5, 12), 30
RENDERED = {"seed": 4, "num_train": 6, "num_val": 1, "num_common": 4, "num_challenging": 0, "size_px": 128}


def masked(**options: object) -> Dataset:
    return datasets.open("masked", source="synthetic", **(RENDERED | options))


def test_masks_hide_the_lower_face_and_no_eye() -> None:
    """In every split mouth, chin and nose tip are hidden, and eyes stay as visible as they were, whatever the pose."""
    dataset, plain = masked(), datasets.open("synthetic", **RENDERED)
    assert dataset.name == "masked-synthetic"
    assert {ref.split for ref in dataset.index()} == {"train", "val", "test"}
    for sample, before in zip(dataset, plain, strict=True):
        assert not sample.visible[MOUTH].any() and not sample.visible[LOW_JAW][2:-2].any()
        assert not sample.visible[NOSE_TIP]
        assert np.array_equal(sample.visible[EYES], before.visible[EYES])
        assert not (sample.visible & ~before.visible).any()
        assert np.array_equal(sample.landmarks, before.landmarks)
        assert (sample.ref, sample.box) == (before.ref, before.box)
        assert {**sample.attributes, **before.attributes} == sample.attributes
        assert sample.attributes["mask"] in CUTS


@pytest.mark.parametrize("seed", [5, 7])
def test_a_nose_in_profile_is_hidden_too(seed: int) -> None:
    """Of 60 faces a seed, half of them turned far aside, none has a nose tip that stands out beyond its mask."""
    faces = masked(seed=seed, num_train=40, num_common=20)
    assert [face.ref.key for face in faces if face.visible[NOSE_TIP]] == []


def test_masks_follow_from_seed_and_key_alone() -> None:
    """A face wears the same mask read twice, in another order or in a smaller dataset, and another for another seed."""
    first, second, other = masked(), masked(num_train=2), masked(mask_seed=1)
    again = {sample.ref.key: sample for sample in second}
    differing = 0
    for ref in reversed(first.index()):
        sample = first.read(ref)
        if ref.key in again:
            assert sample.image == again[ref.key].image
        differing += other.read(ref).image != sample.image
    assert differing > len(first) // 2


def test_a_share_of_the_faces_is_left_alone() -> None:
    """With a share of a half about half of the faces wear masks, and the others keep their bytes and say so."""
    half = MaskedDataset(datasets.open("synthetic", **RENDERED | {"num_train": 30}), share=0.5)
    plain = {sample.ref.key: sample for sample in datasets.open("synthetic", **RENDERED | {"num_train": 30})}
    bare = [sample for sample in half if sample.attributes["mask"] == "none"]
    assert 8 <= len(bare) <= 27
    assert all(sample.image == plain[sample.ref.key].image for sample in bare)
    assert all(np.array_equal(sample.visible, plain[sample.ref.key].visible) for sample in bare)


@dataclass(frozen=True)
class InAnother:
    """Rendered faces with the landmarks of another protocol."""

    inner: Dataset
    protocol: LandmarkProtocol
    name: str = "another"
    problems: Sequence[str] = ()

    def index(self) -> Sequence[SampleRef]:
        return self.inner.index()

    def read(self, ref: SampleRef) -> FaceSample:
        sample = self.inner.read(ref)
        points = place(self.protocol.name, sample.landmarks)
        return replace(sample, landmarks=points, visible=np.ones(len(points), np.bool_))

    def __iter__(self):  # type: ignore[no-untyped-def]
        return map(self.read, self.index())

    def __len__(self) -> int:
        return len(self.inner)


@pytest.mark.parametrize("name", ["5", "19", "21", "29", "98", "106"])
def test_masks_fit_every_built_in_protocol(name: str) -> None:
    """With and without a jaw line no eye is hidden, and the mouth is; in profile a corner of it may stand out."""
    protocol = protocols.get(name)
    eyes = [i for i, n in enumerate(protocol.names) if ("eye" in n or "pupil" in n) and "brow" not in n]
    mouth = [i for i, n in enumerate(protocol.names) if "mouth" in n or "lip" in n]
    for sample in MaskedDataset(InAnother(datasets.open("synthetic", **RENDERED), protocol)):
        assert sample.visible[eyes].all()
        if abs(float(sample.attributes["yaw_deg"])) < 45:
            assert not sample.visible[mouth].any()


def test_a_protocol_without_eyes_or_mouth_is_refused(tmp_path: Path) -> None:
    """Where nothing tells eyes and mouth a mask cannot be fitted, and the message says how to name them."""
    path = tmp_path / "dots.toml"
    path.write_text('name = "dots"\nnum_landmarks = 4\nflip_pairs = [[0, 1]]\n')
    with pytest.raises(ConfigError, match="right_pupil"):
        Wearer(protocols.get(str(path)))


def test_beside_the_mask_nothing_changes() -> None:
    """Pixels above the eyes are the photo's own; within the mask they are not; the given photo is left alone."""
    sample = next(sample for sample in datasets.open("synthetic", **RENDERED) if sample.ref.split == "test")
    pixels = images.decode(sample.image, "face")
    before = pixels.copy()
    wearer = Wearer(protocols.get("68"))
    for cut in CUTS:
        worn, hidden = wearer.put_on(pixels, sample.landmarks, MaskDesign(cut=cut, colour=(30, 200, 90)))
        assert np.array_equal(pixels, before)
        top = int(sample.landmarks[17:27, 1].min()) - 6
        assert np.array_equal(worn[:top], before[:top])
        x, y = np.rint(sample.landmarks[MOUTH].mean(axis=0)).astype(int)
        assert hidden[MOUTH].all()
        assert int(worn[y, x, 1]) > int(worn[y, x, 0]) + 20


def test_a_half_or_wholly_cut_face_is_drawn() -> None:
    """A face at the border of its photo, or beyond it, gets as much of a mask as there is room for."""
    sample = next(iter(datasets.open("synthetic", **RENDERED)))
    pixels = images.decode(sample.image, "face")
    wearer, design = Wearer(protocols.get("68")), MaskDesign(cut="gaiter", colour=(30, 30, 200))
    for shift in ((60, 0), (0, 70), (-70, -40), (500, 0), (0, -900)):
        worn, hidden = wearer.put_on(pixels, sample.landmarks + shift, design)
        moved = sample.landmarks + shift
        outside = ((np.rint(moved) < 0) | (np.rint(moved) >= pixels.shape[1::-1])).any(axis=1)
        assert worn.shape == pixels.shape
        assert not hidden[outside].any()


def test_every_cut_is_symmetric_and_its_own() -> None:
    """A mask's outline is its mirror image, and no two cuts have the same."""
    areas = set()
    for cut in CUTS:
        opacity = draw_mask(MaskDesign(cut=cut, colour=(200, 200, 200)), px=20).rgba[..., 3] > 250
        assert (opacity == opacity[:, ::-1]).mean() > 0.97
        areas.add(int(opacity.sum()))
        assert (draw_straps(cut, px=20) is None) == (cut in ("bandana", "gaiter"))
    assert len(areas) == len(CUTS)


def test_masked_faces_are_sharded() -> None:
    """A plan of a masked dataset is stable, another for another seed, and its shards hold what the dataset says."""
    dataset = masked()
    planned = plan(dataset, ImagePolicy())
    assert planned.version == plan(masked(), ImagePolicy()).version
    assert planned.version != plan(masked(mask_seed=1), ImagePolicy()).version
    (shard,) = planned.splits["test"]
    data = build_shard(dataset, shard, ImagePolicy())
    sample = dataset.read(shard.refs[0])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        image, text = (tar.extractfile(member) for member in tar.getmembers()[:2])
        assert image is not None and text is not None
        assert image.read() == sample.image
        record = FaceRecord.from_json(text.read(), "shard")
    assert record.visible == tuple(sample.visible.tolist())
    assert record.attributes["mask"] == sample.attributes["mask"]


@pytest.mark.parametrize("options", [{"seed": -1}, {"share": 0.0}, {"share": 1.5}, {"seed": True}])
def test_options_are_checked(options: dict[str, float]) -> None:
    """A seed is a whole number from 0, a share above 0 and at most 1."""
    with pytest.raises(ConfigError, match="masked"):
        MaskedDataset(datasets.open("synthetic", **RENDERED), **options)  # type: ignore[arg-type]


def test_a_mask_over_a_mask_is_refused() -> None:
    """The source of a masked dataset is another one; unknown options are told by it."""
    with pytest.raises(ConfigError, match="another dataset"):
        datasets.open("masked", None, source="masked")
    with pytest.raises(ConfigError, match="takes"):
        datasets.open("masked", Path("x"), source="wflw", wrong=1)


def test_real_faces(shared_data: Path) -> None:
    """On faces of 300W, both splits, mouths are hidden, eyes never, whatever the pose."""
    dataset = datasets.open("masked", shared_data / "300w", source="300w")
    assert dataset.name == "masked-300w"
    refs = [*dataset.index()[::80], *[ref for ref in dataset.index() if ref.split == "test"][::40]]
    mouths = []
    for ref in refs:
        sample = dataset.read(ref)
        assert sample.visible[EYES].all()
        mouths.append(~sample.visible[MOUTH])
    assert {ref.split for ref in refs} == {"train", "test"}
    assert np.mean(mouths) > 0.995
