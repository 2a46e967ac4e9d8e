"""Conflict of several beliefs at once: Mahalanobis distance with chi-square calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from engine.conflict.curve import EvidenceCurve
from engine.conflict.overlay import Overlay
from engine.conflict.severity import Severity, calibrated_log_bf, severity
from engine.conflict.shares import coherent_shares, dirichlet_shares, log_ratios
from engine.errors import InvalidInput
from engine.priors.distribution import Distribution

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JointConflict:
    """k beliefs against the data-side estimate, on unconstrained coordinates (conflict.md §8, §4.1).

    `log_bf_cal` is ½ chi²₁⁻¹(1 - p): the one-quantity recentred log factor with the same p. `worst_direction` [k] is
    Σ⁻¹d with every coordinate in standard deviations of belief and data together, scaled to unit length: positive where
    the data say more than the client.
    """

    d2: float
    df: int
    p: float
    log_bf_cal: float
    severity: Severity
    worst_direction: tuple[float, ...]


@dataclass(frozen=True)
class JointBeliefs:
    """The joint conflict of beliefs, and what is left of it without each of them.

    `without[i]` is the conflict of the others; None where there are no others. `incoherence_z`: standard deviations by
    which the client's shares miss their sum of 1, None unless they are all there. `effective_draws`: effective number
    of the draws after the reference prior's pull was weighted out.
    """

    conflict: JointConflict
    without: tuple[JointConflict | None, ...]
    incoherence_z: float | None
    effective_draws: float


def mahalanobis(
    client_mean: ArrayLike, client_cov: ArrayLike, data_mean: ArrayLike, data_cov: ArrayLike
) -> JointConflict:
    """D² = dᵀ(Σ_client + Σ_data)⁻¹d, d = data - client [k]; p = sf(D²; chi²_k).

    Per-quantity Bayes factors are never multiplied: the data are shared.
    """
    mean, centre = np.asarray(data_mean, dtype=np.float64), np.asarray(client_mean, dtype=np.float64)
    k = mean.size
    if k == 0 or mean.shape != (k,) or centre.shape != (k,) or not np.all(np.isfinite(mean) & np.isfinite(centre)):
        raise InvalidInput("data_mean", "must be k ≥ 1 finite numbers, as many as client_mean")
    covs = []
    for name, value in (("client_cov", client_cov), ("data_cov", data_cov)):
        cov = np.asarray(value, dtype=np.float64)
        if cov.shape != (k, k) or not np.all(np.isfinite(cov)) or not np.allclose(cov, cov.T, rtol=1e-8, atol=0.0):
            raise InvalidInput(name, f"must be a finite symmetric {k} × {k} matrix")
        if float(np.linalg.eigvalsh(cov)[0]) < -1e-8 * float(np.trace(cov)):
            raise InvalidInput(name, "must be positive semi-definite")
        covs.append(cov)
    total, d = covs[0] + covs[1], mean - centre
    towards = np.linalg.solve(total, d)
    d2 = float(d @ towards)
    direction = towards * np.sqrt(np.diag(total))
    length = float(np.linalg.norm(direction))
    p = float(stats.chi2.sf(d2, k))
    # A p that underflows would give an infinite factor, so D²/2 stands in as its bound.
    log_bf = calibrated_log_bf(p) if p > 0.0 else 0.5 * d2
    unit = direction / length if length > 0.0 else direction
    return JointConflict(d2, k, p, log_bf, severity(log_bf), tuple(unit.tolist()))


def joint_conflict(priors: Sequence[Distribution], means_u: ArrayLike, cov_u: ArrayLike) -> JointConflict:
    """The conflict of independent beliefs with a data side of mean [k] and covariance [k, k].

    Both on the priors' unconstrained scales, the reference prior taken out.
    """
    moments = np.array([prior.unconstrained_moments() for prior in priors]).reshape(-1, 2)
    return mahalanobis(moments[:, 0], np.diag(moments[:, 1] ** 2), means_u, cov_u)


def joint_beliefs(
    priors: Sequence[Distribution],
    curves: Sequence[EvidenceCurve],
    draws: ArrayLike,
    whole: Sequence[int] = (),
    *,
    dirichlet: bool = False,
) -> JointBeliefs:
    """All beliefs of a client together, against draws [k, n] of their quantities under the reference posterior.

    The coordinate of a belief is the unconstrained scale of its quantity. The reference's pull is taken out by weights
    1/p_ref, as in the node-split p, to the power that each curve allows; the quantities count as independent under it,
    which a channel's shares of outcome and of media, for instance, are not. `whole` are the places of shares that sum
    to 1 by their nature (every channel's share of media): they are compared by log-ratios with one degree of freedom
    fewer, the client's beliefs conditioned on the sum (conflict.md §8); without one of them the others are shares like
    any other. With `dirichlet` they were stated as one Dirichlet distribution and are that instead of independent.
    """
    values = np.asarray(draws, dtype=np.float64)
    if len(priors) < 2 or len(curves) != len(priors) or values.ndim != 2 or values.shape[0] != len(priors):
        raise InvalidInput("draws", "must be [k, n] with a belief and a curve for each of k ≥ 2 quantities")
    coordinates = np.stack([c.support.to_unconstrained(row) for c, row in zip(curves, values, strict=True)])
    # Shares of a whole have one coordinate fewer than there are of them: the largest is what the others leave.
    rest = max(whole, key=lambda place: float(values[place].mean())) if len(whole) > 1 else None
    log_weights = -sum(
        (1.0 - float(curve.reference_kept[0])) * curve.reference.unconstrained_logpdf(u)
        for place, (curve, u) in enumerate(zip(curves, coordinates, strict=True))
        if place != rest
    )
    weights = np.exp(log_weights - np.max(log_weights))
    client = np.array([_moments(prior, curve) for prior, curve in zip(priors, curves, strict=True)])

    shares_of = dirichlet_shares if dirichlet else coherent_shares

    def compared(keep: NDArray[np.int64]) -> JointConflict:
        shares = [i for i in whole if i in keep]
        if len(shares) < max(len(whole), 2):
            shares = []
        others = [int(i) for i in keep if i not in shares]
        blocks, means, covs = [coordinates[others]], [client[others, 0]], np.diag(client[others, 1] ** 2)
        if shares:
            own = shares_of([priors[i] for i in shares])
            blocks.append(log_ratios(values[shares]))
            means.append(own.mean)
            covs = np.block(
                [
                    [covs, np.zeros((len(others), own.mean.size))],
                    [np.zeros((own.mean.size, len(others))), own.cov],
                ]
            )
        stacked = np.concatenate(blocks)
        mean, cov = np.average(stacked, axis=1, weights=weights), np.cov(stacked, aweights=weights).reshape(covs.shape)
        found = mahalanobis(np.concatenate(means), covs, mean, cov)
        if not shares:
            return found
        # Back from log-ratios to one weight per share, in the order of the beliefs.
        direction = np.zeros(len(priors))
        direction[others] = found.worst_direction[: len(others)]
        ratios = np.asarray(found.worst_direction[len(others) :]) / np.sqrt(np.diag(covs + cov))[len(others) :]
        by_share = np.append(ratios, -ratios.sum())
        scale = float(np.linalg.norm(found.worst_direction[len(others) :])) / max(
            float(np.linalg.norm(by_share)), 1e-300
        )
        direction[shares] = by_share * scale
        return JointConflict(
            found.d2, found.df, found.p, found.log_bf_cal, found.severity, tuple(direction[keep].tolist())
        )

    everything = np.arange(len(priors))
    without = tuple(compared(np.delete(everything, i)) for i in everything)
    z = shares_of([priors[i] for i in whole]).incoherence_z if len(whole) > 1 else None
    return JointBeliefs(compared(everything), without, z, float(weights.sum() ** 2 / np.sum(weights**2)))


def _moments(prior: Distribution, curve: EvidenceCurve) -> tuple[float, float]:
    """Mean and standard deviation of a belief on the unconstrained scale of its quantity."""
    if prior.support == curve.support:
        return prior.unconstrained_moments()
    overlay = Overlay(prior, curve).wide
    mass = np.exp(overlay.log_prior + overlay.log_weights)
    mass = mass / mass.sum()
    used = mass > 0.0
    mean = float(mass[used] @ overlay.nodes[used])
    return mean, math.sqrt(float(mass[used] @ (overlay.nodes[used] - mean) ** 2))
