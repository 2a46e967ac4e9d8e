"""Numbers as people read them."""

from __future__ import annotations

import pytest
from liftos.bayes.v1 import common_pb2

from server.texts.formats import at_most, chance, decimals_of, p_is, p_value, shown

SHARE, ROI = common_pb2.QUANTITY_SHARE_OF_OUTCOME, common_pb2.QUANTITY_ROI
OUTCOME = common_pb2.QUANTITY_INCREMENTAL_OUTCOME


@pytest.mark.parametrize(
    ("value", "quantity", "digits", "told"),
    [
        (0.513, SHARE, None, "51.3 %"),
        (0.0213, SHARE, None, "2.1 %"),
        (0.000213, SHARE, None, "0.021 %"),
        (0.0, SHARE, None, "0.0 %"),
        (-0.0021, SHARE, None, "-0.21 %"),
        (0.513, SHARE, 0, "51 %"),
        (4.126, ROI, None, "4.126"),
        (4.126, ROI, 2, "4.13"),
        (5_213_877.3, OUTCOME, 0, "5,213,877"),
        (1.2e-9, ROI, 10, "1.2e-09"),
    ],
)
def test_a_value_has_the_decimals_that_are_asked_for_and_else_at_least_two_digits(
    value: float, quantity: int, digits: int | None, told: str
) -> None:
    assert shown(value, quantity, digits) == told


@pytest.mark.parametrize(
    ("estimate", "digits"),
    [
        (common_pb2.Estimate(sd=0.0912), 1),
        (common_pb2.Estimate(sd=0.1), 0),
        (common_pb2.Estimate(sd=0.0996), 0),  # 10 %, not 10.0 %
        (common_pb2.Estimate(sd=0.00048), 3),
        (common_pb2.Estimate(intervals=[common_pb2.Interval(level=0.95, lower=0.1, upper=0.3)]), 1),
        (common_pb2.Estimate(sd=0.0), 1),
        (common_pb2.Estimate(), None),
    ],
)
def test_the_spread_says_how_many_decimals_an_estimate_has(estimate: common_pb2.Estimate, digits: int | None) -> None:
    assert decimals_of(estimate, SHARE) == digits


def test_the_ends_of_what_is_told_exactly() -> None:
    assert (p_value(0.0253), p_is(0.0253), chance(0.0253)) == ("0.025", "p = 0.025", "0.025")
    assert (p_value(9.9e-5), p_is(9.9e-5), chance(0.0)) == ("< 0.0001", "p < 0.0001", "less than 0.0001")
    assert (at_most(9_900.0), at_most(10_001.0), at_most(float("inf"))) == (
        "9,900",
        "more than 10,000",
        "more than 10,000",
    )
