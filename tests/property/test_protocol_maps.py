"""Laws of the maps between protocols, for any landmarks, on the drawn face, and on real faces."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adodn import protocols
from adodn.datasets.rendering.anatomy import MEAN_LANDMARKS
from adodn.errors import ConfigError
from adodn.protocols.mapping import ProtocolMap, compose
from adodn.protocols.maps import available, get_map, identity
from adodn.protocols.placing import place

MAPS = [get_map(source, target) for source, target in available()]
DRAWN = MEAN_LANDMARKS[:, :2]
every_map = pytest.mark.parametrize("known", MAPS, ids=lambda known: f"{known.source.name}-{known.target.name}")
any_map = st.sampled_from(MAPS)
unhurried = settings(deadline=None)


def faces(known: ProtocolMap, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 50, (3, known.source.num_landmarks, 2))


@every_map
def test_rows_are_in_range_and_differ(known: ProtocolMap) -> None:
    """Every target point has sources of its own: no two are made alike, and an exact map picks every source once."""
    assert len({tuple(sorted(row)) for row in known.rows}) == known.target.num_landmarks
    assert {i for row in known.rows for i in row} <= set(range(known.source.num_landmarks))
    if known.exact:
        assert all(len(row) == 1 for row in known.rows)


@every_map
def test_points_keep_their_names(known: ProtocolMap) -> None:
    """A point that both protocols name is made from the point of that name; an exact map moves names and no more."""
    for name, row in zip(known.target.names, known.rows, strict=True):
        if known.exact:
            assert known.source.names[row[0]] == name
        elif name in known.source.names and not name[-1].isdigit():
            assert known.source.names.index(name) in row, name


@every_map
def test_maps_commute_with_the_flip(known: ProtocolMap) -> None:
    """To mirror a face and map it is to map it and mirror that."""
    landmarks = faces(known)
    before = known.apply(landmarks[:, list(known.source.flip)])
    after = known.apply(landmarks)[:, list(known.target.flip)]

    assert before == pytest.approx(after, abs=1e-9)


@unhurried
@given(any_map, arrays(np.float64, (2, 2), elements=st.floats(-3, 3)), st.floats(-100, 100))
def test_maps_follow_the_image(known: ProtocolMap, matrix: np.ndarray, shift: float) -> None:
    """A map may be taken before or after any affine change of coordinates: crops, pixels and fractions agree."""
    landmarks = faces(known)

    assert known.apply(landmarks @ matrix + shift) == pytest.approx(known.apply(landmarks) @ matrix + shift, abs=1e-9)


@unhurried
@given(any_map, st.data())
def test_visible_where_all_sources_are(known: ProtocolMap, data: st.DataObject) -> None:
    """A mapped point is visible exactly when every point that it is made from is."""
    visible = data.draw(arrays(np.bool_, (2, known.source.num_landmarks)))
    expected = [[all(face[i] for i in row) for row in known.rows] for face in visible.tolist()]

    assert known.visible(visible).tolist() == expected
    assert known.visible(torch.from_numpy(visible)).tolist() == expected


@every_map
def test_each_point_is_the_mean_of_its_row(known: ProtocolMap) -> None:
    """NumPy and torch, one face and many, float32 and float64: each gives the plain mean, in the dtype it was given."""
    landmarks = faces(known)
    expected = np.array([[np.mean([face[i] for i in row], axis=0) for row in known.rows] for face in landmarks])

    assert known.apply(landmarks) == pytest.approx(expected, abs=1e-9)
    assert known.apply(landmarks[0]) == pytest.approx(expected[0], abs=1e-9)
    single = known.apply(torch.from_numpy(landmarks.astype(np.float32))[None])
    assert single.dtype == torch.float32
    assert single[0].numpy() == pytest.approx(expected, abs=1e-3)
    assert known.apply(landmarks.astype(np.float32)).dtype == np.float32


@every_map
def test_a_lost_point_spoils_only_what_is_made_from_it(known: ProtocolMap) -> None:
    """NaN in one source point is NaN in the target points of its rows, and nowhere else."""
    landmarks = faces(known)
    lost = known.rows[-1][0]
    landmarks[:, lost] = np.nan
    spoilt = [lost in row for row in known.rows]

    assert np.isnan(known.apply(landmarks)).all(axis=(0, 2)).tolist() == spoilt
    assert np.isnan(known.apply(landmarks)).any(axis=(0, 2)).tolist() == spoilt


@every_map
def test_the_drawn_face_keeps_its_shape(known: ProtocolMap) -> None:
    """Points placed on the drawn face by the source's rules are mapped to where the target's rules place them."""
    mapped = known.apply(place(known.source.name, DRAWN))
    off = np.linalg.norm(mapped - place(known.target.name, DRAWN), axis=1) / (DRAWN[45, 0] - DRAWN[36, 0])

    assert off.mean() < 0.02
    assert off.max() < (0.08 if known.source.name == "106" else 0.045)  # 106 alone has the wings of the nose


@every_map
def test_names_tell_exact_from_near(known: ProtocolMap) -> None:
    """An exact map is named plainly, any other with its residual."""
    plain = f"{known.source.name}→{known.target.name}"

    assert known.name == (plain if known.exact else f"{plain}≈{known.residual:.3f}")
    assert known.exact == (known.residual == 0)


def test_the_maps_that_were_asked_for_are_there() -> None:
    """Every wider protocol reaches the narrower ones that its points allow."""
    wanted = {("68", "29"), ("98", "68"), ("106", "68"), ("68", "19"), ("68", "5"), ("98", "5"), ("29", "5")}
    wanted |= {("98", "19"), ("106", "5"), ("21", "19"), ("98", "29"), ("106", "98")}

    assert wanted <= set(available())
    assert get_map("68", "29").name == "68→29≈0.018"
    assert get_map("98", "5").name == "98→5"


@pytest.mark.parametrize("protocol", protocols.definitions.BUILT_IN, ids=lambda protocol: protocol.name)
def test_the_identity_changes_nothing(protocol: protocols.LandmarkProtocol) -> None:
    """From a protocol to itself every point stays, and composing with that changes no map."""
    same = get_map(protocol.name, protocol.name)
    landmarks = faces(same)

    assert np.array_equal(same.apply(landmarks), landmarks)
    for known in MAPS:
        if known.source == protocol:
            assert compose(identity(protocol), known) == known


@unhurried
@given(st.sampled_from([(a, b) for a in MAPS for b in MAPS if a.target == b.source]), st.integers(0, 99))
def test_composing_is_one_map_after_the_other(pair: tuple[ProtocolMap, ProtocolMap], seed: int) -> None:
    """The composed map gives what the two give in turn, and admits what both admit."""
    first, second = pair
    whole = compose(first, second)
    landmarks = faces(first, seed)

    assert whole.apply(landmarks) == pytest.approx(second.apply(first.apply(landmarks)), abs=1e-9)
    assert whole.residual == first.residual + second.residual
    assert whole.exact == (first.exact and second.exact)


def test_maps_that_do_not_join_are_refused() -> None:
    """Only a map that starts where the other ends can follow it."""
    with pytest.raises(ConfigError, match="must start from '29', got '68'"):
        compose(get_map("68", "29"), get_map("68", "5"))


def test_unknown_maps_are_refused_with_those_there_are() -> None:
    """What no map can make is refused, never guessed."""
    with pytest.raises(ConfigError, match=r"no map from protocol '5' to '68'; there are .*98→68"):
        get_map("5", "68")
    with pytest.raises(ConfigError, match="unknown landmark protocol '67'"):
        get_map("68", "67")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ((0,), (1,), (2,), (3,))}, "a row for each of 5 target points, got 4"),
        ({"rows": ((0,), (1,), (), (3,), (4,))}, r"row 2 must name points 0 … 4 of the source, got \(\)"),
        ({"rows": ((0,), (1,), (5,), (3,), (4,))}, "row 2 must name points 0 … 4"),
        ({"rows": ((0,), (1,), (2,), (3,), (3,))}, "rows 3 and 4 must mirror each other"),
        ({"rows": ((0,), (1,), (3,), (3,), (4,))}, "rows 2 and 2 must mirror each other"),
        ({"residual": float("nan")}, "finite number from 0, got nan"),
        ({"residual": -0.1}, "finite number from 0, got -0.1"),
        ({"residual": 0.1}, "an exact map picks single points and has residual 0"),
        ({"rows": ((0,), (1,), (0, 1), (3,), (4,))}, "an exact map picks single points"),
    ],
)
def test_what_cannot_be_a_map_is_refused(change: dict[str, object], message: str) -> None:
    """A map that is short, out of range, lopsided, or not what it claims is never built."""
    five = protocols.get("5")
    fields = {"source": five, "target": five, "rows": tuple((i,) for i in range(5)), "exact": True, "residual": 0.0}
    ProtocolMap(**fields)
    with pytest.raises(ConfigError, match=message):
        ProtocolMap(**{**fields, **change})


def test_landmarks_that_do_not_fit_are_refused() -> None:
    """The wrong number of points, or whole numbers, are mistakes of the caller."""
    known = get_map("68", "5")
    with pytest.raises(ValueError, match=r"must be \[..., 68, 2\], got \(98, 2\)"):
        known.apply(np.zeros((98, 2)))
    with pytest.raises(ValueError, match="must be floating, got int64"):
        known.apply(np.zeros((68, 2), np.int64))
    with pytest.raises(ValueError, match=r"must be floating, got torch\.int64"):
        known.apply(torch.zeros((68, 2), dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must be \[..., 68\], got \(67,\)"):
        known.visible(np.ones(67, np.bool_))


def _annotated(root: Path, name: str, count: int) -> list[tuple[int, np.ndarray]]:
    document = json.loads((root / "fixtures" / name).read_text())
    return [
        (face["image_id"], np.array(face["keypoints"], dtype=np.float64).reshape(count, 3)[:, :2])
        for face in document["annotations"]
    ]


@pytest.mark.parametrize(("target", "measured"), [("29", 0.034), ("5", 0.027)])
def test_two_faces_annotated_twice(shared_data: Path, target: str, measured: float) -> None:
    """COFW68 and COFW annotate the same photos: mapped 68 points lie as near COFW's own as `maps` says."""
    errors = []
    for image, cofw in _annotated(shared_data, "cofw/test_cofw.json", 29):
        path = shared_data / "cofw68" / "test_annotations" / f"{image - 1345}_points.mat"  # 1345 train images
        points = scipy.io.loadmat(path)["Points"] - 1.0
        wanted = get_map("29", target).apply(cofw)
        errors.append(
            np.linalg.norm(get_map("68", target).apply(points) - wanted, axis=1) / np.linalg.norm(cofw[9] - cofw[8])
        )

    assert np.mean(errors) == pytest.approx(measured, abs=0.001)
    assert np.max(errors) < 0.12
    assert get_map("68", target).residual < measured


@pytest.mark.parametrize(("middle", "target"), [("68", "29"), ("68", "19"), ("68", "5"), ("29", "5"), ("19", "5")])
def test_ways_agree_on_real_faces(shared_data: Path, middle: str, target: str) -> None:
    """On WFLW's own points the straight map and the way over another protocol differ by no more than they admit."""
    straight = get_map("98", target)
    over = compose(get_map("98", middle), get_map(middle, target))
    for _, face in _annotated(shared_data, "wflw/test_wflw.json", 98):
        apart = np.linalg.norm(straight.apply(face) - over.apply(face), axis=1)
        assert apart.mean() / np.linalg.norm(face[72] - face[60]) <= straight.residual + over.residual
