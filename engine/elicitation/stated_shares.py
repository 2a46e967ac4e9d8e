"""Shares of several channels stated together: a Dirichlet distribution, so that they sum to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.distributions.distribution import Beta
from engine.errors import InvalidInput


@dataclass(frozen=True)
class Shares:
    """A Dirichlet distribution: `alpha` of the shares in their order, and of the rest last where there is one.

    `means` and `sds` are those that the shares have, `marginals` their Beta distributions; the rest is not among them.
    """

    alpha: tuple[float, ...]
    marginals: tuple[Beta, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]


def fit_shares(means: Sequence[float], sds: Sequence[float], *, rest: bool) -> Shares:
    """The Dirichlet with the stated means and, in the least squares of the log sds, the stated spreads.

    With `rest` the shares are parts of a whole that holds something else too, and their means stay as stated: they must
    sum to less than one. Without, they are all of it, and their means are scaled to sum to one. A Dirichlet has one
    concentration A, so sd_i² = m_i (1 - m_i) / (A + 1) for every share; the A nearest to all stated sds makes
    A + 1 the geometric mean of m_i (1 - m_i) / sd_i². Raises InvalidInput on "means", "sds".
    """
    stated, spread = np.asarray(means, dtype=np.float64), np.asarray(sds, dtype=np.float64)
    if stated.ndim != 1 or stated.size < 2 or spread.shape != stated.shape:
        raise InvalidInput("means", "must be two or more, with as many sds")
    if not np.all((stated > 0.0) & (stated < 1.0)):
        raise InvalidInput("means", "must lie strictly between 0 and 1")
    if not np.all(np.isfinite(spread) & (spread > 0.0)):
        raise InvalidInput("sds", "must be finite and above 0")
    total = math.fsum(stated)
    if rest and not total < 1.0:
        raise InvalidInput("means", f"sum to {total:.4g}, which leaves nothing for the rest")
    kept = stated if rest else stated / total
    concentration = math.exp(float(np.mean(np.log(kept * (1.0 - kept) / spread**2)))) - 1.0
    if not concentration > 0.0:
        raise InvalidInput("sds", "are too large for shares of these means: no Dirichlet distribution has them")
    alpha = concentration * kept
    marginals = tuple(Beta(float(a), concentration - float(a)) for a in alpha)
    parts = [*alpha.tolist(), *([concentration * (1.0 - total)] if rest else [])]
    return Shares(tuple(parts), marginals, tuple(kept.tolist()), tuple(law.sd for law in marginals))
