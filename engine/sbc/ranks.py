"""Rank of a true value among thinned posterior draws, with random tie-breaking."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidInput

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rank:
    """Rank in 0..L of a truth among L draws, the uniform v of its randomised PIT and the share of tied draws."""

    rank: int
    draws: int
    v: float
    ties: float


def kept_draws(ess: float, available: int, largest: int) -> int:
    """Return L = min(largest, floor(ess), available), at least 1; a NaN ess (a failed fit) does not limit it.

    ess is the smallest bulk or tail effective sample size of the fit, so L depends on the draws and never on the truth.
    """
    if available < 1 or largest < 1:
        raise InvalidInput("draws", "need at least one posterior draw")
    limit = largest if np.isnan(ess) else min(largest, int(min(ess, largest)))
    return max(1, min(limit, available))


def thinned(available: int, kept: int) -> npt.NDArray[np.int64]:
    """Return `kept` evenly spaced positions among `available` merged draws."""
    return ((np.arange(kept) + 0.5) * available / kept).astype(np.int64)


def rank(truth: float, draws: Floats, rng: np.random.Generator) -> Rank:
    """Return lt + UniformInt{0..eq} of the draws [L] (Modrák et al. 2023); a NaN draw or truth ties with everything."""
    less = int(np.count_nonzero(draws < truth))
    equal = len(draws) - less - int(np.count_nonzero(draws > truth))  # comparisons with NaN are false
    return Rank(less + int(rng.integers(0, equal + 1)), len(draws), float(rng.random()), equal / len(draws))


def ranks(truth: Mapping[str, float], draws: Mapping[str, Floats], rng: np.random.Generator) -> dict[str, Rank]:
    """Rank one simulation's truths among its draws ([L] each).

    Each quantity has its own stream, derived from `rng` and the quantity's name, so that its rank depends neither on
    which other quantities are ranked nor on their order.
    """
    root = int(rng.integers(0, 2**63))
    return {name: rank(value, draws[name], np.random.default_rng([root, _key(name)])) for name, value in truth.items()}


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
