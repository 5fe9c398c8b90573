"""Rows of faces for a page: best, median and worst, where two models differ, and the maps of the occlusion module.

extreme_faces(subject, errors), differing_faces(a, b, …), map_rows({"A": a, "B": b}, keys)
"""

from collections.abc import Mapping, Sequence

from adodn.evaluate import FaceErrors
from adodn.plots import face_tile, jpeg, shown_face
from adodn.report.blocks import Gallery, Picture
from adodn.report.drawings import data_uri, overlay
from adodn.report.selection import differing, extremes
from adodn.report.subject import Subject
from adodn.report.words import percent

_POINTS = "Green: where the landmarks were annotated; magenta: where the model found them; white lines join the two."
_MAPS = {
    "P": "P says how uncovered a place looks to the network, 0 to 1; features there are multiplied by it.",
    "P′": "P′ is the learned response, how uncovered a place looks to the network, 0 to 1.",
    "P″": "P″ = sigmoid(A) is the importance map, 0.5 to 1, so it shows the same places as A; features are multiplied "
    "by P′ and P″.",
    "A": "A is the attention, the mean strength of features at a place.",
}


def extreme_faces(subject: Subject, errors: FaceErrors) -> Gallery:
    """Best, median and worst faces of a subset."""
    rows = tuple(
        (title, tuple(_face(subject, errors, key) for key in keys)) for title, keys in extremes(errors).items()
    )
    return Gallery(
        rows=rows, caption=f"Faces with the smallest, middle and largest errors; below each its NME and key. {_POINTS}"
    )


def differing_faces(a: Subject, b: Subject, errors_a: FaceErrors, errors_b: FaceErrors) -> Gallery | None:
    """Each face twice, as A and as B saw it: where A is better by most, then where B is. None where nothing differs."""
    rows = []
    for title, keys in zip(("A is better by most", "B is better by most"), differing(errors_a, errors_b), strict=True):
        pictures = [
            _face(subject, errors, key, name)
            for key in keys
            for name, subject, errors in (("A", a, errors_a), ("B", b, errors_b))
        ]
        rows += [(title, tuple(pictures))] if pictures else []
    caption = f"The faces on which the errors of the two models lie farthest apart, each by A and by B. {_POINTS}"
    return Gallery(rows=tuple(rows), caption=caption, columns=4) if rows else None


def map_rows(subjects: Mapping[str, Subject], errors: FaceErrors, keys: Sequence[str]) -> Gallery | None:
    """The maps of some faces, a row a face, with those of all models. None where no model has maps of any.

    Args:
        subjects: Name → model; the name is shown where there are several.
        errors: Of any of them: the annotation is taken from it.
        keys: Which faces.
    """
    mapped = [key for key in keys if any(key in subject.maps for subject in subjects.values())]
    if not mapped:
        return None
    ranges = _ranges(subjects, mapped)
    rows = tuple((key, (_covered(subjects, errors, key), *_maps_of(subjects, key, ranges))) for key in mapped)
    symbols = dict.fromkeys(symbol for _, symbol in ranges)
    return Gallery(rows=rows, caption=_map_caption(tuple(symbols)), columns=max(4, *(len(row) for _, row in rows)))


def _ranges(subjects: Mapping[str, Subject], keys: Sequence[str]) -> dict[tuple[str, str], tuple[float, float]]:
    """Model and symbol → least and largest value on these faces."""
    values: dict[tuple[str, str], list[float]] = {}
    for name, subject in subjects.items():
        for key in keys:
            for symbol, grid in subject.maps.get(key, {}).items():
                values.setdefault((name, symbol), []).extend((float(grid.min()), float(grid.max())))
    return {which: (min(found), max(found)) for which, found in values.items()}


def _covered(subjects: Mapping[str, Subject], errors: FaceErrors, key: str) -> Picture:
    """The face itself, with the landmarks that are annotated as covered."""
    crop = next(subject.crops[key] for subject in subjects.values() if key in subject.crops)
    place = errors.keys.index(key)
    face = shown_face(crop, truth=errors.target[place][~errors.visible[place]])
    uri = data_uri("image/jpeg", jpeg(face_tile(face)))
    return Picture(uri=uri, alt=f"Face {key}; landmarks annotated as covered in green", name="face")


def _maps_of(
    subjects: Mapping[str, Subject], key: str, ranges: Mapping[tuple[str, str], tuple[float, float]]
) -> list[Picture]:
    pictures = []
    for name, subject in subjects.items():
        for symbol, grid in subject.maps.get(key, {}).items():
            text = f"{grid.min():.2f} to {grid.max():.2f}"
            shown = f"{name}: {symbol}" if len(subjects) > 1 else symbol
            uri = overlay(subject.crops[key].image, grid, *ranges[name, symbol])
            pictures.append(Picture(uri=uri, alt=f"Map {shown} over face {key}, {text}", name=shown, caption=text))
    return pictures


def _map_caption(symbols: Sequence[str]) -> str:
    told = " ".join(_MAPS[symbol] for symbol in symbols)
    return (
        f"{told} Each is a coarse grid, laid over the face; dark violet is its lowest value on the faces shown, yellow "
        "its highest, and the numbers are the range on that face. Green points, where there are any, are landmarks "
        "that are annotated as covered. No one taught the network what is covered: a map may show other things."
    )


def _face(subject: Subject, errors: FaceErrors, key: str, name: str = "") -> Picture:
    place = errors.keys.index(key)
    face = shown_face(subject.crops[key], truth=errors.target[place], prediction=errors.predicted[place])
    nme = f"{percent(errors.nme[place])} %"
    who = f" by {name}" if name else ""
    return Picture(
        uri=data_uri("image/jpeg", jpeg(face_tile(face))),
        alt=f"Face {key}{who}, annotated and found landmarks; NME {nme}",
        name=f"{name} {nme}".strip(),
        caption=key,
    )
