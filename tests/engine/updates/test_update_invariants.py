"""What must hold of every strategy, whatever belief and data (methods/conflict.md §12, the column "must hold")."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.conflict.curve import EvidenceCurve
from engine.conflict.experiment import Experiment
from engine.conflict.overlay import Overlay
from engine.conflict.p_value import node_split
from engine.distributions.distribution import REAL_LINE, Distribution, LogNormal, Mixture, Normal, Uniform
from engine.updates.update import Strategy, UpdateRule, update

EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
FEW = settings(EXAMPLES, max_examples=15)

Z = st.floats(-4.0, 4.0)
SPREAD = st.floats(0.2, 5.0)
FULL, POWER = Strategy.FULL_BAYESIAN, Strategy.POWER_PRIOR


def data(z: float, s: float, tau: float = 1.0) -> EvidenceCurve:
    """Data z predictive standard deviations away from a belief at 0 ± tau."""
    estimate = z * math.hypot(tau, s)
    return EvidenceCurve.normal(estimate, s, Uniform(-1e3, 1e3), 24.0, support=REAL_LINE)


def belief(tau: float = 1.0) -> Normal:
    return Normal(0.0, tau)


def between(value: float, one: float, other: float) -> bool:
    slack = 1e-7 * max(abs(one), abs(other), 1.0)
    return min(one, other) - slack <= value <= max(one, other) + slack


def smooth(strength: float) -> UpdateRule:
    return UpdateRule(Strategy.EVIDENCE_WEIGHTED, min_evidence_strength=strength, gate=False)


@EXAMPLES
@given(z=Z, more=st.floats(0.01, 2.0), s=SPREAD, strength=st.floats(1.0, 1e4))
def test_the_weight_rises_with_the_evidence(z: float, more: float, s: float, strength: float) -> None:
    weaker = update(belief(), data(z, s), smooth(strength)).weight
    stronger = update(belief(), data(math.copysign(abs(z) + more, z), s), smooth(strength)).weight
    assert weaker is not None
    assert stronger is not None
    assert 1.0 / (1.0 + strength) <= weaker * (1 + 1e-12)
    assert weaker < stronger


@EXAMPLES
@given(z=Z, s=SPREAD, strength=st.floats(1.0, 1e4), gate=st.booleans())
def test_an_evidence_weighted_mean_lies_between_belief_and_data_and_conflict_widens(
    z: float, s: float, strength: float, gate: bool
) -> None:
    rule = UpdateRule(Strategy.EVIDENCE_WEIGHTED, min_evidence_strength=strength, gate=gate)
    law = update(belief(), data(z, s), rule).distribution
    assert between(law.mean, 0.0, z * math.hypot(1.0, s))
    assert law.sd >= 1.0 - 1e-9


@EXAMPLES
@given(z=Z, s=SPREAD)
def test_a_boundless_demand_keeps_the_belief_and_boundless_evidence_moves_it(z: float, s: float) -> None:
    assert update(belief(), data(z, s), UpdateRule(Strategy.EVIDENCE_WEIGHTED, 1e9)).distribution == belief()
    far = update(belief(), data(20.0, s), smooth(10.0)).distribution
    assert far.mean == pytest.approx(20.0 * math.hypot(1.0, s), rel=1e-6)
    assert far.sd == pytest.approx(1.0, rel=1e-6)


@EXAMPLES
@given(z=Z, s=SPREAD, powers=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)))
def test_a_larger_power_moves_further_and_narrows_more(z: float, s: float, powers: tuple[float, float]) -> None:
    low, high = (update(belief(), data(z, s), UpdateRule(POWER, power=a)).distribution for a in sorted(powers))
    assert abs(low.mean) <= abs(high.mean) + 1e-12
    assert low.sd >= high.sd - 1e-12


@EXAMPLES
@given(z=Z, s=SPREAD)
def test_no_power_is_the_belief_itself_and_the_full_power_its_posterior(z: float, s: float) -> None:
    prior = belief()
    assert update(prior, data(z, s), UpdateRule(POWER, power=0.0)).distribution is prior
    whole = update(prior, data(z, s), UpdateRule(POWER, power=1.0)).distribution
    assert whole == update(prior, data(z, s), UpdateRule(FULL)).distribution


@FEW
@given(z=st.floats(0.0, 4.0), more=st.floats(0.05, 2.0), s=SPREAD)
def test_the_adaptive_power_falls_with_the_conflict_and_is_never_near_one(z: float, more: float, s: float) -> None:
    rule = UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR)
    near, far = update(belief(), data(z, s), rule), update(belief(), data(z + more, s), rule)
    assert near.expected_power is not None
    assert far.expected_power is not None
    assert 0.0 < far.expected_power < near.expected_power <= 0.6 + 1e-6
    assert between(near.distribution.mean, 0.0, z * math.hypot(1.0, s))
    assert near.distribution.sd >= update(belief(), data(z, s), UpdateRule(FULL)).distribution.sd - 1e-7


@EXAMPLES
@given(z=st.floats(0.0, 4.0), more=st.floats(0.01, 2.0), s=SPREAD, weight=st.floats(0.01, 0.99))
def test_the_belief_loses_weight_in_a_robust_mixture_as_the_conflict_grows(
    z: float, more: float, s: float, weight: float
) -> None:
    def kept(z: float) -> float:
        # The data stay, the belief moves: the vague component's evidence is the same.
        prior = Normal(-z * math.hypot(1.0, s), 1.0)
        law = update(prior, data(0.0, s), UpdateRule(Strategy.ROBUST_MIXTURE, robust_weight=weight)).distribution
        assert isinstance(law, Mixture)
        assert law.components[0] is prior
        return law.weights[0]

    assert kept(z + more) < kept(z)


@EXAMPLES
@given(z=Z, s=SPREAD, p_value=st.none() | st.floats(0.001, 0.5))
def test_a_conservative_update_never_narrows_and_never_moves(z: float, s: float, p_value: float | None) -> None:
    prior, curve = belief(), data(z, s)
    result = update(prior, curve, UpdateRule(Strategy.CONSERVATIVE, p_value=p_value))
    assert result.distribution.mean == 0.0
    assert result.distribution.sd >= 1.0
    if p_value is None:
        assert result.changed is (abs(z) > 1.0)
    else:
        before = node_split(Overlay(prior, curve)).value
        assert result.changed is (before < p_value)
        assert node_split(Overlay(result.distribution, curve)).value >= min(p_value, before) * (1.0 - 1e-9)


RULES = [
    UpdateRule(Strategy.EVIDENCE_WEIGHTED, 2.0),
    smooth(10.0),
    UpdateRule(FULL),
    UpdateRule(Strategy.CONSERVATIVE),
    UpdateRule(Strategy.CONSERVATIVE, p_value=0.2),
    UpdateRule(POWER, power=0.3),
    UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR),
    UpdateRule(Strategy.ROBUST_MIXTURE),
]
QUANTILES = np.array([0.001, 0.05, 0.5, 0.95, 0.999])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.strategy.value)
@FEW
@given(z=Z, s=SPREAD, factor=st.floats(1e-3, 1e3))
def test_a_change_of_units_changes_nothing_else(rule: UpdateRule, z: float, s: float, factor: float) -> None:
    estimate = z * math.hypot(1.0, s)
    plain = update(belief(), data(z, s), rule).distribution
    other = EvidenceCurve.normal(
        factor * estimate, factor * s, Uniform(-1e3 * factor, 1e3 * factor), 24.0, support=REAL_LINE
    )
    scaled = update(belief(factor), other, rule).distribution
    np.testing.assert_allclose(scaled.ppf(QUANTILES), plain.scaled(factor).ppf(QUANTILES), atol=1e-5 * factor)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.strategy.value)
@FEW
@given(log_mean=st.floats(-2.0, 2.0), log_sd=st.floats(0.1, 1.0), s=st.floats(0.05, 1.0), lift=st.booleans())
def test_every_result_is_a_proper_law_with_moments(
    rule: UpdateRule, log_mean: float, log_sd: float, s: float, lift: bool
) -> None:
    prior: Distribution = LogNormal(log_mean, log_sd)
    curve = EvidenceCurve.normal(0.0, s, LogNormal(0.0, 5.0), 24.0)
    result = update(prior, curve, rule, experiments=[Experiment(1.0, 0.3)] if lift else [])
    law = result.distribution
    assert result.changed is (law is not prior)
    assert law.support == prior.support
    ends = law.ppf(np.array([1e-9, 1.0 - 1e-9]))
    u = np.linspace(*law.support.to_unconstrained(ends), 40001)
    assert np.trapezoid(np.exp(law.unconstrained_logpdf(u)), u) == pytest.approx(1.0, abs=1e-5)
    assert np.all(np.diff(law.ppf(QUANTILES)) > 0.0)
    assert math.isfinite(law.mean)
