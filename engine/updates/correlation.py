"""How updated beliefs hang together: the data couple what the client held to be independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from engine.arrays import Floats
from engine.conflict.joint import checked_correlation
from engine.errors import InvalidInput

_INDEPENDENT = 1e-9


@dataclass(frozen=True, eq=False)
class BeliefUncertainty:
    """k beliefs on their unconstrained scales: standard deviations [k] and correlation [k, k] of the client."""

    sd: Floats
    correlation: Floats

    @classmethod
    def of(cls, sd: ArrayLike, correlation: ArrayLike | None = None) -> BeliefUncertainty:
        """Independent beliefs unless a correlation is given; InvalidInput for what is none."""
        spread = np.asarray(sd, dtype=np.float64)
        if spread.ndim != 1 or not np.all(np.isfinite(spread) & (spread > 0.0)):
            raise InvalidInput("sd", "must be k finite numbers above 0")
        between = np.eye(spread.size) if correlation is None else checked_correlation(correlation, spread.size)
        return cls(spread, between)


def posterior_correlation(
    client: BeliefUncertainty,
    data_cov: ArrayLike,
    *,
    likelihood_power: float = 1.0,
    belief_power: ArrayLike | None = None,
    experiment_precision: ArrayLike | None = None,
) -> Floats:
    """corr of (P_c + a0 (P_d + E))⁻¹ [k, k], normal on the unconstrained scales (methods/conflict.md §12).

    P_d is the inverse of `data_cov` [k, k], the data side with the reference's pull taken out; a0 `likelihood_power`;
    P_c the client's precision, each belief to its `belief_power` [k] in (0, 1] (1 unless given: ADAPTIVE_POWER_PRIOR
    has E b of each); E the diagonal `experiment_precision` [k]. Computed as C - C (C + Σ_d / a0)⁻¹ C, which needs
    neither precision: shares of a whole have none.
    """
    k = client.sd.size
    cov = np.asarray(data_cov, dtype=np.float64)
    if cov.shape != (k, k) or not np.all(np.isfinite(cov)):
        raise InvalidInput("data_cov", f"must be a finite {k} × {k} matrix")
    spread = client.sd if belief_power is None else client.sd / np.sqrt(np.asarray(belief_power, dtype=np.float64))
    prior = client.correlation * np.outer(spread, spread)
    if likelihood_power <= 0.0:
        return client.correlation
    if experiment_precision is not None:
        known = np.asarray(experiment_precision, dtype=np.float64) > 0.0
        if np.any(known):
            error = np.diag(1.0 / (likelihood_power * np.asarray(experiment_precision)[known]))
            prior = _conditioned(prior, error, np.eye(k)[known])
    posterior = _conditioned(prior, cov / likelihood_power, np.eye(k))
    sd = np.sqrt(np.maximum(np.diag(posterior), 0.0))
    if np.any(sd <= 1e-12 * client.sd):
        raise InvalidInput("data_cov", "leaves a belief without any uncertainty")
    correlation = posterior / np.outer(sd, sd)
    correlation = np.asarray(np.clip(0.5 * (correlation + correlation.T), -1.0, 1.0))
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _conditioned(prior: Floats, error: Floats, at: Floats) -> Floats:
    """The covariance after an observation of `at` @ u with covariance `error`."""
    total = at @ prior @ at.T + error
    return np.asarray(prior - prior @ at.T @ np.linalg.pinv(total, hermitian=True) @ at @ prior)


def is_independent(correlation: Floats) -> bool:
    """Whether nothing couples the beliefs."""
    return bool(np.all(np.abs(correlation - np.eye(correlation.shape[0])) < _INDEPENDENT))
