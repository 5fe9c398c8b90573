"""300VW: clips of one face each, with a `.pts` file for every frame. It samples frames, and never seeks in a video.

    dataset = W300VWDataset(Path("300VW_Dataset_2015_12_14"), every_nth=25)

A clip is a folder `NNN` with `vid.avi` and `annot/000001.pts`, `annot/000002.pts`, …; frame 1 is the first that the
video decodes to. Of each clip frames 1, 1 + n, 1 + 2n, … are taken: neighbours look nearly alike, so the default of
n = 25, about one frame a second, keeps most of the variety. Published figures on the test categories use every frame.
Frames that the authors list as badly annotated, in `extra/NNN.mat`, are left out.

Where a seek in an AVI ends depends on its key frames and on the version of FFmpeg, and one frame off is an error that
nobody sees. So a clip is decoded from its start, and before its first frame is handed out it is decoded once to count
its frames: they must be as many as its `.pts` files. Frames are encoded as PNG, which adds no second loss to the
video's own. Neither is done before a frame is read.
"""

import re
import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from adodn import protocols
from adodn.datasets.files import inside, is_file, read_file
from adodn.datasets.matlab import open_mat
from adodn.datasets.pts import MAX_BYTES, parse_pts
from adodn.errors import AnnotationError, ConfigError, DataError
from adodn.samples import FaceSample, SampleRef

_TRAIN = """
001 002 003 004 007 009 010 011 013 015 016 017 018 019 020 022 025 027 028 029 031 033 034 035 037 039 041 043 044 046
047 048 049 053 057 059 112 113 115 119 120 123 138 143 144 160 204 205 223 225
"""
_CATEGORY_1 = """
114 124 125 126 150 158 401 402 505 506 507 508 509 510 511 514 515 518 519 520 521 522 524 525 537 538 540 541 546 547
548
"""
_CATEGORY_2 = "203 208 211 212 213 214 218 224 403 404 405 406 407 408 409 412 550 551 553"
_CATEGORY_3 = "410 411 516 517 526 528 529 530 531 533 557 558 559 562"
TRAIN_CLIPS = frozenset(_TRAIN.split())
CATEGORIES = {
    "category1": frozenset(_CATEGORY_1.split()),
    "category2": frozenset(_CATEGORY_2.split()),
    "category3": frozenset(_CATEGORY_3.split()),
}
"""Test clips: well lit, in changing light, and anything goes."""
_CATEGORY_OF = {clip: category for category, clips in CATEGORIES.items() for clip in clips}
_SOURCE = "https://ibug.doc.ic.ac.uk/resources/300-VW/"
_CLIP_NAME = re.compile(r"[0-9]{3}")
_ANNOTATION_NAME = re.compile(r"[0-9]{6}\.pts")
_FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True, slots=True)
class _Clip:
    name: str
    folder: Path
    num_frames: int
    faulty: frozenset[int]

    @property
    def video(self) -> Path:
        return self.folder / "vid.avi"


