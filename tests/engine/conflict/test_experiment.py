"""Experiments beside the data: their likelihood multiplies the curve."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.conflict.bayes_factor import recentred
from engine.conflict.curve import EvidenceCurve
from engine.conflict.experiment import Experiment, distance, with_experiment
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import REAL_LINE, Beta, LogNormal, Normal, Uniform
from engine.errors import InvalidInput
from engine.updates.update import Strategy, UpdateRule, update

TV = EvidenceCurve.normal(0.25, 0.05, Uniform(-4.0, 5.0), 24.0, support=REAL_LINE)
LIFT = Experiment(0.4, 0.05)


def test_data_and_experiment_of_a_normal_quantity_are_one_normal_estimate() -> None:
    both = with_experiment(TV, LIFT)
    assert both.gaussian == pytest.approx((0.325, 0.05 / math.sqrt(2.0)))
    # z = .175 / hypot(.1, .0353553) against 2.236 without the experiment
    factor = recentred(Ladder.climb(Overlay(Normal(0.5, 0.1), both)))
    assert factor.log_bf == pytest.approx(0.5 * 0.175**2 / (0.01 + 0.00125), rel=1e-9)


def test_experiments_about_one_quantity_multiply() -> None:
    others = [Experiment(0.3, 0.1), Experiment(0.5, 0.05)]
    one_by_one = with_experiment(with_experiment(TV, others[0]), others[1]).gaussian
    assert with_experiment(TV, Experiment.pooled(others)).gaussian == pytest.approx(one_by_one, rel=1e-12)


@pytest.mark.parametrize("experiment", [Experiment(2.0, 0.3), Experiment(1.5, 0.001), Experiment(-0.5, 1.0)])
def test_the_likelihood_of_an_experiment_is_normal_in_the_units_of_the_quantity(experiment: Experiment) -> None:
    # An ROI with data ln 1.5 ± .2 on the log scale, a belief ln 3 ± .25; the posterior by brute force.
    curve = EvidenceCurve.normal(math.log(1.5), 0.2, LogNormal(0.0, 3.0), 24.0)
    law = Overlay(LogNormal(math.log(3.0), 0.25), with_experiment(curve, experiment)).client_posterior
    u = np.linspace(-1.0, 3.0, 400_001)
    log_p = -0.5 * ((u - math.log(3.0)) / 0.25) ** 2 - 0.5 * ((u - math.log(1.5)) / 0.2) ** 2
    log_p -= 0.5 * ((np.exp(u) - experiment.estimate) / experiment.standard_error) ** 2
    mass = np.exp(log_p - log_p.max())
    mean = float(np.average(np.exp(u), weights=mass))
    sd = math.sqrt(float(np.average((np.exp(u) - mean) ** 2, weights=mass)))
    assert law.mean == pytest.approx(mean, rel=1e-5)
    assert law.sd == pytest.approx(sd, rel=1e-3)


def test_the_curve_with_an_experiment_is_normalised_by_the_reference() -> None:
    curve = EvidenceCurve.from_draws(np.random.default_rng(2).beta(16.0, 6.0, (16, 400)), Uniform(0.0, 1.0), 24.0)
    both = with_experiment(curve, Experiment(0.7, 0.02))
    own = Overlay(Uniform(0.0, 1.0), both)
    assert own.log_marginals == pytest.approx(np.zeros(18), abs=1e-6)
    assert both.replicates.shape == (16, both.grid.size)
    assert both.supported == curve.supported
    assert both.months == curve.months


def test_an_experiment_beyond_the_draws_keeps_the_belief_and_says_so() -> None:
    curve = EvidenceCurve.from_draws(np.random.default_rng(2).beta(16.0, 6.0, (16, 400)), Uniform(0.0, 1.0), 24.0)
    prior = Beta(4.0, 8.0)
    result = update(prior, curve, UpdateRule(Strategy.FULL_BAYESIAN), experiments=[Experiment(0.2, 0.005)])
    assert result.distribution is prior
    assert "no draw of the reference fit has been" in result.reasons[0]


def test_evidence_is_that_of_data_and_experiments_together() -> None:
    rule = UpdateRule(Strategy.EVIDENCE_WEIGHTED)
    assert update(Normal(0.5, 0.1), TV, rule, log_bf=math.log(12.18)).changed
    result = update(Normal(0.5, 0.1), TV, rule, log_bf=math.log(12.18), experiments=[LIFT])
    assert not result.changed
    assert result.log_bf == pytest.approx(0.5 * 0.175**2 / (0.01 + 0.00125), rel=1e-9)


def test_how_far_an_experiment_and_the_data_are_apart() -> None:
    assert distance(LIFT, Normal(0.25, 0.05)) == pytest.approx(0.15 / math.hypot(0.05, 0.05), rel=1e-5)


@pytest.mark.parametrize(("estimate", "error", "field"), [(math.nan, 1.0, "estimate"), (0.0, 0.0, "standard_error")])
def test_what_no_experiment_can_say_is_refused_by_name(estimate: float, error: float, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Experiment(estimate, error)
    assert caught.value.field == field
