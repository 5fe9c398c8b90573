"""What the three forms of users' own data have in common: where an image lies, and what the face box is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adodn.datasets.files import is_file
from adodn.errors import AnnotationError
from adodn.samples import Box


def image_beside(folder: Path, name: str) -> Path:
    """An image by the name that a file gives it: in the file's folder, or in `images` there.

    Whether it lies inside the dataset is checked when it is read.
    """
    beside = folder / name
    return beside if is_file(beside) else folder / "images" / name


def box_of(landmarks: NDArray[np.float64], x_y_w_h: tuple[float, float, float, float] | None, where: str) -> Box:
    """The face box: the one given, else the tight box around the landmarks.

    Args:
        landmarks: `[L, 2]`, pixels.
        x_y_w_h: The given box, or None.
        where: File and place, for messages.

    Raises:
        AnnotationError: If the given box has no area.
    """
    if x_y_w_h is None:
        (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
        return x0, y0, x1, y1
    x, y, width, height = x_y_w_h
    if width <= 0 or height <= 0:
        raise AnnotationError(f"{where}: a face box has a width and a height, got {width:g} x {height:g}")
    return x, y, x + width, y + height
