"""From predictions to results that name everything: dataset digest, subset, protocol, normaliser, threshold, faces.

    errors = face_errors(predict, loader, protocol, "outer_eye_corners")
    result = report(errors, "300w", manifest.digest, "outer_eye_corners")
    result.value("300w/challenging nme@outer_eye_corners")

Knows no model (only a function from images to landmarks), and sends nothing anywhere.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from adodn import metrics
from adodn.errors import ConfigError, DataError, TrainingDivergedError
from adodn.protocols import LandmarkProtocol
from adodn.samples import Batch

PredictFn = Callable[[torch.Tensor], torch.Tensor]
"""Images `[B, 3, S, S]` uint8 RGB → landmarks `[B, L, 2]`, fractions of the crop."""

ALL = "all"
"""The subset that every face belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FaceErrors:
    """What a model did on N faces, each measured once."""

    protocol: str
    normaliser: str
    keys: tuple[str, ...]
    nme: NDArray[np.float64]
    """`[N]`, fractions."""
    predicted: NDArray[np.float64]
    """`[N, L, 2]`, pixels of the original images."""
    subsets: tuple[tuple[str, ...], ...]
    """Per face, without `all`."""

    def __len__(self) -> int:
        return len(self.keys)

    def by_subset(self) -> dict[str, NDArray[np.float64]]:
        """Subset → the NME of its faces, in order of name; `all` comes last."""
        names = sorted({name for subsets in self.subsets for name in subsets} - {ALL})
        parts = {name: self.nme[[name in subsets for subsets in self.subsets]] for name in names}
        return {**parts, ALL: self.nme}

    def extremes(self, count: int) -> dict[str, tuple[str, ...]]:
        """Keys of the `best`, `median` and `worst` faces, each in order of error, ties by key."""
        ranked = [key for _, key in sorted(zip(self.nme.tolist(), self.keys, strict=True))]
        middle = max(0, (len(ranked) - count) // 2)
        return {
            "best": tuple(ranked[:count]),
            "median": tuple(ranked[middle : middle + count]),
            "worst": tuple(ranked[-count:]),
        }

    def to_csv(self) -> str:
        """One line a face: key, subsets joined by `|`, NME as a fraction that reads back to the same bits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("key", "subset", f"nme@{self.normaliser}"))
        rows = zip(self.keys, self.subsets, self.nme.tolist(), strict=True)
        writer.writerows((key, "|".join(subsets), repr(value)) for key, subsets, value in rows)
        return text.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One figure."""

    name: str
    """E.g. `300w/challenging failure_rate@0.10`."""
    value: float
    """A fraction."""
    num_faces: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """All figures of one model on one dataset, and the errors behind them."""

    dataset: str
    dataset_digest: str
    protocol: str
    normaliser: str
    results: tuple[Result, ...]
    errors: FaceErrors = field(repr=False, compare=False)

    def value(self, name: str) -> float:
        """The figure of that full name, as a fraction.

        Raises:
            ConfigError: If there is none; the message lists those there are.
        """
        values = {result.name: result.value for result in self.results}
        if name not in values:
            raise ConfigError(f"no result {name!r}; available: {', '.join(values)}")
        return values[name]

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, percent and number of faces of each figure, as text for a table; AUC stays a fraction."""
        return [(r.name, _printed(r), str(r.num_faces)) for r in self.results]

    def to_json(self) -> str:
        """Everything but the per-face errors, which are `errors.to_csv()`. Values are fractions."""
        head = {name: getattr(self, name) for name in ("dataset", "dataset_digest", "protocol", "normaliser")}
        results = [{"name": r.name, "value": r.value, "num_faces": r.num_faces} for r in self.results]
        return json.dumps({**head, "results": results}, indent=2, allow_nan=False)


def face_errors(
    predict: PredictFn, batches: Iterable[Batch], protocol: LandmarkProtocol, normaliser: str
) -> FaceErrors:
    """Measure every face in pixels of its original image.

    Args:
        predict: The model, in evaluation mode.
        batches: Un-augmented faces; those repeated as padding are left out.
        protocol: Layout of the landmarks.
        normaliser: See `metrics.normaliser_of`.

    Raises:
        DataError: If there is no face, a face comes twice, or its normaliser is 0.
        TrainingDivergedError: If a predicted landmark is not finite.
    """
    keys: list[str] = []
    subsets: list[tuple[str, ...]] = []
    measured: list[torch.Tensor] = []
    predicted: list[torch.Tensor] = []
    for batch in batches:
        kept = _kept(batch)
        landmarks = to_image(_predictions(predict, batch), batch.crop_to_image)
        measured.append(_measure(landmarks, batch, protocol, normaliser)[kept])
        predicted.append(landmarks[kept])
        keys += [batch.keys[i] for i in kept]
        subsets += [batch.subsets[i] for i in kept]
    _refuse_empty_or_repeated(keys)
    return FaceErrors(
        protocol=protocol.name,
        normaliser=normaliser,
        keys=tuple(keys),
        nme=torch.cat(measured).numpy(),
        predicted=torch.cat(predicted).numpy(),
        subsets=tuple(subsets),
    )


def report(
    errors: FaceErrors,
    dataset_name: str,
    dataset_digest: str,
    normaliser: str,
    thresholds: Sequence[float] = (0.08, 0.10),
) -> EvaluationReport:
    """Sum up each subset, and all faces together.

    Args:
        errors: From `face_errors`.
        dataset_name: The first word of every figure's name.
        dataset_digest: Of its manifest.
        normaliser: The one that `errors` were measured with.
        thresholds: Of failure rate and AUC, fractions.

    Raises:
        ValueError: If `errors` were measured with another normaliser.
    """
    if normaliser != errors.normaliser:
        raise ValueError(f"errors were measured with normaliser {errors.normaliser!r}, not {normaliser!r}")
    results = [
        Result(name=f"{dataset_name}/{subset} {metric}", value=value, num_faces=len(values))
        for subset, values in errors.by_subset().items()
        for metric, value in _figures(values, normaliser, thresholds)
    ]
    return EvaluationReport(
        dataset=dataset_name,
        dataset_digest=dataset_digest,
        protocol=errors.protocol,
        normaliser=normaliser,
        results=tuple(results),
        errors=errors,
    )


def read_csv(text: str, where: str) -> dict[str, float]:
    """Key → NME, from what `FaceErrors.to_csv` wrote.

    Args:
        text: The file's content.
        where: Its address, for messages.

    Raises:
        DataError: If it is something else.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or len(rows[0]) != 3 or not rows[0][2].startswith("nme@"):
        raise DataError(f"{where}: per-face errors start with the line key,subset,nme@…, got {rows[:1]!r}")
    try:
        return {key: float(value) for key, _, value in rows[1:]}
    except ValueError as cause:
        raise DataError(f"{where}: not a line of per-face errors: {cause}") from None


def paired(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The errors of two models on the same faces, in one order: what paired tests need.

    Args:
        a: Key → NME of one model.
        b: Key → NME of the other.

    Raises:
        DataError: If the two did not see the same faces.
    """
    apart = sorted(a.keys() ^ b.keys())
    if apart or not a:
        raise DataError(
            f"paired errors must be of the same faces, got {len(a)} and {len(b)}, of which {len(apart)} are in "
            f"one only (e.g. {apart[:3]}); evaluate both models on the same dataset digest and subset"
        )
    keys = sorted(a)
    return np.array([a[key] for key in keys]), np.array([b[key] for key in keys])


def to_image(fractions: torch.Tensor, crop_to_image: torch.Tensor) -> torch.Tensor:
    """Map `[B, L, 2]` crop fractions by `[B, 2, 3]` to float64 pixels of the original images, on the CPU."""
    matrix = crop_to_image.double().cpu()[:, None]
    # spelled out, because a batched matrix product may round differently for other batch sizes
    return (fractions.double().cpu()[:, :, None] * matrix[..., :2]).sum(dim=-1) + matrix[..., 2]


def _predictions(predict: PredictFn, batch: Batch) -> torch.Tensor:
    with torch.inference_mode():
        landmarks = predict(batch.images)
    if landmarks.shape != batch.landmarks.shape:
        raise ValueError(
            f"predict must answer {list(batch.landmarks.shape)} for this batch, got {list(landmarks.shape)}"
        )
    bad = (~landmarks.isfinite().flatten(1).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise TrainingDivergedError(
            f"predicted landmarks must be finite, got NaN or infinity on face {batch.keys[bad[0]]!r} "
            f"({len(bad)} of {len(batch)} in its batch); go back to an earlier checkpoint"
        )
    return landmarks


def _measure(landmarks: torch.Tensor, batch: Batch, protocol: LandmarkProtocol, normaliser: str) -> torch.Tensor:
    truth = batch.image_landmarks.double().cpu()
    scale = metrics.normaliser_of(protocol, truth, batch.image_boxes.cpu(), normaliser)
    bad = (~(scale > 0)).nonzero().flatten().tolist()
    if bad:
        raise DataError(
            f"face {batch.keys[bad[0]]!r}: normaliser {normaliser!r} must be above 0, got {scale[bad[0]].item()!r}; "
            f"mend its annotation, or measure by another normaliser"
        )
    return metrics.nme(landmarks, truth, scale)


def _kept(batch: Batch) -> list[int]:
    return [int(i) for i in (~batch.is_padding.cpu()).nonzero().flatten()]


def _refuse_empty_or_repeated(keys: Sequence[str]) -> None:
    if not keys:
        raise DataError("evaluation needs at least one face, got none; name a split that has faces")
    if len(set(keys)) < len(keys):
        seen: set[str] = set()
        twice = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DataError(f"each face counts once in an evaluation, but {twice!r} came twice; pass each batch once")


def _figures(values: NDArray[np.float64], normaliser: str, thresholds: Sequence[float]) -> Iterator[tuple[str, float]]:
    ordered = np.sort(values)  # so that no order of the faces changes the last bit of a mean
    yield f"nme@{normaliser}", float(ordered.mean())
    for threshold in thresholds:
        yield f"failure_rate@{_label(threshold)}", metrics.failure_rate(ordered, threshold)
        yield f"auc@{_label(threshold)}", metrics.auc(ordered, threshold)


def _label(threshold: float) -> str:
    """Two digits as the field writes them, e.g. `0.10`; more only where two would not do."""
    short = f"{threshold:.2f}"
    return short if float(short) == threshold else repr(threshold)


def _printed(result: Result) -> str:
    return f"{result.value:.4f}" if " auc@" in result.name else f"{100 * result.value:.2f} %"
