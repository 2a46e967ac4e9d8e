"""Conflict of several beliefs at once: Mahalanobis distance with chi-square calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from engine.conflict.severity import Severity, severity
from engine.errors import InvalidInput
from engine.priors.distribution import Distribution


@dataclass(frozen=True)
class JointConflict:
    """k beliefs against the data-side estimate, on unconstrained coordinates (conflict.md §8, §4.1).

    `log_bf_cal` is ½ chi²₁⁻¹(1 - p): the one-quantity recentred log factor with the same p. `worst_direction` [k] is
    Σ⁻¹d scaled to unit length: positive where the data say more than the client. `leave_one_out[i]` is D² without i.
    """

    d2: float
    df: int
    p: float
    log_bf_cal: float
    severity: Severity
    worst_direction: tuple[float, ...]
    leave_one_out: tuple[float, ...]


def joint_conflict(priors: Sequence[Distribution], means_u: ArrayLike, cov_u: ArrayLike) -> JointConflict:
    """D² = dᵀ(Σ_client + Σ_data)⁻¹d with independent client beliefs; p = sf(D²; chi²_k).

    `means_u` [k] and `cov_u` [k, k] are mean and covariance of the data side (reference taken out) on the priors'
    unconstrained scales. Per-quantity Bayes factors are never multiplied: the data are shared.
    """
    k = len(priors)
    mean, cov = np.asarray(means_u, dtype=np.float64), np.asarray(cov_u, dtype=np.float64)
    if k == 0:
        raise InvalidInput("priors", "must hold at least one belief")
    if mean.shape != (k,) or not np.all(np.isfinite(mean)):
        raise InvalidInput("means_u", f"must be {k} finite numbers")
    if cov.shape != (k, k) or not np.all(np.isfinite(cov)) or not np.allclose(cov, cov.T, rtol=1e-8, atol=0.0):
        raise InvalidInput("cov_u", f"must be a finite symmetric {k} × {k} matrix")
    moments = np.array([prior.unconstrained_moments() for prior in priors])
    total = cov + np.diag(moments[:, 1] ** 2)
    if float(np.linalg.eigvalsh(cov)[0]) < -1e-8 * float(np.trace(cov)):
        raise InvalidInput("cov_u", "must be positive semi-definite")
    d = mean - moments[:, 0]

    def distance(keep: np.ndarray) -> float:
        return float(d[keep] @ np.linalg.solve(total[np.ix_(keep, keep)], d[keep])) if keep.size else 0.0

    everything = np.arange(k)
    d2 = distance(everything)
    direction = np.linalg.solve(total, d)
    length = float(np.linalg.norm(direction))
    p = float(stats.chi2.sf(d2, k))
    # chi²₁ has sf(x) = 2 Φ(-√x); a p that underflows would give an infinite factor, so D²/2 stands in as its bound.
    log_bf = 0.5 * float(special.ndtri(0.5 * p)) ** 2 if p > 0.0 else 0.5 * d2
    return JointConflict(
        d2,
        k,
        p,
        log_bf,
        severity(log_bf),
        tuple((direction / length if length > 0.0 else direction).tolist()),
        tuple(distance(np.delete(everything, i)) for i in range(k)),
    )
