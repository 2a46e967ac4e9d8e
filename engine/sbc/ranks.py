"""Ranks of true values among thinned posterior draws, with random tie-breaking."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.arrays import Floats, Integers
from engine.errors import InvalidInput


def kept_draws(ess: float, available: int, largest: int) -> int:
    """Return L = min(largest, floor(ess), available), at least 1; a NaN ess (a failed fit) does not limit it.

    ess is the smallest bulk or tail effective sample size of the fit, so L depends on the draws and never on the truth.
    """
    if available < 1 or largest < 1:
        raise InvalidInput("draws", "need at least one posterior draw")
    limit = largest if np.isnan(ess) else min(largest, int(min(ess, largest)))
    return max(1, min(limit, available))


def thinned(available: int, kept: int) -> Integers:
    """Return `kept` evenly spaced positions among `available` merged draws."""
    return ((np.arange(kept) + 0.5) * available / kept).astype(np.int64)


def ranks(truth: Floats, draws: Floats, uniform: Floats) -> tuple[npt.NDArray[np.int32], Floats]:
    """Ranks 0..L and shares of tied draws, both [...], of truths [...] among draws [..., L].

    A rank is lt + UniformInt{0..eq} (Modrák et al. 2023), the integer made from uniform [...] in [0, 1). A NaN draw or
    truth ties with everything.
    """
    of = np.asarray(truth)[..., None]
    less = np.count_nonzero(draws < of, axis=-1)
    equal = draws.shape[-1] - less - np.count_nonzero(draws > of, axis=-1)  # comparisons with NaN are false
    return (less + np.floor(uniform * (equal + 1))).astype(np.int32), equal / draws.shape[-1]
