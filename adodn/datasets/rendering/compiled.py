"""Loops over pixels and vertices as machine code. Not for what NumPy or OpenCV do in a few calls.

@compiled
def total(values: NDArray[np.float32]) -> float: ...

Nothing is compiled before the first call, and the code is kept on disk for later processes. Compiled loops do not check
indices: every one of them must keep to its arrays for any input.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function` as machine code. Sums keep their order, so that equal machines give equal bytes.

    A product may be added to a sum before it is rounded, which is faster, and more exact.
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
