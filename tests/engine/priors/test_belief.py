"""Beliefs in words become the distributions that the words define."""

from __future__ import annotations

import pytest

from engine.errors import InvalidInput
from engine.priors.belief import Meaning, compile_mean_plus_minus, fit_quantiles
from engine.priors.distribution import POSITIVE, REAL_LINE, UNIT_INTERVAL, Beta, LogNormal, Normal, Support


def test_a_share_of_half_plus_minus_a_tenth_is_beta_12_12() -> None:
    law = compile_mean_plus_minus(0.5, 0.1, Meaning.SD, None, UNIT_INTERVAL).distribution
    assert isinstance(law, Beta)
    assert (law.alpha, law.beta) == pytest.approx((12.0, 12.0), rel=1e-12)


@pytest.mark.parametrize(("support", "family"), [(UNIT_INTERVAL, Beta), (POSITIVE, LogNormal), (REAL_LINE, Normal)])
def test_the_law_has_the_stated_moments_and_the_support_chooses_the_family(support: Support, family: type) -> None:
    law = compile_mean_plus_minus(0.3, 0.12, Meaning.SD, None, support).distribution
    assert isinstance(law, family)
    assert (law.mean, law.sd) == pytest.approx((0.3, 0.12), rel=1e-12)


def test_half_width_of_a_90_percent_interval_gives_sd_0608() -> None:
    # conflict.md §13: TV ± 10 % read as a 90 % interval
    compiled = compile_mean_plus_minus(0.5, 0.1, Meaning.INTERVAL_HALF_WIDTH, 0.9, REAL_LINE)
    assert compiled.distribution.sd == pytest.approx(0.0608, abs=5e-5)
    assert "90 %" in compiled.note


def test_the_note_of_a_skewed_interval_gives_the_probability_it_really_has() -> None:
    compiled = compile_mean_plus_minus(3.0, 2.0, Meaning.INTERVAL_HALF_WIDTH, 0.9, POSITIVE)
    law = compiled.distribution
    assert f"{100 * float(law.cdf(5.0) - law.cdf(1.0)):.1f} %" in compiled.note


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("mean", (1.2, 0.1, Meaning.SD, None, UNIT_INTERVAL)),
        ("mean", (float("nan"), 0.1, Meaning.SD, None, REAL_LINE)),
        ("mean", (-1.0, 0.1, Meaning.SD, None, POSITIVE)),
        ("plus_minus", (0.5, 0.0, Meaning.SD, None, REAL_LINE)),
        ("plus_minus", (0.5, 0.5, Meaning.SD, None, UNIT_INTERVAL)),
        ("level", (0.5, 0.1, Meaning.INTERVAL_HALF_WIDTH, None, REAL_LINE)),
        ("level", (0.5, 0.1, Meaning.INTERVAL_HALF_WIDTH, 1.0, REAL_LINE)),
        ("level", (0.5, 0.1, Meaning.SD, 0.9, REAL_LINE)),
        ("support", (0.5, 0.1, Meaning.SD, None, Support(0.0, 2.0))),
    ],
)
def test_an_impossible_statement_is_refused_by_field(field: str, arguments: tuple) -> None:
    with pytest.raises(InvalidInput) as caught:
        compile_mean_plus_minus(*arguments)
    assert caught.value.field == field


def test_quartiles_of_a_beta_match_the_published_fit() -> None:
    # conflict.md §14 id 18 (PreliZ): Beta(.3, .5, .7)
    law = fit_quantiles([0.25, 0.5, 0.75], [0.3, 0.5, 0.7], UNIT_INTERVAL).distribution
    assert (law.alpha, law.beta) == pytest.approx((1.528419, 1.528419), abs=5e-6)


def test_quartiles_of_a_lognormal_match_the_published_fit() -> None:
    # conflict.md §14 id 18 (PreliZ): LogNormal(.5, 1, 2) has sigma 1.027662
    law = fit_quantiles([0.25, 0.5, 0.75], [0.5, 1.0, 2.0], POSITIVE).distribution
    assert law.log_sd == pytest.approx(1.027662, abs=5e-6)


@pytest.mark.parametrize("support", [REAL_LINE, POSITIVE, UNIT_INTERVAL])
def test_two_quantiles_are_met_exactly(support: Support) -> None:
    fit = fit_quantiles([0.1, 0.9], [0.05, 0.6], support)
    assert fit.max_error < 1e-8
    assert fit.note is None


def test_a_mediocre_fit_is_noted_with_the_residual() -> None:
    fit = fit_quantiles([0.05, 0.5, 0.95], [1.0, 2.0, 6.0], POSITIVE)
    assert 0.02 < fit.max_error < 0.05
    assert fit.max_error == max(abs(a - b) for a, b in zip(fit.asked, fit.fitted, strict=True))
    assert fit.note is not None


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
