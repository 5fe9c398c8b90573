"""Occluders: what they hide is what they paint, on faces of every protocol."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adodn import protocols, recipes
from adodn.config import AugmentConfig, ExperimentConfig
from adodn.config import Occluder as Kind
from adodn.data.transforms import draw_augmentation, sample_draws
from adodn.errors import AnnotationError, ConfigError
from adodn.occlusion import things
from adodn.occlusion.face import Anatomy
from adodn.occlusion.layers import Layer, lay
from adodn.occlusion.occluder import NUM_DRAWS, Occluder, Occlusion, draw_occlusion
from adodn.occlusion.patterns import Patterns
from adodn.protocols import LandmarkProtocol
from adodn.protocols.placing import place

SIDE = 128
KINDS = get_args(Kind)
BUILT_IN = ("5", "19", "21", "29", "68", "98", "106")
TOML = """
name = "odd"
num_landmarks = 6
flip_pairs = [[0, 1], [2, 3]]
[parts]
horns = [0, 1]
whiskers = [2, 3]
"""
CONFIG = AugmentConfig(occlusion_probability=1.0, occluders=KINDS)


def face_68(angle: float = 0.2, scale: float = 0.13, yaw: float = 0.0) -> NDArray[np.float64]:
    """68 landmarks of a schematic face, fractions of the crop."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([2.1 * np.cos(turn), 3.6 * np.sin(turn)], axis=1)
    brows = np.array([(x, -0.8) for x in (-1.8, -1.5, -1.2, -0.8, -0.5, 0.5, 0.8, 1.2, 1.5, 1.8)])
    nose = np.array(
        [(0, 0), (0, 0.4), (0, 0.8), (yaw, 1.15), (-0.5, 1.35), (-0.2, 1.45), (0, 1.5), (0.2, 1.45), (0.5, 1.35)]
    )
    eye = 0.4 * np.stack([-np.cos(np.arange(6) * np.pi / 3), -0.5 * np.sin(np.arange(6) * np.pi / 3)], axis=1)
    lips = np.arange(12) * np.pi / 6
    outer = np.stack([-0.9 * np.cos(lips), 2.1 - 0.4 * np.sin(lips)], axis=1)
    inner = np.array([(-0.7, 2.1), (-0.3, 2.0), (0, 2.0), (0.3, 2.0), (0.7, 2.1), (0.3, 2.2), (0, 2.2), (-0.3, 2.2)])
    shape = np.concatenate([jaw, brows, nose, eye - (1, 0), eye - (-1, 0), outer, inner]) * (1 - abs(yaw) / 2, 1)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(0.5 + scale * (shape - (0, 1.4)) @ np.array([[cos, sin], [-sin, cos]]))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> LandmarkProtocol:
    """A user's protocol whose points have no meaning known to us."""
    path = tmp_path_factory.mktemp("toml") / "odd.toml"
    path.write_text(TOML)
    return protocols.get(str(path))


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    """Three patterns of 68: the jaw, the right eye, and all of it."""
    hidden = np.zeros((4, 68), np.bool_)
    hidden[0, :17], hidden[1, 36:42], hidden[2] = True, True, True
    return Patterns.measured(protocols.get("68"), ~hidden, np.stack([200 * face_68(0.0)] * 4))


def landmarks_of(protocol: LandmarkProtocol) -> NDArray[np.float64]:
    if protocol.name not in BUILT_IN:
        return face_68()[np.linspace(0, 67, protocol.num_landmarks).astype(int)]
    return face_68() if protocol.name == "68" else place(protocol.name, face_68())


