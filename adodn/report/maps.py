"""What the occlusion module made of a face: the maps of ODN and ADODN, taken from a network in evaluation mode.

maps = face_maps(network, crops)
maps["face-3"]["P′"]            # [H, W]
"""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from adodn.evaluate import Crop
from adodn.models import Network

FaceMaps: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Symbol → `[H, W]`: `P` of ODN; `P′`, `P″` and `A` of ADODN."""


def face_maps(network: Network, crops: Mapping[str, Crop]) -> dict[str, FaceMaps]:
    """The maps of some faces, by key; empty where the network has no occlusion module.

    Args:
        network: In evaluation mode.
        crops: Of the side that the network takes.
    """
    if not crops:
        return {}
    images = torch.from_numpy(np.stack([crop.image for crop in crops.values()])).permute(0, 3, 1, 2)
    device = next(network.parameters()).device
    with torch.inference_mode():
        maps = network(images.to(device)).maps
    if maps is None:
        return {}
    found = {"P": maps.response}
    if maps.attention is not None and maps.importance is not None:
        found = {"P′": maps.response, "P″": maps.importance, "A": maps.attention}
    arrays = {symbol: values[:, 0].float().cpu().numpy() for symbol, values in found.items()}
    return {key: {symbol: array[place] for symbol, array in arrays.items()} for place, key in enumerate(crops)}
