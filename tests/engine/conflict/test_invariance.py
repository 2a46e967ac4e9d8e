"""Figures that no choice of scale, order or side may change, and their bound (methods/conflict.md §4.4, §14)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special

from engine.conflict import bayes_factor
from engine.conflict.analysis import analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.joint import joint_conflict
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import (
    Beta,
    Distribution,
    Gamma,
    Gridded,
    LogNormal,
    Normal,
    TruncatedNormal,
    Uniform,
)

FACTORS = ("recentred", "widened", "reference", "point_mle")
LOGIT_GRID = np.linspace(-30.0, 30.0, 6001)


def on_the_logit(law: Distribution) -> Gridded:
    """The law of logit(X) as a law of its own on the real line."""
    return Gridded(-math.inf, math.inf, tuple(LOGIT_GRID), tuple(law.unconstrained_logpdf(LOGIT_GRID)))


def binomial(successes: float, trials: float, reference: Distribution) -> EvidenceCurve:
    log_l = successes * special.log_expit(LOGIT_GRID) + (trials - successes) * special.log_expit(-LOGIT_GRID)
    return EvidenceCurve.exact(LOGIT_GRID, log_l, reference, 24.0)


SKEWED = {
    "beta against 15 of 20": (Beta(2.0, 8.0), binomial(15.0, 20.0, Uniform(0.0, 1.0))),
    "beta against 0 of 20": (Beta(8.0, 8.0), binomial(0.0, 20.0, Uniform(0.0, 1.0))),
    "lognormal": (LogNormal(math.log(3.0), 0.25), EvidenceCurve.normal(math.log(1.5), 0.2, LogNormal(0.0, 5.0), 24.0)),
    "gamma against 80 events in 10": (
        Gamma(20.0, 4.0),
        EvidenceCurve.exact((u := np.linspace(-30.0, 12.0, 8001)), 80.0 * u - 10.0 * np.exp(u), Gamma(2.0, 0.4), 24.0),
    ),
    "normal on a share": (Normal(0.5, 0.1), binomial(5.0, 20.0, Beta(1.0, 3.0))),
    "truncated normal": (TruncatedNormal(0.1, 0.3, 0.0, 1.0), binomial(18.0, 20.0, Beta(1.0, 3.0))),
    "beta, curve from draws": (
        Beta(2.0, 8.0),
        EvidenceCurve.from_draws(np.random.default_rng(1).beta(16.0, 6.0, (8, 500)), Uniform(0.0, 1.0), 24.0),
    ),
}


@pytest.mark.parametrize("successes", [2.0, 8.0, 15.0])
def test_logit_reparametrisation_leaves_every_invariant_figure_unchanged(successes: float) -> None:
    belief, reference = Beta(8.0, 12.0), Beta(1.0, 3.0)
    share = analyse_belief(belief, binomial(successes, 20.0, reference))
    logit = analyse_belief(on_the_logit(belief), binomial(successes, 20.0, on_the_logit(reference)))
    for name in FACTORS:
        assert getattr(share, name).log_bf == pytest.approx(getattr(logit, name).log_bf, abs=1e-6), name
    assert share.kl.value == pytest.approx(logit.kl.value, abs=1e-6)
    assert share.information_gain.value == pytest.approx(logit.information_gain.value, abs=1e-6)
    assert share.p.value == pytest.approx(logit.p.value, abs=1e-7)
    assert share.contraction != pytest.approx(0.0, abs=0.05)
    assert share.contraction == pytest.approx(logit.contraction, abs=1e-6)


def test_a_distance_in_client_units_is_not_invariant() -> None:
    # methods/conflict.md §6: W1 is told in the units of the share, so that the scale must show
    belief, reference = Beta(8.0, 12.0), Beta(1.0, 3.0)
    share = analyse_belief(belief, binomial(15.0, 20.0, reference))
    logit = analyse_belief(on_the_logit(belief), binomial(15.0, 20.0, on_the_logit(reference)))
    assert share.wasserstein.w1 != pytest.approx(logit.wasserstein.w1, rel=0.5)


@pytest.mark.parametrize("case", SKEWED)
def test_no_alternative_beats_the_point_on_any_curve(case: str) -> None:
    result = analyse_belief(*SKEWED[case])
    for name in ("recentred", "widened", "reference"):
        assert getattr(result, name).log_bf <= result.point_mle.log_bf + 1e-8, name
    assert result.recentred.log_bf >= 0.0


def test_the_factor_of_two_beliefs_is_the_inverse_of_the_other_way_round() -> None:
    # Each is the reference of a curve once, so that BF(a, b) and BF(b, a) are computed from curves of their own.
    laws = (Beta(2.0, 8.0), Beta(8.0, 4.0), Beta(1.0, 3.0))
    for a, b in itertools.combinations(laws, 2):
        one = bayes_factor.reference(Ladder.climb(Overlay(a, binomial(15.0, 20.0, b)))).log_bf
        other = bayes_factor.reference(Ladder.climb(Overlay(b, binomial(15.0, 20.0, a)))).log_bf
        assert abs(one) > 0.5
        assert one + other == pytest.approx(0.0, abs=1e-8)


def test_the_order_of_channels_does_not_change_a_joint_conflict() -> None:
    rng = np.random.default_rng(2)
    laws = (Normal(0.5, 0.2), LogNormal(0.1, 0.4), Beta(3.0, 7.0), Gamma(4.0, 2.0), Normal(-0.3, 0.1))
    factors = rng.normal(size=(5, 2))
    mean, cov = rng.normal(size=5), factors @ factors.T + 0.3 * np.eye(5)
    first = joint_conflict(laws, mean, cov)
    for order in ([4, 3, 2, 1, 0], [1, 0, 2, 4, 3], [2, 4, 0, 3, 1]):
        moved = joint_conflict([laws[i] for i in order], mean[order], cov[np.ix_(order, order)])
        assert (moved.d2, moved.p, moved.log_bf_cal) == pytest.approx((first.d2, first.p, first.log_bf_cal), rel=1e-9)
        assert moved.worst_direction == pytest.approx([first.worst_direction[i] for i in order], abs=1e-9)


def test_a_rescaled_channel_does_not_change_a_joint_conflict() -> None:
    cov = np.array([[0.04, 0.01], [0.01, 0.09]])
    plain = joint_conflict([Normal(0.5, 0.1), Normal(1.0, 0.2)], [0.2, 1.4], cov)
    scale = np.array([10.0, 1.0])
    scaled = joint_conflict([Normal(5.0, 1.0), Normal(1.0, 0.2)], scale * [0.2, 1.4], cov * np.outer(scale, scale))
    assert scaled.d2 == pytest.approx(plain.d2, rel=1e-9)
