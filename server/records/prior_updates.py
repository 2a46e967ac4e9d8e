"""Recommendations as they are stored: what they rest on and whether they can be released."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import conflict_pb2, prior_update_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.tables import Conflict, ElicitedSession, Job, RecommendedUpdate, RegisteredModel
from server.contract.errors import Reason, ServiceError, invalid_field
from server.contract.period import Period
from server.contract.wire import from_json, timestamp, value_of
from server.records.certificates import failed_elsewhere, reference_certificate
from server.records.lookups import by_pk, owned
from server.texts.advice import summary_of
from server.texts.blockers import (
    EXPLORATORY_UPDATE,
    failed_on_shared_rows,
    held_back,
    not_calibrated,
    not_passed,
    unreliable_figures,
)
from server.texts.standing import missed_by

_CHANGES = frozenset(
    {
        prior_update_pb2.UPDATE_ACTION_UPDATE,
        prior_update_pb2.UPDATE_ACTION_WIDEN,
        prior_update_pb2.UPDATE_ACTION_ROBUSTIFY,
    }
)
"""Actions that recommend another prior, and so rest on the model."""


async def conflict_behind(session: AsyncSession, elicited: ElicitedSession, analysis_id: str) -> Conflict:
    """The analysis that a session is updated from: the one named, else the latest that is not exploratory.

    ServiceError NOT_FOUND, INVALID_FIELD or INVALID_STATE for one that is none, is another session's or has not
    succeeded; NO_EVIDENCE where there is none to choose.
    """
    if analysis_id:
        named = await owned(session, Conflict, elicited.client_id, analysis_id)
        if named.session_pk != elicited.pk:
            raise invalid_field("analysis_id", f"is not an analysis of session {elicited.session_id!r}")
        state = (await session.get_one(Job, named.job_pk)).state
        if state != "SUCCEEDED":
            raise ServiceError(
                Reason.INVALID_STATE,
                f"analysis {analysis_id} is {state}; it must have succeeded",
                metadata={"state": state},
            )
        return named
    statement = (
        select(Conflict)
        .join(Job, Job.pk == Conflict.job_pk)
        .where(Conflict.session_pk == elicited.pk, Job.state == "SUCCEEDED", Conflict.exploratory.is_(False))
        .order_by(Conflict.create_time.desc(), Conflict.pk.desc())
        .limit(1)
    )
    latest = (await session.scalars(statement)).one_or_none()
    if latest is None:
        raise ServiceError(
            Reason.NO_EVIDENCE,
            f"no conflict analysis of session {elicited.session_id!r} that is not exploratory has succeeded; run "
            "AnalyzeConflict",
        )
    return latest


async def release_blockers(session: AsyncSession, row: RecommendedUpdate) -> list[str]:
    """Why a recommendation cannot be accepted now; read from the store each time: a certificate may come later."""
    update = from_json(row.result or {}, prior_update_pb2.PriorUpdate())
    conflict = await by_pk(session, Conflict, row.conflict_pk)
    # The stored figures alone: the whole message would render its texts for nothing.
    analysis = from_json(conflict.result or {}, conflict_pb2.ConflictAnalysis())
    blockers = []
    if row.exploratory:
        blockers.append(EXPLORATORY_UPDATE)
    missed = missed_by(analysis)
    blockers += [
        unreliable_figures(belief.belief_id)
        for belief in analysis.beliefs
        if missed or belief.status == conflict_pb2.CONFLICT_STATUS_UNRELIABLE
    ]
    if not any(belief.changed for belief in update.beliefs):
        return blockers
    model = await by_pk(session, RegisteredModel, conflict.model_pk)
    period = Period.of(conflict)
    run = await reference_certificate(session, model, period)
    verdict = run.verdict_kind if run is not None else None
    if verdict == "PASS":
        return blockers
    # A model that is known to be miscalibrated releases nothing, whether or not policy asked for the check.
    if verdict != "FAIL" and (failed := await failed_elsewhere(session, model, period)) is not None:
        blockers.append(failed_on_shared_rows(str(failed.pk), model.model_id, str(Period.of(failed))))
        return blockers
    decision = update.sbc_decision or analysis.sbc_necessity.decision
    if decision == sbc_pb2.NECESSITY_DECISION_NOT_REQUIRED_BY_POLICY and verdict != "FAIL":
        return blockers
    if run is None:
        blockers.append(not_calibrated(model.model_id, str(period)))
    else:
        blockers.append(not_passed(str(run.pk), model.model_id, str(period), verdict))
    return blockers


def hold_back(update: prior_update_pb2.PriorUpdate, blockers: Sequence[str]) -> None:
    """Recommend no other prior while something stands against its release: what it rests on comes first."""
    for belief in update.beliefs:
        if blockers and belief.action in _CHANGES:
            belief.action = prior_update_pb2.UPDATE_ACTION_CHECK_MODEL
            belief.reasons.insert(0, held_back(blockers))


async def prior_update_message(session: AsyncSession, row: RecommendedUpdate) -> prior_update_pb2.PriorUpdate:
    """A stored recommendation, whether it can be released now, and what is recommended in that light."""
    update = from_json(row.result or {}, prior_update_pb2.PriorUpdate())
    update.client_id = row.client_id
    update.update_id = str(row.pk)
    update.session_id = (await by_pk(session, ElicitedSession, row.session_pk)).session_id
    update.state = value_of(prior_update_pb2.UpdateState, row.state)
    update.etag = str(row.version)
    for replaced in update.lineage.replaced:
        replaced.update_id = replaced.update_id or update.update_id  # its own had no name yet when it was written
    update.exploratory = row.exploratory
    update.decided_by = row.decided_by or ""
    update.decision_reason = row.decision_reason or ""
    if row.decide_time is not None:
        update.decide_time.CopyFrom(timestamp(row.decide_time))
    update.create_time.CopyFrom(timestamp(row.create_time))
    blockers = await release_blockers(session, row) if row.state == "PROPOSED" else []
    update.release_blockers.extend(blockers)
    update.releasable = row.state == "PROPOSED" and not blockers
    hold_back(update, blockers)
    notes = list(update.summary)
    del update.summary[:]
    update.summary.extend([*summary_of(update), *notes])
    return update
