"""Conflict of several beliefs at once: Mahalanobis distance with chi-square calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from engine.arrays import Flags, Floats, Integers
from engine.conflict.curve import EvidenceCurve
from engine.conflict.joint_null import Paired, log_p_value, mahalanobis_distance, signed_distance
from engine.conflict.overlay import Overlay
from engine.conflict.severity import Severity, calibrated_log_bf, calibrated_log_bf_of_log, severity
from engine.conflict.shares import DirichletShares, coherent_shares, log_ratios
from engine.distributions.distribution import Distribution
from engine.distributions.support import Link, Support
from engine.errors import InvalidInput

IDENTIFIED = 0.25
"""A sum of parts is known far better than these if it has at most this part of their variances."""
_PAIRS = 1 << 13
_SEED = 29
_SCORES = np.linspace(-6.0, 6.0, 481)


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
    identified_sums: tuple[IdentifiedSum, ...] = ()


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


@dataclass(frozen=True)
class IdentifiedSum:
    """Quantities of which the data know the sum far better than the parts, as of channels that run together.

    weights [k]: what makes parts of the sum of the quantities, 0 elsewhere. places: of the parts. mean, sd: data side.
    """

    weights: tuple[float, ...]
    places: tuple[int, ...]
    mean: float
    sd: float


def identified_sums(draws: ArrayLike, draw_weights: Floats, weights: ArrayLike) -> list[IdentifiedSum]:
    """Disjoint groups of parts with weights [k] in draws [k, n] whose sum has at most a quarter of their variances.

    That is a mean correlation of at most -3/4 between two parts, -3/8 among three. Of the groups that can be grown from
    a pair, one part after the other, as long as that lowers the quotient, the one with the least is taken first.
    """
    combined = np.asarray(weights, dtype=np.float64)
    parts = combined[:, None] * np.asarray(draws, dtype=np.float64)
    cov, mean = np.cov(parts, aweights=draw_weights), np.average(parts, axis=1, weights=draw_weights)
    left, found = [int(i) for i in np.flatnonzero(combined)], []

    def quotient(group: list[int]) -> float:
        within = cov[np.ix_(group, group)]
        return float(within.sum() / np.trace(within))

    def grown(group: list[int]) -> list[int]:
        wider = min(([*group, i] for i in left if i not in group), key=quotient, default=group)
        return grown(wider) if len(wider) > len(group) and quotient(wider) < quotient(group) else group

    while len(left) > 1:
        group = min((grown([i, j]) for at, i in enumerate(left) for j in left[at + 1 :]), key=quotient)
        variance = float(cov[np.ix_(group, group)].sum())
        # A sum without variance is that of a whole, which everybody knows.
        if quotient(group) > IDENTIFIED or variance <= 1e-12 * float(mean[group].sum()) ** 2:
            break
        places = tuple(sorted(group))
        only = np.where(np.isin(np.arange(combined.size), places), combined, 0.0)
        found.append(IdentifiedSum(tuple(only.tolist()), places, float(mean[group].sum()), math.sqrt(variance)))
        left = [i for i in left if i not in group]
    return found


def joint_beliefs(
    priors: Sequence[Distribution],
    curves: Sequence[EvidenceCurve],
    draws: ArrayLike,
    whole: Sequence[int] = (),
    correlation: ArrayLike | None = None,
    groups: Sequence[DirichletShares] = (),
    totals: ArrayLike = (),
) -> JointBeliefs:
    """All beliefs of a client together, against draws [k, n] of their quantities under the reference posterior.

    Both sides are compared by D² on natural scales, by D² on the unconstrained scales of the quantities that the data
    bound there, and by sums; p is that of the most surprising of these, by simulation (methods/conflict.md §8).
    `totals` [m, k] are weights that make parts of one thing of the quantities, 0 for those that are no part of it: of
    each row the sum of all, and of those whose sum alone the data know, are looked at. `data_moments` says how the data
    side is made of the draws. The client's beliefs are independent unless `correlation` [k, k], on the unconstrained
    scales, is given.

    `whole` are the places of shares that sum to 1 by their nature (every channel's share of media): they have one
    degree of freedom fewer, the client's beliefs conditioned on the sum, or as their correlation has them; without one
    of them the others are shares like any other. Shares that were stated together, `groups`, are drawn from their
    Dirichlet law; where they leave no rest they too have one degree of freedom fewer, and without one of them the
    others are compared among themselves.
    """
    values = np.asarray(draws, dtype=np.float64)
    k = len(priors)
    if k < 2 or len(curves) != k or values.ndim != 2 or values.shape[0] != k:
        raise InvalidInput("draws", "must be [k, n] with a belief and a curve for each of k ≥ 2 quantities")
    rows = np.asarray(totals, dtype=np.float64).reshape(-1, k)
    data = data_moments(curves, values, whole)
    between = np.eye(k) if correlation is None else checked_correlation(correlation, k)
    free = client_draws(priors, curves, between, groups)
    coherent, grouped = free, {place for group in groups for place in group.places}
    shares = coherent_shares([priors[i] for i in whole]) if len(whole) > 1 else None
    if shares is not None and correlation is None and not grouped & set(whole):
        coherent = free.copy()
        coherent[list(whole)] = shares.draws[:, np.arange(free.shape[1]) % shares.draws.shape[1]]
    bounded = [_bounded_on_its_scale(curve) for curve in curves]
    sums = [found for row in rows for found in identified_sums(values, data.weights, row)]

    def parts_of(keep: Sequence[int]) -> list[_Part]:
        """Every belief for itself, then shares that are compared as parts of a whole."""
        made: list[_Part] = []
        taken: set[int] = set()
        for group in groups:
            left: DirichletShares | None = group
            for place in group.places:
                if place not in keep and left is not None:
                    left = left.without(place)
            if left is not None:
                made.append(_Part(left.places, all(bounded[i] for i in left.places), has_rest=left.has_rest))
                taken |= set(left.places)
        if len(whole) > 1 and all(place in keep and place not in taken for place in whole):
            made.append(_Part(tuple(whole), all(bounded[i] for i in whole), has_rest=False))
            taken |= set(whole)
        return [_Part((i,), bounded[i], curves[i].support) for i in keep if i not in taken] + made

    def compared(keep: Sequence[int]) -> JointConflict:
        parts, stated = parts_of(keep), coherent if set(whole) <= set(keep) else free
        leaves_room = np.all([part.leaves_room(values) for part in parts], axis=0)
        if float(data.weights[~leaves_room].sum()) > 0.01 * float(data.weights.sum()):
            raise InvalidInput("draws", "hold shares that leave no rest, which the client's must")
        seen, weights = values[:, leaves_room], data.weights[leaves_room]
        pairs = _resampled(weights, free.shape[1])

        def sides(theirs: Floats, ours: Floats) -> Paired:
            moments = DataMoments(ours, weights)
            return Paired(theirs, ours[:, pairs], moments.mean, moments.cov)

        ways = [False, True] if any(part.has_other_scale for part in parts) else [False]
        found = []
        for scaled in ways:
            theirs, ours = (np.concatenate([part.coordinates(x, scaled) for part in parts]) for x in (stated, seen))
            both = sides(theirs, ours)
            found.append((mahalanobis_distance(both), both, scaled))
        distances = [distance for distance, _, _ in found]
        inside = np.isin(np.arange(k), keep)
        looked_at = {tuple(np.where(inside, row, 0.0).tolist()) for row in rows}
        looked_at |= {one.weights for one in sums if set(one.places) <= set(keep)}
        for kept in map(np.array, sorted(looked_at)):
            both = sides((kept @ stated)[None], (kept @ seen)[None])
            # A whole is no unknown, and a part alone is a belief like any other.
            if np.count_nonzero(kept) > 1 and float(both.data_cov[0, 0]) > 1e-12 * float(both.data_mean[0]) ** 2:
                distances.append(signed_distance(both))
        log_p = log_p_value(distances)
        _, both, scaled = max(found, key=lambda one: one[0].score)
        plain = mahalanobis(both.client_mean, both.client_cov, both.data_mean, both.data_cov)
        log_bf = calibrated_log_bf_of_log(log_p)
        return replace(
            plain,
            p=math.exp(log_p),
            log_bf_cal=log_bf,
            severity=severity(log_bf),
            worst_direction=_by_belief(plain.worst_direction, np.sqrt(np.diag(both.cov)), parts, scaled, keep),
        )

    everything = list(range(k))
    without = tuple(compared([j for j in everything if j != i]) for i in everything)
    z = None if shares is None else shares.incoherence_z
    return JointBeliefs(compared(everything), without, z, data.effective_draws, tuple(sums))


@dataclass(frozen=True)
class _Part:
    """A belief, with the support of its quantity, or shares of a whole that are compared together.

    `bounded`: whether the data bound the quantities on their unconstrained scales, so that these can be compared there.
    """

    places: tuple[int, ...]
    bounded: bool
    support: Support | None = None
    has_rest: bool = True

    @property
    def has_other_scale(self) -> bool:
        """Whether the coordinates are others on the unconstrained scale."""
        return self.bounded and (self.support is None or self.support.link is not Link.IDENTITY)

    def leaves_room(self, values: Floats) -> Flags:
        """Whether draws [k, n] of all beliefs leave a rest where there must be one [n]."""
        if self.support is not None or not self.has_rest:
            return np.ones(values.shape[1], dtype=np.bool_)
        return np.asarray(values[list(self.places)].sum(axis=0) < 1.0)

    def coordinates(self, values: Floats, scaled: bool) -> Floats:
        """Coordinates [m, n] of draws [k, n] of all beliefs, in natural units or on the unconstrained scale."""
        own = values[list(self.places)]
        if self.support is not None:
            return self.support.to_unconstrained(own) if scaled and self.bounded else own
        if self.has_rest:
            rest = np.maximum(1.0 - own.sum(axis=0), np.finfo(np.float64).eps)
            return np.asarray(np.log(own / rest)) if scaled and self.bounded else own
        return log_ratios(own) if scaled and self.bounded else np.asarray((own / own.sum(axis=0))[:-1])

    def by_share(self, direction: Floats, scaled: bool) -> Floats:
        """Weights of coordinates [m] as one weight per place: without a rest the last is what the others are not."""
        if self.support is not None or self.has_rest:
            return direction
        if scaled and self.bounded:
            return np.append(direction, -direction.sum())
        every = np.append(direction, 0.0)
        return np.asarray(every - every.mean())


def _by_belief(
    direction: Sequence[float], spread: Floats, parts: Sequence[_Part], scaled: bool, keep: Sequence[int]
) -> tuple[float, ...]:
    """The direction of coordinates as one weight per belief of `keep`, of the same length."""
    weights, start = dict.fromkeys(keep, 0.0), 0
    for part in parts:
        stop = start + len(part.places) - (0 if part.has_rest else 1)
        own = np.asarray(direction[start:stop])
        by_share = part.by_share(own / spread[start:stop], scaled)
        if len(part.places) > 1:
            by_share = by_share * float(np.linalg.norm(own)) / max(float(np.linalg.norm(by_share)), 1e-300)
        else:
            by_share = own
        weights |= dict(zip(part.places, by_share.tolist(), strict=True))
        start = stop
    return tuple(weights[i] for i in keep)


def _bounded_on_its_scale(curve: EvidenceCurve) -> bool:
    """Whether the unconstrained scale of a quantity is one to compare it on.

    It is not where the likelihood goes on down to a finite end of the range, as a share's that another can make up for:
    there that scale has no end, and what the data leave open would count as if the share varied without limit. Nor is
    the log scale of a quantity that the data do not bound from above better than the natural one, so it stays.
    """
    if float(curve.reference_kept[0]) < 0.5 or curve.support.link is Link.IDENTITY:
        return True
    ends = curve.support.to_unconstrained([float(curve.reference.ppf(0.001)), float(curve.reference.isf(0.001))])
    lower, upper = curve.log_likelihood_at(ends)
    return bool(curve.support.link is Link.LOG and upper > lower)


def client_draws(
    priors: Sequence[Distribution],
    curves: Sequence[EvidenceCurve],
    correlation: Floats,
    groups: Sequence[DirichletShares] = (),
) -> Floats:
    """Draws [k, N] of the beliefs, within the supports of their quantities, the same for a belief wherever it stands.

    Correlated by a normal copula [k, k]; those of `groups` are of their Dirichlet laws.
    """
    k = len(priors)
    laws = [_inverse(prior, curve.support) for prior, curve in zip(priors, curves, strict=True)]
    order = sorted(range(k), key=lambda i: tuple(laws[i]))
    scores = np.random.default_rng(_SEED).standard_normal((k, _PAIRS))
    scores = scores - scores.mean(axis=1, keepdims=True)
    # Exactly uncorrelated and of variance one, so that moments of normal beliefs are those of the draws.
    scores = np.linalg.solve(np.linalg.cholesky(np.cov(scores).reshape(k, k)), scores)
    eigenvalues, vectors = np.linalg.eigh(correlation[np.ix_(order, order)])
    scores = (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ (vectors.T @ scores)
    drawn = np.empty((k, _PAIRS))
    for row, i in enumerate(order):
        drawn[i] = curves[i].support.from_unconstrained(np.interp(scores[row], _SCORES, laws[i]))
    for at, group in enumerate(sorted(groups, key=lambda one: sorted(one.alpha))):
        drawn[list(group.places)] = group.sample(np.random.default_rng([_SEED, at]), _PAIRS)
    return drawn


def _inverse(prior: Distribution, support: Support) -> Floats:
    """Unconstrained coordinates of a belief's quantiles at the normal scores, of what of it lies in the support."""
    below, above = float(prior.cdf(support.lower)), float(prior.sf(support.upper))
    kept = 1.0 - below - above
    lower = prior.ppf(below + kept * special.ndtr(_SCORES))
    upper = prior.isf(above + kept * special.ndtr(-_SCORES))
    u = support.to_unconstrained(np.where(_SCORES < 0.0, lower, upper))
    inside = np.isfinite(u)
    return np.asarray(np.interp(_SCORES, _SCORES[inside], u[inside]))


def _resampled(weights: Floats, n: int) -> Integers:
    """Places of n draws in proportion to their weights, in no order: systematic resampling."""
    steps = (np.arange(n) + 0.5) / n
    places = np.searchsorted(np.cumsum(weights) / weights.sum(), steps)
    return np.random.default_rng(_SEED + 1).permutation(np.minimum(places, weights.size - 1))


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
