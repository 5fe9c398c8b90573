"""The numbered pictures of the protocols: every number stands, clear of the others, by its own point."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adodn.datasets.rendering.anatomy import MEAN_LANDMARKS
from adodn.protocols import picture
from adodn.protocols.definitions import BUILT_IN
from adodn.protocols.layout import LandmarkProtocol
from adodn.protocols.placing import place

Box = tuple[float, float, float, float]
every_protocol = pytest.mark.parametrize("protocol", BUILT_IN, ids=lambda protocol: protocol.name)


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@every_protocol
def test_numbers_are_readable(protocol: LandmarkProtocol) -> None:
    """Each point has its number, inside the picture, on no other number and on no point."""
    labels = picture.labels(protocol)
    dots = [(x - 4, y - 4, x + 4, y + 4) for x, y in (label.at for label in labels)]

    assert [label.point for label in labels] == list(range(protocol.num_landmarks))
    for label in labels:
        assert label.box[0] >= 0 and label.box[2] <= picture.SIDE_PX
        assert label.box[1] >= 0 and label.box[3] <= picture.SIDE_PX
        assert [i for i, dot in enumerate(dots) if overlap(label.box, dot)] == [], label.point
        assert [other.point for other in labels if overlap(label.box, other.box)] == [label.point]


@every_protocol
def test_a_number_is_nearest_to_its_own_point(protocol: LandmarkProtocol) -> None:
    """No number stands nearer to another point, so that none can be read for its neighbour."""
    labels = picture.labels(protocol)
    points = np.array([label.at for label in labels])
    for label in labels:
        distance = np.linalg.norm(points - label.middle, axis=1)
        assert distance[label.point] <= distance.min() + 1e-9, label.point


def test_rings_are_what_the_drawn_face_lacks() -> None:
    """All of 68 are the face's own landmarks; of the ears of 21 and the pupils of 98 none is."""
    drawn = {protocol.name: [label.is_drawn for label in picture.labels(protocol)] for protocol in BUILT_IN}

    assert all(drawn["68"])
    assert not drawn["21"][12] and not drawn["21"][16]
    assert not drawn["98"][96] and drawn["98"][54] and not drawn["98"][1]


def test_a_picture_is_a_png_that_shows_its_colours(tmp_path: Path) -> None:
    """Seven files, each at least 800 px wide and under 300 kB, with every line's colour in it."""
    paths = picture.write_all(tmp_path / "pictures")

    assert [path.name for path in paths] == [f"protocol-{protocol.name}.png" for protocol in BUILT_IN]
    for path in paths:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "PNG"
            assert image.size == (picture.SIDE_PX, picture.SIDE_PX + picture.CAPTION_PX)
            colours = set(np.unique(np.asarray(image.convert("RGB")) @ [1 << 16, 1 << 8, 1]).tolist())
        assert {0x000000, 0x00507A} <= colours
        assert len(data) < 300_000


@every_protocol
def test_placing_moves_with_the_face(protocol: LandmarkProtocol) -> None:
    """Points are placed alike on a face that is larger or elsewhere."""
    landmarks = MEAN_LANDMARKS[:, :2]
    moved = place(protocol.name, landmarks * 0.5 + [30, -7])

    assert moved == pytest.approx(place(protocol.name, landmarks) * 0.5 + [30, -7], abs=1e-6)
