"""The built-in protocols: what they claim of their points holds on drawn and on real faces."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adodn import protocols
from adodn.datasets.rendering.anatomy import MEAN_LANDMARKS
from adodn.errors import ConfigError
from adodn.protocols.definitions import BUILT_IN
from adodn.protocols.layout import LandmarkProtocol, point_names
from adodn.protocols.maps import get_map
from adodn.protocols.placing import place

DRAWN = MEAN_LANDMARKS[:, :2]
FIXTURES = {"68": "300w/test_300w.json", "19": "aflw/test_aflw.json", "29": "cofw/test_cofw.json"}
FIXTURES["98"] = "wflw/test_wflw.json"
every_protocol = pytest.mark.parametrize("protocol", BUILT_IN, ids=lambda protocol: protocol.name)


def real_faces(root: Path, name: str) -> Iterator[NDArray[np.float64]]:
    for face in json.loads((root / "fixtures" / FIXTURES[name]).read_text())["annotations"]:
        yield np.array(face["keypoints"], dtype=np.float64).reshape(int(name), 3)[:, :2]


def fitted(points: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """`points` after the best affine fit."""
    plane = np.column_stack([points, np.ones(len(points))])
    return plane @ np.linalg.lstsq(plane, onto, rcond=None)[0]


def distances(a: NDArray[np.float64], b: NDArray[np.float64], protocol: LandmarkProtocol) -> NDArray[np.float64]:
    """From each point of `a` to that of `b`, in outer-eye distances of `b`."""
    right, left = protocol.outer_eye_corners
    return np.linalg.norm(a - b, axis=1) / np.linalg.norm(b[left] - b[right])


def other_side(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"right": f"left_{rest}", "left": f"right_{rest}"}.get(side, name)


@every_protocol
def test_a_protocol_is_named_by_its_number_of_points(protocol: LandmarkProtocol) -> None:
    """The seven are known by name, and each has as many points, names and flips as it says."""
    assert protocols.get(protocol.name) is protocol
    assert protocol.num_landmarks == int(protocol.name) == len(protocol.names) == len(protocol.flip)
    assert len(BUILT_IN) == 7


@every_protocol
def test_every_point_is_in_one_part(protocol: LandmarkProtocol) -> None:
    """Errors by part count every point once."""
    points = sorted(point for part in protocol.parts.values() for point in part)

    assert points == list(range(protocol.num_landmarks))


@every_protocol
def test_a_flip_changes_right_for_left(protocol: LandmarkProtocol) -> None:
    """A point's image is named for the other side; part by part, and point by point where names are its own."""
    for point, name in enumerate(protocol.names):
        mirrored = protocol.names[protocol.flip[point]]
        if name[-1].isdigit():
            name, mirrored = name.rpartition("_")[0], mirrored.rpartition("_")[0]
        assert mirrored == other_side(name)


@every_protocol
def test_normalisers_lie_across_the_face(protocol: LandmarkProtocol) -> None:
    """The two sides of a normaliser mirror each other, the person's right first; so the flip changes no error."""
    for right, left in protocol.normalisers.values():
        assert {protocol.flip[point] for point in right} == set(left)
        assert all(protocol.names[point].startswith("right_") for point in right)


@every_protocol
def test_a_symmetric_face_is_its_own_mirror_image(protocol: LandmarkProtocol) -> None:
    """On the drawn mean face, which is symmetric to the last bit, mirroring and flipping moves no point."""
    face = place(protocol.name, DRAWN)
    mirrored = face[list(protocol.flip)] * [-1, 1]

    assert np.abs(mirrored - face).max() < 1e-6
    assert np.abs(face * [-1, 1] - face).max() > 40


@every_protocol
def test_right_is_the_persons_own(protocol: LandmarkProtocol) -> None:
    """On a face that looks at us the person's right is at the left of the image, in every protocol."""
    face = place(protocol.name, DRAWN)
    for point, name in enumerate(protocol.names):
        if name.startswith(("right_", "left_")):
            assert (face[point, 0] < 0) == name.startswith("right_"), name


