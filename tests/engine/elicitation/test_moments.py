"""Beliefs in words become the distributions that the words define."""

from __future__ import annotations

import pytest

from engine.distributions.distribution import (
    POSITIVE,
    REAL_LINE,
    UNIT_INTERVAL,
    Beta,
    Gamma,
    LogNormal,
    Normal,
    Support,
)
from engine.distributions.families import RULES, Family
from engine.elicitation.moments import Meaning, fit_mean_plus_minus, fit_mode_and_bounds
from engine.errors import InvalidInput


def test_a_share_of_half_plus_minus_a_tenth_is_beta_12_12() -> None:
    law = fit_mean_plus_minus(0.5, 0.1, Meaning.SD, None, UNIT_INTERVAL).distribution
    assert isinstance(law, Beta)
    assert (law.alpha, law.beta) == pytest.approx((12.0, 12.0), rel=1e-12)


@pytest.mark.parametrize(("support", "family"), [(UNIT_INTERVAL, Beta), (POSITIVE, LogNormal), (REAL_LINE, Normal)])
def test_the_law_has_the_stated_moments_and_the_support_chooses_the_family(support: Support, family: type) -> None:
    law = fit_mean_plus_minus(0.3, 0.12, Meaning.SD, None, support).distribution
    assert isinstance(law, family)
    assert (law.mean, law.sd) == pytest.approx((0.3, 0.12), rel=1e-12)


def test_half_width_of_a_90_percent_interval_gives_sd_0608() -> None:
    # methods/conflict.md §13: TV ± 10 % read as a 90 % interval
    compiled = fit_mean_plus_minus(0.5, 0.1, Meaning.INTERVAL_HALF_WIDTH, 0.9, REAL_LINE)
    assert compiled.distribution.sd == pytest.approx(0.0608, abs=5e-5)
    assert "90 %" in compiled.notes[0]


def test_the_note_of_a_skewed_interval_gives_the_probability_it_really_has() -> None:
    compiled = fit_mean_plus_minus(3.0, 2.0, Meaning.INTERVAL_HALF_WIDTH, 0.9, POSITIVE)
    law = compiled.distribution
    assert f"{100 * float(law.cdf(5.0) - law.cdf(1.0)):.1f} %" in compiled.notes[0]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("mean", (1.2, 0.1, Meaning.SD, None, UNIT_INTERVAL)),
        ("mean", (float("nan"), 0.1, Meaning.SD, None, REAL_LINE)),
        ("mean", (-1.0, 0.1, Meaning.SD, None, POSITIVE)),
        ("plus_minus", (0.5, 0.0, Meaning.SD, None, REAL_LINE)),
        ("plus_minus", (0.5, 0.5, Meaning.SD, None, UNIT_INTERVAL)),
        ("plus_minus", (1e-200, 1.0, Meaning.SD, None, POSITIVE)),
        ("plus_minus", (1e-300, 1.0, Meaning.SD, None, POSITIVE, Family.GAMMA)),
        ("plus_minus", (0.5, 1e-300, Meaning.SD, None, UNIT_INTERVAL)),
        ("level", (0.5, 0.1, Meaning.INTERVAL_HALF_WIDTH, None, REAL_LINE)),
        ("level", (0.5, 0.1, Meaning.INTERVAL_HALF_WIDTH, 1.0, REAL_LINE)),
        ("level", (0.5, 0.1, Meaning.SD, 0.9, REAL_LINE)),
        ("support", (0.5, 0.1, Meaning.SD, None, Support(0.0, 2.0))),
    ],
)
def test_an_impossible_statement_is_refused_by_field(field: str, arguments: tuple) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit_mean_plus_minus(*arguments)
    assert caught.value.field == field


@pytest.mark.parametrize("support", [REAL_LINE, POSITIVE, UNIT_INTERVAL])
@pytest.mark.parametrize("family", [f for f in Family if f is not Family.HALF_NORMAL])
def test_every_family_on_its_support_has_the_stated_moments(family: Family, support: Support) -> None:
    if support not in RULES[family].supports:
        with pytest.raises(InvalidInput, match="does not live on") as caught:
            fit_mean_plus_minus(0.4, 0.1, Meaning.SD, None, support, family)
        assert caught.value.field == "family"
        return
    fitted = fit_mean_plus_minus(0.4, 0.1, Meaning.SD, None, support, family)
    assert (fitted.distribution.mean, fitted.distribution.sd) == pytest.approx((0.4, 0.1), rel=1e-7)
    assert fitted.interpolated(family)  # two numbers for two parameters


def test_a_half_normal_takes_only_the_sd_that_its_mean_gives_it() -> None:
    # sd/mean of a half-normal is sqrt(pi/2 - 1) = .7555
    law = fit_mean_plus_minus(1.0, 0.7555, Meaning.SD, None, POSITIVE, Family.HALF_NORMAL).distribution
    assert law.mean == pytest.approx(1.0)
    with pytest.raises(InvalidInput) as caught:
        fit_mean_plus_minus(1.0, 0.3, Meaning.SD, None, POSITIVE, Family.HALF_NORMAL)
    assert caught.value.field == "plus_minus"


@pytest.mark.parametrize(
    ("family", "support", "sd"),
    [
        (Family.UNIFORM, UNIT_INTERVAL, 0.2),  # .3 - sqrt(3) .2 < 0
        (Family.TRUNCATED_NORMAL, POSITIVE, 0.35),  # no truncated normal is wider than an exponential, whose sd is .3
        (Family.BETA, UNIT_INTERVAL, 0.46),  # mean (1 - mean) = .21 < .46²
    ],
)
def test_moments_that_a_bounded_family_cannot_have_are_refused(family: Family, support: Support, sd: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit_mean_plus_minus(0.3, sd, Meaning.SD, None, support, family)
    assert caught.value.field == "plus_minus"


def test_a_mode_within_bounds_is_read_as_pert_does() -> None:
    # Malcolm et al. 1959: mean (0 + 4 + 5)/6 = 1.5, sd 5/6
    fitted = fit_mode_and_bounds(1.0, 0.0, 5.0, POSITIVE, Family.GAMMA)
    law = fitted.distribution
    assert isinstance(law, Gamma)
    assert (law.mean, law.sd) == pytest.approx((1.5, 5.0 / 6.0))
    assert f"peaks at {(law.shape - 1.0) / law.rate:.4g}" in fitted.notes[0]
    assert f"{100 * float(law.cdf(5.0)):.1f} %" in fitted.notes[0]


@pytest.mark.parametrize(
    ("field", "mode", "lower", "upper"),
    [
        ("mode", 0.8, 0.1, 0.6),
        ("upper", 0.3, 0.3, 0.3),
        ("upper", 0.3, 0.1, 1.2),
        ("lower", 0.3, -0.1, 0.5),
    ],
)
def test_bounds_that_make_no_sense_are_refused_by_field(field: str, mode: float, lower: float, upper: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit_mode_and_bounds(mode, lower, upper, UNIT_INTERVAL)
    assert caught.value.field == field
