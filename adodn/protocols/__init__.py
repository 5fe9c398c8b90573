"""Landmark protocols: how many points, what they are, how they flip, and what normalises an error.

Built in are "5" (MTFL), "19" and "21" (AFLW), "29" (COFW), "68" (300W), "98" (WFLW) and "106" (LaPa).

    protocols.get("68").num_landmarks
"""

from adodn.protocols.catalogue import named as get
from adodn.protocols.catalogue import register
from adodn.protocols.layout import LandmarkProtocol, Points

__all__ = ["LandmarkProtocol", "Points", "get", "register"]
