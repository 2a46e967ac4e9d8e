"""Conflict of several beliefs at once: Mahalanobis distance with chi-square calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, stats

from engine.arrays import Floats
from engine.conflict.curve import EvidenceCurve
from engine.conflict.overlay import Overlay
from engine.conflict.severity import Severity, calibrated_log_bf, severity
from engine.conflict.shares import DirichletShares, coherent_shares, correlated_log_ratios, log_ratios
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput


@dataclass(frozen=True)
class JointConflict:
    """k beliefs against the data-side estimate, on unconstrained coordinates (methods/conflict.md §8, §4.1).

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


@dataclass(frozen=True, eq=False)
class DataMoments:
    """What the data say of several quantities at once, on their unconstrained scales, the reference's pull taken out.

    Fields:
        coordinates [k, n]: the draws there. weights [n]: 1/p_ref of each draw, to the power that each curve allows; 0
        for draws that were left out. mean [k], cov [k, k]: weighted. effective_draws: effective number of the weighted.
    """

    coordinates: Floats
    weights: Floats

    @property
    def mean(self) -> Floats:
        """[k]."""
        return np.asarray(np.average(self.coordinates, axis=1, weights=self.weights))

    @property
    def cov(self) -> Floats:
        """[k, k]."""
        k = self.coordinates.shape[0]
        return np.cov(self.coordinates, aweights=self.weights).reshape(k, k)

    @property
    def effective_draws(self) -> float:
        """Effective number of the weighted draws."""
        return float(self.weights.sum() ** 2 / np.sum(self.weights**2))


def data_moments(curves: Sequence[EvidenceCurve], draws: ArrayLike, whole: Sequence[int] = ()) -> DataMoments:
    """The data side of k quantities from draws [k, n] under the reference posterior.

    The reference's pull is taken out by weights 1/p_ref, as in the node-split p, to the power that each curve allows;
    the quantities count as independent under it, which a channel's shares of outcome and of media, for instance, are
    not. `whole` are the places of shares that sum to 1 by their nature: they have one coordinate fewer than there are
    of them, and the largest is what the others leave.
    """
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != len(curves):
        raise InvalidInput("draws", "must be [k, n] with a curve for each of k quantities")
    coordinates = np.stack([c.support.to_unconstrained(row) for c, row in zip(curves, values, strict=True)])
    rest = max(whole, key=lambda place: float(values[place].mean())) if len(whole) > 1 else None
    log_weights = np.zeros(values.shape[1])
    for place, (curve, u) in enumerate(zip(curves, coordinates, strict=True)):
        if place != rest:
            log_weights = log_weights - (1.0 - float(curve.reference_kept[0])) * curve.reference.unconstrained_logpdf(u)
    return DataMoments(coordinates, np.exp(log_weights - np.max(log_weights)))


