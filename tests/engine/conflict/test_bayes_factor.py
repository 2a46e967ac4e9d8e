"""Every alternative against the client, by the formulas of methods/conflict.md §4.1 and by the general way."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from engine.conflict.bayes_factor import BayesFactor, expert, point_mle, recentred, reference, widened
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Estimator, Ladder
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Distribution, Gridded, Normal
from engine.errors import InvalidInput

# The TV example: 25 % ± 5 % against a belief of 50 % ± 10 %.
ESTIMATE, S, MU, TAU = 0.25, 0.05, 0.5, 0.1
CURVE = EvidenceCurve.normal(ESTIMATE, S, Normal(0.5, 1.0), 24.0)
Z = (MU - ESTIMATE) / math.hypot(TAU, S)


def ladder(law: Distribution, curve: EvidenceCurve = CURVE) -> Ladder:
    return Ladder.climb(Overlay(law, curve))


CLOSED, GENERAL = ladder(Normal(MU, TAU)), ladder(Gridded.of(Normal(MU, TAU)))


def log_m(mean: float, sd: float) -> float:
    return float(stats.norm.logpdf(ESTIMATE, mean, math.hypot(sd, S)))


@pytest.mark.parametrize(
    ("factor", "log_alternative"),
    [
        (recentred, log_m(ESTIMATE, TAU)),
        (widened, log_m(MU, 3.0 * TAU)),
        (reference, log_m(0.5, 1.0)),
        (point_mle, log_m(ESTIMATE, 0.0)),
    ],
)
def test_every_alternative_predicts_the_estimate_so_much_better_than_the_client(
    factor: object, log_alternative: float
) -> None:
    assert callable(factor)
    for of, within in ((CLOSED, 1e-12), (GENERAL, 1e-4)):
        found: BayesFactor = factor(of)
        assert found.log_bf == pytest.approx(log_alternative - log_m(MU, TAU), abs=within)
    assert factor(CLOSED).estimator is Estimator.CLOSED_FORM
    assert factor(GENERAL).estimator is not Estimator.CLOSED_FORM


def test_recentring_the_tv_belief_gains_half_of_z_squared_and_no_alternative_gains_more_than_the_point() -> None:
    assert recentred(CLOSED).bf == pytest.approx(math.exp(0.5 * Z**2))
    assert recentred(CLOSED).bf == pytest.approx(12.18, abs=0.005)  # methods/conflict.md §14
    for of in (CLOSED, GENERAL):
        most = point_mle(of).log_bf
        assert all(factor(of).log_bf < most for factor in (recentred, widened, reference))


def test_a_client_on_the_estimate_gains_nothing_by_being_recentred() -> None:
    for law in (Normal(ESTIMATE, TAU), Gridded.of(Normal(ESTIMATE, TAU))):
        found = recentred(ladder(law))
        assert 0.0 <= found.log_bf < 1e-9


def test_an_expert_is_compared_on_the_same_curve_and_a_twin_is_worth_one() -> None:
    other = Normal(0.3, 0.1)
    expected = log_m(0.3, 0.1) - log_m(MU, TAU)
    assert expert(ladder(other), CLOSED).log_bf == pytest.approx(expected)
    assert expert(ladder(Gridded.of(other)), GENERAL).log_bf == pytest.approx(expected, abs=1e-4)
    assert expert(GENERAL, GENERAL).log_bf == 0.0
    elsewhere = EvidenceCurve.normal(ESTIMATE, S, Normal(0.5, 1.0), 24.0)
    with pytest.raises(InvalidInput, match="same curve"):
        expert(ladder(other, elsewhere), CLOSED)


def test_a_factor_beyond_the_range_of_floats_is_infinite_and_keeps_its_logarithm() -> None:
    far = reference(ladder(Normal(100.0, 1.0)))
    assert far.log_bf > 709.0
    assert far.bf == math.inf