def board(square: int = 8) -> NDArray[np.uint8]:
    """A chessboard of black and white; it and its negative have the same mean in every row and column of squares."""
    odd_squares = (np.indices((SIDE, SIDE)) // square).sum(axis=0) % 2
    return np.repeat((255 * odd_squares)[..., None], 3, axis=-1).astype(np.uint8)


def numbers(seed: int) -> tuple[float, ...]:
    return tuple(np.random.default_rng(seed).random(NUM_DRAWS).tolist())


def painted(occluder: Occluder, landmarks: Any, occlusion: Occlusion) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The opacity, 0 … 255, by what is left of the difference of a picture and its negative; and what is hidden."""
    bright, dark = board(), 255 - board()
    hidden = occluder.cover(bright, landmarks, occlusion)
    assert np.array_equal(occluder.cover(dark, landmarks, occlusion), hidden)
    return 255 - np.abs(bright.astype(int) - dark).max(axis=-1), hidden


@pytest.mark.parametrize("name", [*BUILT_IN, "odd"])
@pytest.mark.parametrize("kind", KINDS)
def test_hidden_is_what_is_painted_over(kind: str, name: str, odd: LandmarkProtocol, patterns: Patterns) -> None:
    """A landmark is hidden exactly where its pixel shows less than half of what was there; on faces of any protocol."""
    protocol = odd if name == "odd" else protocols.get(name)
    occluder, landmarks = Occluder(protocol, CONFIG, patterns), landmarks_of(protocol)
    covered = 0
    for seed in range(12):
        opacity, hidden = painted(occluder, landmarks, Occlusion(kind, numbers(seed)))
        covered += int((opacity > 127).sum())
        for (x, y), said in zip(landmarks * SIDE, hidden, strict=True):
            inside = 0 <= x < SIDE and 0 <= y < SIDE
            level = opacity[int(y), int(x)] if inside else 0
            if abs(level - 127.5) > 2:  # the difference is that of two rounded values
                assert said == (level > 127.5)
    assert covered > 12 * 0.01 * SIDE * SIDE


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_else_changes(kind: str, patterns: Patterns) -> None:
    """Where nothing is painted the crop keeps its pixels, and that is some of it; two draws agree to the bit."""
    occluder, landmarks = Occluder(protocols.get("68"), CONFIG, patterns), face_68()
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for seed in range(6):
        occlusion = Occlusion(kind, numbers(seed))
        opacity, _ = painted(occluder, landmarks, occlusion)
        first, second = image.copy(), image.copy()
        occluder.cover(first, landmarks, occlusion)
        Occluder(protocols.get("68"), CONFIG, patterns).cover(second, landmarks, occlusion)
        assert np.array_equal(first, second)
        # A picture of noise may be brighter on its other side, and what is worn is then mirrored.
        if kind in ("patch", "pattern", "texture", "hand", "phone", "cup"):
            assert np.array_equal(first[opacity == 0], image[opacity == 0])
        assert (first == image).all(axis=-1).mean() > 0.2


@given(st.lists(st.floats(-3, 3), min_size=136, max_size=136), st.sampled_from(KINDS), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_any_landmarks_will_do(values: list[float], kind: str, seed: int) -> None:
    """Wherever the landmarks are, even in one spot or outside, something or nothing is drawn, without an error."""
    for landmarks in (np.reshape(values, (68, 2)), np.full((68, 2), values[0])):
        flags = np.eye(68, dtype=np.bool_)
        patterns = Patterns(protocol=protocols.get("68"), mean_shape=np.zeros((68, 2)), hidden=flags)
        image = board()
        hidden = Occluder(protocols.get("68"), CONFIG, patterns).cover(image, landmarks, Occlusion(kind, numbers(seed)))
        outside = ((landmarks < 0) | (landmarks >= 1)).any(axis=1)
        assert not hidden[outside].any()


def test_a_patch_is_a_rectangle_of_one_colour() -> None:
    """A patch in the middle of its ranges paints whole pixels of an 8 px crop and hides the landmarks in them alone."""
    draws = (0.35 / 0.7, 0.5, 0.25, 0.5, 9.5 / 256, 8.5 / 256, 7.5 / 256, *(0.0,) * (NUM_DRAWS - 7))
    image = np.zeros((8, 8, 3), np.uint8)
    grid = (np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2) + 0.5) / 8
    protocol = LandmarkProtocol(name="grid", num_landmarks=64, flip=tuple(range(64)), normalisers={})
    hidden = Occluder(protocol, AugmentConfig()).cover(image, grid, Occlusion("patch", draws))
    # Sides 0.15 … 0.5 of the crop: 0.325 at the middle, from 0.25 · 0.675 in x and 0.5 · 0.675 in y.
    expected = np.zeros((8, 8), np.bool_)
    expected[round(8 * 0.3375) : round(8 * 0.6625), round(8 * 0.16875) : round(8 * 0.49375)] = True
    assert np.array_equal((image == (9, 8, 7)).all(axis=-1), expected)
    assert np.array_equal(hidden.reshape(8, 8), expected)


def test_laying_is_the_usual_formula() -> None:
    """A layer of premultiplied colours c and opacity a gives g·c + (1 - a)·behind, to the next level."""
    draw = np.random.default_rng(1)
    image = draw.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    opacity = draw.integers(0, 256, (10, 12), dtype=np.uint8)
    colours = (draw.random((10, 12, 3)) * opacity[..., None]).astype(np.uint8)
    expected = image.astype(float)
    expected[3:13, 5:17] = 0.5 * colours + (1 - opacity[..., None] / 255) * expected[3:13, 5:17]
    lay(image, Layer(colours, opacity, 5, 3), np.zeros((1, 2)), gain=0.5)
    assert np.abs(image - expected).max() <= 1.01
    assert np.array_equal(image[:3], expected[:3])


def test_things_turn_with_the_face() -> None:
    """The frame of a turned face is the upright face's frame, turned: whatever protocol tells eyes and mouth."""
    for name in BUILT_IN:
        anatomy = Anatomy.of(protocols.get(name))
        upright, turned = (place(name, face_68(angle)) if name != "68" else face_68(angle) for angle in (0.0, 0.5))
        cos, sin = np.cos(0.5), np.sin(0.5)
        turn = np.array([[cos, -sin], [sin, cos]])
        for lower in (False, True):
            before = anatomy.frame(100 * (upright - 0.5), lower=lower)
            after = anatomy.frame(100 * (turned - 0.5), lower=lower)
            np.testing.assert_allclose(after, turn @ before, atol=1.5)  # `place` sets some points upright


def test_worn_things_hide_what_they_should() -> None:
    """Sunglasses hide the eyes, a mask the mouth, and neither the other; on a face that looks at us."""
    occluder, landmarks = Occluder(protocols.get("68"), AugmentConfig()), face_68(0.0)
    still = {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}
    for variant in range(things.VARIANTS):
        draws = [still.get(i, 0.1) for i in range(NUM_DRAWS)]
        draws[0] = (variant + 0.5) / things.VARIANTS
        glasses = occluder.cover(board(), landmarks, Occlusion("sunglasses", tuple(draws)))
        mask = occluder.cover(board(), landmarks, Occlusion("mask", tuple(draws)))
        assert glasses[36:48].all() and not glasses[48:].any()
        assert mask[48:].all() and not mask[36:48].any()


def drawn(config: AugmentConfig, epoch: int = 0, count: int = 2000) -> list[Occlusion | None]:
    return [draw_occlusion(config, row) for row in sample_draws(3, epoch, np.arange(count)).tolist()]


def test_covers_come_as_often_as_they_should() -> None:
    """Over many faces, as many are covered as asked, by each kind equally often, and by new numbers for each."""
    config = AugmentConfig(occlusion_probability=0.4, occluders=("hand", "mask", "cup", "texture"))
    found = [one for epoch in range(2) for one in drawn(config, epoch) if one is not None]
    kinds = [one.kind for one in found]
    assert abs(len(kinds) / 4000 - 0.4) < 0.03
    assert all(abs(kinds.count(name) / len(kinds) - 0.25) < 0.04 for name in config.occluders)
    assert len({one.numbers for one in found}) == len(kinds)
    assert {len(one.numbers) for one in found} == {NUM_DRAWS}
    assert drawn(AugmentConfig()) == [None] * 2000


def test_one_setting_never_shifts_the_draws_of_another() -> None:
    """Crop and colours share no number with occlusion, nor how with whether and what: each has its own places."""
    draws = sample_draws(3, 0, np.arange(50))
    other = draws.copy()
    other[:, 8:] = 1 - other[:, 8:]
    plain, changed = draw_augmentation(AugmentConfig(), draws), draw_augmentation(AugmentConfig(), other)
    for name in ("rotation", "scale", "shift_x", "shift_y", "flip", "brightness", "contrast", "saturation"):
        assert np.array_equal(getattr(plain, name), getattr(changed, name))
    often, seldom = (AugmentConfig(occlusion_probability=p) for p in (1.0, 0.3))
    hands = AugmentConfig(occlusion_probability=1.0, occluders=("hand",))
    for all_, some, hand in zip(drawn(often), drawn(seldom), drawn(hands), strict=True):
        assert some is None or some == all_
        assert all_ is not None and hand == Occlusion("hand", all_.numbers)


@pytest.mark.parametrize("occluders", [[], ["hand", "hand"], ["umbrella"]])
def test_kinds_are_validated(occluders: list[str]) -> None:
    """No kind, one twice, and an unknown one are refused, in Python and from the command line."""
    with pytest.raises(ConfigError, match="occluders"):
        recipes.get("adodn_smoke").with_fields({"data.augment.occluders": occluders})
    with pytest.raises(ConfigError, match="occluders"):
        AugmentConfig(occluders=tuple(occluders))  # type: ignore[arg-type]


def test_configs_survive_json() -> None:
    """A config with occluders is read back equal, with an equal fingerprint; another choice changes it."""
    config = recipes.get("adodn_smoke").with_fields({"data.augment.occluders": ["hand", "mask"]})
    again = ExperimentConfig.from_json(config.to_json())
    assert again == config and again.fingerprint() == config.fingerprint()
    assert config.fingerprint() != recipes.get("adodn_smoke").fingerprint()


def test_patterns_survive_their_file(patterns: Patterns) -> None:
    """What is written is read back equal, and holds only faces with something hidden."""
    text = patterns.to_json()
    again = Patterns.from_json(text.encode(), "p.json")
    assert again.to_json() == text
    assert again.hidden.sum(axis=1).tolist() == [17, 6, 68]
    assert again.protocol == patterns.protocol
    eyes = again.mean_shape[[*range(36, 42)]].mean(axis=0), again.mean_shape[[*range(42, 48)]].mean(axis=0)
    np.testing.assert_allclose(eyes, [(-1, 0), (1, 0)], atol=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": []}, "hidden must be"),
        ({"hidden": ["0" * 68]}, "hidden must be"),
        ({"hidden": ["2" * 68]}, "hidden must be"),
        ({"hidden": ["1" * 67]}, "hidden must be"),
        ({"mean_shape": [[0, 0]]}, "mean_shape must be 68"),
        ({"mean_shape": [[0, float("nan")]] * 68}, "mean_shape must be 68"),
        ({"schema": 2}, "schema 1"),
        ({"extra": 1}, "schema 1"),
    ],
)
def test_other_files_are_refused(patterns: Patterns, change: dict[str, Any], message: str) -> None:
    """What is not a file of patterns is named as such, with its path."""
    tree = {**json.loads(patterns.to_json()), **change}
    with pytest.raises(AnnotationError, match=rf"p\.json: .*{message}"):
        Patterns.from_json(json.dumps(tree).encode(), "p.json")


