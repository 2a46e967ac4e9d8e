"""Pools of several beliefs: their formulas, and what a pool must commute with."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from engine.distributions.distribution import (
    UNIT_INTERVAL,
    Beta,
    Distribution,
    Gamma,
    Gridded,
    LogNormal,
    Mixture,
    Normal,
    StudentT,
    TruncatedNormal,
)
from engine.distributions.product import on_grid, product
from engine.elicitation.pool import disagreement, linear_pool, log_pool
from engine.errors import InvalidInput

PAIRS: list[tuple[Distribution, Distribution]] = [
    (Normal(0.5, 0.1), Normal(0.3, 0.05)),
    (Normal(0.5, 0.1), StudentT(4.0, 0.3, 0.05)),
    (Beta(3.0, 5.0), Beta(12.0, 6.0)),
    (Beta(3.0, 5.0), TruncatedNormal(0.4, 0.2, 0.0, 1.0)),
    (Gamma(3.0, 2.0), LogNormal(0.2, 0.5)),
    (TruncatedNormal(0.4, 0.2, 0.0, 1.0), TruncatedNormal(0.6, 0.1, 0.0, 1.0)),
]
WEIGHTS = [1.0, 3.0]


def test_the_pools_of_two_normals_are_those_of_the_method_note() -> None:
    # methods/conflict.md §14 id 19
    laws = [Normal(0.5, 0.1), Normal(0.3, 0.05)]
    linear, logarithmic = linear_pool(laws, [1.0, 1.0]), log_pool(laws, [1.0, 1.0])
    assert (linear.mean, linear.sd) == pytest.approx((0.4, 0.1274755), abs=5e-8)
    assert isinstance(logarithmic, Normal)
    assert (logarithmic.mean, logarithmic.sd) == pytest.approx((0.34, 0.0632456), abs=5e-8)


@pytest.mark.parametrize("laws", PAIRS, ids=str)
def test_a_logarithmic_pool_has_the_weighted_geometric_mean_of_the_densities(laws: tuple) -> None:
    pool = log_pool(laws, WEIGHTS)
    x = pool.ppf(np.linspace(0.02, 0.98, 25))
    gap = pool.logpdf(x) - (0.25 * laws[0].logpdf(x) + 0.75 * laws[1].logpdf(x))
    assert np.ptp(gap) < 1e-5


@pytest.mark.parametrize("laws", PAIRS, ids=str)
def test_a_logarithmic_pool_commutes_with_learning_from_data(laws: tuple) -> None:
    # External Bayesianity, Genest 1984: pooling the posteriors gives the posterior of the pool.
    support = laws[0].support

    def learned(law: Distribution) -> Gridded:
        return on_grid(lambda x: law.logpdf(x) - 0.5 * ((x - 0.45) / 0.1) ** 2, support, [law])

    before, after = learned(log_pool(laws, WEIGHTS)), log_pool([learned(law) for law in laws], WEIGHTS)
    q = np.array([0.02, 0.2, 0.5, 0.8, 0.98])
    assert after.ppf(q) == pytest.approx(before.ppf(q), abs=2e-5)


@pytest.mark.parametrize("laws", PAIRS, ids=str)
def test_a_linear_pool_gives_every_event_the_weighted_mean_of_the_probabilities(laws: tuple) -> None:
    # The marginalisation property, McConway 1981.
    pool = linear_pool(laws, WEIGHTS)
    x = laws[0].ppf(np.linspace(0.05, 0.95, 19))
    assert pool.cdf(x) == pytest.approx(0.25 * laws[0].cdf(x) + 0.75 * laws[1].cdf(x), abs=1e-14)


@pytest.mark.parametrize("pool", [linear_pool, log_pool])
@pytest.mark.parametrize("laws", PAIRS, ids=str)
def test_the_order_of_the_members_changes_nothing(laws: tuple, pool: type) -> None:
    forth, back = pool(laws, WEIGHTS), pool(laws[::-1], WEIGHTS[::-1])
    q = np.array([0.05, 0.5, 0.95])
    assert forth.ppf(q) == pytest.approx(back.ppf(q), rel=1e-13)


@pytest.mark.parametrize("pool", [linear_pool, log_pool])
@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 50.0), min_size=1, max_size=5))
def test_a_pool_of_equal_beliefs_is_that_belief_whatever_the_weights(pool: type, weights: list[float]) -> None:
    law = Beta(3.0, 5.0)
    assert pool([law] * len(weights), weights) == law


def test_mixtures_are_flattened_and_more_than_eight_components_are_refused() -> None:
    parts = tuple(Normal(float(i), 1.0) for i in range(5))
    mixture = Mixture((0.2,) * 5, parts)
    pool = linear_pool([mixture, Normal(9.0, 1.0)], [1.0, 1.0])
    assert isinstance(pool, Mixture)
    assert len(pool.components) == 6
    assert max(pool.weights) == pytest.approx(0.5)
    assert linear_pool([mixture, parts[0]], [1.0, 1.0]).cdf(0.0) == pytest.approx(
        0.5 * float(mixture.cdf(0.0)) + 0.25, abs=1e-14
    )
    other = Mixture((0.25,) * 4, tuple(Normal(10.0 + i, 1.0) for i in range(4)))
    with pytest.raises(InvalidInput, match="9 components") as caught:
        linear_pool([mixture, other], [1.0, 1.0])
    assert caught.value.field == "members"


@pytest.mark.parametrize("pool", [linear_pool, log_pool])
def test_beliefs_on_other_supports_and_bad_weights_are_refused(pool: type) -> None:
    with pytest.raises(InvalidInput) as caught:
        pool([Beta(2.0, 2.0), Normal(0.5, 0.1)], [1.0, 1.0])
    assert caught.value.field == "members[1]"
    with pytest.raises(InvalidInput) as caught:
        pool([Beta(2.0, 2.0), Beta(3.0, 2.0)], [1.0, 0.0])
    assert caught.value.field == "weights"


def test_disagreement_of_two_normals_has_its_closed_form() -> None:
    # W1 of equal spreads is the shift; Jensen–Shannon of N(0,1) and N(1,1) by quadrature is .111421.
    apart = disagreement(Normal(0.0, 1.0), Normal(1.0, 1.0))
    assert apart.wasserstein_scaled == pytest.approx(1.0, rel=1e-9)
    x = np.linspace(-9.0, 10.0, 40001)
    p, q = np.exp(Normal(0.0, 1.0).logpdf(x)), np.exp(Normal(1.0, 1.0).logpdf(x))
    m = 0.5 * (p + q)
    integrand = 0.5 * (p * np.log(p / m) + q * np.log(q / m))
    assert apart.jensen_shannon == pytest.approx(float(np.trapezoid(integrand, x)), abs=1e-8)


@pytest.mark.parametrize("laws", PAIRS, ids=str)
def test_disagreement_is_symmetric_bounded_and_zero_of_a_law_with_itself(laws: tuple) -> None:
    one, other = disagreement(*laws), disagreement(*laws[::-1])
    assert one.wasserstein_scaled == pytest.approx(other.wasserstein_scaled, rel=1e-9)
    assert one.jensen_shannon == pytest.approx(other.jensen_shannon, rel=1e-9)
    assert 0.0 < one.jensen_shannon < math.log(2.0)
    same = disagreement(laws[0], laws[0])
    assert same.wasserstein_scaled == 0.0
    assert same.jensen_shannon == pytest.approx(0.0, abs=1e-12)


def test_laws_far_apart_disagree_by_ln_2() -> None:
    assert disagreement(Normal(0.0, 1.0), Normal(50.0, 1.0)).jensen_shannon == pytest.approx(math.log(2.0))


def test_a_product_on_a_grid_is_still_the_product() -> None:
    law = product(Beta(2.0, 3.0), TruncatedNormal(0.5, 0.1, 0.0, 1.0))
    x = np.array([0.3, 0.5, 0.6])
    gap = law.logpdf(x) - Beta(2.0, 3.0).logpdf(x) - TruncatedNormal(0.5, 0.1, 0.0, 1.0).logpdf(x)
    assert np.ptp(gap) < 1e-7
    assert law.support == UNIT_INTERVAL


def test_a_logarithmic_pool_of_heavy_tails_has_the_density_asked_for() -> None:
    first, second = StudentT(4.0, 0.5, 0.1), StudentT(4.0, 0.3, 0.02)

    def density(x: float) -> float:
        return math.exp(0.5 * float(first.logpdf(x)) + 0.5 * float(second.logpdf(x)))

    ends = [-np.inf, 0.0, 0.25, 0.3, 0.35, 0.5, 0.8, np.inf]
    pieces = [integrate.quad(density, a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(ends)]
    below = np.cumsum(pieces)[:-1] / math.fsum(pieces)
    assert log_pool([first, second], [1.0, 1.0]).cdf(ends[1:-1]) == pytest.approx(below, abs=1e-6)
