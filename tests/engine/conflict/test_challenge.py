"""Whether the data could have contradicted a belief, by formula and by simulation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy import special

from engine.conflict.analysis import BeliefConflict, ConflictRule, Finding, analyse_belief
from engine.conflict.challenge import could_contradict
from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import Beta, Normal, Uniform
from engine.distributions.support import REAL_LINE, UNIT_INTERVAL

RULES = [ConflictRule(), ConflictRule(confidence_threshold=0.8), ConflictRule(confidence_threshold=0.999)]
GRID = np.linspace(-14.0, 6.0, 2001)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9, 1.2, 2.0, 4.0])
def test_it_is_the_power_to_notice_a_belief_that_is_clearly_wrong(rule: ConflictRule, ratio: float) -> None:
    # Belief N(0, 1), data N(psi, ratio²), psi one sd beyond where exact data begin to contradict.
    c = -float(special.ndtri(0.5 * rule.null_rate))
    estimates = np.random.default_rng(3).normal(c + 1.0, ratio, 20_000)
    power = float(np.mean(np.abs(estimates) > c * math.hypot(1.0, ratio)))
    assert could_contradict(24.0 * ratio**2, 24.0, rule.null_rate) == (power >= 0.5)


def test_a_belief_that_no_data_could_contradict_is_not_contradicted_by_these() -> None:
    assert not could_contradict(math.inf, 24.0, 0.05)
    assert could_contradict(0.0, 24.0, 1e-9)


def weak_channel(estimate: float, error: float) -> EvidenceCurve:
    """What data with a normal error say of a share, with nothing known of it before but the default prior."""
    share = UNIT_INTERVAL.from_unconstrained(GRID)
    return EvidenceCurve.exact(GRID, -0.5 * ((estimate - share) / error) ** 2, Beta(1.0, 3.0), 24.0)


def of_share(mean: float, sd: float) -> Beta:
    total = mean * (1.0 - mean) / sd**2 - 1.0
    return Beta(mean * total, (1.0 - mean) * total)


def about_weak_channel(belief: Beta, truth: float, error: float, times: int = 60) -> list[BeliefConflict]:
    """The analyses of so many data sets from a channel with this share."""
    rng = np.random.default_rng(11)
    return [analyse_belief(belief, weak_channel(rng.normal(truth, error), error)) for _ in range(times)]


def test_a_belief_that_the_data_cannot_tell_from_nothing_is_never_positively_supported() -> None:
    # 5 ± 3 % is believed of a channel that brings 1.4 %, and the data know it to ± 3 % only.
    found = about_weak_channel(of_share(0.05, 0.03), 0.014, 0.03)
    assert not any(figures.confirms for figures in found)
    assert Counter(figures.finding for figures in found)[Finding.DATA_SILENT] >= 0.95 * len(found)
    seen = analyse_belief(of_share(0.05, 0.03), weak_channel(0.03, 0.03))
    assert seen.data_side.mean == pytest.approx(0.04, abs=0.005)
    assert seen.data_side.sd == pytest.approx(0.025, abs=0.01)
    # By factor and contraction alone it would be: both compare the data with a prior that is far wider than either.
    assert seen.reference.log_bf < math.log(1.0 / 3.0)
    assert seen.contraction > 0.2
    assert (seen.finding, seen.confirms) == (Finding.DATA_SILENT, False)


@pytest.mark.slow
def test_data_that_could_have_contradicted_it_support_a_right_belief_and_contradict_a_wrong_one() -> None:
    sharp = 0.005
    right = about_weak_channel(of_share(0.05, 0.03), 0.05, sharp)
    assert np.mean([figures.confirms for figures in right]) > 0.9
    assert not any(figures.finding is Finding.DATA_SILENT for figures in right)
    wrong = about_weak_channel(of_share(0.15, 0.02), 0.014, sharp)
    assert all(figures.finding is Finding.CONFLICT for figures in wrong)


def test_what_contradicts_is_a_conflict_however_weak_the_data_are() -> None:
    curve = EvidenceCurve.normal(0.0, 0.5, Uniform(-50.0, 50.0), 24.0, support=REAL_LINE)
    assert analyse_belief(Normal(3.0, 0.1), curve).finding is Finding.CONFLICT
    assert analyse_belief(Normal(0.5, 0.1), curve).finding is Finding.DATA_SILENT
