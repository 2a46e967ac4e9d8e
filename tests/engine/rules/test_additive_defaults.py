"""Defaults of the additive model: one prior of all media whatever the channels, one delay whatever the grain."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.distributions.distribution import Beta, LogNormal
from engine.rules.additive_defaults import (
    TOTAL_MEDIA_MEAN,
    TOTAL_MEDIA_SD,
    carry_over,
    channel_share,
    log_normal,
)


@pytest.mark.parametrize("channels", [1, 3, 10, 15])
def test_all_channels_together_bring_the_same_for_any_number_of_them(channels: int) -> None:
    mean, sd = channel_share(channels)
    assert channels * mean == pytest.approx(TOTAL_MEDIA_MEAN)
    assert math.sqrt(channels) * sd == pytest.approx(TOTAL_MEDIA_SD)
    law = LogNormal(*log_normal(mean, sd))
    assert (law.mean, law.sd) == pytest.approx((mean, sd))


@pytest.mark.parametrize(("spacing", "weights"), [(1, 56), (7, 8), (30, 3), (31, 3)])
def test_the_carry_over_is_eight_weeks_with_one_mean_delay_in_every_grain(spacing: int, weights: int) -> None:
    default = carry_over(spacing)
    assert default.weights == weights
    # With retention r a week the mean delay is 7 r/(1 - r) days; the same delay in rows of another length.
    weekly = np.random.default_rng(0).beta(2.0, 3.0, 400_000)
    odds = weekly / (1.0 - weekly) * 7.0 / spacing
    moved, law = odds / (1.0 + odds), Beta(*default.retention)
    assert law.mean == pytest.approx(moved.mean(), abs=0.01)
    assert law.sd == pytest.approx(moved.std(), abs=0.01)
    assert min(default.retention) >= 1.0  # a pole at 0 or 1 would be a claim


def test_rows_of_no_known_grain_have_eight_periods() -> None:
    assert (carry_over(14).weights, carry_over(14).periods) == (8, "periods")
