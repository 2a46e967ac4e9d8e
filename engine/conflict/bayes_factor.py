"""Bayes factors against a client prior, each with the name of its alternative, its estimator and its error."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.conflict.marginal import Estimator, Ladder, LogMarginal, difference_error
from engine.conflict.overlay import Overlay
from engine.conflict.search import least
from engine.errors import InvalidInput

Array = NDArray[np.float64]

WIDENING = 3.0
_ABOUT = np.linspace(-3.0, 3.0, 13)


class Alternative(enum.Enum):
    """The law that replaces the client's in the numerator (methods/conflict.md §4.1)."""

    RECENTRED = "recentred"
    WIDENED = "widened"
    REFERENCE = "reference"
    POINT_MLE = "point_mle"
    EXPERT = "expert"


@dataclass(frozen=True)
class BayesFactor:
    """Evidence against the client prior: `log_bf` = ln m_alternative - ln m_client.

    `mcse` is the Monte Carlo standard error of log_bf (0 when exact); `estimator` that of the client's marginal
    likelihood; `khat` the Pareto shape of the importance ratios when draws were given; `tail_bracket` log_bf under
    exponential instead of Gaussian tails of the curve.
    """

    alternative: Alternative
    log_bf: float
    mcse: float
    estimator: Estimator
    khat: float | None
    tail_bracket: float

    @property
    def bf(self) -> float:
        """exp(log_bf); infinite beyond the float range."""
        return math.exp(self.log_bf) if self.log_bf < 709.0 else math.inf


def log_recentred(z: ArrayLike) -> Array:
    """ln e^{z²/2}: the client moved to the likelihood's maximum, normal case (methods/conflict.md §4.1)."""
    return np.asarray(0.5 * np.square(z), dtype=np.float64)


def log_widened(d: ArrayLike, tau: ArrayLike, s: ArrayLike, factor: float = WIDENING) -> Array:
    """ln[(v/v_c) exp(½ d² (1/v² - 1/v_c²))], v² = tau² + s², v_c² = factor² tau² + s² (methods/conflict.md §4.1)."""
    v2 = np.square(tau) + np.square(s)
    wide2 = np.square(factor * np.asarray(tau)) + np.square(s)
    return np.asarray(0.5 * np.log(v2 / wide2) + 0.5 * np.square(d) * (1.0 / v2 - 1.0 / wide2), dtype=np.float64)


def log_point(z: ArrayLike, v: ArrayLike, s: ArrayLike) -> Array:
    """ln[(v/s) e^{z²/2}]: all mass on the estimate, the supremum over every alternative (methods/conflict.md §4.1)."""
    return np.asarray(np.log(np.asarray(v) / np.asarray(s)) + 0.5 * np.square(z), dtype=np.float64)


def log_marginal(overlay: Overlay) -> float:
    """ln m_client / m_ref; the difference of two priors' values is the log Bayes factor between them."""
    pair = overlay.normal_pair
    return (
        float(overlay.log_marginals[0])
        if pair is None
        else _log_top(overlay) - float(log_point(pair.z, pair.v, pair.s))
    )


def _log_top(overlay: Overlay) -> float:
    """Largest value of log L of an exactly normal curve; its grid is symmetric about it."""
    return float(overlay.curve.log_likelihood.max())


def recentring_shift(overlay: Overlay) -> float:
    """The shift of the client on its unconstrained scale that makes the data most likely.

    A scan over the curve's range by the client's median, and about the curve's peak by each of the client's own peaks,
    then Brent's method: of a mixture the supremum may lie at any of them.
    """
    pair = overlay.normal_pair
    if pair is not None:
        return pair.estimate - pair.mu
    _, sd, median = overlay.client_scale

    def loss(shift: float) -> float:
        return -overlay.log_marginal_of(shift, 1.0)

    reach, top = overlay.curve_reach
    candidates = [np.zeros(1), np.linspace(reach[0], reach[1], 33) - median]
    for place, spread in overlay.client_peaks:
        width = math.hypot(spread, (reach[1] - reach[0]) / 8.0)
        candidates.append(top - place + width * _ABOUT)
    far = 40.0 * sd + overlay.client_reach
    narrowest = min(spread for _, spread in overlay.client_peaks)
    return least(loss, np.clip(np.concatenate(candidates), -far, far), 1e-6 * min(sd, narrowest))[0]


