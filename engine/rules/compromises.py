"""When what two sides give together lies where neither of them is, by their quantiles alone."""

from __future__ import annotations

import math
from typing import NamedTuple

STRONG_Z = 2.6
"""From this distance on two sides that are both well founded cannot be talked down (methods/conflict.md §12)."""
TAIL = 0.1
"""Probability beyond either end of a `Place`."""
_SDS = 1.2815515655446004
"""Normal standard deviations from the middle to an end of a `Place`."""


class Place(NamedTuple):
    """Where a law lies: its 10 %, 50 % and 90 % quantiles, in the units of the quantity."""

    lower: float
    middle: float
    upper: float


def lies_between(first: Place, second: Place, together: Place) -> bool:
    """Whether a law made of two others lies where neither of these is, as a posterior can under severe conflict.

    The two are apart: their middles are more than 2.6 standard deviations of their difference from one another, a
    standard deviation being that of the side's half that faces the other. The law's middle lies between theirs, more
    than one standard deviation from each, and its central 80 % reach neither middle: a mixture of the two, which is as
    wide as the gap, says of both what it says of the one.
    """
    low, high = sorted((first, second), key=lambda place: place.middle)
    rise, fall = (low.upper - low.middle) / _SDS, (high.middle - high.lower) / _SDS
    apart = high.middle - low.middle > STRONG_Z * math.hypot(rise, fall)
    away = low.middle + rise < together.middle < high.middle - fall
    return apart and away and low.middle < together.lower and together.upper < high.middle
