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
    "P″": "P″ = sigmoid(A) is the importance map, 0.5 to 1, so it shows the same places as A. Features are multiplied by "
    "P′ and P″.",
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
    """The maps of some faces, a row a face and model. None where no model has maps of any.

    Args:
        subjects: Name → model; the name is shown where there are several.
        errors: Of any of them: the annotation is taken from it.
        keys: Which faces.
    """
    ranges: dict[tuple[str, str], tuple[float, float]] = {}
    for name, subject in subjects.items():
        maps = [subject.maps[key] for key in keys if key in subject.maps]
        for symbol in maps[0] if maps else ():
            values = [one[symbol] for one in maps]
            ranges[name, symbol] = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
    rows = [
        (_row_title(key, name, len(subjects)), _map_row(subject, name, errors, key, ranges))
        for key in keys
        for name, subject in subjects.items()
        if key in subject.maps
    ]
    if not rows:
        return None
    symbols = dict.fromkeys(symbol for _, symbol in ranges)
    return Gallery(rows=tuple(rows), caption=_map_caption(tuple(symbols)), columns=4)


def _row_title(key: str, name: str, models: int) -> str:
    return f"{name}: {key}" if models > 1 else key


def _map_caption(symbols: Sequence[str]) -> str:
    told = " ".join(_MAPS[symbol] for symbol in symbols)
    return (
        f"{told} Each is a coarse grid, laid over the face; dark violet is its lowest value on the faces shown, yellow its "
        "highest, and the numbers are the range on that face. Green points, where there are any, are landmarks that are "
        "annotated as covered. No one taught the network what is covered: a map may light up for other reasons."
    )


def _map_row(
    subject: Subject,
    name: str,
    errors: FaceErrors,
    key: str,
    ranges: Mapping[tuple[str, str], tuple[float, float]],
) -> tuple[Picture, ...]:
    place, crop = errors.keys.index(key), subject.crops[key]
    covered = errors.target[place][~errors.visible[place]]
    face = shown_face(crop, truth=covered)
    pictures = [
        Picture(
            uri=data_uri("image/jpeg", jpeg(face_tile(face))),
            alt=f"Face {key}; covered landmarks in green",
            name="face",
        )
    ]
    for symbol, values in subject.maps[key].items():
        text = f"{values.min():.2f} to {values.max():.2f}"
        uri = overlay(crop.image, values, *ranges[name, symbol])
        pictures.append(Picture(uri=uri, alt=f"Map {symbol} over face {key}, {text}", name=symbol, caption=text))
    return tuple(pictures)


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
