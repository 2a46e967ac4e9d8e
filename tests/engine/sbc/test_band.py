"""Simultaneous band and its global p-value against the exact values of methods/sbc.md §4-§6."""

import itertools

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.sbc.band import (
    band,
    bounds,
    counts,
    coverage,
    gamma,
    leave_probability,
    observed_gamma,
    p_value,
    p_value_best,
    p_value_of,
    stay_probability,
)


@pytest.mark.parametrize(
    ("n", "cuts", "level", "at", "above", "limits"),
    [
        (50, 20, 0.010308, 0.951825, 0.944720, (16, 34)),
        (100, 20, 0.008548, 0.952359, 0.947874, (37, 63)),
        (100, 100, 0.004110, 0.950533, 0.948435, (36, 64)),
        (250, 100, 0.003273, 0.950908, 0.949860, (102, 148)),
        (500, 100, 0.003009, 0.950040, 0.949744, (217, 283)),
        (1000, 20, 0.005547, 0.950479, 0.949743, (456, 544)),
        (1000, 100, 0.002670, 0.950061, 0.949987, (453, 547)),
    ],
)
def test_gamma_coverage_and_band_equal_the_exact_table_of_section_4(n, cuts, level, at, above, limits):
    found = band(n, cuts, 0.05)
    half = cuts // 2 - 1
    assert found.gamma == pytest.approx(level, abs=5e-7)
    assert found.coverage == pytest.approx(at, abs=5e-7)
    assert coverage(n, cuts, found.gamma * (1 + 1e-8)) == pytest.approx(above, abs=5e-7)
    assert (found.lower[half], found.upper[half]) == limits


def test_single_cut_of_ten_values_has_band_2_to_8():
    found = band(10, 2, 0.05)
    assert (found.lower.tolist(), found.upper.tolist()) == ([2], [8])
    assert found.coverage == pytest.approx(0.978516, abs=5e-7)
    assert found.gamma == pytest.approx(0.109375)  # sup of (.0215, .1094], methods/sbc.md §4
    assert coverage(10, 2, 0.11) == pytest.approx(0.890625)


def test_ten_values_in_five_cells_have_the_band_of_section_4():
    found = band(10, 5, 0.05)
    assert gamma(10, 5, 0.05) == pytest.approx(0.065587, abs=5e-7)
    assert (found.coverage, coverage(10, 5, 0.0656)) == pytest.approx((0.958383, 0.911857), abs=5e-7)
    assert (found.lower[1], found.upper[1]) == (1, 7)


@pytest.mark.parametrize(("quantities", "level", "limits"), [(16, 1.280e-4, (440, 560)), (51, 3.718e-5, (435, 565))])
def test_family_level_widens_the_band_as_in_section_6(quantities, level, limits):
    found = band(1000, 100, 1 - 0.95 ** (1 / quantities))
    assert found.gamma == pytest.approx(level, rel=5e-4)
    assert (found.lower[49], found.upper[49]) == limits


def test_exact_p_values_of_section_5():
    first = np.cumsum([5, 1, 1, 1])
    assert observed_gamma(first, 10) == pytest.approx(0.0655870, abs=5e-8)
    assert p_value(first, 10) == pytest.approx(0.088143, abs=5e-7)
    second = np.cumsum([8, 5, 7, 6, 4, 6, 5, 9, 0])
    assert observed_gamma(second, 50) == pytest.approx(2.85450e-5, rel=2e-6)
    assert p_value(second, 50) == pytest.approx(1.28272e-4, rel=4e-6)
    assert p_value(np.arange(1, 100), 100) == 1.0


def test_p_value_agrees_with_enumeration_of_every_small_sample():
    n, cuts = 5, 3
    paths = [(a, b) for a in range(n + 1) for b in range(a, n + 1)]
    weight = {}
    for a, b in paths:
        cells = [a, b - a, n - b]
        ways = np.exp(np.sum(np.log(np.arange(1, n + 1)))) / np.prod([np.prod(np.arange(1, c + 1)) for c in cells])
        weight[a, b] = ways / cuts**n
    for path in paths:
        mine = observed_gamma(path, n)
        expected = sum(w for other, w in weight.items() if observed_gamma(other, n) <= mine * (1 + 1e-9))
        assert p_value(path, n) == pytest.approx(expected, abs=1e-12)


def test_rejecting_at_alpha_is_the_same_as_leaving_the_band():
    limits, rng = band(60, 20, 0.05), np.random.default_rng(3)
    outcomes = set()
    for power in (1.0, 1.3, 1.6):
        for _ in range(100):
            path = counts(rng.uniform(size=60) ** power, 20)
            outside = bool(np.any((path < limits.lower) | (path > limits.upper)))
            assert outside == (p_value(path, 60) <= 0.05)
            outcomes.add(outside)
    assert outcomes == {True, False}


def test_uniform_values_are_rejected_at_the_band_s_exact_level():
    rng, limits = np.random.default_rng(11), band(100, 100, 0.05)
    paths = np.array([counts(u, 100) for u in rng.uniform(size=(4000, 100))])
    inside = np.mean(np.all((paths >= limits.lower) & (paths <= limits.upper), axis=1))
    assert inside == pytest.approx(0.9505, abs=4 * 0.0035)  # methods/sbc.md §4


def test_staying_and_leaving_add_up_and_tiny_p_values_keep_their_digits():
    lower, upper = bounds(30, 10, 1e-3)
    cells = np.full(10, 0.1)
    assert stay_probability(30, lower, upper, cells) + leave_probability(30, lower, upper, cells) == pytest.approx(1.0)
    skewed = counts(np.random.default_rng(0).uniform(size=400) ** 3, 20)
    level = observed_gamma(skewed, 400)
    assert level < 1e-20
    assert level / 2 <= p_value(skewed, 400) <= 19 * level  # between one tail and the union of all of them


def test_missing_values_get_the_best_of_all_their_completions():
    steps = [np.array(c) for c in itertools.product(range(3), repeat=3) if c[0] <= c[1] <= c[2]]
    for path in itertools.product(range(7), repeat=3):  # every sample of 6 values in 4 cells, two missing
        if path[0] <= path[1] <= path[2]:
            best = max(p_value(np.array(path) + step, 8) for step in steps)
            assert p_value_best(path, 6, 2) == pytest.approx(best, abs=1e-12)
            assert p_value_best(path, 6, 0) == p_value(path, 6)


def test_more_missing_values_than_present_cannot_be_rejected():
    assert p_value_best(counts(np.full(5, 0.999), 20), 5, 50) > 0.05


def test_counts_are_strict_and_bad_values_are_refused():
    assert counts([0.0, 0.25, 0.5, 0.75], 4).tolist() == [1, 2, 3]
    with pytest.raises(InvalidInput, match="u"):
        counts([0.2, 1.2], 4)
    with pytest.raises(InvalidInput, match="counts"):
        p_value([3, 2], 5)
    with pytest.raises(InvalidInput, match="alpha"):
        band(10, 5, 0.0)
    assert p_value_of(np.array([]), 5) == 1.0
