"""The least value of a function with several dips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

_DIPS = 3


def least(loss: Callable[[float], float], candidates: ArrayLike, tolerance: float) -> tuple[float, float]:
    """Where the loss is least, and how much it is there: a scan of the candidates, then Brent in the deepest dips.

    A candidate itself is returned unless something between its neighbours is better by more than rounding.
    """
    at = np.unique(np.asarray(candidates, dtype=np.float64))
    values = np.array([loss(float(candidate)) for candidate in at])
    padded = np.concatenate([[np.inf], values, [np.inf]])
    dips = np.flatnonzero((values <= padded[:-2]) & (values <= padded[2:]))
    best = float(at[np.argmin(values)]), float(values.min())
    for dip in dips[np.argsort(values[dips], kind="stable")][:_DIPS]:
        low, high = float(at[max(dip - 1, 0)]), float(at[min(dip + 1, at.size - 1)])
        if not high > low:
            continue
        minimum = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": tolerance})
        if float(minimum.fun) < best[1] - 1e-12:
            best = float(minimum.x), float(minimum.fun)
    return best