def recentred(ladder: Ladder, shift: float | None = None) -> BayesFactor:
    """RECENTRED: the supremum over shifts of the client; never below 1, and a maximised likelihood ratio."""
    overlay = ladder.overlay
    if (pair := overlay.normal_pair) is not None:
        return _closed(Alternative.RECENTRED, float(log_recentred(pair.z)))
    at = recentring_shift(overlay) if shift is None else shift
    # By the envelope theorem the maximiser of the main curve serves the replicates to first order.
    factor = _factor(Alternative.RECENTRED, ladder.of_client(at, 1.0), ladder)
    return replace(factor, log_bf=max(factor.log_bf, 0.0), tail_bracket=max(factor.tail_bracket, 0.0))


def widened(ladder: Ladder, factor: float = WIDENING) -> BayesFactor:
    """WIDENED: the same family `factor` times as wide about its median, unconstrained; proper, so E_null = 1."""
    if (pair := ladder.overlay.normal_pair) is not None:
        return _closed(Alternative.WIDENED, float(log_widened(pair.estimate - pair.mu, pair.tau, pair.s, factor)))
    return _factor(Alternative.WIDENED, ladder.of_client(0.0, factor), ladder)


def reference(ladder: Ladder) -> BayesFactor:
    """REFERENCE: the reference prior; the numerator is 1 because the curve is normalised by it."""
    overlay = ladder.overlay
    if overlay.normal_pair is not None:
        return _closed(Alternative.REFERENCE, -log_marginal(overlay))
    if overlay.prior == overlay.curve.reference:
        return _factor(Alternative.REFERENCE, ladder.chosen, ladder)
    return _factor(Alternative.REFERENCE, LogMarginal.of_rows(np.zeros_like(overlay.log_marginals)), ladder)


def point_mle(ladder: Ladder) -> BayesFactor:
    """POINT_MLE: all mass on the likelihood's maximum; an upper bound on every Bayes factor, reported only as such."""
    if (pair := ladder.overlay.normal_pair) is not None:
        return _closed(Alternative.POINT_MLE, float(log_point(pair.z, pair.v, pair.s)))
    return _factor(Alternative.POINT_MLE, LogMarginal.of_rows(ladder.overlay.log_peaks), ladder)


def expert(other: Ladder, ladder: Ladder) -> BayesFactor:
    """EXPERT: another prior of the same quantity, whose `other` ladder stands on the same curve and draws.

    The error is paired: what the draws do to both marginal likelihoods cancels.
    """
    if other.overlay.curve is not ladder.overlay.curve:
        raise InvalidInput("other", "must be laid over the same curve")
    if other.overlay.normal_pair is not None and ladder.overlay.normal_pair is not None:
        return _closed(Alternative.EXPERT, log_marginal(other.overlay) - log_marginal(ladder.overlay))
    same = other.overlay.prior == ladder.overlay.prior
    return _factor(Alternative.EXPERT, ladder.chosen if same else other.chosen, ladder)


def _closed(alternative: Alternative, log_bf: float) -> BayesFactor:
    return BayesFactor(alternative, log_bf, 0.0, Estimator.CLOSED_FORM, None, log_bf)


def _factor(alternative: Alternative, numerator: LogMarginal, ladder: Ladder) -> BayesFactor:
    client = ladder.chosen
    error = 0.0 if numerator is client else difference_error(numerator, client)
    heavy = numerator.heavy_tailed - client.heavy_tailed
    return BayesFactor(alternative, numerator.value - client.value, error, client.estimator, ladder.khat, heavy)
