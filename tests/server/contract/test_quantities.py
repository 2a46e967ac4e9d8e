"""The table of what quantities are."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2

from server.contract.quantities import QUANTITIES, WHOLES, same_unknown


def test_every_quantity_of_the_contract_has_a_row() -> None:
    assert set(QUANTITIES) == set(common_pb2.Quantity.values())


def test_no_two_quantities_have_the_same_name() -> None:
    assert len({facts.words for facts in QUANTITIES.values()}) == len(QUANTITIES)


def test_what_is_read_in_per_cent_has_no_unit() -> None:
    assert not [facts.words for facts in QUANTITIES.values() if facts.per_cent and facts.unit]


def test_shares_that_sum_to_a_whole_lie_between_0_and_1() -> None:
    assert [(QUANTITIES[share].lower, QUANTITIES[share].upper) for share in WHOLES] == [(0.0, 1.0), (0.0, 1.0)]


def test_an_roi_is_the_same_unknown_as_a_share_of_outcome_and_a_coefficient_is_on_its_own() -> None:
    assert same_unknown(common_pb2.QUANTITY_ROI) == {
        common_pb2.QUANTITY_ROI,
        common_pb2.QUANTITY_SHARE_OF_OUTCOME,
        common_pb2.QUANTITY_INCREMENTAL_OUTCOME,
    }
    assert same_unknown(common_pb2.QUANTITY_COEFFICIENT) == {common_pb2.QUANTITY_COEFFICIENT}
