"""Stated quantiles become the law whose distribution function is nearest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.distributions.distribution import POSITIVE, REAL_LINE, UNIT_INTERVAL, Beta, Gamma, Support, Uniform
from engine.distributions.families import RULES, Family
from engine.elicitation.quantiles import fit_quantiles
from engine.elicitation.statement import band
from engine.errors import InvalidInput

PROBABILITIES = [0.1, 0.5, 0.9]


def test_quartiles_of_a_beta_match_the_published_fit() -> None:
    # methods/conflict.md §14 id 18 (PreliZ): Beta(.3, .5, .7)
    law = fit_quantiles([0.25, 0.5, 0.75], [0.3, 0.5, 0.7], UNIT_INTERVAL).distribution
    assert (law.alpha, law.beta) == pytest.approx((1.528419, 1.528419), abs=5e-6)


def test_quartiles_of_a_lognormal_match_the_published_fit() -> None:
    # methods/conflict.md §14 id 18 (PreliZ): LogNormal(.5, 1, 2) has sigma 1.027662
    law = fit_quantiles([0.25, 0.5, 0.75], [0.5, 1.0, 2.0], POSITIVE).distribution
    assert law.log_sd == pytest.approx(1.027662, abs=5e-6)


@pytest.mark.parametrize("support", [REAL_LINE, POSITIVE, UNIT_INTERVAL])
def test_two_quantiles_are_met_exactly(support: Support) -> None:
    fit = fit_quantiles([0.1, 0.9], [0.05, 0.6], support)
    assert fit.max_error < 1e-8
    assert fit.notes == ()


def test_a_mediocre_fit_is_noted_with_the_residual() -> None:
    fit = fit_quantiles([0.05, 0.5, 0.95], [1.0, 2.0, 6.0], POSITIVE)
    assert 0.02 < fit.max_error < 0.05
    assert fit.max_error == max(abs(a - b) for a, b in zip(fit.asked, fit.fitted, strict=True))
    assert len(fit.notes) == 1


@pytest.mark.parametrize(
    ("field", "probabilities", "values"),
    [
        ("values", [0.05, 0.5, 0.95], [0.0, 0.1, 10.0]),
        ("values", [0.1, 0.5, 0.9], [1.0, 1.0, 2.0]),
        ("values", [0.1, 0.9], [1.0]),
        ("probabilities", [0.5, 0.1], [1.0, 2.0]),
        ("probabilities", [0.0, 0.5], [1.0, 2.0]),
        ("probabilities", [0.5], [1.0]),
    ],
)
def test_quantiles_that_no_law_can_have_are_refused(field: str, probabilities: list, values: list) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit_quantiles(probabilities, values, REAL_LINE)
    assert caught.value.field == field


def test_quartiles_of_a_gamma_match_the_published_fit() -> None:
    # methods/conflict.md §14 id 18 (PreliZ): Gamma(.5, 1, 2.5) = (.894197, .523621)
    law = fit_quantiles([0.25, 0.5, 0.75], [0.5, 1.0, 2.5], POSITIVE, Family.GAMMA).distribution
    assert isinstance(law, Gamma)
    assert (law.shape, law.rate) == pytest.approx((0.894197, 0.523621), abs=5e-7)


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("support", [REAL_LINE, POSITIVE, UNIT_INTERVAL])
def test_quantiles_of_a_law_of_the_family_are_fitted_by_it_again(family: Family, support: Support) -> None:
    if support not in RULES[family].supports:
        return
    mean, sd = 0.4, 0.4 * np.sqrt(np.pi / 2 - 1) if family is Family.HALF_NORMAL else 0.12
    law = RULES[family].from_moments(mean, float(sd), support)
    again = fit_quantiles(PROBABILITIES, law.ppf(PROBABILITIES).tolist(), support, family)
    assert again.max_error < 1e-7
    assert again.distribution.mean == pytest.approx(mean, rel=1e-5)
    assert again.distribution.sd == pytest.approx(sd, rel=1e-5)
    assert not again.interpolated(family)


@pytest.mark.parametrize("family", [f for f in Family if POSITIVE in RULES[f].supports])
@pytest.mark.parametrize("factor", [1e-9, 0.37, 1e7])
def test_a_fit_does_not_depend_on_the_unit(family: Family, factor: float) -> None:
    values = np.array([1.0, 2.0, 3.3])
    if family is Family.HALF_NORMAL:
        values = np.array([0.5, 2.0, 4.9])
    one = fit_quantiles(PROBABILITIES, values.tolist(), POSITIVE, family)
    other = fit_quantiles(PROBABILITIES, (values * factor).tolist(), POSITIVE, family)
    assert other.fitted == pytest.approx(one.fitted, abs=1e-6)
    assert other.distribution.mean == pytest.approx(one.distribution.mean * factor, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.02, 0.98), min_size=2, max_size=5, unique=True),
    st.lists(st.floats(0.02, 0.98), min_size=2, max_size=5, unique=True),
)
@example([0.02, math.nextafter(0.02, 1.0)], [0.5, 0.75])
def test_fitted_probabilities_increase_and_miss_by_no_more_than_the_limit(ps: list[float], xs: list[float]) -> None:
    n = min(len(ps), len(xs))
    ps, xs = sorted(ps)[:n], sorted(xs)[:n]
    try:
        fit = fit_quantiles(ps, xs, UNIT_INTERVAL)
    except InvalidInput:
        return
    assert list(fit.fitted) == sorted(fit.fitted)
    assert fit.max_error <= 0.05


def test_the_tails_of_admissible_families_differ_where_the_stated_quantiles_agree() -> None:
    found = band(lambda family: fit_quantiles([0.1, 0.5, 0.9], [1.0, 2.0, 3.6], POSITIVE, family), POSITIVE)
    names = [one.family for one in found]
    assert Family.GAMMA in names
    assert Family.LOG_NORMAL in names
    assert Family.HALF_NORMAL not in names  # it misses them by more than .05
    assert [one.max_error for one in found] == sorted(one.max_error for one in found)
    by_name = {one.family: one for one in found}
    assert by_name[Family.LOG_NORMAL].quantile_99 > 1.05 * by_name[Family.GAMMA].quantile_99


def test_a_uniform_law_is_not_fitted_beyond_where_the_quantity_can_be() -> None:
    law = fit_quantiles([0.2, 0.8], [0.16, 0.8], UNIT_INTERVAL, Family.UNIFORM).distribution
    assert isinstance(law, Uniform)
    assert law.lower >= 0.0
    assert law.upper <= 1.0


def test_a_share_has_no_normal_belief() -> None:
    with pytest.raises(InvalidInput, match="truncated normal") as caught:
        fit_quantiles([0.2, 0.8], [0.2, 0.8], UNIT_INTERVAL, Family.NORMAL)
    assert caught.value.field == "family"


def test_the_default_families_are_normal_log_normal_and_beta() -> None:
    kinds = [type(fit_quantiles([0.2, 0.8], [0.2, 0.8], s).distribution).__name__ for s in (REAL_LINE, POSITIVE)]
    assert kinds == ["Normal", "LogNormal"]
    assert isinstance(fit_quantiles([0.2, 0.8], [0.2, 0.8], UNIT_INTERVAL).distribution, Beta)
