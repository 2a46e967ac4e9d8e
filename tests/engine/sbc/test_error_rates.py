"""Error rates and power of the verdict on synthetic ledgers: fixed seeds, bounds from binomial standard errors.

A bound at probability .999 lets a right verdict fail once in a thousand seeds; seeds are fixed, so it either does or
does not. `python -m tests.bench.calibration` measures the same with many more repetitions.

What the default suite keeps is one case of each kind, at sizes that still tell right from wrong; each test says how
surely. More cases and repetitions of the same are marked slow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.sbc.verdict_rules import RULES
from tests.bench.calibration import (
    DRAW_LAWS,
    ERRORS,
    SCENARIOS,
    Error,
    alarms,
    detectable,
    failures,
    power_table,
    streamed,
)


def most(probability: float, repetitions: int) -> float:
    """The share that is exceeded with probability .001 when every repetition hits with this probability."""
    return float(stats.binom.ppf(0.999, repetitions, probability)) / repetitions


def assert_near(share: float, probability: float, repetitions: int, errors: float = 4.0) -> None:
    """The share lies within so many binomial standard errors of the probability (one repetition is allowed)."""
    error = np.sqrt(probability * (1.0 - probability) / repetitions)
    assert abs(share - probability) <= errors * error + 1.0 / repetitions


# Few draws, so few distinct ranks, and draws whose number differs from fit to fit, each once. 99 draws of independent
# quantities are those of the streamed runs below.
KEPT = {("9", 0.0), ("20–99", 0.9)}


@pytest.mark.parametrize(
    ("draws", "correlation"),
    [
        pytest.param(draws, correlation, marks=() if (draws, correlation) in KEPT else pytest.mark.slow)
        for draws in DRAW_LAWS
        for correlation in (0.0, 0.9)
    ],
)
def test_uniform_ranks_of_16_quantities_fail_at_most_at_the_family_level(draws: str, correlation: float) -> None:
    """A verdict that failed 15 % of right runs instead of 5 % would be found with probability .96."""
    found = alarms(np.random.default_rng(1), 200, draws, correlation, repetitions := 200)
    assert found["fail"]["rate"] <= most(RULES.alpha, repetitions)
    assert found["by_evidence"]["rate"] <= most(RULES.alpha_sequential, repetitions)
    assert found["by_band"]["rate"] <= most(RULES.alpha_fixed, repetitions)


@pytest.mark.slow
@pytest.mark.parametrize("simulations", [200, 1000])
@pytest.mark.parametrize("draws", list(DRAW_LAWS))
def test_the_family_level_is_nearly_spent_by_independent_quantities(draws: str, simulations: int) -> None:
    found = alarms(np.random.default_rng(2), simulations, draws, 0.0, repetitions := 2000)
    assert found["fail"]["rate"] <= most(RULES.alpha, repetitions)
    # With independent quantities Holm's first step gives away little: less than half of the level would be a mistake.
    assert found["by_band"]["rate"] >= 0.5 * RULES.alpha_fixed


@pytest.mark.parametrize("correlation", [0.0, pytest.param(0.9, marks=pytest.mark.slow)])
def test_looking_after_every_simulation_keeps_its_level_and_naive_looks_do_not(correlation: float) -> None:
    found = streamed(np.random.default_rng(3), correlation, repetitions := 100)
    assert found["by_evidence"]["rate"] <= most(RULES.alpha_sequential, repetitions)
    assert found["fail"]["rate"] <= most(RULES.alpha, repetitions)
    # methods/sbc.md §11: .22 for one quantity, which 100 repetitions tell from .05 by four of its standard errors.
    assert_near(found["naive_one"]["rate"], 0.22, repetitions, 3.0)
    assert found["naive_one"]["rate"] > most(RULES.alpha, repetitions)


@pytest.mark.slow
def test_looking_after_every_simulation_keeps_its_level_over_1000_runs() -> None:
    found = streamed(np.random.default_rng(4), 0.0, repetitions := 1000)
    assert found["by_evidence"]["rate"] <= most(RULES.alpha_sequential, repetitions)
    assert found["fail"]["rate"] <= most(RULES.alpha, repetitions)
    assert_near(found["naive_one"]["rate"], 0.22, repetitions)


def _assert_powers(row: dict[str, Any]) -> None:
    for size in row["sizes"]:
        for name in (name for name in size if name.startswith("exact_") and size[name] is not None):
            simulated = size[name.replace("exact", "simulated")]["rate"]
            assert_near(simulated, size[name], row["repetitions"])


# Those that other tests of power and evidence do not simulate; of the two biases the larger, which has medians too.
SOME = [error for error in ERRORS if error.name in ("sd × .9", "bias .2 sd", "prior as posterior")]


@pytest.fixture(scope="module")
def powers() -> dict[str, dict[str, Any]]:
    """Rows of the table by error; the right quantities of a run are drawn once for all."""
    return {row["error"]: row for row in power_table(np.random.default_rng(5), 100, tuple(SOME))}


@pytest.mark.parametrize("error", SOME, ids=lambda error: error.name)
def test_exact_power_is_the_simulated_rejection_rate_at_every_size_and_number_of_cuts(
    powers: dict[str, dict[str, Any]], error: Error
) -> None:
    row = powers[error.name]
    _assert_powers(row)
    if error.normal is None:
        assert all(size[f"simulated_{RULES.cuts}"]["rate"] >= 0.99 for size in row["sizes"])
    # Medians of section 11 at the thresholds 20 and 320, where half of the runs get there with room to spare.
    for name, tolerance in (("table_one", 0.35), ("table_all", 0.35)):
        found = row["sequential"][name]
        if found["reference"] is not None:
            assert found["median_n"] == pytest.approx(found["reference"], rel=tolerance, abs=2)


@pytest.mark.slow
def test_exact_power_is_the_simulated_rejection_rate_over_2000_repetitions() -> None:
    for row in power_table(np.random.default_rng(6), 2000):
        _assert_powers(row)


def _assert_detected(simulations: int, repetitions: int) -> None:
    for row in detectable(np.random.default_rng(7), simulations, repetitions):
        assert_near(row["by_band"]["rate"], row["promised"], repetitions)
        assert row["fail"]["rate"] >= row["named"]["rate"] >= row["by_band"]["rate"]


def test_the_error_that_a_run_of_200_says_it_detects_is_detected_as_often_as_it_says() -> None:
    """75 runs for each kind of error: a power of .5 where .8 is promised would be found with probability .96."""
    _assert_detected(200, 75)


@pytest.mark.slow
@pytest.mark.parametrize("simulations", [200, 1000])
def test_the_stated_detectable_error_has_its_power_over_1000_repetitions(simulations: int) -> None:
    _assert_detected(simulations, 1000)


BEYOND_THE_CAP = [
    scenario for scenario in SCENARIOS if scenario.wrong or scenario.name in ("truth > 1", "3 % largest truths")
]


@pytest.mark.parametrize("scenario", BEYOND_THE_CAP, ids=lambda scenario: scenario.name)
def test_fits_that_fail_beyond_the_cap_are_never_passed_and_never_blamed_on_a_right_posterior(scenario: Any) -> None:
    """A verdict that passed one such run in five would be found with probability .98; naive ones pass or fail most."""
    found = failures(np.random.default_rng(8), scenario, 300, repetitions := 20)
    assert found["outcomes"]["PASS"] == 0
    assert found["outcomes"]["FAIL"] <= most(RULES.alpha, repetitions) * repetitions
    if scenario.wrong:
        # The wrong posteriors are those of the failed fits: a tool that drops them sees little or nothing.
        assert found["rival_pass"]["rate"] > 0.5


def test_dropping_fits_by_their_truth_or_error_rejects_a_right_posterior() -> None:
    """The premise of the test above. 20 runs with a rate of .64 stay below .35 with probability .003."""
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    for name, least in (("truth > 1", 0.95), ("5 % largest |z|", 0.35)):
        found = failures(np.random.default_rng(9), by_name[name], 500, 20)
        assert found["rival_one"]["rate"] >= least  # methods/sbc.md §9: 1.00 and .64


@pytest.mark.slow
@pytest.mark.parametrize("scenario", BEYOND_THE_CAP, ids=lambda scenario: scenario.name)
def test_fits_that_fail_beyond_the_cap_are_neither_passed_nor_blamed_in_100_runs(scenario: Any) -> None:
    found = failures(np.random.default_rng(11), scenario, 300, repetitions := 100)
    assert found["outcomes"]["PASS"] == 0
    assert found["outcomes"]["FAIL"] <= most(RULES.alpha, repetitions) * repetitions


@pytest.mark.slow
def test_three_per_cent_of_failures_that_go_with_the_truth_are_never_passed_in_400_runs() -> None:
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    for name in ("3 % largest truths", "3 % largest truths, wrong posteriors"):
        assert failures(np.random.default_rng(10), by_name[name], 500, 400)["outcomes"]["PASS"] == 0
