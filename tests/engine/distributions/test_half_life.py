"""Half-life and retention: each law has the other's quantiles, transformed, and the density that follows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.distributions.distribution import (
    POSITIVE,
    Beta,
    Distribution,
    Gamma,
    LogNormal,
    Mixture,
    Normal,
    TruncatedNormal,
    Uniform,
)
from engine.distributions.half_life import half_life, half_life_law, retention, retention_law
from engine.errors import InvalidInput

Q = np.array([0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
RETENTIONS = [
    Beta(2.0, 3.0),
    Beta(1.0, 1.0),
    Uniform(0.2, 0.7),
    Uniform(0.3, 1.0),
    TruncatedNormal(0.5, 0.1, 0.0, 1.0),
    Mixture((0.4, 0.6), (Beta(2.0, 8.0), Beta(9.0, 3.0))),
]


def test_a_retention_of_one_half_has_a_half_life_of_one_step() -> None:
    # methods/mmm.md §3.1: alpha = 2^(-1/h)
    np.testing.assert_allclose(half_life([0.0, 0.25, 0.5, 0.5**0.5, 1.0]), [0.0, 0.5, 1.0, 2.0, math.inf])
    np.testing.assert_allclose(retention([0.0, 0.5, 1.0, 2.0, math.inf]), [0.0, 0.25, 0.5, 0.5**0.5, 1.0])


@pytest.mark.parametrize("law", RETENTIONS)
def test_the_law_of_the_half_life_has_the_transformed_quantiles_and_density(law: Distribution) -> None:
    found = half_life_law(law)
    r = law.ppf(Q)
    h = half_life(r)
    np.testing.assert_allclose(found.ppf(Q), h, rtol=1e-6)
    # p(h) = p(r) |dr/dh|, r = 2^(-1/h)
    expected = law.logpdf(r) + np.log(r * math.log(2.0) / h**2)
    np.testing.assert_allclose(found.logpdf(h), expected, atol=1e-6)


@pytest.mark.parametrize("law", RETENTIONS)
def test_there_and_back_is_the_same_law(law: Distribution) -> None:
    np.testing.assert_allclose(retention_law(half_life_law(law)).ppf(Q), law.ppf(Q), rtol=1e-6)


@pytest.mark.parametrize("law", [LogNormal(math.log(2.0), 0.5), Uniform(1.0, 4.0), Gamma(4.0, 2.0)])
def test_the_law_of_the_retention_has_the_transformed_quantiles(law: Distribution) -> None:
    found = retention_law(law)
    np.testing.assert_allclose(found.ppf(Q), retention(law.ppf(Q)), rtol=1e-5)
    assert found.support.lower >= 0.0
    assert found.support.upper <= 1.0


def test_half_lives_so_short_that_nothing_is_carried_over_leave_a_proper_law() -> None:
    # h < .001 carries over less than e^-700, which is 0 in float64: 3e-4 of this law
    law, q = LogNormal(0.0, 2.0), [0.1, 0.5, 0.9]
    np.testing.assert_allclose(half_life(retention_law(law).ppf(q)), law.ppf(q), rtol=2e-3)


def test_laws_outside_of_the_range_are_refused() -> None:
    assert half_life_law(Beta(2.0, 3.0)).support == POSITIVE
    with pytest.raises(InvalidInput, match="inside"):
        half_life_law(Normal(0.5, 0.1))
    with pytest.raises(InvalidInput, match="positive"):
        retention_law(Normal(2.0, 0.1))
