"""What an additive marketing-mix model takes for granted where its specification is silent."""

from __future__ import annotations

import math
from dataclasses import dataclass

TOTAL_MEDIA_MEAN = 0.3
TOTAL_MEDIA_SD = 0.2
"""A priori all channels together bring 30 % ± 20 % of the outcome, however many there are and whatever the units."""
HALF_SATURATION = (0.5, 1.2)
"""Mean and sd of the logarithm of the half-saturation, in units of the mean positive exposure: .16 to 17 with 95 %. So
wide that a response which is nearly linear is not taken for a saturated one (docs/defaults.md has the simulation)."""
SLOPE = (0.2, 0.4)
"""Mean and sd of the logarithm of the slope of a Hill curve where it is free: .56 to 2.7 with 95 %, median 1.2."""


def channel_share(channels: int) -> tuple[float, float]:
    """Mean and standard deviation of one channel's default prior share of the outcome, one of so many.

    Channels are independent and alike, so that the total has the mean and the width that are stated above for every
    number of them; what a channel costs says nothing about it, and neither do the priors that others were given.
    """
    return TOTAL_MEDIA_MEAN / channels, TOTAL_MEDIA_SD / math.sqrt(channels)


def log_normal(mean: float, sd: float) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm of the log-normal law with this mean and standard deviation, > 0."""
    variance = math.log1p((sd / mean) ** 2)
    return math.log(mean) - 0.5 * variance, math.sqrt(variance)


@dataclass(frozen=True)
class CarryOver:
    """Defaults of the carry-over of one grain.

    `weights`: number of adstock weights, the current period included. `retention`: shapes of the beta prior of what is
    kept from one period to the next. `period`, `periods`: what the periods are called.
    """

    weights: int
    retention: tuple[float, float]
    periods: str


# Eight weeks in the units of each grain. With a retention r the mean delay is r/(1 - r) periods: another grain has the
# same delay in days at another r, so logit r moves by the logarithm of the ratio of the lengths. The beta laws have the
# mean and the standard deviation of the weekly law moved so, rounded.
_WEEKS = CarryOver(8, (2.0, 3.0), "weeks")
_DAYS = CarryOver(56, (4.2, 1.3), "days")
_MONTHS = CarryOver(3, (1.2, 6.4), "months")
_OTHER = CarryOver(8, (2.0, 3.0), "periods")


def carry_over(spacing: int) -> CarryOver:
    """Defaults for rows that lie `spacing` days apart (the median, where months differ in length)."""
    if spacing == 1:
        return _DAYS
    if spacing == 7:
        return _WEEKS
    return _MONTHS if 28 <= spacing <= 31 else _OTHER
