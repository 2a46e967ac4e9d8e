"""What the presets consist of."""

import pytest

from engine.rules.sbc_presets import CANARY_SIMULATIONS, SIMULATIONS, Part, ValidationType, parts_of

CANARIES = [part for part in Part if part.is_canary]


@pytest.mark.parametrize(
    ("kind", "deciding"),
    [
        (ValidationType.QUICK, [Part.PRIOR]),
        (ValidationType.STANDARD, [Part.PRIOR]),
        (ValidationType.COMPREHENSIVE, [Part.PRIOR, Part.POSTERIOR]),
        (ValidationType.POSTERIOR, [Part.POSTERIOR]),
    ],
)
def test_every_preset_has_its_parts_and_canaries_on_request(kind: ValidationType, deciding: list[Part]) -> None:
    with_canaries = [*((part, 300) for part in deciding), *((part, CANARY_SIMULATIONS) for part in CANARIES)]
    # A canary vouches for the check as it is, so it has no more simulations than that.
    small = parts_of(kind, 100, canaries=True, carry_over=True)
    assert small == [(part, 100) for part, _ in with_canaries]
    assert parts_of(kind, 300, canaries=True, carry_over=True) == with_canaries
    plain = parts_of(kind, 300, canaries=False, carry_over=True)
    always = kind is ValidationType.COMPREHENSIVE
    assert plain == (with_canaries if always else with_canaries[: len(deciding)])


def test_a_fixed_truth_has_one_part_that_decides_nothing_and_no_canaries() -> None:
    assert parts_of(ValidationType.RECOVERY, 300, canaries=True, carry_over=True) == [(Part.RECOVERY, 300)]
    assert {part for part in Part if part.decides} == {Part.PRIOR, Part.POSTERIOR}


def test_there_is_no_lag_to_get_wrong_without_carry_over() -> None:
    parts = parts_of(ValidationType.QUICK, 100, canaries=True, carry_over=False)
    without = [part for part in CANARIES if part is not Part.CANARY_LAGGED_MEDIA]
    assert [part for part, _ in parts] == [Part.PRIOR, *without]


def test_every_type_of_a_run_has_a_number_of_simulations() -> None:
    assert set(SIMULATIONS) == set(ValidationType) - {ValidationType.NONE}
