"""Distances between beliefs and data with a simulated null law: normal laws keep theirs, others get their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from engine.conflict.joint_null import Paired, log_p_value, mahalanobis_distance, signed_distance

N = 1 << 14
COV = np.array([[0.04, -0.03], [-0.03, 0.09]])


def normal_sides(apart: float, seed: int = 1) -> Paired:
    rng = np.random.default_rng(seed)
    data = rng.multivariate_normal([apart, apart], COV, N).T
    return Paired(rng.normal(0.0, 0.1, (2, N)), data, np.array([apart, apart]), COV)


@pytest.mark.parametrize("apart", [0.2, 0.5, 1.0, 3.0, 60.0])
def test_of_normal_laws_the_score_is_that_of_chi_squared(apart: float) -> None:
    sides = normal_sides(apart)
    d2 = float(sides.apart @ np.linalg.solve(sides.cov, sides.apart))
    found = mahalanobis_distance(sides).score
    if d2 < 1000.0:
        assert found == pytest.approx(-float(special.ndtri_exp(stats.chi2.logsf(d2, 2))), abs=0.1)
    assert math.isfinite(found)
    assert log_p_value([mahalanobis_distance(sides)]) == pytest.approx(special.log_ndtr(-found), abs=0.05)


@pytest.mark.parametrize("apart", [0.3, 1.0])
def test_a_single_coordinate_has_the_two_sided_p_of_its_difference(apart: float) -> None:
    both = normal_sides(apart)
    sides = Paired(both.client[:1], both.data[:1], both.data_mean[:1], both.data_cov[:1, :1])
    z = apart / math.sqrt(float(sides.cov[0, 0]))
    assert log_p_value([signed_distance(sides)]) == pytest.approx(math.log(2.0) + special.log_ndtr(-z), abs=0.15)
    turned = Paired(-sides.client, -sides.data, -sides.data_mean, sides.data_cov)
    assert log_p_value([signed_distance(turned)]) == pytest.approx(log_p_value([signed_distance(sides)]), abs=1e-9)


def test_what_is_not_normal_is_as_surprising_as_it_is_rare() -> None:
    # An exponential data side: 1 - exp(-3) of it lies below its mean by more than the belief of 3 has it above.
    rng = np.random.default_rng(2)
    data = rng.exponential(1.0, (1, N))
    sides = Paired(np.full((1, N), 3.0) + rng.normal(0.0, 1e-3, (1, N)), data, np.ones(1), np.ones((1, 1)))
    assert math.exp(log_p_value([signed_distance(sides)])) == pytest.approx(2.0 * math.exp(-3.0), rel=0.15)
    assert 2.0 * stats.norm.sf(2.0) < 0.6 * 2.0 * math.exp(-3.0)


def test_where_a_law_stops_is_no_evidence() -> None:
    # The truth is at the end of what the data leave open.
    rng = np.random.default_rng(3)
    data = rng.uniform(0.0, 0.3, (1, N))
    sides = Paired(rng.normal(0.0005, 1e-4, (1, N)), data, np.full(1, 0.15), np.full((1, 1), 0.0075))
    assert math.exp(log_p_value([signed_distance(sides)])) > 0.05
    assert math.exp(log_p_value([mahalanobis_distance(sides)])) > 0.05


def test_two_independent_looks_cost_a_factor_of_two_and_the_same_look_twice_none() -> None:
    one, other = (mahalanobis_distance(normal_sides(0.9, seed)) for seed in (4, 5))
    alone = log_p_value([one])
    assert log_p_value([one, one]) == pytest.approx(alone, abs=0.05)
    assert log_p_value([one, other]) - min(alone, log_p_value([other])) == pytest.approx(math.log(2.0), abs=0.15)
