"""Importance means over reference-posterior draws, with the Pareto k-hat that says when they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from engine.conflict.curve import jackknife_error, jackknife_groups
from engine.errors import InvalidInput

Array = NDArray[np.float64]

GOOD_KHAT, MAX_KHAT = 0.5, 0.7
"""Up to the first the mean can be reported, up to the second it can confirm another (methods/conflict.md §3 G)."""


@dataclass(frozen=True, eq=False)
class ImportanceMean:
    """ln of a mean of ratios, its delete-one-group jackknife versions [R], and the Pareto shape of the ratios."""

    log_mean: float
    replicates: Array
    khat: float

    @property
    def mcse(self) -> float:
        """Monte Carlo standard error of `log_mean`; infinite where a group holds all of the mean."""
        return float(jackknife_error(self.replicates)) if np.all(np.isfinite(self.replicates)) else math.inf


def importance_mean(log_ratio: ArrayLike) -> ImportanceMean:
    """ln mean exp(log_ratio), log_ratio [chains, n] of reference-posterior draws (methods/conflict.md §3 F, §4.2).

    k-hat is infinite where no ratio is positive or one group of draws holds all of them.
    """
    values = np.asarray(log_ratio, dtype=np.float64)
    if values.ndim != 2 or values.size < 100:
        raise InvalidInput("draws", "must be [chains, draws] with at least 100 draws")
    groups = jackknife_groups(values)
    peak = float(values.max())
    if not math.isfinite(peak):
        return ImportanceMean(-math.inf, np.full(len(groups), -math.inf), math.inf)
    sums, counts = np.array([np.exp(g - peak).sum() for g in groups]), np.array([g.size for g in groups])
    with np.errstate(divide="ignore"):
        # Rounding can leave a little less than nothing where one group holds all.
        left_out = peak + np.log(np.maximum(sums.sum() - sums, 0.0) / (counts.sum() - counts))
    khat = pareto_khat(values) if np.all(np.isfinite(left_out)) else math.inf
    return ImportanceMean(peak + math.log(float(sums.sum() / counts.sum())), left_out, khat)


def pareto_khat(log_ratio: ArrayLike) -> float:
    """Shape of a generalised Pareto law fitted to the largest min(S/5, 3 sqrt(S)) ratios.

    Vehtari, Simpson, Gelman, Yao & Gabry 2024, with Zhang & Stephens 2009 for the fit and its weak prior at 0.5.
    """
    values = np.sort(np.asarray(log_ratio, dtype=np.float64).ravel())
    tail = int(min(0.2 * values.size, 3.0 * math.sqrt(values.size)))
    cut = values[-tail - 1]
    if tail < 5 or not math.isfinite(float(values[-1])):
        return math.inf
    # Ratios below exp(-600) of the largest are zero in float; the excesses stay sorted.
    excess = np.exp(values[-tail:] - values[-1]) - math.exp(max(float(cut - values[-1]), -745.0))
    if excess[-1] <= 0.0:
        return -math.inf  # constant ratios have no tail
    return _zhang_stephens(np.maximum(excess, 1e-300))


def _zhang_stephens(x: Array) -> float:
    """Posterior-mean shape k of the generalised Pareto law of sorted positive x (Zhang & Stephens 2009)."""
    n = x.size
    m = 30 + int(math.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    theta = 1.0 / x[-1] + (1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3.0 * quartile)
    k = np.log1p(-theta[:, None] * x).mean(axis=1)
    profile = n * (np.log(-theta / k) - k - 1.0)
    weights = special.softmax(profile)
    shape = float(np.log1p(-float(weights @ theta) * x).mean())
    return (n * shape + 5.0) / (n + 10.0)
