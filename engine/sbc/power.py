"""Exact power of the band test and the smallest miscalibration that a run of a given size would have detected.

The reference error is that of a normal posterior: the backend reports N(m + b s, (c s)^2) where N(m, s^2) is right.
The truth then sits at posterior probability Phi((Z - b) / c) with Z ~ N(0, 1), the rank among L draws is binomial
given that probability, and the power of the band test follows from the same recursion as its level, with the cell
probabilities of the alternative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from engine.arrays import Floats
from engine.errors import InvalidInput
from engine.rules.sbc_policy import POLICY_V1, NecessityPolicy
from engine.rules.sbc_presets import ValidationType
from engine.sbc.band import CUTS, band, leave_probability
from engine.sbc.verdict_rules import RULES, VerdictRules

POWER = 0.8
"""The probability of detection at which an error counts as detectable."""

SMALLEST_FACTOR, LARGEST_FACTOR, LARGEST_BIAS = 0.01, 100.0, 10.0
_NODES = 200


@dataclass(frozen=True)
class DetectableError:
    """Smallest errors that `simulations` simulations of `quantities` quantities detect with probability `power`.

    `sd_factor_low` (< 1, posterior too narrow) and `sd_factor_high` (> 1, too wide) multiply the right posterior
    standard deviation; `bias` is in units of it. None: not even an extreme error is detected with that probability.
    """

    simulations: int
    quantities: int
    draws: int
    alpha: float
    power: float
    sd_factor_low: float | None
    sd_factor_high: float | None
    bias: float | None


def cells(sd_factor: float, bias: float, draws: int, cuts: int = CUTS) -> Floats:
    """Return the probabilities [K] that the randomised PIT falls between the K cuts, when the posterior is wrong.

    sd_factor: reported over right posterior sd, > 0; bias: reported minus right posterior mean in right sds;
    draws: kept posterior draws L >= 1.
    """
    if not sd_factor > 0 or draws < 1:
        raise InvalidInput("sd_factor" if draws >= 1 else "draws", "must be positive")
    # p(z) turns from 0 to 1 around z = bias within a few sd_factor: put the nodes there and add the two flat ends
    centre, half = (bias, 9.0 * sd_factor) if sd_factor <= 1 else (0.0, 9.0)
    nodes, weights = _gauss_legendre(_NODES)
    z = centre + half * nodes
    density = half * weights * stats.norm.pdf(z)
    density = np.concatenate([density, [stats.norm.cdf(centre - half), stats.norm.sf(centre + half)]])
    probability = stats.norm.cdf((np.append(z, [-np.inf, np.inf]) - bias) / sd_factor)
    edges = np.arange(1, cuts) * (draws + 1) / cuts
    whole = np.floor(edges)
    cumulative = stats.binom.cdf(whole[:, None] - 1, draws, probability) @ density
    part = edges - whole
    if np.any(part > 0):  # a cut falls inside a rank
        cumulative += part * (stats.binom.cdf(whole[:, None], draws, probability) @ density - cumulative)
    steps = np.diff(np.concatenate([[0.0], np.clip(cumulative / density.sum(), 0.0, 1.0), [1.0]]))
    return np.asarray(steps.clip(0.0), dtype=np.float64)


def power(n: int, sd_factor: float, bias: float, *, alpha: float, draws: int = 99, cuts: int = CUTS) -> float:
    """Return the exact probability that the band test at level alpha rejects n simulations of this error."""
    limits = band(n, cuts, alpha)
    return min(1.0, leave_probability(n, limits.lower, limits.upper, cells(sd_factor, bias, draws, cuts)))


@lru_cache(maxsize=256)
def detectable_error(
    n: int,
    quantities: int,
    alpha: float = RULES.alpha_fixed,
    *,
    draws: int = 99,
    cuts: int = CUTS,
    target: float = POWER,
) -> DetectableError:
    """Return the smallest sd factors and bias that n simulations detect with power `target`.

    The level is alpha / quantities, Holm's first step, so the figure holds for an error in a single quantity; errors
    are bisected to 0.2 % of their size.
    """
    if n < 1 or quantities < 1:
        raise InvalidInput("n" if n < 1 else "quantities", "must be at least 1")
    level = alpha / quantities

    def detects(sd_factor: float, bias: float) -> bool:
        return power(n, sd_factor, bias, alpha=level, draws=draws, cuts=cuts) >= target

    low = _smallest(lambda size: detects(1.0 / (1.0 + size), 0.0), 1.0 / SMALLEST_FACTOR - 1.0)
    high = _smallest(lambda size: detects(1.0 + size, 0.0), LARGEST_FACTOR - 1.0)
    shift = _smallest(lambda size: detects(1.0, size), LARGEST_BIAS)
    return DetectableError(
        simulations=n,
        quantities=quantities,
        draws=draws,
        alpha=alpha,
        power=target,
        sd_factor_low=None if low is None else 1.0 / (1.0 + low),
        sd_factor_high=None if high is None else 1.0 + high,
        bias=shift,
    )


def _smallest(detects: Callable[[float], bool], largest: float) -> float | None:
    """Return the smallest detected size in (0, largest], or None when even the largest is missed."""
    if not detects(largest):
        return None
    inside, outside = largest, 1e-4
    while inside / outside > 1.002:
        middle = float(np.sqrt(inside * outside))
        inside, outside = (middle, outside) if detects(middle) else (inside, middle)
    return inside


_gauss_legendre = lru_cache(maxsize=1)(np.polynomial.legendre.leggauss)


def detectable_by(
    kind: ValidationType, simulations: int, n_parameters: int | None, policy: NecessityPolicy = POLICY_V1
) -> DetectableError:
    """Return the smallest errors that a run of this kind would see, with `simulations` in each part that decides.

    A COMPREHENSIVE run has two such parts, which share the error probability. Without a number of parameters it is
    that at the policy's threshold. Takes a tenth of a second for a size that is new to the process.
    """
    rules = VerdictRules.of(RULES.alpha, 2 if kind is ValidationType.COMPREHENSIVE else 1)
    quantities = (n_parameters or policy.max_parameters) + 2  # with log-likelihood and log-prior
    return detectable_error(simulations, quantities, rules.alpha_fixed, cuts=rules.cuts)
