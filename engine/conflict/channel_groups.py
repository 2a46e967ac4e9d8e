"""Channels that the data cannot tell apart, and what they say of them together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse.csgraph import connected_components

from engine.arrays import Floats

TRADED = -0.5
"""Posterior correlation of two shares below which what the one gains the other loses."""
IDENTIFIED = 0.75
"""A group's sum is known where its sd is at most this much of what it would be if the shares were independent."""


def inseparable(shares: Mapping[str, Floats]) -> list[tuple[str, ...]]:
    """Groups of channels whose shares the data trade for one another, although their sum is known; in the given order.

    `shares` are posterior draws of any shape by channel. Two channels are linked by a correlation below -.5, at which
    the sum of two of the same width is .7 times as wide as it would be if they were independent.
    """
    names = list(shares)
    if len(names) < 2:
        return []
    draws = np.stack([np.ravel(shares[name]) for name in names])
    covariance = np.cov(draws)
    spread = np.sqrt(np.diag(covariance))
    correlation = covariance / np.maximum(np.outer(spread, spread), 1e-300)
    count, group_of = connected_components(correlation < TRADED, directed=False)
    groups = []
    for group in range(count):
        places = np.flatnonzero(group_of == group)
        if places.size < 2:
            continue
        inside = covariance[np.ix_(places, places)]
        if inside.sum() <= IDENTIFIED**2 * np.trace(inside):
            groups.append(tuple(names[place] for place in places))
    return sorted(groups, key=lambda group: names.index(group[0]))
