"""Distributions: each family's functions agree with one another and with its unconstrained scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from engine.distributions.distribution import (
    REAL_LINE,
    Beta,
    Distribution,
    Gamma,
    Gridded,
    HalfNormal,
    Link,
    LogNormal,
    Mixture,
    Normal,
    StudentT,
    Support,
    TruncatedNormal,
    Uniform,
)
from engine.errors import InvalidInput

LAWS: list[Distribution] = [
    Normal(0.5, 0.1),
    LogNormal(1.0, 0.3),
    Beta(12.0, 12.0),
    Beta(0.7, 3.0),
    TruncatedNormal(0.5, 0.3, 0.0, 1.0),
    TruncatedNormal(-1.0, 1.0, 0.0, math.inf),
    TruncatedNormal(1.0, 1.0, -math.inf, math.inf),
    HalfNormal(2.0),
    Gamma(3.0, 2.0),
    StudentT(4.0, 1.0, 2.0),
    Uniform(1.0, 3.0),
    Mixture((0.4, 0.6), (Normal(0.5, 0.1), Normal(0.25, 0.1))),
    Mixture((0.4, 0.6), (Beta(2.0, 3.0), Uniform(0.0, 1.0))),
    Gridded.of(Normal(0.5, 0.1)),
    Gridded.of(Beta(12.0, 12.0)),
    Gridded.of(Gamma(3.0, 2.0)),
    Gridded.of(Uniform(0.0, 1.0)),
]
Q = np.array([1e-9, 0.001, 0.3, 0.5, 0.9, 0.99999])


@pytest.fixture(params=LAWS, ids=lambda law: type(law).__name__)
def law(request: pytest.FixtureRequest) -> Distribution:
    return request.param


def test_ppf_inverts_cdf(law: Distribution) -> None:
    np.testing.assert_allclose(law.cdf(law.ppf(Q)), Q, rtol=1e-6)


def test_isf_inverts_sf_far_into_the_upper_tail(law: Distribution) -> None:
    np.testing.assert_allclose(law.sf(law.isf(Q)), Q, rtol=1e-6)


def test_cdf_and_sf_sum_to_one(law: Distribution) -> None:
    x = law.ppf(Q)
    np.testing.assert_allclose(law.cdf(x) + law.sf(x), 1.0, atol=1e-12)


def test_cdf_is_the_integral_of_the_density(law: Distribution) -> None:
    a, b = (float(v) for v in law.ppf([0.05, 0.8]))
    area, _ = integrate.quad(lambda x: math.exp(float(law.logpdf(x))), a, b, limit=200)
    assert area == pytest.approx(0.75, abs=1e-7)


def test_density_is_zero_outside_the_support(law: Distribution) -> None:
    outside = [e - s for e, s in ((law.support.lower, 1.0), (law.support.upper, -1.0)) if math.isfinite(e)]
    assert np.all(law.logpdf(outside) == -np.inf)
    assert set(law.cdf(outside)) <= {0.0, 1.0}


def test_unconstrained_density_carries_the_jacobian(law: Distribution) -> None:
    x = law.ppf(Q)
    u = law.support.to_unconstrained(x)
    expected = law.logpdf(x) + law.support.log_jacobian(u)
    np.testing.assert_allclose(law.unconstrained_logpdf(u), expected, rtol=1e-9, atol=1e-9)


def test_unconstrained_density_stays_a_number_far_out(law: Distribution) -> None:
    assert not np.any(np.isnan(law.unconstrained_logpdf([-600.0, -60.0, 60.0, 600.0])))


def test_shift_moves_every_unconstrained_quantile(law: Distribution) -> None:
    moved = law.shifted(0.2)
    u = law.support.to_unconstrained
    np.testing.assert_allclose(u(moved.ppf(Q[1:])), u(law.ppf(Q[1:])) + 0.2, atol=1e-8)


def test_widening_stretches_unconstrained_quantiles_about_the_median(law: Distribution) -> None:
    u = law.support.to_unconstrained
    middle = float(u(law.ppf(0.5)))
    wide = law.widened(1.5)
    q = [0.1, 0.5, 0.9]
    np.testing.assert_allclose(u(wide.ppf(q)) - middle, 1.5 * (u(law.ppf(q)) - middle), atol=1e-7)


def test_scaling_multiplies_quantiles_mean_and_sd(law: Distribution) -> None:
    double = law.scaled(2.0)
    np.testing.assert_allclose(double.ppf(Q[1:]), 2.0 * law.ppf(Q[1:]), rtol=1e-8, atol=1e-9)
    assert double.mean == pytest.approx(2.0 * law.mean, rel=1e-8)
    assert double.sd == pytest.approx(2.0 * law.sd, rel=1e-8)


def test_draws_have_the_stated_law(law: Distribution) -> None:
    draws = law.sample(np.random.default_rng(7), (50, 40))
    assert draws.shape == (50, 40)
    assert stats.kstest(draws.ravel(), law.cdf).pvalue > 1e-4
    assert draws.mean() == pytest.approx(law.mean, abs=5.0 * law.sd / math.sqrt(2000.0))


def test_unconstrained_moments_match_draws(law: Distribution) -> None:
    u = law.support.to_unconstrained(law.sample(np.random.default_rng(8), 20_000))
    mean, sd = law.unconstrained_moments()
    assert u.mean() == pytest.approx(mean, abs=5.0 * sd / math.sqrt(20_000.0))
    assert u.std() == pytest.approx(sd, rel=0.05)


@pytest.mark.parametrize("exact", [Normal(0.5, 0.1), Beta(12.0, 5.0), Gamma(3.0, 2.0), Uniform(0.0, 1.0)])
def test_a_gridded_copy_reproduces_its_original(exact: Distribution) -> None:
    copy = Gridded.of(exact)
    x = exact.ppf([1e-6, 0.01, 0.2, 0.7, 0.999999])
    np.testing.assert_allclose(copy.logpdf(x), exact.logpdf(x), atol=1e-6)
    np.testing.assert_allclose(copy.cdf(x), exact.cdf(x), rtol=1e-6)
    assert copy.mean == pytest.approx(exact.mean, rel=1e-9)
    assert copy.sd == pytest.approx(exact.sd, rel=1e-8)


def test_a_gridded_law_rebuilt_from_its_fields_is_equal() -> None:
    law = Gridded(0.0, 1.0, (-3.0, -1.0, 0.0, 1.0, 2.0), (1.0, 4.0, 5.0, 4.5, 2.0))
    assert Gridded(law.lower, law.upper, law.grid, law.log_density) == law


def test_mixture_moments_are_those_of_the_linear_pool() -> None:
    # methods/conflict.md §14 id 19
    pool = Mixture((0.5, 0.5), (Normal(0.5, 0.1), Normal(0.3, 0.05)))
    assert pool.mean == pytest.approx(0.4, abs=1e-12)
    assert pool.sd == pytest.approx(0.1274755, abs=5e-8)


def test_lognormal_sd_in_units_of_x() -> None:
    # methods/conflict.md §14 id 12: client ln 3 ± .25
    assert LogNormal(math.log(3.0), 0.25).sd == pytest.approx(0.786057, abs=5e-7)


@pytest.mark.parametrize(
    ("lower", "upper", "link"),
    [(-math.inf, math.inf, Link.IDENTITY), (0.0, math.inf, Link.LOG), (2.0, 5.0, Link.LOGIT)],
)
def test_support_fixes_the_link_and_inverts_it(lower: float, upper: float, link: Link) -> None:
    support = Support(lower, upper)
    u = np.linspace(-4.0, 4.0, 9)
    assert support.link is link
    np.testing.assert_allclose(support.to_unconstrained(support.from_unconstrained(u)), u, atol=1e-12)
    slope = (support.from_unconstrained(u + 1e-6) - support.from_unconstrained(u - 1e-6)) / 2e-6
    np.testing.assert_allclose(np.exp(support.log_jacobian(u)), slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("sd", lambda: Normal(0.0, 0.0)),
        ("mean", lambda: Normal(math.nan, 1.0)),
        ("log_sd", lambda: LogNormal(0.0, -1.0)),
        ("alpha", lambda: Beta(0.0, 1.0)),
        ("beta", lambda: Beta(1.0, math.inf)),
        ("scale", lambda: HalfNormal(-1.0)),
        ("rate", lambda: Gamma(1.0, 0.0)),
        ("df", lambda: StudentT(2.0, 0.0, 1.0)),
        ("upper", lambda: Uniform(1.0, 1.0)),
        ("lower", lambda: TruncatedNormal(0.0, 1.0, -math.inf, 1.0)),
        ("location", lambda: TruncatedNormal(0.0, 1.0, 1e200, math.inf)),
        ("weights", lambda: Mixture((0.5, 0.4), (Normal(0.0, 1.0), Normal(1.0, 1.0)))),
        ("components", lambda: Mixture((0.5, 0.5), (Uniform(-1.0, 0.5), Beta(1.0, 1.0)))),
        ("grid", lambda: Gridded(0.0, 1.0, (0.0, 0.0, 1.0, 2.0), (0.0, 0.0, 0.0, 0.0))),
        ("log_density", lambda: Gridded(0.0, 1.0, (0.0, 1.0, 2.0, 3.0), (0.0, math.nan, 0.0, 0.0))),
        ("factor", lambda: Normal(0.0, 1.0).scaled(0.0)),
        ("level", lambda: Normal(0.0, 1.0).interval(1.0)),
    ],
)
def test_a_bad_parameter_is_refused_by_name(field: str, make) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert caught.value.field == field


T4 = StudentT(4.0, 0.5, 0.1)


@pytest.mark.parametrize("other", [Normal(0.25, 0.03), StudentT(4.0, 0.25, 0.02)], ids=str)
def test_a_heavy_tailed_mixture_keeps_its_shape_on_a_grid(other: Distribution) -> None:
    # The 1e-12 tails of the t law lie 800 scales out: an even grid would have one point per scale.
    law = Mixture((0.5, 0.5), (T4, other))
    x = law.ppf(np.linspace(0.001, 0.999, 999))
    assert np.abs(Gridded.of(law).cdf(x) - law.cdf(x)).max() < 1e-6


def test_a_mixture_moves_and_widens_component_by_component() -> None:
    law = Mixture((0.5, 0.5), (T4, Normal(0.25, 0.03)))
    median = float(law.ppf(0.5))
    q = np.linspace(0.01, 0.99, 99)
    assert law.widened(1.7).ppf(q) == pytest.approx(median + 1.7 * (law.ppf(q) - median), abs=1e-9)
    assert law.shifted(-0.4).ppf(q) == pytest.approx(law.ppf(q) - 0.4, abs=1e-9)


MIXED = Mixture((0.6, 0.4), (Beta(0.5, 3.0), Normal(0.2, 0.3)))


def test_a_mixture_of_narrower_and_wider_laws_lives_on_the_wider_support() -> None:
    assert MIXED.support == REAL_LINE
    x = np.array([-0.3, 0.1, 0.9, 1.2])
    wide = 0.4 * np.exp(Normal(0.2, 0.3).logpdf(x))
    assert np.exp(MIXED.logpdf(x)) == pytest.approx(wide + 0.6 * np.exp(Beta(0.5, 3.0).logpdf(x)))
    assert np.exp(MIXED.unconstrained_logpdf(x)) == pytest.approx(np.exp(MIXED.logpdf(x)))
    assert MIXED.cdf(MIXED.ppf([0.02, 0.5, 0.98])) == pytest.approx([0.02, 0.5, 0.98])
    assert MIXED.unconstrained_moments() == pytest.approx((MIXED.mean, MIXED.sd))


def test_a_mixture_of_narrower_and_wider_laws_moves_with_its_edges() -> None:
    median, q = float(MIXED.ppf(0.5)), np.linspace(0.01, 0.99, 99)
    assert MIXED.shifted(0.5).ppf(q) == pytest.approx(MIXED.ppf(q) + 0.5, abs=1e-7)
    assert MIXED.widened(2.0).ppf(q) == pytest.approx(median + 2.0 * (MIXED.ppf(q) - median), abs=1e-7)


@pytest.mark.parametrize("law", [LogNormal(0.0, 40.0), LogNormal(800.0, 1.0), LogNormal(-800.0, 40.0)], ids=str)
def test_a_log_normal_beyond_the_float_range_has_infinite_moments(law: LogNormal) -> None:
    assert law.sd == math.inf
    assert law.mean == (math.inf if law.log_mean + 0.5 * law.log_sd**2 > 709.8 else pytest.approx(1.0))


def test_the_sd_of_a_log_normal_is_the_textbooks() -> None:
    law = LogNormal(0.4, 0.7)
    assert law.sd == pytest.approx(law.mean * math.sqrt(math.expm1(0.49)), rel=1e-12)
