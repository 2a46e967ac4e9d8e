"""When what two sides give together lies where neither of them is."""

from __future__ import annotations

import math

import pytest

from engine.distributions.distribution import Distribution, LogNormal, Mixture, Normal
from engine.rules.compromises import TAIL, Lies, Place, lies


def place(law: Distribution) -> Place:
    return Place(*(float(law.ppf(p)) for p in (TAIL, 0.5, 1.0 - TAIL)))


def posterior(belief: Normal, data: Normal) -> Normal:
    precision = belief.sd**-2 + data.sd**-2
    return Normal((belief.mean * belief.sd**-2 + data.mean * data.sd**-2) / precision, precision**-0.5)


BELIEF, DATA = Normal(15.0, 2.0), Normal(2.1, 0.5)


@pytest.mark.parametrize(
    ("together", "where"),
    [
        (Normal(11.5, 1.8), Lies.NEITHER),
        (Normal(8.0, 1.0), Lies.NEITHER),
        (Normal(13.2, 1.9), Lies.WITH_BELIEF),
        (Normal(2.4, 0.5), Lies.WITH_DATA),
        (Mixture((0.5, 0.5), (BELIEF, DATA)), Lies.WITH_DATA),  # says both
    ],
)
def test_where_a_law_lies_between_two_that_are_far_apart(together: Distribution, where: Lies) -> None:
    assert lies(place(BELIEF), place(DATA), place(together)) is where
    mirrored = (Place(-p.upper, -p.middle, -p.lower) for p in map(place, (BELIEF, DATA, together)))
    assert lies(*mirrored) is where
    other_way = {Lies.WITH_BELIEF: Lies.WITH_DATA, Lies.WITH_DATA: Lies.WITH_BELIEF}
    if not isinstance(together, Mixture):
        assert lies(place(DATA), place(BELIEF), place(together)) is other_way.get(where, where)


@pytest.mark.parametrize(("distance", "between"), [(2.0, False), (2.5, False), (2.7, True), (6.0, True)])
def test_equal_sides_give_a_compromise_that_counts_until_they_are_far_apart(distance: float, between: bool) -> None:
    belief, data = Normal(0.0, 1.0), Normal(distance * math.sqrt(2.0), 1.0)
    assert (lies(place(belief), place(data), place(posterior(belief, data))) is Lies.NEITHER) is between


def test_a_vague_belief_gives_way_to_the_data_and_is_no_side_of_a_compromise() -> None:
    belief, data = Normal(0.0, 10.0), Normal(40.0, 1.0)
    assert lies(place(belief), place(data), place(posterior(belief, data))) is Lies.WITH_DATA


def test_a_skewed_side_is_as_wide_as_the_half_that_faces_the_other() -> None:
    # Its long tail reaches up to the other; the same law seen from below has a short one.
    skewed = LogNormal(0.0, 1.0)
    assert lies(place(skewed), place(Normal(6.0, 0.5)), Place(2.9, 3.0, 3.1)) is Lies.WITH_DATA
    assert lies(place(skewed), place(Normal(-4.0, 0.5)), Place(-2.1, -2.0, -1.9)) is Lies.NEITHER