@pytest.mark.parametrize("data", [b"", b"[1", b"\xff", b"[]", b"[" * 100_000])
def test_bytes_that_are_no_patterns_are_refused(data: bytes) -> None:
    """Damaged or foreign bytes are one clear error."""
    with pytest.raises(AnnotationError, match=r"p\.json"):
        Patterns.from_json(data, "p.json")


def test_patterns_hide_their_own_points(patterns: Patterns) -> None:
    """On faces of the file's protocol the points of the pattern are hidden, and hardly any other."""
    occluder, landmarks = Occluder(protocols.get("68"), CONFIG, patterns), face_68()
    for row, hidden in enumerate(patterns.hidden):
        draws = ((row + 0.5) / 3, *numbers(row)[1:])
        said = occluder.cover(board(), landmarks, Occlusion("pattern", draws))
        assert said[hidden].mean() > 0.95
        assert said[~hidden].sum() <= 1


def test_patterns_reach_other_protocols(patterns: Patterns, odd: LandmarkProtocol) -> None:
    """Where a map leads to another protocol its points are hidden; where none does, the places on the face are."""
    draws = (0.4, *numbers(0)[1:])
    said = Occluder(protocols.get("29"), CONFIG, patterns).cover(
        board(), place("29", face_68()), Occlusion("pattern", draws)
    )
    assert said[[8, 10, 12, 13, 16]].mean() > 0.7 and not said[[9, 11, 14, 15, 17, 28]].any()
    image = board()
    Occluder(odd, CONFIG, patterns).cover(image, landmarks_of(odd), Occlusion("pattern", draws))
    assert (image != board()).any()


