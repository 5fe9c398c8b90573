"""Other ways from the same encoded faces to the same float batches, each as its makers mean it to be used.

Every way decodes, warps once, changes colours and hands out float crops of 224 px with their landmarks; they differ in
how faces are stored, found, decoded and collated. What is not installed is left out.

    for name, epoch in peers(folder, faces).items():
        for images, landmarks in epoch():
            ...
"""

import importlib.machinery
import importlib.util
import io
import json
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import simplejpeg
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from adodn import recipes
from adodn.data import transforms

BATCH, INPUT_PX = 32, 224
# Nothing is drawn over the faces: no other way does that, and all are to make the same batches.
DATA = recipes.get("adodn_300w_small").with_fields({"data.augment.occlusion_probability": 0.0}).data

Face: TypeAlias = tuple[bytes, bytes]
"""JPEG and JSON record."""
Prepared: TypeAlias = tuple[torch.Tensor, torch.Tensor]
Epoch: TypeAlias = Callable[[], Iterable[Any]]
Decoder: TypeAlias = Callable[[bytes], transforms.Image]


def with_pillow(jpeg: bytes) -> transforms.Image:
    """How webdataset's `rgb8` and MosaicML's `jpeg` decode."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def with_turbojpeg(jpeg: bytes) -> transforms.Image:
    """How our loader decodes."""
    image: transforms.Image = simplejpeg.decode_jpeg(jpeg, colorspace="RGBA")
    return image


def limit(faces: Sequence[Face], affines: transforms.Affine, *, colours: bool) -> Iterator[torch.Tensor]:
    """A bare loop: the fastest decoder and warp we know, batch by batch, to floats; nothing is read or drawn."""
    for start in range(0, len(faces), BATCH):
        crops = np.empty((BATCH, INPUT_PX, INPUT_PX, 3), np.uint8)
        for place, crop in enumerate(crops, start):
            transforms.warp(with_turbojpeg(faces[place][0]), affines[place], crop)
            if colours:
                transforms.adjust_colours(crop, brightness=1.1, contrast=0.9, saturation=1.1)
        yield to_floats(torch.from_numpy(crops).permute(0, 3, 1, 2))


def parts(faces: Sequence[Face], affines: transforms.Affine) -> dict[str, Callable[[], object]]:
    """The parts of `limit`, each by itself over all faces, a batch at a time as there."""
    decoded = [with_turbojpeg(jpeg) for jpeg, _ in faces[:BATCH]]
    crops = np.zeros((BATCH, INPUT_PX, INPUT_PX, 3), np.uint8)
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2)

    def each(work: Callable[[int], object]) -> Callable[[], object]:
        return lambda: [work(place) for place in range(len(faces))]

    def colour(place: int) -> None:
        transforms.adjust_colours(crops[place % BATCH], brightness=1.1, contrast=0.9, saturation=1.1)

    return {
        "decode": each(lambda place: with_turbojpeg(faces[place][0])),
        "warp": each(lambda place: transforms.warp(decoded[place % BATCH], affines[place], crops[place % BATCH])),
        "colours": each(colour),
        "floats": lambda: [to_floats(batch) for _ in range(0, len(faces), BATCH)],
    }


def augmented(faces: Sequence[Face]) -> transforms.Affine:
    """`[N, 2, 3]`: warps as a training epoch has them."""
    boxes = np.array([json.loads(record)["box"] for _, record in faces])
    draws = transforms.sample_draws(0, 0, np.arange(len(faces)))
    chosen = transforms.draw_augmentation(DATA.augment, draws)
    return transforms.crop_affine(boxes, crop_scale=DATA.crop_scale, augmentation=chosen)


def to_floats(images: torch.Tensor) -> torch.Tensor:
    """From 0 … 255 to 0 … 1, as networks take them."""
    return images.float().div_(255)


class _Prepare:
    """Record and image to a float crop and its landmarks; an object, so that workers can be sent it."""

    def __init__(self, decode: Decoder) -> None:
        self._decode = decode

    def __call__(self, jpeg: bytes, record: bytes) -> Prepared:
        tree, image = json.loads(record), self._decode(jpeg)
        chosen = transforms.draw_augmentation(DATA.augment, np.random.random((1, transforms.NUM_DRAWS)))
        boxes = np.array([tree["box"]])
        affine = transforms.crop_affine(boxes, crop_scale=DATA.crop_scale, augmentation=chosen)[0]
        crop = np.empty((INPUT_PX, INPUT_PX, 3), np.uint8)
        transforms.warp(image, affine, crop)
        colours = np.stack([chosen.brightness, chosen.contrast, chosen.saturation])[:, 0].tolist()
        transforms.adjust_colours(crop, brightness=colours[0], contrast=colours[1], saturation=colours[2])
        landmarks = transforms.move(np.array(tree["landmarks"]), transforms.invert(affine))
        return to_floats(torch.from_numpy(crop).permute(2, 0, 1)), torch.from_numpy(landmarks).float()

    def mapping(self, sample: dict[str, bytes]) -> Prepared:
        return self(sample["jpg"], sample["json"])


def peers(folder: Path, faces: Sequence[Face], tars: Sequence[Path], decode: Decoder) -> dict[str, Epoch]:
    """Name → epoch, for what is installed.

    Args:
        folder: Where to write the faces as each peer keeps them.
        faces: What to write.
        tars: The same faces as our shards.
        decode: Decoder.
    """
    prepare = _Prepare(decode)
    found: dict[str, Epoch] = {
        "webdataset": lambda: _webdataset(tars, prepare),
        "folder of files": _folder(folder / "files", faces, prepare),
    }
    if importlib.util.find_spec("streaming"):
        found["MosaicML Streaming"] = _mosaic(folder / "mds", faces, prepare)
    if importlib.util.find_spec("litdata"):
        found["LitData"] = _litdata(folder / "lit", faces, prepare)
    return found


def _batches(dataset: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=BATCH, drop_last=True, **options)


def _webdataset(tars: Sequence[Path], prepare: _Prepare) -> DataLoader[Any]:
    stages = webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=len(tars)).shuffle(256)
    return _batches(stages.map(prepare.mapping))


class _Files(Dataset[Prepared]):
    def __init__(self, folder: Path, count: int, prepare: _Prepare) -> None:
        self._folder, self._count, self._prepare = folder, count, prepare

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Prepared:
        stem = self._folder / f"{index:06d}"
        return self._prepare(stem.with_suffix(".jpg").read_bytes(), stem.with_suffix(".json").read_bytes())


def _folder(folder: Path, faces: Sequence[Face], prepare: _Prepare) -> Epoch:
    folder.mkdir(parents=True)
    for index, (jpeg, record) in enumerate(faces):
        (folder / f"{index:06d}.jpg").write_bytes(jpeg)
        (folder / f"{index:06d}.json").write_bytes(record)
    return lambda: _batches(_Files(folder, len(faces), prepare), shuffle=True)


def _litdata(folder: Path, faces: Sequence[Face], prepare: _Prepare) -> Epoch:
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir(parents=True)
    writer = BinaryWriter(str(folder), chunk_bytes="16MB")
    for index, (jpeg, record) in enumerate(faces):
        writer[index] = {"jpg": jpeg, "json": record}
    writer.done()
    writer.merge()
    dataset = StreamingDataset(str(folder), shuffle=True, transform=prepare.mapping)
    return lambda: StreamingDataLoader(dataset, batch_size=BATCH, drop_last=True)


def _mosaic(folder: Path, faces: Sequence[Face], prepare: _Prepare) -> Epoch:
    _let_streaming_import()
    from streaming import MDSWriter, StreamingDataset

    with MDSWriter(out=str(folder), columns={"jpg": "bytes", "json": "bytes"}) as writer:
        for jpeg, record in faces:
            writer.write({"jpg": jpeg, "json": record})
    dataset = StreamingDataset(local=str(folder), batch_size=BATCH, shuffle=True)
    return lambda: _batches(_Mapped(dataset, prepare))


class _Mapped(torch.utils.data.IterableDataset[Prepared]):
    """MosaicML has users subclass its dataset to transform faces; this does the same from outside."""

    def __init__(self, inner: Iterable[dict[str, bytes]], prepare: _Prepare) -> None:
        self._inner, self._prepare = inner, prepare

    def __iter__(self) -> Iterator[Prepared]:
        return map(self._prepare.mapping, self._inner)


def _let_streaming_import() -> None:
    """MosaicML imports torchvision for classes that are not used here, and torchvision does not import beside a torch
    without its operators."""
    if importlib.util.find_spec("torchvision"):
        return
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
    for name in names:
        module: Any = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.VisionDataset, module.to_tensor = object, None
        sys.modules[name] = module
