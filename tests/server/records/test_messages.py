"""Stored rows as messages: what is stored comes out, and what is only known later is added."""

from __future__ import annotations

import datetime
import uuid

import pytest
from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2, sbc_pb2

from persistence import jobs
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import Conflict, ElicitedSession, Job, RegisteredModel, SbcValidation, StoredAttribution
from server.contract.wire import to_json
from server.records.messages import (
    EXPLORATORY,
    attribution_message,
    conflict_message,
    error_message,
    progress_message,
    sbc_plan_message,
)

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def seconds(number: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=number)


def test_the_rate_is_that_since_the_run_was_taken_up_again_and_the_rest_is_counted_by_it() -> None:
    job = Job(done=60, done_before=20, total=100, start_time=START, end_time=None)
    progress = progress_message(job, seconds(8))
    assert (progress.done, progress.total) == (60, 100)
    assert (progress.rate_per_second, progress.eta_seconds) == pytest.approx((5.0, 8.0))
    job.end_time = seconds(4)
    assert progress_message(job, seconds(1000)).rate_per_second == pytest.approx(10.0)


@pytest.mark.parametrize(
    "job",
    [
        Job(done=0, done_before=0, total=100, start_time=None, end_time=None),
        Job(done=20, done_before=20, total=100, start_time=START, end_time=None),  # nothing since
        Job(done=20, done_before=0, total=100, start_time=seconds(8), end_time=None),  # by a clock that is ahead
    ],
)
def test_there_is_no_rate_before_anything_is_done(job: Job) -> None:
    progress = progress_message(job, seconds(8))
    assert not progress.HasField("rate_per_second")
    assert not progress.HasField("eta_seconds")


def test_only_a_failed_job_has_an_error_and_then_always_a_reason() -> None:
    assert error_message(Job(state="CANCELLED", error_reason="LEFT_OVER")) is None
    found = error_message(Job(state="FAILED", error_message="too hard", error_field="spec"))
    assert found is not None
    assert (found.reason, found.message, found.field) == ("COMPUTATION_FAILED", "too hard", "spec")


def test_a_plan_counts_the_ledger_of_each_part_and_knows_no_quantities_before_the_first_shard() -> None:
    plan = SbcValidation(
        client_id="acme",
        validation_type="STANDARD",
        num_simulations=200,
        data_period_months=24,
        hold_out_months=0,
        certificate_key="k",
        stop_on_fail=False,
        inference_method="PRODUCTION",
        alpha=0.05,
        further_quantities=[],
        parts=[
            {"part": "PRIOR", "planned": [100, 200], "quantities": ["sigma"], "reported": 0},
            {"part": "CANARY_HALF_DATA", "planned": [100], "quantities": None, "reported": 0},
        ],
    )
    prior, canary = sbc_plan_message(plan, "m", "", {"PRIOR": 150}).parts
    assert (prior.part, list(prior.planned), prior.done, list(prior.quantities)) == (
        sbc_pb2.SBC_PART_PRIOR,
        [100, 200],
        150,
        ["sigma"],
    )
    assert (canary.done, list(canary.quantities)) == (0, [])


async def stored(database: Database, *, exploratory: bool) -> tuple[Conflict, StoredAttribution]:
    """An analysis with one belief and an attribution whose validation shows it."""
    belief = conflict_pb2.BeliefConflict(belief_id="tv", explanation="They disagree.")
    request = conflict_pb2.AnalyzeConflictRequest(expert_session_id="ann", replicates=99)
    async with database.session() as session:
        await ensure_client(session, "acme")
        model = RegisteredModel(
            client_id="acme", model_id="m", family="conjugate_normal/1", spec={}, parameter_count=1, model_hash="h"
        )
        session.add(model)
        await session.flush()
        elicited = ElicitedSession(client_id="acme", session_id="s", model_pk=model.pk)
        session.add(elicited)
        job = await jobs.create(session, "acme", "ANALYZE_CONFLICT", request.SerializeToString())
        other = await jobs.create(session, "acme", "ANALYZE_ATTRIBUTION", b"")
        await session.flush()
        owner = {"client_id": "acme", "model_pk": model.pk, "data_period_months": 12, "exploratory": exploratory}
        conflict = Conflict(
            **owner,
            session_pk=elicited.pk,
            job_pk=job.pk,
            result=to_json(conflict_pb2.ConflictAnalysis(beliefs=[belief], model_id="under another name")),
        )
        attribution = StoredAttribution(
            **owner,
            session_pk=elicited.pk,
            job_pk=other.pk,
            result=to_json(
                attribution_pb2.Attribution(
                    summary=["TV brings a quarter."],
                    validation=attribution_pb2.BayesianValidation(
                        conflicts=[belief], summary=["One belief disagrees."]
                    ),
                )
            ),
        )
        session.add_all([conflict, attribution])
    return conflict, attribution


async def test_an_answer_has_the_names_of_its_rows_and_what_was_asked_for(database: Database) -> None:
    row, _ = await stored(database, exploratory=False)
    async with database.session() as session:
        message = await conflict_message(session, row)
    assert (message.client_id, message.model_id, message.session_id) == ("acme", "m", "s")
    assert (message.expert_session_id, message.replicates, message.data_period_months) == ("ann", 99, 12)
    assert message.state == common_pb2.JOB_STATE_QUEUED
    assert uuid.UUID(message.analysis_id) == row.pk
    assert message.beliefs[0].explanation == "They disagree."


async def test_every_sentence_of_an_exploratory_answer_says_so(database: Database) -> None:
    rows = await stored(database, exploratory=True)
    async with database.session() as session:
        conflict, attribution = await conflict_message(session, rows[0]), await attribution_message(session, rows[1])
    sentences = [conflict.beliefs[0].explanation, attribution.validation.conflicts[0].explanation]
    sentences += [*attribution.summary, *attribution.validation.summary]
    assert len(sentences) == 4
    assert all(sentence.startswith(EXPLORATORY) for sentence in sentences)
