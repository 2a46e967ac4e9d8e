"""Shares that sum to one: beliefs about all of them, made coherent, in log-ratio coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from engine.errors import InvalidInput
from engine.priors.distribution import Beta, Distribution

Array = NDArray[np.float64]

_DRAWS = 1 << 15
_SEED = 20


@dataclass(frozen=True, eq=False)
class CoherentShares:
    """Beliefs about k shares, conditioned on their sum being 1.

    Fields:
        means [k]: of the shares after conditioning. moved [k]: what that changed.
        mean [k - 1], cov [k - 1, k - 1]: of the log-ratios to the last share.
        incoherence_z: |sum of the stated means - 1| in standard deviations of the sum.
    """

    means: Array
    moved: Array
    mean: Array
    cov: Array
    incoherence_z: float


def log_ratios(shares: ArrayLike) -> Array:
    """Logarithms [k - 1, n] of the first k - 1 of positive shares [k, n] to the last (additive log-ratios)."""
    values = np.log(np.asarray(shares, dtype=np.float64))
    return np.asarray(values[:-1] - values[-1:])


def dirichlet_shares(marginals: Sequence[Distribution]) -> CoherentShares:
    """The shares of one Dirichlet distribution, by its Beta marginals: coherent as they are.

    The log-ratios to the last share have mean ψ(a_i) - ψ(a_k) and covariance δ_ij ψ'(a_i) + ψ'(a_k) (Aitchison 1986).
    Conditioning the marginals as if they were independent would count what they share twice. Raises InvalidInput for
    marginals that are not those of one Dirichlet distribution.
    """
    alpha = np.array([law.alpha for law in marginals if isinstance(law, Beta)])
    totals = np.array([law.alpha + law.beta for law in marginals if isinstance(law, Beta)])
    if alpha.size != len(marginals) or alpha.size < 2 or not np.allclose(totals, alpha.sum(), rtol=1e-6):
        raise InvalidInput("priors", "are not the marginals of one Dirichlet distribution")
    mean = special.digamma(alpha[:-1]) - special.digamma(alpha[-1])
    cov = np.diag(special.polygamma(1, alpha[:-1])) + special.polygamma(1, alpha[-1])
    return CoherentShares(alpha / alpha.sum(), np.zeros_like(alpha), mean, cov, 0.0)


def coherent_shares(priors: Sequence[Distribution]) -> CoherentShares:
    """Condition independent beliefs, taken as normal in the shares, on Σ = 1 (conflict.md §8).

    Conditioning moves every mean by its part of the total variance: (.5, .35, .3) ± (.1, .08, .06) become (.425, .302,
    .273). The log-ratios' moments are those of draws of the conditioned normal that are positive. A Mahalanobis
    distance does not depend on which share is the last, nor on their order: the draws go with a belief, not its place.
    """
    if len(priors) < 2:
        raise InvalidInput("priors", "must be about at least two shares")
    stated, sd = np.array([prior.mean for prior in priors]), np.array([prior.sd for prior in priors])
    if not (np.all(np.isfinite(stated)) and np.all(np.isfinite(sd))):
        raise InvalidInput("priors", "must have a mean and a standard deviation")
    variance = sd**2
    part = variance / variance.sum()
    means = stated - part * (stated.sum() - 1.0)
    if np.any(means <= 0.0):
        raise InvalidInput("priors", "leave no room for every share when they are made to sum to 1")
    order = np.lexsort((sd, stated))
    noise = np.empty((len(priors), _DRAWS))
    noise[order] = np.random.default_rng(_SEED).standard_normal(noise.shape)
    free = stated[:, None] + sd[:, None] * noise
    draws = free - part[:, None] * (free.sum(axis=0) - 1.0)
    ratios = log_ratios(draws[:, np.all(draws > 0.0, axis=0)])
    if ratios.shape[1] < _DRAWS // 10:
        raise InvalidInput("priors", "are too wide to be shares of one whole")
    z = abs(float(stated.sum()) - 1.0) / math.sqrt(float(variance.sum()))
    cov = np.cov(ratios).reshape(len(priors) - 1, len(priors) - 1)
    return CoherentShares(means, means - stated, ratios.mean(axis=1), cov, z)
