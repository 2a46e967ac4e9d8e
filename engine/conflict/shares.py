"""Shares that sum to one: beliefs about all of them, made coherent, in log-ratio coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from engine.arrays import Floats
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput

_DRAWS = 1 << 15
_SEED = 20


@dataclass(frozen=True, eq=False)
class CoherentShares:
    """Beliefs about k shares, conditioned on their sum being 1.

    Fields:
        means [k]: of the shares after conditioning. moved [k]: what that changed.
        draws [k, n]: of the conditioned beliefs, as many as are positive.
        incoherence_z: |sum of the stated means - 1| in standard deviations of the sum.
    """

    means: Floats
    moved: Floats
    draws: Floats
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

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Draws [places, n] of the shares, the same for a parameter wherever it stands."""
        alpha = np.asarray(self.alpha)
        logs = np.empty((alpha.size, n))
        logs[np.argsort(alpha, kind="stable")] = _log_gammas(rng, np.sort(alpha), n)
        shares = special.softmax(logs, axis=0)[: len(self.places)]
        return np.asarray(np.maximum(shares, np.finfo(np.float64).tiny))

    def logit_correlation(self) -> Floats:
        """Correlation of the logits of the shares, by draws: the covariances have no closed form."""
        if len(self.alpha) == 2:
            return np.atleast_2d([[1.0, -1.0], [-1.0, 1.0]])[: len(self.places), : len(self.places)]
        logs = _log_gammas(np.random.default_rng(_SEED), np.asarray(self.alpha), _DRAWS)
        # The others summed, not subtracted from the whole: of a share near one nothing would be left.
        logits = [logs[at] - special.logsumexp(np.delete(logs, at, axis=0), axis=0) for at in range(len(self.places))]
        return np.atleast_2d(np.corrcoef(logits))


def log_ratios(shares: ArrayLike) -> Floats:
    """Logarithms [k - 1, n] of the first k - 1 of positive shares [k, n] to the last (additive log-ratios)."""
    values = np.log(np.asarray(shares, dtype=np.float64))
    return np.asarray(values[:-1] - values[-1:])


def _log_gammas(rng: np.random.Generator, alpha: Floats, n: int) -> Floats:
    """Logarithms [parts, n] of gamma variables with shapes `alpha` [parts], of which Dirichlet shares are parts.

    Γ(a) is Γ(a + 1) U^(1/a): in logarithms nothing underflows, however small a is.
    """
    size, shape = (alpha.size, n), alpha[:, None]
    return np.asarray(np.log(rng.standard_gamma(shape + 1.0, size)) - rng.standard_exponential(size) / shape)


def coherent_shares(priors: Sequence[Distribution]) -> CoherentShares:
    """Condition independent beliefs, taken as normal in the shares, on Σ = 1 (methods/conflict.md §8).

    Conditioning moves every mean by its part of the total variance: (.5, .35, .3) ± (.1, .08, .06) become (.425, .302,
    .273). The draws go with a belief, not with its place.
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
    draws = draws[:, np.all(draws > 0.0, axis=0)]
    if draws.shape[1] < _DRAWS // 10:
        raise InvalidInput("priors", "are too wide to be shares of one whole")
    z = abs(float(stated.sum()) - 1.0) / math.sqrt(float(variance.sum()))
    return CoherentShares(means, means - stated, draws, z)
