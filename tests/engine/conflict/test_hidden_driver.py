"""Sensitivity to omitted variables: published values, the formula by brute force, and what counts as plausible."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.conflict.analysis import ConflictRule, analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.hidden_driver import (
    HiddenDriver,
    bias_bound,
    hidden_driver,
    multiple_needed,
    partial_r2,
    robustness_value,
    strength,
)
from engine.distributions.distribution import Normal, Uniform
from engine.distributions.support import REAL_LINE
from engine.models.protocol import Regression


def test_robustness_value_and_bounds_are_those_published_for_darfur() -> None:
    # Cinelli & Hazlett (2020), table 1 and §5.2: estimate .097, standard error .023, 783 degrees of freedom; the
    # control `female` has partial R² .0091 (treatment) and .1090 (outcome), a driver as strong as it .0092 and .1246.
    t = 0.0973 / 0.02326
    assert robustness_value(t, 783) == pytest.approx(0.139, abs=1e-3)
    bias = bias_bound(0.00908, 0.10903, 783, 1.0) * 0.02326
    assert bias == pytest.approx(math.sqrt(0.1246 * 0.0092 / (1.0 - 0.0092) * 783) * 0.02326, rel=5e-3)
    assert bias_bound(0.00908, 0.10903, 783, 3.0) * 0.02326 == pytest.approx(0.0973 - 0.0304, abs=1e-3)
    needed = multiple_needed(0.00908, 0.10903, 783, t)
    assert bias_bound(0.00908, 0.10903, 783, needed) == pytest.approx(t, rel=1e-6)


def test_a_driver_at_the_robustness_value_biases_by_as_much_in_a_regression() -> None:
    rng, rows = np.random.default_rng(4), 400
    rest = np.column_stack([np.ones(rows), rng.normal(size=rows)])
    exposure, noise = rng.normal(size=rows), rng.normal(size=rows)
    outcome = 0.5 * exposure + noise
    # A driver made for the sample: partial R² of .1 with exposure and with outcome beside it, both exactly.
    exposure = exposure - rest @ np.linalg.lstsq(rest, exposure)[0]
    left = np.column_stack([rest, exposure])
    unexplained = outcome - left @ np.linalg.lstsq(left, outcome)[0]
    across = rng.normal(size=rows)
    basis = np.column_stack([left, unexplained])
    across = across - basis @ np.linalg.lstsq(basis, across)[0]
    unit = [column / np.linalg.norm(column) for column in (exposure, unexplained, across)]
    r2 = 0.1
    aside = math.sqrt(r2) * unit[1] + math.sqrt(1.0 - r2) * unit[2]
    driver = math.sqrt(r2) * unit[0] + math.sqrt(1.0 - r2) * aside
    assert partial_r2(exposure, driver, rest) == pytest.approx(r2)
    assert partial_r2(outcome, driver, left) == pytest.approx(r2)
    short = np.linalg.lstsq(left, outcome)[0][-1]
    long = np.linalg.lstsq(np.column_stack([left, driver]), outcome)[0][2]
    freedom = rows - left.shape[1]
    error = float(np.linalg.norm(unexplained) / math.sqrt(freedom) / np.linalg.norm(exposure))
    assert robustness_value(abs(long - short) / error, freedom) == pytest.approx(r2, rel=1e-6)


def regression(control: float) -> Regression:
    """A channel and a control that moves with it by so much and drives the outcome."""
    rng, rows = np.random.default_rng(0), 104
    season, noise = rng.normal(size=rows), rng.normal(size=rows)
    own = rng.normal(size=rows) + control * season
    return Regression(own, np.column_stack([np.ones(rows), season]), own + control * season + noise, {"season": 1})


def found(estimate: float, made: Regression, threshold: float = 10.0) -> HiddenDriver | None:
    curve = EvidenceCurve.normal(estimate, 0.05, Uniform(0.0, 1.0), 24.0, quantity="share", support=REAL_LINE)
    return hidden_driver(analyse_belief(Normal(0.5, 0.1), curve, ConflictRule(threshold)), made)


def test_the_shift_is_what_brings_the_evidence_to_the_rule() -> None:
    driver = found(0.2, regression(1.0))
    assert driver is not None
    # Recentred factor e^{z²/2} of normal laws (methods/conflict.md §4.1): at the rule of 10, z = √(2 ln 10).
    z = (0.3 - driver.shift) / math.hypot(0.1, 0.05)
    assert math.exp(0.5 * z * z) == pytest.approx(10.0)
    assert found(0.45, regression(1.0)) is None  # no conflict, nothing to take away


def test_a_driver_is_plausible_by_its_own_strength_or_beside_the_strongest_control() -> None:
    near = found(0.2, regression(1.0))
    assert near is not None
    assert near.strongest == "season"
    assert near.multiple is not None
    assert near.multiple < 1.0
    assert near.plausible
    assert HiddenDriver(1.0, 0.29, "", None).plausible
    assert not HiddenDriver(1.0, 0.31, "", None).plausible
    assert HiddenDriver(1.0, 0.6, "season", 1.9).plausible
    assert not HiddenDriver(1.0, 0.6, "season", math.inf).plausible
    without = strength(regression(0.0), 1)
    assert max(without) < 0.1
