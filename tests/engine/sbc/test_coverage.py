"""Coverage of central intervals (methods/sbc.md §7)."""

import numpy as np
import pytest
from scipy import stats

from engine.errors import InvalidInput
from engine.sbc.coverage import coverage, covered_ranks, interval


@pytest.mark.parametrize(
    ("covered", "n", "expected"),
    [
        (90, 100, (0.8254, 0.9444)),
        (900, 1000, (0.8798, 0.9171)),
        (50, 100, (0.4036, 0.5964)),
        (195, 200, (0.9429, 0.9890)),
    ],
)
def test_beta_interval_has_the_values_of_section_7(covered, n, expected):
    assert interval(covered, n) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("n", "power"), [(100, 0.549), (200, 0.857), (500, 0.992)])
def test_coverage_of_90_is_told_from_a_nominal_95_with_the_power_of_section_7(n, power):
    covered = np.arange(n + 1)
    ends = np.array([interval(k, n) for k in covered])
    excluded = (ends[:, 0] > 0.95) | (ends[:, 1] < 0.95)
    assert stats.binom.pmf(covered, n, 0.9)[excluded].sum() == pytest.approx(power, abs=5e-4)


def test_ninety_per_cent_of_a_hundred_ranks_are_5_to_94():
    assert covered_ranks(0.9, 99) == (5, 94)


def test_each_width_covers_its_represented_share_of_all_ranks():
    for draws in (9, 19, 20, 63, 99):
        every = np.arange(draws + 1)
        for found in coverage(every, np.full_like(every, draws)):
            assert found.observed == pytest.approx(found.represented)
            assert abs(found.represented - found.width) <= 0.5 / (draws + 1) + 1e-12


def test_mixed_numbers_of_draws_are_each_judged_by_their_own_interval():
    first, last = covered_ranks(0.9, [99, 49])
    assert (first.tolist(), last.tolist()) == ([5, 2], [94, 46])
    (found,) = coverage([5, 4, 3, 2], [99, 99, 49, 49], (0.9,))
    assert found.covered == 3
    assert found.represented == pytest.approx(0.9)


def test_interval_collapses_where_nothing_or_everything_is_covered_by_definition():
    everything, nothing = coverage([0, 50, 99], [99, 99, 99], (1.0, 0.0))
    assert (everything.lower, everything.upper, everything.observed) == (1.0, 1.0, 1.0)
    assert (nothing.lower, nothing.upper, nothing.observed) == (0.0, 0.0, 0.0)


def test_no_simulation_or_an_impossible_width_is_refused():
    with pytest.raises(InvalidInput):
        coverage([], [])
    with pytest.raises(InvalidInput):
        covered_ranks(1.5, 99)