def test_no_hidden_point_is_no_pattern() -> None:
    """Faces that are all visible give no patterns."""
    with pytest.raises(ConfigError, match="hidden landmark"):
        Patterns.measured(protocols.get("5"), np.ones((3, 5), np.bool_), np.random.default_rng(0).random((3, 5, 2)))


def test_real_patterns(shared_data: Path) -> None:
    """COFW68's flags give one pattern for each face with a hidden point, and a mean shape with its mouth in place."""
    from adodn.datasets.cofw68 import read_annotations

    if not (shared_data / "cofw68").is_dir():
        pytest.skip(f"needs {shared_data / 'cofw68'}")
    faces = read_annotations(shared_data / "cofw68")
    visible, landmarks = np.stack([f.visible for f in faces]), np.stack([f.landmarks for f in faces])
    found = Patterns.measured(protocols.get("68"), visible, landmarks)
    assert len(found.hidden) == sum(not row.all() for row in visible)
    assert found.hidden.sum() == (~visible).sum()
    np.testing.assert_allclose(found.mean_shape[48:].mean(axis=0), (0, 2.1), atol=0.1)
    occluder, shown, kept = Occluder(protocols.get("68"), CONFIG, found), [], []
    for row, hidden in enumerate(found.hidden):
        draws = ((row + 0.5) / len(found.hidden), *numbers(row)[1:])
        said = occluder.cover(board(), face_68(), Occlusion("pattern", draws))
        shown.append(said[~hidden].mean() if not hidden.all() else 0.0)
        kept.append(said[hidden].mean())
    assert np.mean(kept) > 0.95 and np.mean(shown) < 0.05
