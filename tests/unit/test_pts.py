"""The `.pts` reader: what it accepts, and that it names the line of what it does not."""

import numpy as np
import pytest

from adodn.datasets.pts import MAX_BYTES, parse_pts
from adodn.errors import AnnotationError

THREE = "version: 1\nn_points:  3\n{\n1 1\n2.5 10\n-3 4e1\n}\n"


def parse(text: str | bytes) -> list[list[float]]:
    data = text.encode() if isinstance(text, str) else text
    return parse_pts(data, num_landmarks=3, where="a.pts").tolist()


def test_counts_from_zero() -> None:
    """A file's pixel 1 is our pixel 0."""
    assert parse(THREE) == [[0.0, 0.0], [1.5, 9.0], [-4.0, 39.0]]


@pytest.mark.parametrize(
    "text",
    [
        THREE.replace("version: 1", "version: 1.0"),
        THREE.replace("version: 1", "version:1"),
        THREE.replace("n_points:  3", "n_points:3   "),
        THREE.replace("n_points:  3", "n_points:\t \t3"),
        THREE.replace("\n", "\r\n"),
        THREE.replace("\n", "  \n"),
        THREE.replace("\n", "\n\n"),
        THREE.rstrip("\n"),
        THREE.replace(" ", "\t"),
    ],
)
def test_blanks_line_ends_and_versions_mean_nothing(text: str) -> None:
    """Every spelling found in the wild reads as the same landmarks."""
    assert parse(text) == parse(THREE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (THREE.replace("2.5 10\n", ""), "a.pts:2: needs 3 points, n_points says 3 and 2 are there"),
        (THREE.replace("points:  3", "points:  2").replace("1 1\n", ""), "a.pts:2: needs 3 points, n_points says 2"),
        (THREE.replace("2.5 10", "2.5"), "a.pts:5: expected two numbers 'x y', got '2.5'"),
        (THREE.replace("2.5 10", "2.5 10 1"), "a.pts:5: expected two numbers 'x y', got '2.5 10 1'"),
        (THREE.replace("2.5", "nan"), "a.pts:5: coordinates must be finite, got 'nan 10'"),
        (THREE.replace("2.5", "inf"), "a.pts:5: coordinates must be finite, got 'inf 10'"),
        (THREE.replace("2.5", "2_5"), "a.pts:5: expected two numbers"),
        (THREE.replace("2.5", "x"), "a.pts:5: expected two numbers"),
        (THREE.replace("version: 1", "version: 2"), "a.pts:1: version must be 1, got '2'"),
        (THREE.replace("version: 1", "virsion: 1"), "a.pts:1: expected 'version: …', got 'virsion: 1'"),
        (THREE.replace("n_points:  3", "n_points: -3"), "a.pts:2: n_points must be a whole number, got '-3'"),
        (THREE.replace("{", "("), "a.pts:3: expected '{' before the points, got '('"),
        (THREE.replace("}\n", ""), "a.pts:6: the last line must be '}', got '-3 4e1'"),
        ("", "a.pts: needs 'version:'"),
    ],
)
def test_a_broken_file_is_one_error_with_its_line(text: str, message: str) -> None:
    """A file that breaks the format is refused, and the error says where, by which rule, and the value."""
    with pytest.raises(AnnotationError) as error:
        parse(text)
    assert message in str(error.value)


def test_binary_is_refused_at_its_line() -> None:
    """Bytes that are no ASCII are named with their line."""
    with pytest.raises(AnnotationError, match=r"a\.pts:2: a \.pts file is plain ASCII, got byte 0xff"):
        parse(b"version: 1\n\xff\xd8\n")


def test_a_huge_file_is_refused_before_it_is_read() -> None:
    """More bytes than any annotation has are not parsed."""
    with pytest.raises(AnnotationError, match=f"at most {MAX_BYTES} bytes"):
        parse(b" " * (MAX_BYTES + 1))


def test_shape_and_type() -> None:
    """Landmarks are `[L, 2]` float64."""
    landmarks = parse_pts(THREE.encode(), num_landmarks=3, where="a.pts")
    assert landmarks.shape == (3, 2)
    assert landmarks.dtype == np.float64
