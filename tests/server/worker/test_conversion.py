"""The border between contract and engine."""

from __future__ import annotations

import math

import numpy as np
import pytest
from liftos.bayes.v1 import common_pb2

from engine.distributions import distribution as law
from engine.errors import InvalidInput
from server.worker.conversion import estimate_of_draws, estimate_of_law, from_law, to_law

FAMILIES = [
    law.Normal(0.5, 0.1),
    law.LogNormal(0.2, 0.9),
    law.Beta(12.0, 12.0),
    law.TruncatedNormal(0.5, 0.1, 0.0, math.inf),
    law.HalfNormal(2.0),
    law.Gamma(2.0, 0.4),
    law.StudentT(4.0, 0.5, 0.1),
    law.Uniform(0.0, 1.0),
    law.Mixture((0.25, 0.75), (law.Normal(0.0, 1.0), law.Normal(2.0, 0.5))),
    law.Beta(2.0, 5.0).shifted(0.7),
]


@pytest.mark.parametrize("given", FAMILIES, ids=lambda given: type(given).__name__)
def test_a_distribution_survives_the_border_unchanged(given: law.Distribution) -> None:
    assert to_law(from_law(given)) == given


def test_every_family_of_the_contract_is_covered() -> None:
    fields = common_pb2.Distribution.DESCRIPTOR.oneofs_by_name["kind"].fields
    assert {from_law(given).WhichOneof("kind") for given in FAMILIES} == {field.name for field in fields}


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (common_pb2.Distribution(normal=common_pb2.Normal(mean=0, sd=-1)), "prior.normal.sd"),
        (common_pb2.Distribution(uniform=common_pb2.Uniform(lower=2, upper=1)), "prior.uniform.upper"),
        (common_pb2.Distribution(student_t=common_pb2.StudentT(df=2, scale=1)), "prior.student_t.df"),
        (common_pb2.Distribution(), "prior"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_path(message: common_pb2.Distribution, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_law(message, "prior")
    assert caught.value.field == path


def test_a_gridded_density_with_missing_bytes_is_refused() -> None:
    message = from_law(law.Beta(2.0, 5.0).shifted(0.7))
    message.gridded.grid.data = message.gridded.grid.data[:-8]
    with pytest.raises(InvalidInput) as caught:
        to_law(message, "prior")
    assert caught.value.field == "prior.gridded"


def test_a_law_is_summarised_by_its_moments_and_quantiles() -> None:
    estimate = estimate_of_law(law.Normal(1.0, 2.0))
    assert (estimate.mean, estimate.median, estimate.sd) == (1.0, 1.0, 2.0)
    wide = next(interval for interval in estimate.intervals if interval.level == 0.95)
    assert wide.upper == pytest.approx(1.0 + 2.0 * 1.959964, abs=1e-5)


def test_draws_are_summarised_with_central_intervals() -> None:
    draws = np.linspace(0.0, 1.0, 1001).reshape(7, 143)
    estimate = estimate_of_draws(draws)
    assert estimate.mean == pytest.approx(0.5)
    wide = next(interval for interval in estimate.intervals if interval.level == 0.95)
    assert (wide.lower, wide.upper) == (pytest.approx(0.025), pytest.approx(0.975))


def mixture(*parts: tuple[float, law.Distribution]) -> common_pb2.Distribution:
    made = common_pb2.Distribution()
    for weight, part in parts:
        made.mixture.components.add(weight=weight, distribution=from_law(part))
    return made


def test_a_component_of_weight_zero_is_as_if_it_were_absent() -> None:
    sharp, vague, other = law.Beta(44.0, 7.76), law.Beta(1.05, 1.95), law.Beta(2.0, 2.0)
    assert to_law(mixture((0.0, vague), (1.0, sharp))) == law.Mixture((1.0,), (sharp,))
    assert to_law(mixture((0.25, other), (0.0, vague), (0.75, sharp))) == law.Mixture((0.25, 0.75), (other, sharp))
    with pytest.raises(InvalidInput) as caught:
        to_law(mixture((0.0, vague), (0.0, sharp)), "prior")
    assert caught.value.field == "prior.mixture.components"
    wrong = mixture((1.0, sharp), (0.0, vague))
    wrong.mixture.components[1].distribution.beta.alpha = -1.0
    with pytest.raises(InvalidInput) as caught:
        to_law(wrong, "prior")
    assert caught.value.field == "prior.mixture.components[1].distribution.beta.alpha"


def exists(message: common_pb2.Distribution, path: str) -> bool:
    """Whether a path such as `mixture.components[1].distribution.beta.alpha` is one of the message's fields."""
    descriptor = message.DESCRIPTOR
    for part in path.split("."):
        name = part.partition("[")[0]
        if descriptor is None or name not in descriptor.fields_by_name:
            return False
        descriptor = descriptor.fields_by_name[name].message_type
    return True


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-320, 1e308], ids=str)
@pytest.mark.parametrize("given", FAMILIES, ids=lambda given: type(given).__name__)
def test_every_field_that_is_blamed_for_a_number_is_a_field_of_the_contract(
    given: law.Distribution, value: float
) -> None:
    message = from_law(given)
    kind = str(message.WhichOneof("kind"))
    places = [message]
    if kind == "mixture":
        places = [part.distribution for part in message.mixture.components]
    for place in places:
        inside = getattr(place, str(place.WhichOneof("kind")))
        for field in inside.DESCRIPTOR.fields:
            if field.cpp_type != field.CPPTYPE_DOUBLE:
                continue
            before = getattr(inside, field.name)
            setattr(inside, field.name, value)
            blamed = "given.beta"
            try:
                to_law(message, "given")
            except InvalidInput as error:
                blamed = error.field
            assert blamed.startswith("given.")
            assert exists(message, blamed.removeprefix("given.")), blamed
            setattr(inside, field.name, before)
