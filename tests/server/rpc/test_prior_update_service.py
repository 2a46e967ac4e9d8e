"""From which analysis a session is updated, and what stands against a release, read from the store."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import pytest
from liftos.bayes import experiment, share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2, prior_update_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from persistence import jobs
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import ClientPrior, Conflict, ElicitedSession, RecommendedUpdate, RegisteredModel
from server.contract.errors import ServiceError
from server.contract.wire import to_json
from server.records.lineage import refuse_used_experiments
from server.records.prior_updates import conflict_behind, hold_back, prior_update_message, release_blockers
from server.texts.advice import summary_of

CLIENT = "acme"
ABOUT = share_of_outcome("TV")


@dataclass(frozen=True)
class Analysed:
    """A session with an analysis of each kind, oldest first; all but `cancelled` have succeeded."""

    session: ElicitedSession
    plain: Conflict
    exploratory: Conflict
    cancelled: Conflict


@pytest.fixture
async def analysed(database: Database) -> Analysed:
    async with database.session() as session:
        await ensure_client(session, CLIENT)
        model = RegisteredModel(
            client_id=CLIENT, model_id="tv", family="conjugate_normal", spec={}, parameter_count=1, model_hash="h"
        )
        session.add(model)
        await session.flush()
        elicited = ElicitedSession(client_id=CLIENT, session_id="s", model_pk=model.pk)
        session.add(elicited)
        await session.flush()
        rows = []
        for minute, (state, exploratory) in enumerate(
            (("SUCCEEDED", False), ("SUCCEEDED", True), ("CANCELLED", False))
        ):
            job = await jobs.create(session, CLIENT, "ANALYZE_CONFLICT", b"")
            job.state, job.end_time = state, datetime.datetime.now(datetime.UTC)
            rows.append(
                Conflict(
                    client_id=CLIENT,
                    session_pk=elicited.pk,
                    model_pk=model.pk,
                    job_pk=job.pk,
                    data_period_months=24,
                    exploratory=exploratory,
                    create_time=datetime.datetime(2026, 1, 1, 0, minute, tzinfo=datetime.UTC),
                    result=to_json(conflict_pb2.ConflictAnalysis()),
                )
            )
        session.add_all(rows)
        await session.flush()
    return Analysed(elicited, *rows)


async def test_an_exploratory_analysis_is_taken_only_when_it_is_named(database: Database, analysed: Analysed) -> None:
    async with database.session() as session:
        assert (await conflict_behind(session, analysed.session, "")).pk == analysed.plain.pk
        named = await conflict_behind(session, analysed.session, str(analysed.exploratory.pk))
        assert named.pk == analysed.exploratory.pk
        with pytest.raises(ServiceError) as caught:
            await conflict_behind(session, analysed.session, str(analysed.cancelled.pk))
        assert caught.value.reason == "INVALID_STATE"


def changed() -> prior_update_pb2.PriorUpdate:
    summary = common_pb2.Estimate(mean=0.5, median=0.5, sd=0.1)
    return prior_update_pb2.PriorUpdate(
        beliefs=[
            prior_update_pb2.BeliefUpdate(
                belief_id="tv",
                estimand=ABOUT,
                before_summary=summary,
                after_summary=summary,
                changed=True,
                action=prior_update_pb2.UPDATE_ACTION_UPDATE,
                reasons=["The data contradict the belief."],
            )
        ],
        summary=["The correlation of the updated priors is not given: no draws."],
    )


async def stored(session: AsyncSession, conflict: Conflict, update: prior_update_pb2.PriorUpdate) -> RecommendedUpdate:
    row = RecommendedUpdate(
        client_id=CLIENT,
        session_pk=conflict.session_pk,
        conflict_pk=conflict.pk,
        update_strategy="EVIDENCE_WEIGHTED",
        min_evidence_strength=10.0,
        exploratory=conflict.exploratory,
        result=to_json(update),
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row


async def test_an_update_from_an_exploratory_analysis_is_never_released(database: Database, analysed: Analysed) -> None:
    for update in (changed(), prior_update_pb2.PriorUpdate()):
        async with database.session() as session:
            row = await stored(session, analysed.exploratory, update)
            assert "NOT INFERENTIAL" in (await release_blockers(session, row))[0]
            message = await prior_update_message(session, row)
            assert message.exploratory
            assert not message.releasable


async def test_the_action_shown_depends_on_what_stands_against_its_release_when_it_is_read(
    database: Database, analysed: Analysed
) -> None:
    async with database.session() as session:
        row = await stored(session, analysed.plain, changed())
        waiting = await prior_update_message(session, row)
        assert waiting.beliefs[0].action == prior_update_pb2.UPDATE_ACTION_CHECK_MODEL
        assert "has not been calibrated" in waiting.beliefs[0].reasons[0]
        assert waiting.beliefs[0].reasons[1] == "The data contradict the belief."
        assert waiting.summary[0].startswith("Check the model before")
        assert waiting.summary[1].startswith("The correlation of the updated priors")
        # Once decided there is nothing left to release: it is shown as it was recommended.
        row.state, row.decided_by, row.decide_time = "REJECTED", "Ann", datetime.datetime.now(datetime.UTC)
        decided = await prior_update_message(session, row)
        assert decided.beliefs[0].action == prior_update_pb2.UPDATE_ACTION_UPDATE


@pytest.mark.parametrize(
    "action", [value.name for value in prior_update_pb2.UpdateAction.DESCRIPTOR.values if value.number]
)
def test_only_actions_that_need_the_model_are_held_back(action: str) -> None:
    update = changed()
    update.beliefs[0].action = prior_update_pb2.UpdateAction.Value(action)
    hold_back(update, ["The model has failed."])
    held = action.rsplit("_", 1)[-1] in {"UPDATE", "WIDEN", "ROBUSTIFY"}
    expected = "UPDATE_ACTION_CHECK_MODEL" if held else action
    assert prior_update_pb2.UpdateAction.Name(update.beliefs[0].action) == expected
    assert len(update.beliefs[0].reasons) == (2 if held else 1)
    assert all("share of outcome of TV" in sentence for sentence in summary_of(update))


def test_an_experiment_that_has_gone_into_a_prior_is_not_counted_again() -> None:
    belief = elicitation_pb2.Belief(belief_id="tv", estimand=ABOUT, experiment_ids=["lift"])
    again = experiment("lift", ABOUT, estimate=0.3, standard_error=0.05)
    with pytest.raises(ServiceError, match="has gone into belief 'tv' already") as caught:
        refuse_used_experiments([ClientPrior(belief_id="tv", belief=to_json(belief))], [again])
    assert caught.value.reason == "DATA_ALREADY_USED"
    assert [v.field for v in caught.value.violations] == ["experiments[0].experiment_id"]
