"""Points for a law on a grid: dense wherever something changes, and nowhere bare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

_SCORES = 281


def mesh(count: int, parts: Sequence[Array]) -> Array:
    """At most `count` increasing points over the range of `parts`, each of which has an equal say, as has even spacing.

    A part is an increasing sequence of points that lie close where a grid has to be fine. The points are equally spaced
    in the mean rank among the parts: in a union, points of two parts nearly coincide somewhere, and a spline through
    these is noise.
    """
    knots = np.unique(np.concatenate(parts))
    ranks = [(knots - knots[0]) / (knots[-1] - knots[0])]
    ranks += [np.interp(knots, part, np.linspace(0.0, 1.0, part.size)) for part in parts]
    return np.unique(np.interp(np.linspace(0.0, 1.0, count), np.mean(ranks, axis=0), knots))


def mass_points(nodes: Array, log_density: Array) -> Array:
    """Quantiles, at equally spaced normal scores, of a law with this log density [n] at increasing nodes [n]."""
    density = np.exp(log_density - log_density.max())
    pieces = 0.5 * np.diff(nodes) * (density[:-1] + density[1:])
    below = np.concatenate([[0.0], np.cumsum(pieces)]) / pieces.sum()
    above = np.concatenate([np.cumsum(pieces[::-1])[::-1], [0.0]]) / pieces.sum()
    scores = np.where(below < above, special.ndtri(below), -special.ndtri(above))
    inner = np.isfinite(scores)
    scores = np.maximum.accumulate(scores[inner])
    points = np.interp(np.linspace(scores[0], scores[-1], _SCORES), scores, nodes[inner])
    return np.unique(np.concatenate([nodes[:1], points, nodes[-1:]]))
