"""Prior updates: the worked TV numbers and the invariants of every strategy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from engine.conflict.curve import EvidenceCurve
from engine.errors import InvalidInput
from engine.priors.distribution import REAL_LINE, Beta, Distribution, LogNormal, Mixture, Normal, Uniform
from engine.priors.update import Action, Strategy, UpdateRule, update

TV = Normal(0.5, 0.1)


def curve(estimate: float = 0.25, s: float = 0.05) -> EvidenceCurve:
    return EvidenceCurve.normal(estimate, s, Uniform(-4.0, 5.0), 24.0, support=REAL_LINE)


def weighted(strength: float, gate: bool = True) -> UpdateRule:
    return UpdateRule(Strategy.EVIDENCE_WEIGHTED, min_evidence_strength=strength, gate=gate)


def by_quadrature(law: Distribution) -> Mixture:
    return Mixture((1.0,), (law,))


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_tv_evidence_weighted(prior: Distribution) -> None:
    # conflict.md §12: T = 10
    result = update(prior, curve(), weighted(10.0))
    assert result.weight == pytest.approx(0.54919, abs=5e-6)
    assert result.distribution.mean == pytest.approx(0.36270, abs=5e-6)
    assert result.distribution.sd == pytest.approx(0.15960, abs=1e-5)
    assert (result.action, result.changed) == (Action.UPDATE, True)
    assert isinstance(result.distribution, Mixture)


def test_tv_evidence_weighted_at_even_odds() -> None:
    # conflict.md §12: odds 1:1
    result = update(TV, curve(), weighted(1.0))
    assert result.weight == pytest.approx(0.92414, abs=5e-6)
    assert result.distribution.mean == pytest.approx(0.26896, abs=5e-6)
    assert result.distribution.sd == pytest.approx(0.11992, abs=5e-6)


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_tv_full_bayesian(prior: Distribution) -> None:
    law = update(prior, curve(), UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    assert (law.mean, law.sd) == pytest.approx((0.3, 0.04472), abs=5e-6)


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_tv_conservative(prior: Distribution) -> None:
    result = update(prior, curve(), UpdateRule(Strategy.CONSERVATIVE))
    assert (result.distribution.mean, result.distribution.sd) == pytest.approx((0.5, 0.24495), abs=5e-6)
    assert result.action is Action.WIDEN


def test_below_the_required_strength_the_object_itself_comes_back() -> None:
    result = update(TV, curve(), weighted(12.19))
    assert result.distribution is TV
    assert (result.action, result.changed) == (Action.KEEP, False)


def test_the_weight_rises_with_the_evidence_and_jumps_to_half_at_the_gate() -> None:
    v = math.hypot(0.1, 0.05)
    at_gate = 0.5 - v * math.sqrt(2.0 * math.log(10.0)) - 1e-9
    estimates = [at_gate, 0.25, 0.2, 0.1, -0.5]
    weights = [update(TV, curve(e), weighted(10.0)).weight for e in estimates]
    assert weights[0] == pytest.approx(0.5, abs=1e-6)
    assert weights == sorted(weights)


def test_overwhelming_evidence_leaves_the_recentred_client() -> None:
    result = update(TV, curve(-1.5), weighted(10.0))
    assert result.distribution.mean == pytest.approx(-1.5, abs=1e-6)
    assert result.distribution.sd == pytest.approx(0.1, abs=1e-6)


def test_a_demand_beyond_the_evidence_keeps_the_client() -> None:
    assert update(TV, curve(), weighted(1e9)).distribution is TV


@pytest.mark.parametrize("estimate", [0.2, 0.1, 0.0])
def test_the_mean_lies_between_belief_and_estimate_and_conflict_widens(estimate: float) -> None:
    law = update(TV, curve(estimate), weighted(10.0)).distribution
    assert estimate <= law.mean <= 0.5
    assert law.sd >= 0.1


def test_a_mixture_stays_flat_when_updated() -> None:
    prior = Mixture((0.5, 0.5), (Normal(0.5, 0.05), Normal(0.55, 0.1)))
    law = update(prior, curve(), weighted(2.0)).distribution
    assert isinstance(law, Mixture)
    assert len(law.components) == 4
    assert all(isinstance(c, Normal) for c in law.components)


def test_full_bayesian_tends_to_the_prior_and_to_the_data() -> None:
    vague = update(TV, curve(0.25, 1e3), UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    sharp = update(TV, curve(0.25, 1e-6), UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    assert (vague.mean, vague.sd) == pytest.approx((0.5, 0.1), abs=1e-6)
    assert (sharp.mean, sharp.sd) == pytest.approx((0.25, 0.0), abs=2e-6)


def test_full_bayesian_warns_beyond_two_standard_deviations() -> None:
    assert any(
        "2 standard deviations" in r for r in update(TV, curve(0.25), UpdateRule(Strategy.FULL_BAYESIAN)).reasons
    )
    assert len(update(TV, curve(0.45), UpdateRule(Strategy.FULL_BAYESIAN)).reasons) == 1


def test_full_bayesian_of_a_beta_share_is_the_conjugate_posterior() -> None:
    grid = np.linspace(-40.0, 40.0, 4001)
    log_l = 15.0 * special.log_expit(grid) + 5.0 * special.log_expit(-grid)
    binomial = EvidenceCurve.exact(grid, log_l, Uniform(0.0, 1.0), 24.0)
    law = update(Beta(4.0, 6.0), binomial, UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    q = [1e-4, 0.05, 0.5, 0.95, 0.9999]
    np.testing.assert_allclose(law.ppf(q), Beta(19.0, 11.0).ppf(q), rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda law: law, by_quadrature], ids=["closed form", "curve integral"])
@pytest.mark.parametrize("z", [0.0, 0.9, 0.99, 1.02, 1.5, 3.0])
def test_conservative_changes_exactly_beyond_one_standard_deviation(z: float, wrap) -> None:
    prior = wrap(TV)
    result = update(prior, curve(0.5 - z * math.hypot(0.1, 0.05)), UpdateRule(Strategy.CONSERVATIVE))
    assert result.changed is (z > 1.0)
    assert (result.distribution is prior) is (z <= 1.0)
    assert result.distribution.sd >= 0.1 - 1e-12
    assert result.distribution.mean == pytest.approx(0.5, abs=1e-9)


def test_conservative_keeps_the_median_of_a_skewed_belief() -> None:
    prior = LogNormal(math.log(3.0), 0.25)
    roi = EvidenceCurve.normal(math.log(1.5), 0.2, LogNormal(0.5, 2.0), 24.0)
    law = update(prior, roi, UpdateRule(Strategy.CONSERVATIVE)).distribution
    assert float(law.ppf(0.5)) == pytest.approx(3.0, rel=1e-9)
    assert isinstance(law, LogNormal)
    assert law.log_sd == pytest.approx(math.sqrt(math.log(2.0) ** 2 - 0.04), rel=1e-9)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_an_unreliable_curve_changes_nothing(strategy: Strategy) -> None:
    narrow = EvidenceCurve.normal(0.1, 0.02, Normal(0.1, 0.13), 24.0)
    result = update(TV, narrow, UpdateRule(strategy))
    assert result.distribution is TV
    assert result.action is Action.KEEP
    assert "outside the range of the reference" in result.reasons[0]


def test_a_strength_below_one_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        update(TV, curve(), weighted(0.5))
    assert caught.value.field == "min_evidence_strength"
