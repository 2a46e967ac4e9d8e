"""Several beliefs at once: error rates over the family instead of per belief."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import InvalidInput

Array = NDArray[np.float64]


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjusted p-values [k]: below alpha with family-wise error alpha under any dependence."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any(~((p >= 0.0) & (p <= 1.0))):
        raise InvalidInput("p_values", "must be probabilities [k]")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((p.size - np.arange(p.size)) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def e_bh(log_e_values: ArrayLike, alpha: float) -> NDArray[np.bool_]:
    """Which of K beliefs e-BH flags at false discovery rate alpha (Wang & Ramdas 2022; methods/conflict.md §10).

    Flags the k largest where e_(k) ≥ K / (alpha k), k as large as possible; valid under any dependence. `log_e_values`
    are natural logarithms of e-values, here WIDENED Bayes factors, whose mean under the client's predictive is 1.
    """
    log_e = np.asarray(log_e_values, dtype=np.float64)
    if log_e.ndim != 1 or np.any(np.isnan(log_e)):
        raise InvalidInput("log_e_values", "must be numbers [K]")
    if not 0.0 < alpha < 1.0:
        raise InvalidInput("alpha", "must lie strictly between 0 and 1")
    order = np.argsort(-log_e, kind="stable")
    enough = log_e[order] + np.log(np.arange(1, log_e.size + 1)) >= math.log(max(log_e.size, 1) / alpha)
    flagged = np.zeros(log_e.size, dtype=bool)
    if np.any(enough):
        flagged[order[: int(np.flatnonzero(enough)[-1]) + 1]] = True
    return flagged