def joint_beliefs(
    priors: Sequence[Distribution],
    curves: Sequence[EvidenceCurve],
    draws: ArrayLike,
    whole: Sequence[int] = (),
    correlation: ArrayLike | None = None,
    groups: Sequence[DirichletShares] = (),
) -> JointBeliefs:
    """All beliefs of a client together, against draws [k, n] of their quantities under the reference posterior.

    The coordinate of a belief is the unconstrained scale of its quantity; `data_moments` says how the data side is made
    of the draws. The client's beliefs are independent unless `correlation` [k, k], on those scales, is given.

    `whole` are the places of shares that sum to 1 by their nature (every channel's share of media): they are compared
    by log-ratios with one degree of freedom fewer, the client's beliefs conditioned on the sum
    (methods/conflict.md §8), or as their correlation has them; without one of them the others are shares like any
    other. Shares that were stated together, `groups`, are compared by log-ratios too, to the rest where they leave one;
    the moments are exactly those of the Dirichlet law, and without one of them those of the others among themselves.
    """
    values = np.asarray(draws, dtype=np.float64)
    k = len(priors)
    if k < 2 or len(curves) != k or values.ndim != 2 or values.shape[0] != k:
        raise InvalidInput("draws", "must be [k, n] with a belief and a curve for each of k ≥ 2 quantities")
    data = data_moments(curves, values, whole)
    client = np.array([client_moments(prior, curve) for prior, curve in zip(priors, curves, strict=True)])
    between = np.eye(k) if correlation is None else checked_correlation(correlation, k)
    client_cov = between * np.outer(client[:, 1], client[:, 1])

    def blocks(keep: Sequence[int]) -> tuple[list[_Block], list[int]]:
        """Shares to be compared by log-ratios, and the places of all other beliefs."""
        shares, taken = [], set()
        for group in groups:
            left: DirichletShares | None = group
            for place in group.places:
                if place not in keep and left is not None:
                    left = left.without(place)
            if left is not None:
                shares.append(_Block(left.places, left.has_rest, left.log_ratios(values), *left.log_ratio_moments()))
                taken |= set(left.places)
        if len(whole) > 1 and all(place in keep and place not in taken for place in whole):
            places = list(whole)
            if correlation is None:
                own = coherent_shares([priors[i] for i in places])
                moments = own.mean, own.cov
            else:
                moments = correlated_log_ratios(client[places, 0], client_cov[np.ix_(places, places)])
            shares.append(_Block(tuple(places), False, log_ratios(values[places]), *moments))
            taken |= set(places)
        return shares, [place for place in keep if place not in taken]

    def compared(keep: Sequence[int]) -> JointConflict:
        shares, others = blocks(keep)
        stacked = np.concatenate([data.coordinates[others], *(block.draws for block in shares)])
        mean = np.concatenate([client[others, 0], *(block.mean for block in shares)])
        cov = linalg.block_diag(*([client_cov[np.ix_(others, others)]] if others else []), *(b.cov for b in shares))
        leaves_room = np.all(np.isfinite(stacked), axis=0)
        if float(data.weights[~leaves_room].sum()) > 0.01 * float(data.weights.sum()):
            raise InvalidInput("draws", "hold shares that leave no rest, which the client's must")
        used = DataMoments(stacked[:, leaves_room], data.weights[leaves_room])
        conflict = mahalanobis(mean, cov, used.mean, used.cov)
        if not shares:
            return conflict
        # Back from log-ratios to one weight per share, in the order of the beliefs.
        direction = np.zeros(k)
        direction[others] = conflict.worst_direction[: len(others)]
        spread, start = np.sqrt(np.diag(cov + used.cov)), len(others)
        for block in shares:
            stop = start + block.mean.size
            part = np.asarray(conflict.worst_direction[start:stop])
            ratios = part / spread[start:stop]
            by_share = ratios if block.has_rest else np.append(ratios, -ratios.sum())
            scale = float(np.linalg.norm(part)) / max(float(np.linalg.norm(by_share)), 1e-300)
            direction[list(block.places)] = by_share * scale
            start = stop
        return replace(conflict, worst_direction=tuple(direction[list(keep)].tolist()))

    everything = list(range(k))
    without = tuple(compared([j for j in everything if j != i]) for i in everything)
    z = coherent_shares([priors[i] for i in whole]).incoherence_z if len(whole) > 1 else None
    return JointBeliefs(compared(everything), without, z, data.effective_draws)


@dataclass(frozen=True, eq=False)
class _Block:
    """Shares that are compared by their log-ratios: draws [m, n] of these, and the client's mean [m] and cov [m, m]."""

    places: tuple[int, ...]
    has_rest: bool
    draws: Floats
    mean: Floats
    cov: Floats


def checked_correlation(correlation: ArrayLike, k: int) -> Floats:
    """A correlation matrix [k, k] of beliefs; InvalidInput unless it is one."""
    matrix = np.asarray(correlation, dtype=np.float64)
    if matrix.shape != (k, k) or not np.all(np.isfinite(matrix)) or not np.allclose(matrix, matrix.T, atol=1e-9):
        raise InvalidInput("correlation", f"must be a finite symmetric {k} × {k} matrix")
    if not np.allclose(np.diag(matrix), 1.0, atol=1e-9) or float(np.linalg.eigvalsh(matrix)[0]) < -1e-8:
        raise InvalidInput("correlation", "must have a unit diagonal and no negative eigenvalue")
    return matrix


def client_moments(prior: Distribution, curve: EvidenceCurve) -> tuple[float, float]:
    """Mean and standard deviation of a belief on the unconstrained scale of its quantity."""
    if prior.support == curve.support:
        return prior.unconstrained_moments()
    overlay = Overlay(prior, curve).wide
    mass = np.exp(overlay.log_prior + overlay.log_weights)
    mass = mass / mass.sum()
    used = mass > 0.0
    mean = float(mass[used] @ overlay.nodes[used])
    return mean, math.sqrt(float(mass[used] @ (overlay.nodes[used] - mean) ** 2))
