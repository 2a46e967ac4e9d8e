"""Coverage of central posterior intervals, counted from ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from engine.arrays import Integers
from engine.errors import InvalidInput

WIDTHS = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Coverage:
    """Coverage of the central interval of nominal `width`.

    `represented` is the width that ranks of this L can express, averaged over simulations: compare `observed` with it.
    [`lower`, `upper`] is the central 95 % interval of Beta(k + 1, N - k + 1).
    """

    width: float
    represented: float
    covered: int
    simulations: int
    observed: float
    lower: float
    upper: float


def covered_ranks(width: float, draws: npt.ArrayLike) -> tuple[Integers, Integers]:
    """Return the first and last rank of the central set of round((L + 1) width) ranks of L draws (any shape).

    The set is asymmetric by one rank where the parity of its size differs from that of L + 1. An empty set has
    last < first.
    """
    if not 0 <= width <= 1:
        raise InvalidInput("width", f"must lie in [0, 1], got {width}")
    total = np.asarray(draws, dtype=np.int64) + 1
    size = np.rint(total * width).astype(np.int64)
    first = (total - size) // 2
    return first, first + size - 1


def coverage(ranks: npt.ArrayLike, draws: npt.ArrayLike, widths: Sequence[float] = WIDTHS) -> tuple[Coverage, ...]:
    """Return the coverage at each width of ranks [N] among `draws` [N] posterior draws (as R SBC counts it)."""
    rank, total = np.asarray(ranks), np.asarray(draws)
    if rank.size == 0:
        raise InvalidInput("ranks", "need at least one simulation")
    result = []
    for width in widths:
        first, last = covered_ranks(width, total)
        covered = int(np.count_nonzero((rank >= first) & (rank <= last)))
        represented = float(np.mean((last - first + 1) / (total + 1)))
        low, high = interval(covered, rank.size)
        if represented in (0.0, 1.0):  # nothing, or everything, is covered by definition
            low = high = represented
        result.append(Coverage(width, represented, covered, rank.size, covered / rank.size, low, high))
    return tuple(result)


def interval(covered: int, simulations: int, level: float = 0.95) -> tuple[float, float]:
    """Return the central interval of Beta(k + 1, N - k + 1), the posterior of a proportion under a uniform prior."""
    low, high = special.betaincinv(covered + 1, simulations - covered + 1, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
