"""Values of the contract from plain Python values."""

from __future__ import annotations

import math
from typing import Any

import liftos.bayes as lb
import pytest
from liftos.bayes import InvalidArgument
from liftos.bayes.v1 import common_pb2, elicitation_pb2, prior_update_pb2
from liftos.bayes.values import statement, usd


def test_mean_and_give_or_take_need_their_meaning() -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        lb.values.statement(mean=0.5, plus_minus=0.1)
    assert [v.field for v in caught.value.violations] == ["statement.mean_plus_minus.meaning"]


def test_enum_names_are_taken_in_any_case_with_and_without_prefix() -> None:
    enum = prior_update_pb2.UpdateStrategy
    for name in ("evidence_weighted", "Evidence-Weighted", "EVIDENCE WEIGHTED", "UPDATE_STRATEGY_EVIDENCE_WEIGHTED", 1):
        assert lb.values.enum_value(enum, name, "f") == 1
    with pytest.raises(lb.InvalidArgument, match="evidence_weighted, full_bayesian"):
        lb.values.enum_value(enum, "bayes", "f")


def test_money_in_dollars_is_exact() -> None:
    assert lb.usd("1000000.01").minor_units == 100_000_001
    with pytest.raises(lb.InvalidArgument):
        lb.usd(0.001)


def test_an_experiment_states_its_window_and_a_wrong_value_names_its_field() -> None:
    about = lb.roi("tv")
    assert not lb.experiment("lift", about, estimate=1.5, standard_error=0.2).HasField("window")
    with pytest.raises(lb.InvalidArgument) as caught:
        lb.experiment("lift", about, estimate="much", standard_error=0.2)  # type: ignore[arg-type]
    assert [v.field for v in caught.value.violations] == ["estimate"]


def test_every_form_of_a_statement_is_built_from_plain_values() -> None:
    ranged = statement(range=(0.2, 0.6), probability=0.9, mode=0.4, family="gamma")
    assert ranged.WhichOneof("form") == "range"
    assert (ranged.range.lower, ranged.range.upper, ranged.range.probability) == (0.2, 0.6, 0.9)
    assert ranged.range.mode == 0.4
    assert not ranged.range.HasField("mean")
    assert ranged.family == common_pb2.PRIOR_FAMILY_GAMMA
    assert statement(range=(0.2, 0.6), probability=0.9, mean=0.4).range.mean == 0.4
    chips = statement(roulette=([0, 1, 2], [3, 4])).roulette
    assert (list(chips.edges), list(chips.chips)) == ([0, 1, 2], [3, 4])
    pert = statement(mode_and_bounds=(0.1, 0.3, 0.6)).mode_and_bounds
    assert (pert.lower, pert.mode, pert.upper) == (0.1, 0.3, 0.6)
    pool = statement(pooled=[("s", "b"), ("t", "c", 2.0)], method="logarithmic").pooled
    assert pool.method == elicitation_pb2.POOL_METHOD_LOGARITHMIC
    assert [(m.session_id, m.belief_id, m.HasField("weight")) for m in pool.members] == [
        ("s", "b", False),
        ("t", "c", True),
    ]


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        ({}, "statement.form"),
        ({"range": (0.2, 0.6), "quantiles": {0.1: 0.2, 0.9: 0.6}}, "statement.form"),
        ({"mode_and_bounds": (0.1, 0.3, 0.6), "level": 0.9}, "statement.form"),
        ({"range": (0.2, 0.6)}, "statement.range.probability"),
        ({"probability": 0.9}, "statement.range.range"),
        ({"method": "linear"}, "statement.pooled.pooled"),
        ({"mean": 0.5, "plus_minus": 0.1}, "statement.mean_plus_minus.meaning"),
        ({"quantiles": {0.1: 0.2, 0.9: 0.6}, "family": "cauchy"}, "statement.family"),
    ],
)
def test_a_statement_that_is_not_one_form_names_what_is_wrong(stated: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        statement(**stated)
    assert [v.field for v in caught.value.violations] == [field]


def test_a_misspelt_part_of_a_statement_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="plusminus"):
        statement(mean=0.5, plusminus=0.1, meaning="sd")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        ({"mean": "0.5", "plus_minus": 0.1, "meaning": "sd"}, "statement.mean_plus_minus.mean"),
        ({"quantiles": {0.1: 0.2, 0.9: "0.6"}}, "statement.quantiles"),
        ({"range": (0.2, "0.6"), "probability": 0.9}, "statement.range.upper"),
        ({"roulette": ([0.0, 0.5, 1.0], [4, 6.5])}, "statement.roulette.chips"),
        ({"mode_and_bounds": (0.1, "0.3", 0.6)}, "statement.mode_and_bounds.mode"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_by_its_field(stated: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        statement(**stated)
    (violation,) = caught.value.violations
    assert violation.field.startswith(field)


def test_the_meaning_of_a_plus_minus_is_asked_for_with_its_choices() -> None:
    with pytest.raises(InvalidArgument, match=r'"sd" .* "interval_half_width"'):
        statement(mean=0.5, plus_minus=0.1)


@pytest.mark.parametrize("amount", ["$3M", "3,000,000", "nan", math.inf, ""])
def test_what_is_no_amount_is_told_how_to_write_one(amount: Any) -> None:
    with pytest.raises(InvalidArgument, match="digits only, for example 1500000"):
        usd(amount)


def test_a_fraction_of_a_cent_is_still_called_that() -> None:
    with pytest.raises(InvalidArgument, match="not a whole number of cents"):
        usd("0.001")