@every_protocol
def test_equal_names_mean_equal_spots(protocol: LandmarkProtocol) -> None:
    """A named point lies where the point of that name lies in 106, to a tenth of the eyes' distance."""
    widest = protocols.get("106")
    face, reference = place(protocol.name, DRAWN), place("106", DRAWN)
    eyes = DRAWN[45, 0] - DRAWN[36, 0]
    shared = [name for name in protocol.names if name in widest.names and not name[-1].isdigit()]

    assert {"nose_tip", "right_mouth_corner"} <= set(shared)
    for name in shared:
        offset = face[protocol.names.index(name)] - reference[widest.names.index(name)]
        assert np.linalg.norm(offset) < 0.1 * eyes, name


@pytest.mark.parametrize("name", FIXTURES)
def test_real_faces_are_laid_out_as_the_drawn_one(shared_data: Path, name: str) -> None:
    """After an affine fit the drawn face's points lie near a real face's; numbered one further, they do not."""
    protocol, drawn = protocols.get(name), place(name, DRAWN)
    for face in real_faces(shared_data, name):
        assert distances(fitted(drawn, face), face, protocol).mean() < 0.13
        wrong = face[np.roll(np.arange(len(face)), 1)]
        assert distances(fitted(drawn, wrong), wrong, protocol).mean() > 0.15


@pytest.mark.parametrize("name", FIXTURES)
def test_a_flipped_real_face_is_a_face(shared_data: Path, name: str) -> None:
    """Mirrored and permuted, a real face is as near the drawn one as before; an affine fit forgives a mirror."""
    protocol, drawn = protocols.get(name), place(name, DRAWN)
    for face in real_faces(shared_data, name):
        flipped = face[list(protocol.flip)] * [-1, 1]
        before, after = (distances(fitted(drawn, points), points, protocol).mean() for points in (face, flipped))
        assert after == pytest.approx(before, rel=0.01)


def test_98_points_come_back_from_their_68(shared_data: Path) -> None:
    """Placed from the 68 that WFLW's own points give, the 98 lie where WFLW's annotators put them."""
    protocol = protocols.get("98")
    for face in real_faces(shared_data, "98"):
        again = distances(place("98", get_map("98", "68").apply(face)), face, protocol)
        assert again.mean() < 0.02
        assert again.max() < 0.15


def test_names_come_from_parts() -> None:
    """A part's points are numbered, a lone point has the part's name, the first part counts, and no point is left."""
    parts = {"jaw": (3, 0), "tip": (1,), "all": (0, 1, 2)}

    assert point_names(5, parts, {3: "chin"}) == ("jaw_1", "tip", "all_2", "chin", "point_4")
    assert LandmarkProtocol(name="m", num_landmarks=2, flip=(1, 0), normalisers={}).names == ("point_0", "point_1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flip": (1, 2, 0)}, "undoes itself"),
        ({"flip": (1, 0)}, "permutation of 0 … 2"),
        ({"parts": {"eye": (3,)}}, r"points \[3\] lie outside 0 … 2"),
        ({"normalisers": {"pupils": ((0,), ())}}, "normaliser 'pupils' needs points on both sides"),
        ({"normalisers": {"outer_eye_corners": ((0, 2), (1,))}}, "one point on each side"),
        ({"closed_parts": frozenset({"ear"})}, r"\['ear'\] are no parts"),
        ({"names": ("a", "b")}, "one for each of 3 landmarks, got 2"),
        ({"names": ("a", "b", "a")}, r"twice: \['a'\]"),
    ],
)
def test_what_cannot_be_a_protocol_is_refused(change: dict[str, object], message: str) -> None:
    """A layout that breaks a rule is never built, and the message says which."""
    fine = LandmarkProtocol(name="mine", num_landmarks=3, flip=(1, 0, 2), normalisers={})
    with pytest.raises(ConfigError, match=message):
        replace(fine, **{"names": (), **change})


def test_registered_protocols_are_known() -> None:
    """A protocol is known by name once registered; again is fine, and another of that name is refused."""
    mine = LandmarkProtocol(name="registered-here", num_landmarks=2, flip=(1, 0), normalisers={})
    with pytest.raises(ConfigError, match=r"'registered-here'; available: 5, 19, 21, 29, 68, 98, 106"):
        protocols.get("registered-here")
    protocols.register(mine)
    protocols.register(replace(mine))

    assert protocols.get("registered-here") == mine
    with pytest.raises(ConfigError, match="is another one"):
        protocols.register(replace(mine, flip=(0, 1)))
    with pytest.raises(ConfigError, match="'68' is known already"):
        protocols.register(replace(mine, name="68"))
