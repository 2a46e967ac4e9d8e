"""The decision on calibration in words."""

from __future__ import annotations

import dataclasses

import pytest

from engine.rules.sbc_policy import POLICY_V1, NecessityInputs, check_necessity
from server.texts.policy_words import Replayed, explain_change, explain_decision, explain_replay

CALM = NecessityInputs(n_parameters=5, bayes_factor=1.5, business_impact_minor_units=1_000_000, client_confidence=0.9)


def told(**changes: object) -> str:
    return explain_decision(check_necessity(dataclasses.replace(CALM, **changes)), POLICY_V1)  # type: ignore[arg-type]


def test_the_reason_is_named_in_plain_words_with_the_money_in_its_currency() -> None:
    assert told(business_impact_minor_units=250_000_000) == (
        "Calibration is essential by policy: 2,500,000.00 USD are at stake (more than 1,000,000.00 USD). "
        "Recommended: COMPREHENSIVE, 1000 simulations."
    )
    assert told() == "The policy does not require calibration, which does not mean that the model is safe."
    assert "but bayes_factor could make it essential" in told(bayes_factor=None)


@pytest.mark.parametrize(
    ("factor", "shown"), [(10.04, "10.04"), (10.000001, "10.000001"), (12.1825, "12.2"), (12345.0, "12,300")]
)
def test_a_factor_is_short_but_never_so_short_that_it_stands_on_its_threshold(factor: float, shown: str) -> None:
    assert f"is {shown} (more than 10)" in told(bayes_factor=factor)


def test_what_would_change_the_answer_is_told_with_its_threshold() -> None:
    changes = check_necessity(dataclasses.replace(CALM, bayes_factor=None)).changes
    assert [explain_change(change, POLICY_V1) for change in changes] == [
        "model_complexity > 10 would make it ESSENTIAL.",
        "bayes_factor > 10 would make it ESSENTIAL.",
        "business_impact > 1,000,000.00 USD would make it ESSENTIAL.",
        "client_confidence < 0.6 would make it ESSENTIAL.",
        "bayes_factor <= 10 would make it NOT_REQUIRED_BY_POLICY.",
    ]


def test_a_replay_tells_of_more_decisions_than_it_lists() -> None:
    counts = Replayed(300, 200, 0, 0, 200, 200, 200, 1, 2, 3)
    told_of, models = explain_replay(counts)
    assert "0 more and 200 fewer" in told_of
    assert "calibrated: 6. Of these 1 have failed a run" in models
    assert (
        explain_replay(dataclasses.replace(counts, differ=201))[-1]
        == "201 decisions differ; the newest 200 are listed."
    )
