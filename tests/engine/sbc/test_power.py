"""Exact power of the band test and the smallest detectable error."""

import numpy as np
import pytest
from scipy import stats

from engine.errors import InvalidInput
from engine.sbc.band import counts, p_value
from engine.sbc.power import cells, detectable_error, power
from engine.sbc.verdict_rules import RULES


def test_a_right_posterior_has_equal_cells_for_any_number_of_draws():
    for draws in (49, 53, 99):
        np.testing.assert_allclose(cells(1.0, 0.0, draws, 20), 0.05, atol=1e-9)


@pytest.mark.parametrize(("factor", "bias"), [(0.05, 0.3), (0.5, 0.0), (3.0, 1.0), (0.9, 0.2), (1.0, 0.5)])
def test_cells_agree_with_simulated_ranks(factor, bias):
    rng, n = np.random.default_rng(1), 400_000
    rank = rng.binomial(60, stats.norm.cdf((rng.normal(size=n) - bias) / factor))
    seen = np.histogram((rank + rng.uniform(size=n)) / 61, 20, (0, 1))[0] / n
    expected = cells(factor, bias, 60, 20)
    assert np.all(np.abs(seen - expected) < 4 * np.sqrt(expected / n) + 1e-6)


@pytest.mark.parametrize(
    ("factor", "bias", "alpha", "expected"),
    [
        (0.95, 0.0, 0.05, (0.06, 0.09, 0.12, 0.23)),
        (0.9, 0.0, 0.05, (0.13, 0.26, 0.49, 0.78)),
        (0.8, 0.0, 0.05, (0.43, 0.78, 0.99, 1.0)),
        (1.0, 0.1, 0.05, (0.12, 0.18, 0.41, 0.72)),
        (1.0, 0.2, 0.05, (0.39, 0.67, 0.97, 1.0)),
        (0.8, 0.0, 0.05 / 16, (0.12, 0.32, 0.93, 1.0)),
        (1.0, 0.2, 0.05 / 16, (0.11, 0.24, 0.79, 0.99)),
        (1.0, 0.5, 0.05 / 16, (0.91, 0.99, 1.0, 1.0)),
    ],
)
def test_exact_power_lies_within_the_simulation_error_of_section_11(factor, bias, alpha, expected):
    found = [power(n, factor, bias, alpha=alpha, cuts=20) for n in (100, 200, 500, 1000)]
    np.testing.assert_allclose(found, expected, atol=0.06)  # the table has 300-400 repetitions


def test_power_equals_the_simulated_rejection_rate():
    rng, n = np.random.default_rng(5), 100
    rank = rng.binomial(99, stats.norm.cdf(rng.normal(size=(2000, n)) / 0.7))
    u = (rank + rng.uniform(size=rank.shape)) / 100
    rate = np.mean([p_value(counts(row, 20), n) <= 0.05 for row in u])
    assert rate == pytest.approx(power(n, 0.7, 0.0, alpha=0.05, cuts=20), abs=0.035)


def test_detectable_error_has_the_promised_power_and_shrinks_with_n():
    small, large = detectable_error(200, 16), detectable_error(1000, 16)
    level = RULES.alpha_fixed / 16
    assert power(1000, large.sd_factor_low, 0.0, alpha=level) == pytest.approx(0.8, abs=0.01)
    assert power(1000, large.sd_factor_high, 0.0, alpha=level) == pytest.approx(0.8, abs=0.01)
    assert power(1000, 1.0, large.bias, alpha=level) == pytest.approx(0.8, abs=0.01)
    assert small.sd_factor_low < large.sd_factor_low < 0.95  # sd x.95 stays invisible, methods/sbc.md §11
    assert small.sd_factor_high > large.sd_factor_high > 1.05
    assert small.bias > large.bias > 0.1


def test_a_handful_of_simulations_promises_nothing_it_cannot_hold():
    tiny = detectable_error(1, 16)
    assert (tiny.sd_factor_low, tiny.sd_factor_high, tiny.bias) == (None, None, None)
    with pytest.raises(InvalidInput):
        detectable_error(0, 16)
