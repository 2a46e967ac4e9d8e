"""Severity bands, their sureness and their null rates."""

from __future__ import annotations

import math

import pytest

from engine.conflict.severity import Severity, null_rate, severity, severity_probability, threshold_null_rate
from engine.errors import InvalidInput


@pytest.mark.parametrize(
    ("bf", "label"),
    [
        (0.2, Severity.WEAK),
        (1.0, Severity.WEAK),
        (2.999, Severity.WEAK),
        (3.0, Severity.MODERATE),
        (9.999, Severity.MODERATE),
        (10.0, Severity.STRONG),
        (100.0, Severity.STRONG),
        (100.001, Severity.VERY_STRONG),
    ],
)
def test_bands_are_the_required_ones(bf: float, label: Severity) -> None:
    assert severity(math.log(bf)) is label


def test_null_rates_are_those_of_the_chi_square() -> None:
    # methods/conflict.md §3 C: 86.2 %, 10.6 %, 2.95 %, .24 %
    rates = [null_rate(label) for label in Severity]
    assert rates == pytest.approx([0.862, 0.106, 0.0295, 0.0024], abs=5e-4)
    assert sum(rates) == pytest.approx(1.0, abs=1e-12)


def test_ten_is_exceeded_by_chance_in_319_of_10000() -> None:
    assert threshold_null_rate(10.0) == pytest.approx(0.0319, abs=5e-5)


def test_a_label_on_its_cut_is_a_coin_flip_and_an_exact_one_is_sure() -> None:
    assert severity_probability(math.log(3.0), 0.01) == pytest.approx(0.5, abs=1e-6)
    assert severity_probability(math.log(3.0), 0.0) == 1.0


def test_an_undefined_factor_gets_no_label() -> None:
    with pytest.raises(InvalidInput):
        severity(math.nan)