class W300VWDataset:
    """A copy of 300VW, whole or in part.

    Reading faces in the order of the index decodes each clip twice in all; a step back starts its clip again. Threads
    may share the dataset, as each has a place of its own in a video.

    The test categories are subsets where all their clips are there: `category1` if every frame is taken, else
    `category1_every25`, so that figures on a sample are not mistaken for published ones.

    Args:
        root: Folder that holds the clips, and `extra` where it was unpacked.
        every_nth: How many frames on the next one is taken; 1 takes all.

    Raises:
        ConfigError: If `every_nth` is not positive.
        DataError: If the folder, or every clip in it, is missing.
        AnnotationError: If a clip has no video, its `.pts` files leave out a number, or it leads out of `root`.
    """

    name = "300vw"

    def __init__(self, root: Path, *, every_nth: int = 25) -> None:
        if every_nth < 1:
            raise ConfigError(f"dataset '300vw': every_nth is at least 1, got {every_nth!r}")
        self.protocol = protocols.get("68")
        self.root = root.resolve()
        self.every_nth = every_nth
        clips = {clip.name: clip for clip in _clips(self.root)}
        if not clips:
            raise DataError(f"{root}: 300VW needs folders 001, 002, … with vid.avi and annot/ in it, see {_SOURCE}")
        self.problems: Sequence[str] = _problems(self.root, clips.keys())
        self._places: dict[str, tuple[_Clip, int]] = {}
        self._refs = tuple(self._sampled(clips))
        self._thread = threading.local()
        self._counted: set[str] = set()

    def index(self) -> Sequence[SampleRef]:
        """The sampled frames: clips by number, frames in time."""
        return self._refs

    def read(self, ref: SampleRef) -> FaceSample:
        """Read one frame; the box is the tight box around its landmarks, and all landmarks count as visible.

        Raises:
            AnnotationError: If its `.pts` file or video cannot be read, the video has not as many frames as `.pts`
                files, or the face is not in the index.
        """
        if ref.locator not in self._places:
            raise AnnotationError(f"{ref.locator!r} is not a face of {self.root}; take it from index()")
        clip, frame = self._places[ref.locator]
        annotation = inside(self.root / ref.locator, self.root)
        data = read_file(annotation, MAX_BYTES)
        landmarks = parse_pts(data, num_landmarks=self.protocol.num_landmarks, where=str(annotation))
        (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
        return FaceSample(
            ref=ref,
            image=self._video(clip, frame).png(frame),
            landmarks=landmarks,
            visible=np.ones(len(landmarks), dtype=np.bool_),
            box=(x0, y0, x1, y1),
            attributes={"clip": clip.name, "frame": float(frame)},
        )

    def __iter__(self) -> Iterator[FaceSample]:
        return map(self.read, self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def _sampled(self, clips: dict[str, _Clip]) -> Iterator[SampleRef]:
        for clip in clips.values():
            category = _CATEGORY_OF.get(clip.name, "")
            named = category if self.every_nth == 1 else f"{category}_every{self.every_nth}"
            subsets = (named,) if category and clips.keys() >= CATEGORIES[category] else ()
            for frame in range(1, clip.num_frames + 1, self.every_nth):
                if frame not in clip.faulty:
                    ref = SampleRef(
                        key=f"{clip.name}_{frame:06d}",
                        locator=f"{clip.name}/annot/{frame:06d}.pts",
                        split="test" if category else "train",
                        subsets=subsets,
                        group=clip.name,
                    )
                    self._places[ref.locator] = clip, frame
                    yield ref

    def _video(self, clip: _Clip, frame: int) -> "_Video":
        """A video that has yet to come to the frame: this thread's own if it fits, else one opened anew."""
        video: _Video | None = getattr(self._thread, "video", None)
        if video is None or video.path != clip.video or video.next_frame > frame:
            self._check_count(clip)
            video = self._thread.video = _Video(clip.video)
        return video

    def _check_count(self, clip: _Clip) -> None:
        if clip.name in self._counted:
            return
        found = _Video(clip.video).count_rest()
        if found != clip.num_frames:
            raise AnnotationError(
                f"{clip.video}: decodes to {found} frames, but {clip.num_frames} .pts files are in annot/, so frames "
                "and landmarks may not belong together; unpack the clip again, or take its folder out"
            )
        self._counted.add(clip.name)


class _Video:
    """A clip that is decoded from its start, forward only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next_frame = 1
        start = _first_bytes(path)
        if start[:4] != b"RIFF" or start[8:] != b"AVI ":  # FFmpeg would take, say, a playlist, and follow it anywhere
            raise AnnotationError(f"{path}: not an AVI file, begins with {start!r}")
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise AnnotationError(f"{path}: is no video that FFmpeg can decode; unpack the clip again")

    def png(self, frame: int) -> bytes:
        """The frame of that number, which is not before `next_frame`."""
        while self.next_frame < frame and self._capture.grab():
            self.next_frame += 1
        is_there, pixels = self._capture.read()
        if not is_there:
            raise AnnotationError(f"{self.path}: ends before frame {frame}; unpack the clip again")
        self.next_frame += 1
        _, encoded = cv2.imencode(".png", pixels, _FAST_PNG)
        return bytes(encoded)

    def count_rest(self) -> int:
        """Decode to the end; answers the number of frames."""
        count = 0
        while self._capture.grab():
            count += 1
        return count


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(12)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from None


def _clips(root: Path) -> Iterator[_Clip]:
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return (_clip(folder, root) for folder in folders if _CLIP_NAME.fullmatch(folder.name) and folder.is_dir())


def _clip(folder: Path, root: Path) -> _Clip:
    if not is_file(inside(folder / "vid.avi", root)):
        raise AnnotationError(f"{folder}: a clip needs vid.avi, which is not there; unpack it again, or take it out")
    annotations = inside(folder / "annot", root)
    names = [path.name for path in annotations.iterdir()] if annotations.is_dir() else []
    numbers = sorted(int(name[:6]) for name in names if _ANNOTATION_NAME.fullmatch(name))
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise AnnotationError(
            f"{annotations}: needs 000001.pts, 000002.pts, … without a gap, one for every frame; found {len(numbers)} "
            f"files, the last of them {max(numbers, default=0):06d}.pts"
        )
    return _Clip(folder.name, inside(folder, root), len(numbers), _faulty(root / "extra" / f"{folder.name}.mat", root))


def _faulty(path: Path, root: Path) -> frozenset[int]:
    """Numbers of the frames that the authors list as badly annotated; none where there is no list."""
    if not is_file(inside(path, root)):
        return frozenset()
    with open_mat(path, root) as mat:
        frames = mat.numbers("error", (None, None)).ravel()
    if ((frames < 1) | (frames % 1 != 0)).any():
        raise AnnotationError(f"{path}: 'error' holds numbers of frames, counted from 1, got {frames.tolist()!r:.80}")
    return frozenset(int(frame) for frame in frames)


def _problems(root: Path, found: Set[str]) -> tuple[str, ...]:
    counts = [
        f"{name}: {len(members & found)} clips found, {len(members)} are official"
        for name, members in {"train": TRAIN_CLIPS, **CATEGORIES}.items()
        if not members <= found
    ]
    unknown = sorted(found - TRAIN_CLIPS - _CATEGORY_OF.keys())
    more = [f"clips {', '.join(unknown)} are not official, and count as train"] if unknown else []
    kept = "extra/ is not there, so frames that the authors list as badly annotated are kept"
    return (*counts, *more, *([] if (root / "extra").is_dir() else [kept]))
