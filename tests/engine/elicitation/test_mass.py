"""A range that holds a probability becomes the law of greatest entropy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.distributions.distribution import POSITIVE, REAL_LINE, UNIT_INTERVAL, Beta, Gamma, LogNormal, Support
from engine.distributions.families import RULES, Family
from engine.elicitation.mass import fit_range
from engine.errors import InvalidInput


def test_ranges_of_a_beta_and_a_gamma_match_the_published_fits() -> None:
    # methods/conflict.md §14 id 18 (PreliZ `maxent`)
    beta = fit_range(0.2, 0.6, 0.9, UNIT_INTERVAL).distribution
    assert isinstance(beta, Beta)
    assert (beta.alpha, beta.beta) == pytest.approx((6.112197, 9.101241), abs=1e-6)
    gamma = fit_range(0.0, 10.0, 0.7, POSITIVE, Family.GAMMA).distribution
    assert isinstance(gamma, Gamma)
    assert (gamma.shape, gamma.rate) == pytest.approx((0.868584, 0.103341), abs=1e-6)


def test_the_log_normal_of_a_range_from_zero_is_the_one_found_by_hand() -> None:
    # mu = ln u - z sigma, so mu + ln sigma is greatest at sigma = 1/z, with z the normal quantile of the probability.
    law = fit_range(0.0, 10.0, 0.95, POSITIVE).distribution
    assert isinstance(law, LogNormal)
    assert law.log_sd == pytest.approx(1.0 / 1.6448536269514722, rel=1e-7)
    assert law.log_mean == pytest.approx(np.log(10.0) - 1.0, rel=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(f, s) for f in Family for s in RULES[f].supports if f is not Family.TRUNCATED_NORMAL]),
    st.floats(0.05, 0.55),
    st.floats(0.1, 0.4),
    st.floats(0.3, 0.99),
)
def test_the_mass_is_the_one_asked_for(of: tuple[Family, Support], lower: float, width: float, asked: float) -> None:
    family, support = of
    try:
        fitted = fit_range(lower, lower + width, asked, support, family)
    except InvalidInput:
        assume(False)  # no greatest entropy; more than some of these, and Hypothesis complains
    law = fitted.distribution
    assert float(law.cdf(lower + width) - law.cdf(lower)) == pytest.approx(asked, abs=1e-8)
    assert support.lower <= law.support.lower
    assert law.support.upper <= support.upper


@pytest.mark.parametrize("family", [f for f in Family if POSITIVE in RULES[f].supports])
@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_a_range_in_other_units_gives_the_law_in_other_units(family: Family, factor: float) -> None:
    lower = 0.0 if family is Family.HALF_NORMAL else 1.0
    one = fit_range(lower, 3.0, 0.9, POSITIVE, family).distribution
    other = fit_range(lower * factor, 3.0 * factor, 0.9, POSITIVE, family).distribution
    q = np.array([0.01, 0.2, 0.5, 0.8, 0.99])
    assert other.ppf(q) == pytest.approx(factor * one.ppf(q), rel=1e-5)


@pytest.mark.parametrize(
    ("family", "lower", "upper"),
    [
        (Family.BETA, 0.2, 0.6),
        (Family.TRUNCATED_NORMAL, 0.2, 0.6),
        (Family.GAMMA, 1.0, 4.0),
        (Family.LOG_NORMAL, 1.0, 4.0),
    ],
)
def test_no_law_of_the_family_with_this_mass_has_more_entropy(family: Family, lower: float, upper: float) -> None:
    support, rules = RULES[family].supports[-1], RULES[family]
    best = rules.entropy(fit_range(lower, upper, 0.8, support, family).distribution)
    rivals = []
    for mean in np.linspace(lower, upper, 7)[1:-1]:
        try:
            rivals.append(rules.entropy(fit_range(lower, upper, 0.8, support, family, mean=float(mean)).distribution))
        except InvalidInput:
            continue
    assert len(rivals) >= 3
    assert max(rivals) < best + 1e-9


@pytest.mark.parametrize("name", ["mean", "mode"])
@pytest.mark.parametrize("family", [f for f in Family if UNIT_INTERVAL in RULES[f].supports])
def test_mass_and_statistic_are_both_met(family: Family, name: str) -> None:
    # PreliZ folds both into one equality, which laws that meet neither satisfy too (methods/conflict.md §15.2).
    if name == "mode" and family is Family.UNIFORM:
        with pytest.raises(InvalidInput, match="no most likely value"):
            fit_range(0.2, 0.7, 0.8, UNIT_INTERVAL, family, mode=0.4)
        return
    law = fit_range(0.2, 0.7, 0.8, UNIT_INTERVAL, family, **{name: 0.48}).distribution
    assert float(law.cdf(0.7) - law.cdf(0.2)) == pytest.approx(0.8, abs=1e-8)
    found = law.mean if name == "mean" else RULES[family].mode(law)
    assert found == pytest.approx(0.48, abs=1e-8)


def test_a_gamma_of_a_given_mode_is_found_far_from_the_first_guess() -> None:
    # shape 1.682869, rate .227623: mode .682869/.227623 = 3
    law = fit_range(1.0, 10.0, 0.7, POSITIVE, Family.GAMMA, mode=3.0).distribution
    assert isinstance(law, Gamma)
    assert (law.shape - 1.0) / law.rate == pytest.approx(3.0, abs=1e-8)
    assert float(law.cdf(10.0) - law.cdf(1.0)) == pytest.approx(0.7, abs=1e-8)


@pytest.mark.parametrize("family", [Family.LOG_NORMAL, Family.GAMMA])
def test_a_range_that_holds_too_little_to_say_where_the_rest_is_is_refused(family: Family) -> None:
    # The entropy is greatest for medians of 1e6 and 4e4: the law has left the range for where numbers are large.
    with pytest.raises(InvalidInput, match="does not settle") as caught:
        fit_range(1.0, 3.0, 0.02, POSITIVE, family)
    assert caught.value.field == "probability"
    law = fit_range(1.0, 3.0, 0.5, POSITIVE, family).distribution
    assert 1.0 < float(law.ppf(0.5)) < 3.0


def test_the_probability_is_met_on_the_real_line_around_the_middle() -> None:
    fitted = fit_range(-1.0, 3.0, 0.9, REAL_LINE)
    assert fitted.distribution.mean == pytest.approx(1.0)
    assert fitted.distribution.sd == pytest.approx(2.0 / 1.6448536269514722)
    assert fitted.interpolated(Family.NORMAL)
    assert "90 %" in fitted.notes[0]


@pytest.mark.parametrize(
    ("field", "arguments", "family", "beside"),
    [
        ("upper", (0.6, 0.2, 0.9, UNIT_INTERVAL), None, {}),
        ("upper", (0.2, 1.6, 0.9, UNIT_INTERVAL), None, {}),
        ("lower", (-0.2, 0.6, 0.9, UNIT_INTERVAL), None, {}),
        ("upper", (0.0, 1.0, 0.9, UNIT_INTERVAL), None, {}),
        ("probability", (0.2, 0.6, 1.0, UNIT_INTERVAL), None, {}),
        ("mode", (0.2, 0.6, 0.9, UNIT_INTERVAL), None, {"mean": 0.4, "mode": 0.4}),
        ("mean", (0.2, 0.6, 0.9, UNIT_INTERVAL), None, {"mean": 0.9}),
        ("mean", (0.0, 3.0, 0.9, POSITIVE), Family.HALF_NORMAL, {"mean": 1.0}),
        # Markov: with a mean of 2 at most a fifth can lie above 10.
        ("mean", (0.0, 10.0, 0.7, POSITIVE), Family.GAMMA, {"mean": 2.0}),
        # The less it holds the farther the rest can go: the entropy has no bound.
        ("probability", (0.0, 10.0, 0.2, POSITIVE), None, {}),
        ("probability", (0.0, 10.0, 0.2, POSITIVE), Family.GAMMA, {}),
        # No half-normal holds more than 42 % of this.
        ("probability", (1.0, 3.0, 0.7, POSITIVE), Family.HALF_NORMAL, {}),
        ("family", (0.2, 0.6, 0.9, UNIT_INTERVAL), Family.GAMMA, {}),
    ],
)
def test_what_no_law_can_have_is_refused_by_field(
    field: str, arguments: tuple, family: Family | None, beside: dict[str, float]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit_range(*arguments, family, **beside)
    assert caught.value.field == field
