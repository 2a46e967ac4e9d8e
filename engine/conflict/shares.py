"""Shares that sum to one: beliefs about all of them, made coherent, in log-ratio coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput

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


@dataclass(frozen=True)
class DirichletShares:
    """Shares that were stated together: places of the beliefs, and the Dirichlet law that they are marginals of.

    `alpha` has one parameter per place, and one more for the rest where the shares leave one.
    """

    places: tuple[int, ...]
    alpha: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.alpha) - len(self.places) not in (0, 1) or len(self.alpha) < 2:
            raise InvalidInput("alpha", "must be one parameter per share, and at most one more for the rest")
        if not all(math.isfinite(a) and a > 0.0 for a in self.alpha):
            raise InvalidInput("alpha", "must be finite and above 0")

    @property
    def has_rest(self) -> bool:
        """Whether the shares leave a rest."""
        return len(self.alpha) > len(self.places)

    def without(self, place: int) -> DirichletShares | None:
        """The law of the other shares; None where no ratio is left.

        With a rest the share becomes part of it, which is exact (Dirichlet laws aggregate); without one the others are
        compared among themselves.
        """
        at = self.places.index(place)
        places, alpha = self.places[:at] + self.places[at + 1 :], self.alpha[:at] + self.alpha[at + 1 :]
        if self.has_rest:
            alpha = (*alpha[:-1], alpha[-1] + self.alpha[at])
        return DirichletShares(places, alpha) if places and len(alpha) > 1 else None

    def log_ratio_moments(self) -> tuple[Array, Array]:
        """Mean and covariance of the log-ratios to the last part: digamma and trigamma differences (Aitchison 1986)."""
        alpha = np.asarray(self.alpha)
        mean = special.digamma(alpha[:-1]) - special.digamma(alpha[-1])
        own, last = special.polygamma(1, alpha[:-1]), special.polygamma(1, alpha[-1])
        return mean, np.diag(own) + last

    def log_ratios(self, values: ArrayLike) -> Array:
        """The same log-ratios of draws [k, n] of all beliefs; NaN in draws that leave no rest."""
        shares = np.asarray(values, dtype=np.float64)[list(self.places)]
        if self.has_rest:
            rest = 1.0 - shares.sum(axis=0)
            shares = np.vstack([shares, np.where(rest > 0.0, rest, np.nan)])
        return log_ratios(shares)

    def logit_correlation(self) -> Array:
        """Correlation of the logits of the shares, by draws: the covariances have no closed form."""
        if len(self.alpha) == 2:
            return np.atleast_2d([[1.0, -1.0], [-1.0, 1.0]])[: len(self.places), : len(self.places)]
        rng, alpha = np.random.default_rng(_SEED), np.asarray(self.alpha)[:, None]
        # Γ(a) is Γ(a + 1) U^(1/a): in logarithms nothing underflows, however small a is.
        size = (alpha.size, _DRAWS)
        logs = np.log(rng.standard_gamma(alpha + 1.0, size)) - rng.standard_exponential(size) / alpha
        # The others summed, not subtracted from the whole: of a share near one nothing would be left.
        logits = [logs[at] - special.logsumexp(np.delete(logs, at, axis=0), axis=0) for at in range(len(self.places))]
        return np.atleast_2d(np.corrcoef(logits))


def log_ratios(shares: ArrayLike) -> Array:
    """Logarithms [k - 1, n] of the first k - 1 of positive shares [k, n] to the last (additive log-ratios)."""
    values = np.log(np.asarray(shares, dtype=np.float64))
    return np.asarray(values[:-1] - values[-1:])


def correlated_log_ratios(mean: ArrayLike, cov: ArrayLike) -> tuple[Array, Array]:
    """Mean and covariance of the log-ratios to the last share when the logits are N(mean [k], cov [k, k]), by draws.

    Of shares whose correlation is known: what they know of their sum is in it.
    """
    at = np.asarray(mean, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.asarray(cov, dtype=np.float64))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    logits = at[:, None] + root @ np.random.default_rng(_SEED).standard_normal((at.size, _DRAWS))
    ratios = log_ratios(special.expit(logits))
    return ratios.mean(axis=1), np.cov(ratios).reshape(at.size - 1, at.size - 1)


def coherent_shares(priors: Sequence[Distribution]) -> CoherentShares:
    """Condition independent beliefs, taken as normal in the shares, on Σ = 1 (methods/conflict.md §8).

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
