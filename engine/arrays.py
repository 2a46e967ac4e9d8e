"""Types of NumPy arrays as functions take and return them; their shapes stand in brackets in the docstrings."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Dates = NDArray[np.datetime64]


def as_floats(values: ArrayLike) -> Floats:
    """The values as an array of doubles, itself where it is one."""
    return np.asarray(values, dtype=np.float64)
