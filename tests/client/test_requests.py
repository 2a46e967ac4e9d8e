"""Requests built from Python values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from liftos.bayes import InvalidArgument, requests
from liftos.bayes.v1 import common_pb2, elicitation_pb2
from liftos.bayes.values import statement, usd


@pytest.mark.parametrize("estimand", ["roi", 3, {"quantity": "ROI"}])
def test_a_value_of_another_kind_is_an_invalid_argument_and_not_a_type_error(estimand: Any) -> None:
    stated = statement(mean=1.0, plus_minus=0.1, meaning="sd")
    with pytest.raises(InvalidArgument):
        requests.add_belief(
            "acme", "s", "b", estimand, stated, wording="", stated_by="", role=None, data_seen=None, request_id=None
        )


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


def test_shares_are_named_like_their_channels_unless_told_otherwise() -> None:
    request = requests.add_shares(
        "acme",
        "s",
        "share_of_media",
        {"tv": (0.6, 0.1), "radio": (0.4, 0.1)},
        meaning="sd",
        level=None,
        belief_ids={"tv": "first"},
        wording="",
        stated_by="",
        data_seen=True,
        request_id=None,
    )
    assert [(s.belief_id, s.channel, s.share.mean) for s in request.shares] == [
        ("first", "tv", 0.6),
        ("radio", "radio", 0.4),
    ]
    assert request.data_seen


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


def test_a_bare_number_for_money_is_answered_with_how_to_give_its_currency() -> None:
    for ask in (
        lambda: requests.thresholds(10, 10.0, 3_000_000, 0.6),  # type: ignore[arg-type]
        lambda: requests.check_necessity(**{**NOTHING, "business_impact": 3_000_000}),
    ):
        with pytest.raises(InvalidArgument, match=r"business_impact: 3000000 has no currency: give usd\(3000000\)"):
            ask()


def test_a_number_of_a_specification_that_is_none_is_named_by_its_field() -> None:
    with pytest.raises(InvalidArgument, match=r"spec\.additive_mmm\.fourier_pairs"):
        requests.mmm_spec(dataset_id="d", channels=["tv"], fourier_pairs="two")  # type: ignore[arg-type]


def test_a_confidence_in_words_is_named_by_its_field() -> None:
    with pytest.raises(InvalidArgument, match="client_confidence"):
        requests.create_session("acme", "s", model_id="m", client_confidence="0.6", request_id=None)  # type: ignore[arg-type]


NOTHING: dict[str, Any] = {
    "client_id": "acme",
    "model_complexity": None,
    "bayes_factor": None,
    "log_bayes_factor": None,
    "conflict_severity": None,
    "business_impact": None,
    "client_confidence": None,
    "model_id": "",
    "data_period_months": None,
    "hold_out_months": None,
    "policy_version": None,
}
