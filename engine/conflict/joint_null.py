"""Distances between beliefs and data in several coordinates at once, their null law simulated (methods/conflict.md §8).

If the beliefs are right, the truth is a draw of them, and the estimate errs from it as the data side's draws lie about
their mean, mirrored: in one coordinate this is the node-split p. Pairs of a client's draw and a draw of the data side
therefore say how far apart right beliefs and data are found, in whatever coordinates, and how often the largest of
several distances is as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import special

from engine.arrays import Floats

_EDGE = 0.005
"""Share of a simulated law beyond which its tail is continued as a normal one: how small a p is there rests on that."""
_EDGE_OF_SUM = 0.025
"""The same of each tail of a sum: of what adds up in the likelihood, a posterior's far tail is that of the other
parameters, whereas the estimate errs as a normal one."""
_TABLE = np.linspace(-6.0, 8.0, 1401)
"""Normal scores at which quantiles of chi are tabulated."""


@dataclass(frozen=True, eq=False)
class Paired:
    """Both sides in one set of m coordinates.

    client, data [m, N]: independent draws of the two. data_mean [m], data_cov [m, m]: of all draws of the data side,
    of which `data` is a sample.
    """

    client: Floats
    data: Floats
    data_mean: Floats
    data_cov: Floats

    @cached_property
    def client_mean(self) -> Floats:
        """[m]."""
        return np.asarray(self.client.mean(axis=1))

    @cached_property
    def client_cov(self) -> Floats:
        """[m, m]."""
        m = self.client.shape[0]
        return np.cov(self.client).reshape(m, m)

    @property
    def apart(self) -> Floats:
        """Estimate minus belief [m]."""
        return self.data_mean - self.client_mean

    @property
    def cov(self) -> Floats:
        """Covariance [m, m] of estimate minus belief."""
        return self.client_cov + self.data_cov

    def replicates(self) -> Floats:
        """Estimate minus belief [m, N] where the beliefs are right."""
        return (self.client - self.client_mean[:, None]) - (self.data - self.data_mean[:, None])


@dataclass(frozen=True, eq=False)
class Distance:
    """Normal score -Φ⁻¹(p) of a distance between beliefs and data, and those [N] of the pairs under right beliefs."""

    score: float
    null: Floats


def mahalanobis_distance(sides: Paired) -> Distance:
    """D² in these coordinates, scored by chi² or by its simulated law, whichever finds it less surprising."""
    root = np.linalg.inv(np.linalg.cholesky(sides.cov))
    d2 = float(np.sum((root @ sides.apart) ** 2))
    k = sides.apart.size
    distances = np.sqrt(np.sum((root @ sides.replicates()) ** 2, axis=0))
    # By a table: a tail of chi² for each of the pairs would take most of the time.
    return _calibrated(np.interp(distances, _chi_quantiles(k), _TABLE), _chi2_score(d2, k))


def signed_distance(sides: Paired) -> Distance:
    """Two-sided distance in a single coordinate, scored tail by tail."""
    sd = math.sqrt(float(sides.cov[0, 0]))
    at, null = float(sides.apart[0]) / sd, sides.replicates()[0] / sd
    upper, lower = _calibrated(null, at, _EDGE_OF_SUM), _calibrated(-null, -at, _EDGE_OF_SUM)
    farther = max(upper.score, lower.score)
    two_sided = -special.ndtri_exp(min(float(special.log_ndtr(-farther)) + math.log(2.0), -1e-12))
    either = np.minimum(2.0 * special.ndtr(-np.maximum(upper.null, lower.null)), 1.0 - 1e-12)
    return Distance(float(two_sided), np.asarray(-special.ndtri(either)))


def log_p_value(distances: Sequence[Distance]) -> float:
    """ln p of the largest of several distances, under right beliefs; never below that of the distance alone."""
    score = max(one.score for one in distances)
    null = np.max([one.null for one in distances], axis=0)
    # So many independent distances would be as surprising; it hardly changes in the tail, where nothing is simulated.
    at = min(score, _quantile(np.sort(null), 1.0 - _EDGE))
    as_many = (np.count_nonzero(null >= at) + 0.5) / (null.size + 1.0) / float(special.ndtr(-at))
    return float(special.log_ndtr(-score)) + math.log(min(max(as_many, 1.0), len(distances)))


def _chi2_score(d2: float, k: int) -> float:
    tail = float(special.chdtrc(k, d2))
    # Beyond the range of doubles by the leading term of the incomplete gamma function.
    log_tail = math.log(tail) if tail > 0.0 else -0.5 * d2 + (0.5 * k - 1.0) * math.log(0.5 * d2) - math.lgamma(0.5 * k)
    return -float(special.ndtri_exp(log_tail))


@lru_cache(maxsize=64)
def _chi_quantiles(k: int) -> Floats:
    """Distances with the normal scores of the table, for k coordinates."""
    return np.asarray(np.sqrt(special.chdtri(k, special.ndtr(-_TABLE))))


def _quantile(ordered: Floats, probability: float) -> float:
    return float(ordered[math.ceil(probability * (ordered.size - 1))])


@lru_cache(maxsize=1)
def _normal_scores(n: int) -> Floats:
    """Scores [n] of the places of n sorted values, from the least."""
    return np.asarray(-special.ndtri((n - np.arange(n) - 0.5) / n))


def _calibrated(null: Floats, score: float, beyond_share: float = _EDGE) -> Distance:
    """Scores by the simulated law of scores, where they are less surprising by it.

    They would be more surprising by the ends of a law that stops, as of a share that the data leave anywhere between 0
    and what another leaves: where it stops is no evidence against what lies there.
    """
    order = np.argsort(null)
    ordered, by_place = null[order], _normal_scores(null.size)
    edge = math.ceil((1.0 - beyond_share) * (null.size - 1))
    scores = np.empty_like(null)
    beyond = by_place[edge] + (ordered[edge:] - ordered[edge])
    scores[order] = np.minimum(np.append(by_place[:edge], beyond), ordered)
    inside = by_place[min(int(np.searchsorted(ordered, score)), edge)]
    return Distance(min(float(inside) + max(score - float(ordered[edge]), 0.0), score), scores)
