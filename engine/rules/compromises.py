"""When what two sides give together lies where neither of them is, by their quantiles alone."""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

STRONG_Z = 2.6
"""From this distance on two sides that are both well founded cannot be talked down (methods/conflict.md §12)."""
TAIL = 0.1
"""Probability beyond either end of a `Place`."""
SDS = 1.2815515655446004
"""Normal standard deviations from the middle to an end of a `Place`."""


class Place(NamedTuple):
    """Where a law lies: its 10 %, 50 % and 90 % quantiles, in the units of the quantity."""

    lower: float
    middle: float
    upper: float


class Lies(enum.Enum):
    """Where a law made of belief and data lies when the two are far apart."""

    WITH_DATA = "with the data"
    """Or the two are not far apart, or it is as wide as the gap: then it says of both what it says of the one."""
    WITH_BELIEF = "with the belief"
    NEITHER = "where neither is"


def lies(belief: Place, data: Place, together: Place) -> Lies:
    """Where a law made of belief and data lies: under severe conflict it can leave both, or the data alone.

    The two are far apart where their middles are more than 2.6 standard deviations of their difference from one
    another, a standard deviation being that of the side's half that faces the other. A law then is away from a side
    where its middle is more than one standard deviation from that side's, on the way to the other, and its central 80 %
    do not reach that side's middle.
    """
    sign = 1.0 if data.middle >= belief.middle else -1.0
    # As if the data were above.
    low, high, law = (side if sign > 0.0 else _mirrored(side) for side in (belief, data, together))
    rise, fall = (low.upper - low.middle) / SDS, (high.middle - high.lower) / SDS
    if high.middle - low.middle <= STRONG_Z * math.hypot(rise, fall):
        return Lies.WITH_DATA
    if law.middle >= high.middle - fall or law.upper >= high.middle:
        return Lies.WITH_DATA
    return Lies.NEITHER if law.middle > low.middle + rise and law.lower > low.middle else Lies.WITH_BELIEF


def _mirrored(place: Place) -> Place:
    return Place(-place.upper, -place.middle, -place.lower)
