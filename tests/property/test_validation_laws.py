"""Laws of the checks on shapes and images, on any rotation, size, place and pose noise.

pytest tests/property/test_validation_laws.py
"""

from functools import cache

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adodn import datasets, protocols
from adodn.samples import SampleRef
from adodn.validation.duplicates import EQUAL, signature
from adodn.validation.findings import Finding
from adodn.validation.shapes import shape_findings

PROTOCOL = protocols.get("68")
FLIP = list(PROTOCOL.flip)
FACES = 80
SEEDS = st.integers(0, 2**32 - 1)


@cache
def _rendered() -> tuple[NDArray[np.float64], list[NDArray[np.uint8]]]:
    samples = list(datasets.open("synthetic", num_train=FACES, num_val=0, num_common=0, num_challenging=0))
    return np.stack([s.landmarks for s in samples]), [simplejpeg.decode_jpeg(s.image) for s in samples]


def findings(landmarks: NDArray[np.float64]) -> list[Finding]:
    refs = [SampleRef(key=f"k{face}", locator=f"l{face}", split="train") for face in range(len(landmarks))]
    return shape_findings(landmarks, range(len(landmarks)), refs, PROTOCOL)


def moved(landmarks: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Each face turned, scaled and shifted by a similarity of its own."""
    angle, size = rng.uniform(0, 2 * np.pi, len(landmarks)), np.exp(rng.normal(0, 1, len(landmarks)))
    turn = size[:, None, None] * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).T
    return landmarks @ turn + rng.normal(0, 500, (len(landmarks), 1, 2))


def faulty(rng: np.random.Generator) -> NDArray[np.float64]:
    """Rendered shapes of which the first three have exchanged sides, a moved point and mixed points."""
    landmarks = _rendered()[0].copy()
    landmarks[0] = landmarks[0][FLIP]
    landmarks[1, 20] += 0.3 * np.ptp(landmarks[1], axis=0).max()
    landmarks[2] = rng.permutation(landmarks[2])
    return landmarks


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_similarities_do_not_matter(seed: int) -> None:
    """The same faces are found with the same scores, wherever, however large and however turned each of them lies."""
    rng = np.random.default_rng(seed)
    landmarks = faulty(rng)

    before, after = findings(landmarks), findings(moved(landmarks, rng))

    assert [(f.face, f.check, f.points) for f in before] == [(f.face, f.check, f.points) for f in after]
    np.testing.assert_allclose([f.score for f in before], [f.score for f in after], rtol=1e-4)
    assert {(f.face, f.check) for f in before} == {
        (0, "mirrored-landmarks"),
        (1, "landmark-outlier"),
        (2, "implausible-shape"),
    }


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, face=st.integers(0, FACES - 1), noise=st.floats(0, 0.02))
def test_exchanged_sides_are_always_found(seed: int, face: int, noise: float) -> None:
    """In any pose and under annotation noise up to 2 % of the face, exchanged sides are found, and no other face is."""
    rng = np.random.default_rng(seed)
    landmarks = _rendered()[0] + noise * 100 * rng.normal(size=(FACES, 68, 2))
    landmarks[face] = landmarks[face][FLIP]

    found = [f.face for f in findings(landmarks) if f.check == "mirrored-landmarks"]

    assert found == [face]


@settings(max_examples=20, deadline=None)
@given(face=st.integers(0, FACES - 1), point=st.integers(0, 67), angle=st.floats(0, 6.3), share=st.floats(0.3, 30))
def test_a_moved_point_is_always_named(face: int, point: int, angle: float, share: float) -> None:
    """A point moved by 30 % of the face or more, however far and whichever way, is the worst that is flagged."""
    landmarks = _rendered()[0].copy()
    landmarks[face, point] += share * np.ptp(landmarks[face], axis=0).max() * np.array([np.cos(angle), np.sin(angle)])

    finding = max(findings(landmarks), key=lambda finding: finding.score)

    assert (finding.face, finding.check) == (face, "landmark-outlier")
    assert point in finding.points


@settings(max_examples=8, deadline=None)
@given(share=st.floats(0.05, 0.2), seed=SEEDS)
def test_a_fault_that_many_share_is_no_pose(share: float, seed: int) -> None:
    """Up to a fifth of the faces with exchanged sides do not become usual: each of them is found, and no other."""
    landmarks = _rendered()[0].copy()
    bad = np.random.default_rng(seed).permutation(FACES)[: int(share * FACES)]
    landmarks[bad] = landmarks[bad][:, FLIP]

    assert sorted(f.face for f in findings(landmarks) if f.check == "mirrored-landmarks") == sorted(bad.tolist())


@pytest.mark.parametrize("turned", [False, True])
@settings(max_examples=20, deadline=None)
@given(face=st.integers(0, FACES - 1), quality=st.integers(25, 100))
def test_a_signature_survives_encoding(turned: bool, face: int, quality: int) -> None:
    """An image encoded again is equal to itself, its mirror image to the mirrored signature, and to no other image."""
    pixels = _rendered()[1]
    copy = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(pixels[face], quality=quality))
    again = signature(np.ascontiguousarray(copy[:, ::-1]) if turned else copy).reshape(16, 16)
    again = (again[:, ::-1] if turned else again).ravel()

    products = [float(again @ signature(other)) for other in pixels]

    assert products[face] >= EQUAL
    assert all(product < EQUAL for other, product in enumerate(products) if other != face)
