"""Bridge sampling: the ratio of two normalising constants, and log marginal likelihoods from posterior draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, special

from engine.arrays import Floats
from engine.errors import InvalidInput
from engine.inference.diagnostics import effective_sample_size

TOLERANCE = 1e-10
MAX_ITERATIONS = 1000


class Bridge(NamedTuple):
    """The solution c = log(Z1 / Z2) of Meng & Wong's equation, and what its error is computed from.

    `numerator` [n2] and `denominator` [n1] are the logs of the terms whose means have the ratio Z1 / Z2, up to a
    constant; their means determine c, so that whole chains can be left out of them.
    """

    log_ratio: float
    numerator: Floats
    denominator: Floats
    iterations: int
    converged: bool


@dataclass(frozen=True)
class BridgeEstimate:
    """log marginal likelihood, its Monte Carlo standard error, and whether the iteration settled."""

    log_marginal: float
    mcse: float
    iterations: int
    converged: bool


@dataclass(frozen=True)
class BridgedMarginal:
    """Repeated bridge estimates of one log marginal likelihood, combined.

    `log_marginal` is the median of the repetitions that converged; `mcse` their largest error and half their range,
    as root sum of squares; infinite when fewer than two converged. `dropped` counts the others.
    """

    log_marginal: float
    mcse: float
    repetitions: tuple[BridgeEstimate, ...]

    @property
    def dropped(self) -> int:
        """Repetitions that did not converge and are left out."""
        return sum(not repetition.converged for repetition in self.repetitions)


def bridge(
    at_first: ArrayLike,
    at_second: ArrayLike,
    *,
    share: float | None = None,
    start: float = 1.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Bridge:
    """log(Z1 / Z2) from l = log(q1 / q2) at draws from q1 [n1] and at draws from q2 [n2] (Meng & Wong 1996, eq. 4.1).

    `share` is the weight s1 of the first law, by default n1 / (n1 + n2); `start` the first guess of the ratio in units
    of exp(median l at the first draws). With t = l - c + log(s1/s2) the update is
    c ← c + log mean expit(t at 2) - log mean expit(-t at 1) + log(s2/s1), which never leaves the log scale.
    """
    first, second = np.asarray(at_first, dtype=np.float64), np.asarray(at_second, dtype=np.float64)
    weight = first.size / (first.size + second.size) if share is None else share
    odds = math.log(weight) - math.log1p(-weight)
    centre = float(np.median(first))
    log_ratio, iterations, converged = math.log(start) + centre, 0, False
    numerator, denominator = np.full(second.size, -math.inf), np.full(first.size, -math.inf)
    while iterations < max_iterations and not converged and math.isfinite(log_ratio):
        numerator = special.log_expit(second - log_ratio + odds)
        denominator = special.log_expit(log_ratio - odds - first)
        change = log_mean(numerator) - log_mean(denominator) - odds
        log_ratio += change
        iterations += 1
        converged = abs(change) < 1.0 and abs(math.expm1(-change)) <= tolerance
    return Bridge(log_ratio, numerator, denominator, iterations, converged)


def log_mean(logs: Floats) -> float:
    """log of the mean of exp(logs) [n]."""
    return float(special.logsumexp(logs)) - math.log(logs.size)


def bridge_estimate(
    posterior_at_posterior: ArrayLike,
    proposal_at_posterior: ArrayLike,
    posterior_at_proposal: ArrayLike,
    proposal_at_proposal: ArrayLike,
    *,
    start: float = 1.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> BridgeEstimate:
    """log marginal likelihood from four sets of log densities, R's q11, q12 (at posterior draws), q21, q22.

    The posterior's are unnormalised and may be [chains, n]: then its draws count by their effective size, in the
    weights and in the error; a flat [n1] counts them as independent. The error is that of Micaletto & Vehtari 2025,
    as R's bridgesampling has it: with V the squared relative standard errors of the two means added up,
    sqrt(log(1 + V)), the log-normal's sd.
    """
    first = np.asarray(posterior_at_posterior, dtype=np.float64) - np.asarray(proposal_at_posterior, dtype=np.float64)
    second = np.asarray(posterior_at_proposal, dtype=np.float64) - np.asarray(proposal_at_proposal, dtype=np.float64)
    if np.any(np.isnan(first)) or np.any(np.isnan(second)):
        raise InvalidInput("log_density", "is not a number at some draws")
    effective = _effective(first)
    estimate = bridge(
        first.ravel(),
        second.ravel(),
        share=effective / (effective + second.size),
        start=start,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    if not math.isfinite(estimate.log_ratio):  # the posterior has no mass at any proposal
        return BridgeEstimate(estimate.log_ratio, math.inf, estimate.iterations, False)
    denominator = np.exp(estimate.denominator - estimate.denominator.max()).reshape(first.shape)
    relative = _relative_variance(np.exp(estimate.numerator - estimate.numerator.max())) / second.size
    relative += _relative_variance(denominator) / _effective(denominator)
    return BridgeEstimate(estimate.log_ratio, math.sqrt(math.log1p(relative)), estimate.iterations, estimate.converged)


def _effective(values: Floats) -> float:
    """Effective size of [chains, n], capped at the number; the number itself of a flat [n]."""
    if values.ndim == 1:
        return float(values.size)
    return min(max(float(effective_sample_size(values)), 1.0), float(values.size))


def _relative_variance(values: Floats) -> float:
    return float(values.var(ddof=1) / values.mean() ** 2)


def log_marginal_likelihood(
    log_density: Callable[[Floats], Floats], draws: ArrayLike, rng: np.random.Generator, repetitions: int = 2
) -> BridgedMarginal:
    """log ∫ exp(log_density(z)) dz over R^D from draws z [chains, n, D] of the normalised density.

    Method "normal" of R's bridgesampling (Gronau, Singmann & Wagenmakers 2020): the proposal is the normal law with
    mean and covariance of one half of every chain, the other half goes into the bridge with as many proposals.
    Repetitions take the halves in turn. `log_density` maps [N, D] to [N], minus infinity allowed at proposals.
    Raises InvalidInput for fewer than 2 repetitions, for draws of another shape or fewer than 4 D in a half, and where
    a coordinate does not vary.
    """
    z = np.asarray(draws, dtype=np.float64)
    if repetitions < 2:
        raise InvalidInput("repetitions", "must be at least 2: their range is part of the error")
    if z.ndim != 3 or z.shape[0] * (z.shape[1] // 2) < 4 * z.shape[2] or not np.all(np.isfinite(z)):
        raise InvalidInput("draws", "must be finite [chains, n, D] with at least 4 D draws in half of them")
    chains, length, size = z.shape
    values = np.asarray(log_density(z.reshape(-1, size))).reshape(chains, length)
    middle = length // 2
    halves = (slice(0, middle), slice(middle, 2 * middle))
    estimates = []
    for repetition in range(repetitions):
        fitted, bridged = halves[repetition % 2], halves[1 - repetition % 2]
        proposal = _Normal.of(z[:, fitted].reshape(-1, size))
        sample = proposal.sample(rng, chains * middle)
        estimates.append(
            bridge_estimate(
                values[:, bridged],
                proposal.log_density(z[:, bridged].reshape(-1, size)).reshape(chains, middle),
                np.asarray(log_density(sample)),
                proposal.log_density(sample),
            )
        )
    return combined(estimates)


def combined(repetitions: list[BridgeEstimate]) -> BridgedMarginal:
    """The repetitions of one log marginal likelihood as one figure; see `BridgedMarginal`."""
    kept = [repetition for repetition in repetitions if repetition.converged]
    if not kept:
        return BridgedMarginal(math.nan, math.inf, tuple(repetitions))
    values = np.array([repetition.log_marginal for repetition in kept])
    error = math.hypot(max(repetition.mcse for repetition in kept), 0.5 * float(np.ptp(values)))
    return BridgedMarginal(float(np.median(values)), error if len(kept) > 1 else math.inf, tuple(repetitions))


class _Normal(NamedTuple):
    """A normal law by its mean [D] and lower Cholesky factor [D, D]."""

    mean: Floats
    factor: Floats

    @classmethod
    def of(cls, draws: Floats) -> _Normal:
        """Fitted to draws [N, D]."""
        covariance = np.atleast_2d(np.cov(draws.T))
        spread = np.sqrt(np.diag(covariance))
        try:
            factor = linalg.cholesky(covariance, lower=True)
        except linalg.LinAlgError:
            factor = np.zeros_like(covariance)
        # Of a direction that does not vary, rounding leaves something like 1e-8.
        if not np.all(np.diag(factor) > 1e-6 * spread):
            raise InvalidInput("draws", "do not vary in every direction")
        return cls(draws.mean(axis=0), factor)

    def sample(self, rng: np.random.Generator, number: int) -> Floats:
        """[number, D]."""
        return np.asarray(self.mean + rng.standard_normal((number, self.mean.size)) @ self.factor.T)

    def log_density(self, z: Floats) -> Floats:
        """[N] at z [N, D]."""
        scaled = linalg.solve_triangular(self.factor, (z - self.mean).T, lower=True)
        constant = np.log(np.diag(self.factor)).sum() + 0.5 * self.mean.size * math.log(2.0 * math.pi)
        return np.asarray(-0.5 * (scaled**2).sum(axis=0) - constant)
