"""Whether a factor from draws lies within the error that it states, however far and tight the belief.

`python -m tests.bench.conflict_estimators` writes down the same study, belief by belief.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import special

from engine.conflict.analysis import analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.importance import GOOD_KHAT, MAX_KHAT
from tests.bench.conflict_estimators import (
    DISTANCES,
    SPREADS,
    Found,
    Truth,
    counted,
    located,
    one_sided,
    stress,
    summarised,
)

SEEDS = 20
COVERED = 0.75
"""Of 20 results within two errors each, 19 are expected; fewer than 15 have a probability of .0003."""

SKEWED = (
    counted(2.0, 8.0, 15, 20),
    counted(4.0, 16.0, 15, 20),
    counted(8.0, 32.0, 15, 20),
    counted(20.0, 80.0, 15, 20),
    one_sided(2.0, 8.0, 20),
    one_sided(4.0, 16.0, 20),
)

BEYOND = (one_sided(8.0, 8.0, 20), one_sided(16.0, 4.0, 20))
"""Beliefs where the draws end and the likelihood falls faster than a parabola through their last tenth."""


def reach(one: Found) -> float:
    """Pareto k-hat of the belief's importance weights."""
    khat = one.result.recentred.khat
    return np.inf if khat is None else khat


def name(truth: Truth) -> str:
    return truth.case


def check(found: Sequence[Found]) -> None:
    """Of the results that are shown, as many as errors promise lie within what they state, and no label misleads."""
    row = summarised(found)
    assert row["within_stated"] >= COVERED * row["shown"], row
    assert row["mislabelled"] <= 1, row


@pytest.mark.parametrize("truth", [*SKEWED, *BEYOND], ids=name)
def test_the_exact_curve_has_the_factor_that_the_study_calls_true(truth: Truth) -> None:
    successes = round(float(truth.posterior.alpha)) - 1  # type: ignore[attr-defined]
    failures = round(float(truth.posterior.beta)) - 1  # type: ignore[attr-defined]
    grid = np.linspace(-40.0, 40.0, 8001)
    log_l = successes * special.log_expit(grid) + failures * special.log_expit(-grid)
    found = analyse_belief(truth.belief, EvidenceCurve.exact(grid, log_l, truth.reference, 24.0))
    assert found.recentred.log_bf == pytest.approx(truth.log_bf, abs=2e-3)


def test_the_tv_belief_is_within_its_error_for_few_seeds() -> None:
    check(list(stress([located(5.0, "data", 0.1)], range(4))))  # methods/conflict.md §1: .5 ± .1 beside .25 ± .05


@pytest.mark.slow
@pytest.mark.parametrize("tau", SPREADS)
def test_factors_of_far_beliefs_lie_within_their_errors_where_all_is_normal(tau: float) -> None:
    truths = [located(distance, unit, tau) for unit in ("data", "predictive") for distance in DISTANCES]
    found = list(stress(truths, range(SEEDS)))
    for truth in truths:
        check([one for one in found if one.truth is truth])
    # A set of draws serves all beliefs, so the sets are what is independent.
    sets = [found[start : start + len(truths)] for start in range(0, len(found), len(truths))]
    covered = np.array([np.mean([one.within_stated for one in each if one.shown]) for each in sets])
    assert covered.mean() + 2.0 * covered.std(ddof=1) / np.sqrt(covered.size) >= 0.95, covered
    reached = [one for one in found if reach(one) <= GOOD_KHAT]
    assert np.mean([one.shown for one in reached]) >= 0.95
    assert not any(one.shown for one in found if reach(one) > MAX_KHAT), "shown without a bridge"


@pytest.mark.slow
@pytest.mark.parametrize("truth", SKEWED, ids=name)
def test_factors_lie_within_their_errors_where_the_likelihood_is_skew(truth: Truth) -> None:
    check(list(stress([truth], range(SEEDS))))


@pytest.mark.parametrize("truth", BEYOND, ids=name)
def test_no_factor_is_shown_where_no_draw_has_been_and_no_bridge_leads(truth: Truth) -> None:
    # Beyond the draws log L is continued as a parabola, which falls too slowly here.
    assert not any(one.shown for one in stress([truth], range(3)))
