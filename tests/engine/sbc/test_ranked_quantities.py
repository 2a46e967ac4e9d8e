"""What is ranked, and combinations of quantities."""

from __future__ import annotations

import numpy as np
import pytest

from engine.distributions.distribution import Normal, Uniform
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.models.conjugate_normal import ConjugateNormal, ConjugateNormalSpec
from engine.sbc.ranked_quantities import equivalents, evaluated, operands, ranked_quantities
from tests.bench.cases import case

TV = ConjugateNormal(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Normal(0.5, 1.0)))
VALUES = {"a": np.array([1.0, 2.0]), "b": np.array([4.0, 0.0]), "log_likelihood": np.ones(2), "log_prior": np.ones(2)}


def test_all_that_differs_is_ranked_and_multiples_of_parameters_are_named_beside_them() -> None:
    model = case(15)
    ranked = ranked_quantities(model)
    assert set(model.parameter_names) < set(ranked)
    assert ranked[-3:] == ("log_likelihood", "log_prior", "log_joint")
    same = equivalents(model, ranked)
    assert same["share_of_outcome[channel_1]"] == ("incremental_outcome[channel_1]", "roi[channel_1]")
    # Nothing is lost: what is not ranked stands beside something that is.
    assert {*ranked, *(name for names in same.values() for name in names)} == {*model.quantity_names, "log_joint"}


def test_a_flat_prior_leaves_log_prior_and_log_joint_out() -> None:
    flat = ConjugateNormal(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Uniform(0.0, 1.0)))
    assert ranked_quantities(flat) == ("share_of_outcome[TV]", "log_likelihood")
    for name in ("log_prior", "log_joint", "log_likelihood - log_prior"):
        with pytest.raises(InvalidInput, match="cannot be ranked: every prior is uniform"):
            ranked_quantities(flat, [name])
    with pytest.raises(InvalidInput, match="neither a quantity to rank"):
        ranked_quantities(flat, ["log_prior - roi"])
    assert ranked_quantities(TV) == ("share_of_outcome[TV]", "log_likelihood", "log_prior", "log_joint")


def test_combinations_join_what_the_data_tie_together() -> None:
    added = ranked_quantities(case(15), dependence=True)[22:]
    assert added == (
        "share_of_outcome[channel_1] - share_of_outcome[channel_2]",
        "share_of_outcome[channel_2] - share_of_outcome[channel_3]",
        "share_of_outcome[channel_1] * half_saturation[channel_1]",
        "share_of_outcome[channel_2] * half_saturation[channel_2]",
        "share_of_outcome[channel_3] * half_saturation[channel_3]",
    )


def test_further_quantities_are_added_once_and_unknown_ones_refused_with_their_place() -> None:
    name = "share_of_outcome[TV] * log_prior"
    assert ranked_quantities(TV, [name, name, "log_prior"])[4:] == (name,)
    with pytest.raises(InvalidInput, match="'roi' is neither") as caught:
        ranked_quantities(TV, [name, "roi"])
    assert caught.value.field == "further_quantities[1]"
    joint = "log_joint - log_prior"
    assert ranked_quantities(TV, [joint])[4:] == (joint,)
    assert evaluated("log_joint - log_prior", VALUES).tolist() == [1, 1]
    for constant in ("log_prior - log_prior", "log_likelihood / log_likelihood"):
        with pytest.raises(InvalidInput, match="constant"):
            ranked_quantities(TV, [constant])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", [1, 2]), ("a + b", [5, 2]), ("a - b", [-3, 2]), ("a * b", [4, 0]), ("b / a", [4, 0]), ("log_joint", [2, 2])],
)
def test_combinations_are_what_their_names_say(name: str, expected: list[float]) -> None:
    assert evaluated(name, VALUES).tolist() == expected


def test_a_division_by_zero_is_a_number_like_any_other_to_a_rank() -> None:
    assert evaluated("a / b", VALUES).tolist() == [0.25, np.inf]


def test_names_that_hold_an_operator_are_taken_whole() -> None:
    known = ("roi[TV - spots]", "roi[Radio]")
    assert operands("roi[TV - spots] - roi[Radio]", known) == ("roi[TV - spots]", " - ", "roi[Radio]")
    assert operands("roi[Radio] - roi[TV - spots]", known) == ("roi[Radio]", " - ", "roi[TV - spots]")
    with pytest.raises(UnsupportedQuantity):
        operands("roi[TV - spots]-roi[Radio]", known)
