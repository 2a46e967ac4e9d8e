"""A belief is decided on the first part of the data and meets the second updated (methods/conflict.md §12, 5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from liftos.bayes import Client, FailedPrecondition, share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2, prior_update_pb2, sbc_pb2

from server.command import printing as report
from tests.end_to_end.examples import MONTHS, register_mmm

pytestmark = pytest.mark.slow

LAST = 20
"""Months that are held out of the 41 of the example; the first part has 92 weeks, the second 87."""
ENOUGH = 3.0
"""Evidence that moves the belief, as in the demo."""
GAINS = {"evidence_weighted": 2.86, "full_bayesian": -1.07, "conservative": 2.28}
"""How much better the second part is predicted than by the client's own belief, in nats: docs/lineage.md.

The share of x1 is 31.0 % in the first part and 27.1 % in the second, so that a prior which takes the first part's share
for the second's, and is sure of it, predicts worse than the belief that it replaces.
"""


@pytest.fixture(scope="module")
def client(service: Any) -> Iterator[Client]:
    """A client whose belief has met the first part, under a model that is calibrated there."""
    with Client.connect(service.address, client_id="split-sample") as connected:
        register_mmm(connected)
        connected.elicitation.create("own", model_id="mmm", client_confidence=0.7)
        connected.elicitation.add_belief(
            "own", "x1-half", share_of_outcome("x1"), mean=0.5, plus_minus=0.1, meaning="sd", stated_by="marketing"
        )
        connected.elicitation.confirm("own")
        first = connected.conflicts.analyze(
            "own", data_period_months=MONTHS, hold_out_months=LAST, without_causes=True, timeout=400
        )
        assert first.hold_out_months == LAST
        handle = connected.sbc.run(
            model_id="mmm", num_simulations=200, data_period_months=MONTHS, hold_out_months=LAST, seed=20181
        )
        run = handle.result(timeout=600)
        assert run.verdict.kind == sbc_pb2.VERDICT_KIND_PASS, run.verdict.explanation
        yield connected


def adopted(client: Client, strategy: str) -> prior_update_pb2.PriorUpdate:
    """The update of the belief under a strategy, accepted and adopted as the session of its name."""
    update = client.updates.propose("own", update_strategy=strategy, min_evidence_strength=ENOUGH)
    assert update.releasable, list(update.release_blockers)
    update = client.updates.accept(update, decided_by="analyst")
    client.elicitation.adopt_update(update.update_id, strategy)
    client.elicitation.confirm(strategy)
    return update


@pytest.mark.parametrize("strategy", ["evidence_weighted", "full_bayesian", "conservative"])
def test_the_updated_prior_meets_the_second_part_only_and_its_gain_is_what_the_docs_say(
    client: Client, strategy: str
) -> None:
    update = adopted(client, strategy)
    assert update.lineage.window.first_date == "2018-04-02"
    for options in ({"hold_out_months": LAST}, {}):
        with pytest.raises(FailedPrecondition) as caught:
            client.conflicts.analyze(strategy, data_period_months=MONTHS, **options)
        assert caught.value.reason == "DATA_ALREADY_USED"
        assert update.update_id in caught.value.message
        with pytest.raises(FailedPrecondition) as caught:
            client.attribution.analyze("mmm", session_id=strategy, data_period_months=MONTHS, **options)
        assert caught.value.reason == "DATA_ALREADY_USED"
    second = client.conflicts.analyze(
        strategy, data_period_months=LAST, expert_session_id="own", without_causes=True, timeout=400
    )
    assert not second.exploratory
    (belief,) = second.beliefs
    factors = {factor.alternative: factor for factor in belief.bayes_factors}
    # The expert is the client's own belief, so that the factor is m2(client) / m2(updated).
    gain = -factors[conflict_pb2.BAYES_FACTOR_ALTERNATIVE_EXPERT].log_bayes_factor
    assert gain == pytest.approx(GAINS[strategy], abs=0.6)
    answer = client.attribution.analyze("mmm", session_id=strategy, data_period_months=LAST, timeout=400)
    assert not answer.exploratory
    shares = {q.quantity: q for channel in answer.channels if channel.channel == "x1" for q in channel.quantities}
    prior = shares[common_pb2.QUANTITY_SHARE_OF_OUTCOME].prior
    assert prior.mean == pytest.approx(update.beliefs[0].after_summary.mean)


def test_an_exploratory_attribution_is_stamped_in_store_and_report(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    update = client.updates.propose("own", update_strategy="full_bayesian")
    client.updates.accept(update, decided_by="analyst")
    client.elicitation.adopt_update(update.update_id, "again")
    client.elicitation.confirm("again")
    answer = client.attribution.analyze(
        "mmm", session_id="again", data_period_months=MONTHS, hold_out_months=LAST, exploratory=True, timeout=400
    )
    stored = client.attribution.get(answer.attribution_id)
    assert stored.exploratory
    (overlap,) = stored.overlaps
    assert (overlap.belief_id, overlap.update_id, overlap.rows) == ("x1-half", update.update_id, 92)
    assert stored.summary
    assert all(sentence.startswith("Exploratory, not inferential: ") for sentence in stored.summary)
    report.print_attribution(stored)
    assert "EXPLORATORY – NOT INFERENTIAL" in capsys.readouterr().out
