"""What the presets consist of."""

from __future__ import annotations

import pytest
from liftos.bayes.v1 import sbc_pb2

from persistence.tables.sbc import SBC_PARTS, VALIDATION_TYPES
from server.contract.presets import CANARY_SIMULATIONS, DEFAULT_SIMULATIONS, decides, parts_of

CANARIES = [part for part in SBC_PARTS if not decides(part)]


@pytest.mark.parametrize(
    ("kind", "deciding"),
    [
        (sbc_pb2.VALIDATION_TYPE_QUICK, ["PRIOR"]),
        (sbc_pb2.VALIDATION_TYPE_STANDARD, ["PRIOR"]),
        (sbc_pb2.VALIDATION_TYPE_COMPREHENSIVE, ["PRIOR", "POSTERIOR"]),
        (sbc_pb2.VALIDATION_TYPE_POSTERIOR, ["POSTERIOR"]),
    ],
)
def test_every_preset_has_its_parts_and_canaries_on_request(
    kind: sbc_pb2.ValidationType.ValueType, deciding: list[str]
) -> None:
    with_canaries = [*((part, 300) for part in deciding), *((part, CANARY_SIMULATIONS) for part in CANARIES)]
    # A canary vouches for the check as it is, so it has no more simulations than that.
    small = parts_of(kind, 100, canaries=True, carry_over=True)
    assert small == [(part, 100) for part, _ in with_canaries]
    assert parts_of(kind, 300, canaries=True, carry_over=True) == with_canaries
    plain = parts_of(kind, 300, canaries=False, carry_over=True)
    always = kind == sbc_pb2.VALIDATION_TYPE_COMPREHENSIVE
    assert plain == (with_canaries if always else with_canaries[: len(deciding)])


def test_there_is_no_lag_to_get_wrong_without_carry_over() -> None:
    parts = parts_of(sbc_pb2.VALIDATION_TYPE_QUICK, 100, canaries=True, carry_over=False)
    assert [part for part, _ in parts] == ["PRIOR", *(part for part in CANARIES if part != "CANARY_LAGGED_MEDIA")]


def test_every_type_has_a_number_of_simulations() -> None:
    names = {sbc_pb2.ValidationType.Name(kind).removeprefix("VALIDATION_TYPE_") for kind in DEFAULT_SIMULATIONS}
    assert names == set(VALIDATION_TYPES)
