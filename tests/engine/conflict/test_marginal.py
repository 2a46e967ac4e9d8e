"""The ladder of estimators: which one is reported, when another must confirm it, and when there is no number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from engine.conflict import bayes_factor
from engine.conflict.analysis import Finding, analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Estimator, Ladder, LogMarginal, agree, by_curve, by_importance, difference_error
from engine.conflict.overlay import Overlay
from engine.conflict.reliability import Status
from engine.distributions.distribution import Normal
from engine.errors import InvalidInput

TV = Normal(0.5, 0.1)
FAR = Normal(0.6, 0.02)
WIDE = Normal(0.5, 100.0)
DRAWS = np.random.default_rng(1).normal(0.25, 0.05, (16, 400))
CURVE = EvidenceCurve.from_draws(DRAWS, WIDE, 24.0)


def truth(prior: Normal) -> float:
    v, wide = math.hypot(prior.sd, 0.05), math.hypot(WIDE.sd, 0.05)
    return float(stats.norm.logpdf(0.25, prior.mean, v) - stats.norm.logpdf(0.25, WIDE.mean, wide))


def test_a_belief_that_the_draws_reach_is_judged_by_their_mean_and_confirmed_by_the_curve() -> None:
    ladder = Ladder.climb(Overlay(TV, CURVE), DRAWS)
    assert [one.estimator for one in ladder.admissible] == [Estimator.IMPORTANCE, Estimator.CURVE_INTEGRAL]
    assert ladder.chosen.estimator is Estimator.IMPORTANCE
    assert (ladder.refusal, ladder.hardly_reached) == ("", False)
    assert abs(ladder.chosen.value - truth(TV)) < 3.0 * ladder.chosen.mcse


def test_a_belief_out_of_reach_gets_no_number_from_one_fit_alone() -> None:
    result = analyse_belief(FAR, CURVE, draws=DRAWS)
    assert result.recentred.khat is not None
    assert result.recentred.khat > 0.7
    assert (result.status, result.finding, result.severity) == (Status.UNRELIABLE, Finding.UNRELIABLE, None)
    assert "no second estimate" in result.reasons[0]


def test_a_bridge_that_confirms_the_curve_is_reported_in_its_place() -> None:
    bridge = LogMarginal.alone(truth(FAR), 0.05, Estimator.TEMPERED_BRIDGE)
    result = analyse_belief(FAR, CURVE, draws=DRAWS, bridges=[bridge])
    assert result.recentred.estimator is Estimator.TEMPERED_BRIDGE
    z = 0.35 / math.hypot(0.02, 0.05)
    assert result.recentred.log_bf == pytest.approx(0.5 * z * z, abs=4.0 * result.recentred.mcse)
    assert result.status is Status.OK


def test_a_bridge_that_contradicts_the_curve_leaves_no_number_until_a_third_decides() -> None:
    curve = by_curve(Overlay(FAR, CURVE)).value
    bridge = LogMarginal.alone(curve - 3.0, 0.05, Estimator.TEMPERED_BRIDGE)
    alone = Ladder.climb(Overlay(FAR, CURVE), DRAWS, [bridge])
    assert "disagree" in alone.refusal
    refit = LogMarginal.alone(curve - 3.05, 0.05, Estimator.BRIDGE_SAMPLING)
    decided = Ladder.climb(Overlay(FAR, CURVE), DRAWS, [bridge, refit])
    assert decided.refusal == ""
    assert decided.chosen.estimator is Estimator.TEMPERED_BRIDGE
    assert decided.chosen.mcse == pytest.approx(math.hypot(0.05, 0.5 * 0.05))


def test_errors_of_estimates_from_the_same_draws_are_paired() -> None:
    overlay = Overlay(TV, CURVE)
    curve, mean = by_curve(overlay), by_importance(overlay, DRAWS)
    assert difference_error(curve, mean) < 0.7 * math.hypot(curve.mcse, mean.mcse)
    alone = LogMarginal.alone(curve.value, 0.3, Estimator.TEMPERED_BRIDGE)
    assert difference_error(curve, alone) == pytest.approx(math.hypot(curve.mcse, 0.3))


def test_agreement_is_three_errors_and_half_a_log_unit() -> None:
    def one(value: float, error: float) -> LogMarginal:
        return LogMarginal.alone(value, error, Estimator.TEMPERED_BRIDGE)

    assert agree(one(0.0, 0.1), one(0.4, 0.1))
    assert not agree(one(0.0, 0.1), one(0.45, 0.1))
    assert not agree(one(0.0, 1.0), one(0.6, 1.0))
    assert agree(one(0.0, 0.001), one(0.04, 0.001))


def test_an_expert_is_compared_on_the_same_draws() -> None:
    expert = Normal(0.3, 0.1)
    result = analyse_belief(TV, CURVE, draws=DRAWS, expert=expert)
    back = analyse_belief(expert, CURVE, draws=DRAWS, expert=TV)
    assert result.expert is not None
    assert back.expert is not None
    assert result.expert.log_bf == pytest.approx(-back.expert.log_bf, abs=1e-12)
    assert result.expert.log_bf == pytest.approx(truth(expert) - truth(TV), abs=4.0 * result.expert.mcse)
    unpaired = math.hypot(result.reference.mcse, back.reference.mcse)
    assert result.expert.mcse < unpaired


def test_an_expert_that_is_the_client_has_factor_one_without_error() -> None:
    result = analyse_belief(TV, CURVE, draws=DRAWS, expert=Normal(0.5, 0.1)).expert
    assert result is not None
    assert (result.log_bf, result.mcse) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.0, abs=1e-12))


def test_an_expert_out_of_reach_gets_no_factor() -> None:
    assert analyse_belief(TV, CURVE, draws=DRAWS, expert=FAR).expert is None


def test_experts_on_different_curves_cannot_be_compared() -> None:
    other = EvidenceCurve.from_draws(DRAWS + 0.01, WIDE, 24.0)
    with pytest.raises(InvalidInput, match="same curve"):
        bayes_factor.expert(Ladder.climb(Overlay(TV, other)), Ladder.climb(Overlay(TV, CURVE)))


def test_curve_and_mean_do_not_outvote_a_bridge() -> None:
    overlay = Overlay(TV, CURVE)
    bridge = LogMarginal.alone(by_curve(overlay).value - 1.0, 0.02, Estimator.TEMPERED_BRIDGE)
    assert "disagree" in Ladder.climb(overlay, DRAWS, [bridge]).refusal
