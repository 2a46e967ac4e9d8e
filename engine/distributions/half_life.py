"""Half-life and retention of a geometric adstock: one unknown on two scales, and the laws of the one from the other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from engine.distributions.distribution import UNIT_INTERVAL, Distribution, Gridded, Support
from engine.errors import InvalidInput

Floats = NDArray[np.float64]

_POINTS = 1601
_TAIL = 1e-12
_LOWEST, _HIGHEST = -700.0, 36.0  # logits beyond which a retention is 0 or 1 in float64


def half_life(retention: ArrayLike) -> Floats:
    """ln .5 / ln retention, in time steps: 0 at retention 0, infinite at 1 (methods/mmm.md §3.1)."""
    with np.errstate(divide="ignore"):
        return np.asarray(math.log(2.0) / np.abs(np.log(np.asarray(retention, dtype=np.float64))))


def retention(half_life: ArrayLike) -> Floats:
    """2^(-1/half-life): 0 at half-life 0, 1 at infinity."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.exp2(-1.0 / np.asarray(half_life, dtype=np.float64)))


def half_life_law(law: Distribution) -> Gridded:
    """The law of the half-life that a law of the retention implies, by change of variables.

    With a = ln 2 / h the logit of the retention is -a - ln(1 - e^-a), whose derivative by ln h is a / (1 - e^-a).
    """
    inside = law.support
    if inside.lower < 0.0 or inside.upper > 1.0:
        raise InvalidInput("retention", "must live inside [0, 1]")
    support = Support(*(float(half_life(end)) for end in (inside.lower, inside.upper)))
    ends = np.asarray([float(law.ppf(_TAIL)), float(law.isf(_TAIL))])
    shortest, longest = half_life(np.clip(ends, special.expit(_LOWEST), special.expit(_HIGHEST)))
    grid = _inner_grid(support, float(shortest), float(longest))
    h = support.from_unconstrained(grid)
    rate = math.log(2.0) / h
    survival = -np.expm1(-rate)
    if inside == UNIT_INTERVAL:
        log_density = law.unconstrained_logpdf(-rate - np.log(survival)) + np.log(rate / survival)
    else:
        log_density = law.logpdf(np.exp(-rate)) - rate + np.log(rate / h) + support.log_jacobian(grid)
    return _gridded(support, grid, log_density)


def retention_law(law: Distribution) -> Gridded:
    """The law of the retention that a law of the half-life implies, the inverse of `half_life_law`."""
    inside = law.support
    if inside.lower < 0.0:
        raise InvalidInput("half_life", "must live on positive numbers")
    support = Support(*(float(retention(end)) for end in (inside.lower, inside.upper)))
    shortest, longest = half_life([special.expit(_LOWEST), special.expit(_HIGHEST)])
    low, high = max(float(law.ppf(_TAIL)), float(shortest)), min(float(law.isf(_TAIL)), float(longest))
    if support != UNIT_INTERVAL:
        grid = _inner_grid(support, float(retention(low)), float(retention(high)))
        r = support.from_unconstrained(grid)
        rate = -np.log(r)
        log_density = law.logpdf(math.log(2.0) / rate) + math.log(math.log(2.0)) - 2.0 * np.log(rate) - np.log(r)
        return _gridded(support, grid, log_density + support.log_jacobian(grid))
    # Even steps of the logit would leave the long half-lives to a few points: a short one has a logit of -1/h.
    h = np.geomspace(low, high, _POINTS)
    rate = math.log(2.0) / h
    survival = -np.expm1(-rate)
    log_density = law.logpdf(h) + np.log(h) - np.log(rate / survival)
    return _gridded(support, -rate - np.log(survival), log_density)


def _inner_grid(support: Support, low: float, high: float) -> Floats:
    """Even steps of the unconstrained coordinate between two points of the support."""
    ends = np.clip(support.to_unconstrained([low, high]), _LOWEST, _HIGHEST)
    return np.linspace(float(ends[0]), float(ends[1]), _POINTS)


def _gridded(support: Support, grid: Floats, log_density: Floats) -> Gridded:
    """The law where its density is a number: rounding may put a point on an end of the interval."""
    kept = np.isfinite(log_density)
    return Gridded(support.lower, support.upper, tuple(grid[kept]), tuple(log_density[kept]))
