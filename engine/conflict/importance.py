"""Importance estimate of the client's marginal likelihood from reference-posterior draws, with its Pareto k-hat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from engine.conflict.curve import jackknife_error, jackknife_groups
from engine.errors import InvalidInput
from engine.priors.distribution import Distribution

Array = NDArray[np.float64]

MAX_KHAT = 0.7


@dataclass(frozen=True)
class ImportanceEstimate:
    """ln mean_s p_client(psi_s)/p_ref(psi_s), its jackknife standard error, and the Pareto shape of the ratios."""

    log_marginal: float
    mcse: float
    khat: float

    @property
    def admissible(self) -> bool:
        """Whether k-hat lets the mean be used at all (at most 0.7; conflict.md §3 G)."""
        return self.khat <= MAX_KHAT


def importance_estimate(prior: Distribution, reference: Distribution, draws: ArrayLike) -> ImportanceEstimate:
    """The Monte Carlo mean m_client / m_ref = E_post[p_client/p_ref], draws [chains, n] (conflict.md §3 F, §4.2)."""
    psi = np.asarray(draws, dtype=np.float64)
    if psi.ndim != 2 or psi.size < 100:
        raise InvalidInput("draws", "must be [chains, draws] with at least 100 draws")
    log_ratio = prior.logpdf(psi) - reference.logpdf(psi)
    peak = float(log_ratio.max())
    if not math.isfinite(peak):
        return ImportanceEstimate(-math.inf, math.inf, math.inf)
    ratio = np.exp(log_ratio - peak)
    groups = jackknife_groups(ratio)
    sums, counts = np.array([g.sum() for g in groups]), np.array([g.size for g in groups])
    left_out = (sums.sum() - sums) / (counts.sum() - counts)
    if not np.all(left_out > 0.0):
        return ImportanceEstimate(peak + math.log(float(ratio.mean())), math.inf, math.inf)
    estimate = peak + math.log(float(ratio.mean()))
    return ImportanceEstimate(estimate, float(jackknife_error(np.log(left_out))), pareto_khat(log_ratio))


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
