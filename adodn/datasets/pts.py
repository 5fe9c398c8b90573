"""Reads `.pts`, the annotation format of 300W and 300VW. It does not look for images.

    parse_pts(path.read_bytes(), num_landmarks=68, where=str(path))    # [68, 2], 0-based

A file holds `version: 1`, `n_points: 68` and, between braces, one `x y` a line, counted from 1.
"""

import math

import numpy as np
from numpy.typing import NDArray

from adodn.errors import AnnotationError

MAX_BYTES = 100_000
"""Far above any real file; more is not an annotation."""

_Line = tuple[int, str]


def parse_pts(data: bytes, *, num_landmarks: int, where: str) -> NDArray[np.float64]:
    """Read the landmarks of one face.

    Args:
        data: The file's bytes; CRLF, blank lines and trailing blanks are allowed.
        num_landmarks: How many points the file must have.
        where: The file's path, for messages.

    Returns:
        `[num_landmarks, 2]`, x then y, in pixels from 0.

    Raises:
        AnnotationError: If the file breaks the format; the message names the line.
    """
    lines = _lines(data, where)
    declared = _body_start(lines, where)
    body, closing = lines[3:-1], lines[-1]
    if closing[1] != "}":
        raise AnnotationError(
            f"{where}:{closing[0]}: the last line must be '}}', got {closing[1]!r}; the file may be cut"
        )
    if declared != num_landmarks or len(body) != num_landmarks:
        raise AnnotationError(
            f"{where}:{lines[1][0]}: needs {num_landmarks} points, n_points says {declared} and {len(body)} are there"
        )
    return np.array([_point(line, where) for line in body], dtype=np.float64) - 1.0


def _lines(data: bytes, where: str) -> list[_Line]:
    if len(data) > MAX_BYTES:
        raise AnnotationError(f"{where}: a .pts file has at most {MAX_BYTES} bytes, got {len(data)}")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AnnotationError(
            f"{where}:{line}: a .pts file is plain ASCII, got byte {data[error.start]:#04x}"
        ) from None
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    lines = [(number, line) for number, line in numbered if line]
    if len(lines) < 4:
        raise AnnotationError(f"{where}: needs 'version:', 'n_points:', '{{', points and '}}', got {len(lines)} lines")
    return lines


def _body_start(lines: list[_Line], where: str) -> int:
    """Check the three lines before the points; answers n_points."""
    version = _field(lines[0], "version", where)
    if version not in ("1", "1.0"):
        raise AnnotationError(f"{where}:{lines[0][0]}: version must be 1, got {version!r}")
    declared = _field(lines[1], "n_points", where)
    if not declared.isdigit():
        raise AnnotationError(f"{where}:{lines[1][0]}: n_points must be a whole number, got {declared!r}")
    number, brace = lines[2]
    if brace != "{":
        raise AnnotationError(f"{where}:{number}: expected '{{' before the points, got {brace!r}")
    return int(declared)


def _field(line: _Line, name: str, where: str) -> str:
    number, text = line
    found, colon, value = text.partition(":")
    if found.strip() != name or not colon:
        raise AnnotationError(f"{where}:{number}: expected '{name}: …', got {text!r}")
    return value.strip()


def _point(line: _Line, where: str) -> tuple[float, float]:
    number, text = line
    try:
        x, y = (float(word) for word in text.replace("_", "?").split())  # Python alone reads 1_0 as a number
    except ValueError:
        raise AnnotationError(f"{where}:{number}: expected two numbers 'x y', got {text!r}") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise AnnotationError(f"{where}:{number}: coordinates must be finite, got {text!r}")
    return x, y
