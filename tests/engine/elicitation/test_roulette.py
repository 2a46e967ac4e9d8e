"""Chips on bins become the law whose distribution function is nearest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.distributions.distribution import POSITIVE, REAL_LINE, UNIT_INTERVAL, Beta, Support
from engine.distributions.families import Family
from engine.elicitation.roulette import fit_roulette
from engine.errors import InvalidInput

EDGES = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
CHIPS = [0, 4, 9, 5, 2, 0]


def test_many_chips_laid_as_a_beta_says_give_that_beta_back() -> None:
    law = Beta(6.0, 12.0)
    edges = np.linspace(0.0, 1.0, 11)
    chips = np.round(10_000 * np.diff(law.cdf(edges))).astype(int)
    fitted = fit_roulette(edges.tolist(), np.minimum(chips, 10_000).tolist(), UNIT_INTERVAL).distribution
    assert isinstance(fitted, Beta)
    assert (fitted.alpha, fitted.beta) == pytest.approx((6.0, 12.0), rel=5e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 400))
def test_more_chips_laid_alike_change_no_more_than_the_half_chip_does(factor: int) -> None:
    one = fit_roulette(EDGES, CHIPS, UNIT_INTERVAL)
    more = fit_roulette(EDGES, [factor * chip for chip in CHIPS], UNIT_INTERVAL)
    share = 0.5 / (sum(CHIPS) + 0.5)  # all that the half chip can move a probability
    assert np.max(np.abs(np.subtract(one.asked, more.asked))) <= share
    assert one.distribution.mean == pytest.approx(more.distribution.mean, abs=share)


def test_an_empty_bin_is_unlikely_and_not_impossible() -> None:
    fitted = fit_roulette(EDGES, CHIPS, UNIT_INTERVAL)
    # Half a chip over six bins and what lies above them.
    assert fitted.asked[0] == pytest.approx(0.5 / 7 / 20.5)
    assert fitted.asked[-1] == pytest.approx(1 - 0.5 / 7 / 20.5)
    assert fitted.equations == 6
    assert not fitted.interpolated(Family.BETA)


@pytest.mark.parametrize(
    ("support", "family"),
    [
        (REAL_LINE, Family.NORMAL),
        (REAL_LINE, Family.STUDENT_T),
        (POSITIVE, Family.GAMMA),
        (POSITIVE, Family.LOG_NORMAL),
    ],
)
def test_other_supports_and_families_take_chips(support: Support, family: Family) -> None:
    fitted = fit_roulette([1, 2, 3, 4, 5, 6], [1, 4, 8, 5, 2], support, family)
    assert fitted.distribution.mean == pytest.approx(3.65, abs=0.15)  # the chips' own mean
    assert fitted.max_error < 0.05


@pytest.mark.parametrize(
    ("field", "edges", "chips"),
    [
        ("edges", [0.0, 0.1, 0.2, 0.3, 0.4], [3, 4, 3, 2]),  # four bins
        ("chips", EDGES, [0, 2, 4, 2, 1, 0]),  # nine chips
        ("chips", EDGES, [1, 2, 4, 2, 1]),
        ("edges", [0.0, 0.1, 0.1, 0.3, 0.4, 0.5, 0.6], CHIPS),
        ("chips", EDGES, [0, 0, 20, 0, 0, 0]),  # one bin says nothing of the spread
        ("chips", EDGES, [10, 0, 0, 0, 0, 10]),  # two camps are no beta
        ("chips[0]", [-0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1, 4, 9, 5, 2, 0]),
        ("chips[5]", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.1], [0, 4, 9, 5, 2, 1]),
    ],
)
def test_chips_that_say_too_little_or_the_impossible_are_refused_by_field(
    field: str, edges: list[float], chips: list[int]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit_roulette(edges, chips, UNIT_INTERVAL)
    assert caught.value.field == field


def test_empty_bins_outside_the_support_are_left_out() -> None:
    wide = fit_roulette([-0.2, -0.1, *EDGES], [0, 0, *CHIPS], UNIT_INTERVAL)
    assert wide.distribution == fit_roulette(EDGES, CHIPS, UNIT_INTERVAL).distribution
