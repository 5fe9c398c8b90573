"""Linear modes of the head: how one unit of each trait or expression moves the skin, in millimetres.

No people here; how often and how strongly a mode appears is in `person.py`.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Reals: TypeAlias = NDArray[np.float64]
Mode: TypeAlias = Callable[[Reals, Reals], Reals]
"""(vertices `[C, R, 3]`, opening of the mouth `[C, R]`) → shift `[C, R, 3]`."""


def _bump(v: Reals, x: float, y: float, width: float, height: float) -> Reals:
    """1 at (±x, y), falling off as a Gaussian; only on the front half of the head."""
    side = np.abs(v[..., 0]) - x
    return np.asarray(
        np.exp(-((side / width) ** 2) / 2 - ((v[..., 1] - y) / height) ** 2 / 2) * _ramp(v[..., 2], -110, -60)
    )


def _ramp(value: Reals, start: float, end: float) -> Reals:
    """0 before `start`, 1 after `end`, smooth between."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _shift(v: Reals, x: Reals | float = 0.0, y: Reals | float = 0.0, z: Reals | float = 0.0) -> Reals:
    flat = np.zeros(v.shape[:-1])
    return np.stack([flat + x, flat + y, flat + z], -1)


def _side(v: Reals) -> Reals:
    return np.asarray(np.tanh(v[..., 0] / 4))


def _outwards(v: Reals, amount: Reals) -> Reals:
    return _shift(v, x=amount * _side(v) * 0.8, z=amount * 0.6)


def _jaw_drop(v: Reals, opening: Reals) -> Reals:
    """The chin goes down and a little back; jaw corners and neck follow less."""
    below = opening * _ramp(v[..., 1], 60, 70)
    reach = np.exp(-((v[..., 0] / 52) ** 2)) * _ramp(v[..., 2], -95, -30) * (1 - _ramp(v[..., 1], 125, 190))
    side = 1 - 0.75 * _ramp(np.abs(v[..., 0]), 24, 60)
    amount = below * reach * side
    return _shift(v, y=amount, z=-0.25 * amount)


MODES: dict[str, Mode] = {
    "head_width": lambda v, _: _shift(v, x=0.05 * v[..., 0]),
    "head_depth": lambda v, _: _shift(v, z=0.04 * (v[..., 2] + 10)),
    "skull_height": lambda v, _: _shift(v, y=-8 * _ramp(-v[..., 1], 25, 110)),
    "lower_face": lambda v, _: _shift(v, y=5.5 * _ramp(v[..., 1], 40, 113)),
    "middle_face": lambda v, _: _shift(v, y=3.5 * _ramp(v[..., 1], -5, 48)),
    "jaw_width": lambda v, _: _shift(
        v, x=0.09 * v[..., 0] * _ramp(v[..., 1], 25, 85) * (1 - _ramp(v[..., 1], 120, 150))
    ),
    "chin_width": lambda v, _: _shift(v, x=3.5 * _side(v) * _bump(v, 22, 105, 14, 14)),
    "chin_forward": lambda v, _: _shift(v, z=4.5 * _bump(v, 0, 106, 24, 18)),
    "nose_length": lambda v, _: _shift(v, y=3.0 * _bump(v, 0, 40, 20, 13), z=0.8 * _bump(v, 0, 38, 14, 12)),
    "nose_forward": lambda v, _: _shift(v, z=3.5 * _bump(v, 0, 36, 10, 13)),
    "nose_width": lambda v, _: _shift(v, x=2.0 * _side(v) * _bump(v, 13, 40, 9, 10)),
    "bridge_height": lambda v, _: _shift(v, z=2.8 * _bump(v, 0, 12, 7, 15)),
    "bridge_hook": lambda v, _: _shift(v, z=2.0 * _bump(v, 0, 20, 5, 8)),
    "tip_up": lambda v, _: _shift(v, y=-2.2 * _bump(v, 0, 38, 10, 8), z=0.6 * _bump(v, 0, 34, 9, 8)),
    "eye_distance": lambda v, _: _shift(v, x=1.9 * _side(v) * _bump(v, 31, 0, 20, 16)),
    "eye_depth": lambda v, _: _shift(v, z=-2.5 * _bump(v, 31, 0, 15, 10)),
    "brow_ridge": lambda v, _: _shift(v, z=2.5 * _bump(v, 22, -22, 24, 8)),
    "cheekbones": lambda v, _: _outwards(v, 3.0 * _bump(v, 52, 22, 16, 14)),
    "cheek_fat": lambda v, _: _outwards(v, 4.5 * _bump(v, 50, 58, 20, 24)),
    "lips_forward": lambda v, _: _shift(v, z=2.5 * _bump(v, 0, 69, 16, 11)),
    "mouth_down": lambda v, _: _shift(v, y=2.2 * _bump(v, 0, 70, 34, 15)),
    "mouth_width": lambda v, _: _shift(v, x=2.4 * _side(v) * _bump(v, 22, 69, 14, 13)),
    "crooked_nose": lambda v, _: _shift(v, x=1.6 * _bump(v, 0, 36, 14, 14)),
    "crooked_jaw": lambda v, _: _shift(v, x=2.5 * _ramp(v[..., 1], 55, 113) * (1 - _ramp(v[..., 1], 120, 160))),
    "jaw_drop": _jaw_drop,
    "smile": lambda v, _: _shift(
        v,
        x=4.2 * _side(v) * _bump(v, 24, 69, 13, 14),
        y=-4.2 * _bump(v, 25, 69, 10, 12) + 0.8 * _bump(v, 0, 66, 12, 9),
        z=-2.0 * _bump(v, 24, 69, 12, 12) + 2.5 * _bump(v, 40, 42, 14, 14),
    ),
    "frown": lambda v, _: _shift(v, y=2.6 * _bump(v, 25, 70, 9, 10)),
    "pout": lambda v, _: _shift(v, x=-4.0 * _side(v) * _bump(v, 22, 69, 12, 13), z=3.5 * _bump(v, 0, 69, 14, 11)),
    "mouth_skew": lambda v, _: _shift(
        v,
        x=3.0 * _bump(v, 0, 72, 26, 16),
        y=-2.2 * np.tanh(v[..., 0] / 14) * _bump(v, 0, 70, 32, 14),
    ),
}
"""Name → mode. Traits of a person first, then expressions."""

MODE_NAMES = tuple(MODES)
