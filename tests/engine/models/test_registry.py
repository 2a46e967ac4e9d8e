"""The registry knows every family by the id that its models carry."""

import pytest

from engine.distributions.distribution import Normal
from engine.errors import InvalidInput
from engine.models.conjugate_normal import ConjugateNormalSpec
from engine.models.registry import FAMILIES, prepare_function


def test_a_prepared_model_carries_the_id_it_was_asked_for_by() -> None:
    model = prepare_function("conjugate_normal/1")(ConjugateNormalSpec("roi[TV]", 1.0, 0.2, 24, Normal(1.0, 1.0)))
    assert model.family == "conjugate_normal/1"
    assert set(FAMILIES) == {"additive_mmm/1", "conjugate_normal/1"}


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(InvalidInput, match="additive_mmm/1"):
        prepare_function("additive_mmm/2")
