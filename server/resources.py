"""Stored rows as messages of the contract, and the look-ups that every service shares."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    model_pb2,
    sbc_pb2,
)
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.lookup import get_owned
from persistence.sbc import done_by_part
from persistence.tables import (
    Attribution,
    ClientPrior,
    Conflict,
    ConflictOutcome,
    Dataset,
    EvidenceCurve,
    Job,
    Model,
    NecessityDecision,
    PriorUpdate,
    SbcValidation,
    Session,
)
from server.communications import (
    attribution_communications,
    calibration_at_issue,
    conflict_communications,
    run_communications,
)
from server.errors import ServiceError, not_found
from server.period import Period
from server.wire import from_json, timestamp, to_array, value_of

E = TypeVar(
    "E", Dataset, Model, Session, Conflict, ConflictOutcome, PriorUpdate, SbcValidation, Attribution, EvidenceCurve
)

EXPLORATORY = "Exploratory, not inferential: "
"""What every sentence of an answer that counts data twice begins with."""
TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})

_KINDS: dict[type[Any], tuple[str, str]] = {
    Dataset: ("data set", "dataset_id"),
    Model: ("model", "model_id"),
    Session: ("elicitation session", "session_id"),
    Conflict: ("conflict analysis", "analysis_id"),
    ConflictOutcome: ("outcome", "outcome_id"),
    PriorUpdate: ("prior update", "update_id"),
    SbcValidation: ("SBC run", "run_id"),
    Attribution: ("attribution", "attribution_id"),
    EvidenceCurve: ("evidence curve", "curve_id"),
}


async def owned(
    session: AsyncSession, entity: type[E], client_id: str, public_id: str, *, field: str = "", for_update: bool = False
) -> E:
    """The client's resource with this id; ServiceError NOT_FOUND naming the field otherwise."""
    found = await get_owned(session, entity, client_id, public_id, for_update=for_update)
    if found is None:
        kind, default_field = _KINDS[entity]
        raise not_found(kind, public_id, field or default_field)
    return found


async def confirmed_session(
    session: AsyncSession, client_id: str, session_id: str, field: str = "session_id"
) -> Session:
    """The client's session, which must be CONFIRMED."""
    found = await owned(session, Session, client_id, session_id, field=field)
    if found.state != "CONFIRMED":
        raise ServiceError(
            "INVALID_STATE",
            f"session {session_id!r} is {found.state}; confirm it before it is analysed",
            metadata={"state": found.state},
        )
    return found


async def by_pk(session: AsyncSession, entity: type[E], pk: uuid.UUID) -> E:
    """The row with this primary key, which a foreign key guarantees to exist."""
    return await session.get_one(entity, pk)


async def dataset_of(session: AsyncSession, model: Model) -> Dataset | None:
    """The data set of a model, None for one that carries its own summary."""
    return await by_pk(session, Dataset, model.dataset_pk) if model.dataset_pk else None


async def beliefs_of(session: AsyncSession, session_pk: uuid.UUID) -> Sequence[ClientPrior]:
    """The beliefs of a session in the order they were added."""
    statement = select(ClientPrior).where(ClientPrior.session_pk == session_pk).order_by(ClientPrior.ordinal)
    return (await session.scalars(statement)).all()


def belief_message(row: ClientPrior) -> elicitation_pb2.Belief:
    """A stored belief."""
    belief = from_json(row.belief, elicitation_pb2.Belief())
    belief.create_time.CopyFrom(timestamp(row.create_time))
    return belief


def dataset_message(row: Dataset) -> dataset_pb2.Dataset:
    """A stored data set's description."""
    return dataset_pb2.Dataset(
        client_id=row.client_id,
        dataset_id=row.dataset_id,
        columns=[from_json(column, dataset_pb2.Column()) for column in row.columns],
        row_count=row.row_count,
        dates=date_range(row.first_date, row.last_date),
        grain=value_of(dataset_pb2.TimeGrain, row.grain),
        sha256=row.sha256 or "",
        create_time=timestamp(row.seal_time),
    )


def date_range(first: datetime.date | None, last: datetime.date | None) -> common_pb2.DateRange | None:
    """An inclusive range, None while the dates are not known."""
    if first is None or last is None:
        return None
    return common_pb2.DateRange(first_date=first.isoformat(), last_date=last.isoformat())


def model_message(row: Model) -> model_pb2.Model:
    """A stored model."""
    return model_pb2.Model(
        client_id=row.client_id,
        model_id=row.model_id,
        spec=from_json(row.spec, model_pb2.ModelSpec()),
        parameter_count=row.parameter_count,
        model_hash=row.model_hash,
        warnings=row.warnings,
        create_time=timestamp(row.create_time),
    )


async def session_message(session: AsyncSession, row: Session) -> elicitation_pb2.ElicitationSession:
    """A stored session with its beliefs."""
    model = await by_pk(session, Model, row.model_pk)
    beliefs = await beliefs_of(session, row.pk)
    matrix = correlation_of(row, [belief.belief_id for belief in beliefs])
    return elicitation_pb2.ElicitationSession(
        client_id=row.client_id,
        session_id=row.session_id,
        model_id=model.model_id,
        state=value_of(elicitation_pb2.SessionState, row.state),
        client_confidence=row.client_confidence,
        beliefs=[belief_message(belief) for belief in beliefs],
        coherence_notes=row.coherence_notes,
        etag=str(row.version),
        create_time=timestamp(row.create_time),
        confirm_time=timestamp(row.confirm_time),
        share_groups=share_groups(row),
        adopted_update_id=str(row.adopted_update_pk) if row.adopted_update_pk else "",
        correlation=None if matrix is None else to_array(matrix),
    )


def correlation_of(row: Session, belief_ids: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """Correlation [k, k] of the beliefs of a session, in this order, on their unconstrained scales; None without any.

    Beliefs that were added beside the adopted ones are independent of them.
    """
    if row.correlation is None:
        return None
    known = {belief_id: index for index, belief_id in enumerate(row.correlation["belief_ids"])}
    own = [index for index, belief_id in enumerate(belief_ids) if belief_id in known]
    theirs = [known[belief_ids[index]] for index in own]
    matrix = np.eye(len(belief_ids))
    matrix[np.ix_(own, own)] = np.asarray(row.correlation["matrix"])[np.ix_(theirs, theirs)]
    return matrix


def correlated_beliefs(row: Session) -> frozenset[str]:
    """The beliefs of a session whose correlation is known."""
    return frozenset(row.correlation["belief_ids"]) if row.correlation is not None else frozenset()


def share_groups(row: Session) -> list[elicitation_pb2.ShareGroup]:
    """The groups of shares that were stated together."""
    return [from_json(group, elicitation_pb2.ShareGroup()) for group in row.share_groups]


def error_message(job: Job) -> common_pb2.JobError | None:
    """Why a job failed, None if it did not."""
    if job.state != "FAILED":
        return None
    return common_pb2.JobError(
        reason=job.error_reason or "COMPUTATION_FAILED",
        message=job.error_message or "",
        field=job.error_field or "",
    )


async def conflict_message(session: AsyncSession, row: Conflict) -> conflict_pb2.ConflictAnalysis:
    """A stored conflict analysis, with the state of its job."""
    job = await session.get_one(Job, row.job_pk)
    message = from_json(row.result, conflict_pb2.ConflictAnalysis()) if row.result else conflict_pb2.ConflictAnalysis()
    message.client_id = row.client_id
    message.analysis_id = str(row.pk)
    message.session_id = (await by_pk(session, Session, row.session_pk)).session_id
    message.model_id = (await by_pk(session, Model, row.model_pk)).model_id
    message.data_period_months = row.data_period_months
    message.hold_out_months = row.hold_out_months
    message.exploratory = row.exploratory
    if row.confidence_threshold is not None:
        message.confidence_threshold = row.confidence_threshold
    request = conflict_pb2.AnalyzeConflictRequest.FromString(job.request)
    message.expert_session_id = request.expert_session_id
    if request.HasField("replicates"):
        message.replicates = request.replicates
    message.state = value_of(common_pb2.JobState, job.state)
    if (error := error_message(job)) is not None:
        message.error.CopyFrom(error)
    message.create_time.CopyFrom(timestamp(row.create_time))
    if row.exploratory:
        for belief in message.beliefs:
            belief.explanation = f"{EXPLORATORY}{belief.explanation}"
    message.communications.extend(
        conflict_communications(message, await _certified(session, row, message.sbc_necessity))
    )
    return message


async def attribution_message(session: AsyncSession, row: Attribution) -> attribution_pb2.Attribution:
    """A stored attribution, with the state of its job."""
    job = await session.get_one(Job, row.job_pk)
    message = from_json(row.result, attribution_pb2.Attribution()) if row.result else attribution_pb2.Attribution()
    message.client_id = row.client_id
    message.attribution_id = str(row.pk)
    message.model_id = (await by_pk(session, Model, row.model_pk)).model_id
    if row.session_pk is not None:
        message.session_id = (await by_pk(session, Session, row.session_pk)).session_id
    message.data_period_months = row.data_period_months
    message.hold_out_months = row.hold_out_months
    message.exploratory = row.exploratory
    message.state = value_of(common_pb2.JobState, job.state)
    if (error := error_message(job)) is not None:
        message.error.CopyFrom(error)
    message.create_time.CopyFrom(timestamp(row.create_time))
    if row.exploratory:
        for belief in message.validation.conflicts:
            belief.explanation = f"{EXPLORATORY}{belief.explanation}"
        for sentences in (message.summary, message.validation.summary):
            sentences[:] = [f"{EXPLORATORY}{sentence}" for sentence in sentences]
    message.communications.extend(
        attribution_communications(message, await _certified(session, row, message.validation.sbc_necessity))
    )
    return message


async def _certified(session: AsyncSession, row: Conflict | Attribution, necessity: sbc_pb2.SbcNecessity) -> bool:
    """Whether the model of an answer has passed calibration by now, where the answer says that it had not."""
    from server.certificates import reference_certificate  # which looks up resources itself

    if not calibration_at_issue(necessity):
        return False
    decides = await reference_certificate(session, await by_pk(session, Model, row.model_pk), Period.of(row))
    return decides is not None and decides.verdict_kind == "PASS"


def progress_message(job: Job, now: datetime.datetime) -> common_pb2.JobProgress:
    """How far a job has come; the rate is that of all since it was started, or taken up again."""
    progress = common_pb2.JobProgress(done=job.done, total=job.total)
    since_start = job.done - job.done_before
    if job.start_time is not None and since_start > 0:
        seconds = ((job.end_time or now) - job.start_time).total_seconds()
        if seconds > 0:
            progress.rate_per_second = since_start / seconds
            progress.eta_seconds = max(job.total - job.done, 0) / progress.rate_per_second
    return progress


def sbc_plan_message(row: SbcValidation, model_id: str, session_id: str, done: Mapping[str, int]) -> sbc_pb2.SbcRun:
    """What an SBC run shall be, stored or not, with the number of simulations in the ledger of each part."""
    return sbc_pb2.SbcRun(
        client_id=row.client_id,
        model_id=model_id,
        session_id=session_id,
        validation_type=value_of(sbc_pb2.ValidationType, row.validation_type),
        num_simulations=row.num_simulations,
        data_period_months=row.data_period_months,
        hold_out_months=row.hold_out_months,
        certificate_key=row.certificate_key,
        stop_on_fail=row.stop_on_fail,
        inference_method=value_of(sbc_pb2.InferenceMethod, row.inference_method),
        alpha=row.alpha,
        further_quantities=row.further_quantities,
        parts=[
            sbc_pb2.SbcPartProgress(
                part=value_of(sbc_pb2.SbcPart, part["part"]),
                planned=part["planned"],
                done=done.get(part["part"], 0),
                quantities=part["quantities"] or [],
            )
            for part in row.parts
        ],
    )


async def sbc_run_message(session: AsyncSession, row: SbcValidation) -> sbc_pb2.SbcRun:
    """A stored SBC run, with the state and progress of its job."""
    job = await session.get_one(Job, row.job_pk)
    model_id = (await by_pk(session, Model, row.model_pk)).model_id
    session_id = (await by_pk(session, Session, row.session_pk)).session_id if row.session_pk else ""
    message = sbc_plan_message(row, model_id, session_id, await done_by_part(session, row.pk))
    message.MergeFrom(
        sbc_pb2.SbcRun(
            run_id=str(row.pk),
            seed=row.seed,
            state=value_of(common_pb2.JobState, job.state),
            error=error_message(job),
            progress=progress_message(job, datetime.datetime.now(datetime.UTC)),
            last_sequence=job.last_sequence,
            create_time=timestamp(row.create_time),
            start_time=timestamp(job.start_time),
            end_time=timestamp(job.end_time),
        )
    )
    if row.interim is not None:
        from_json(row.interim, message.interim)
    if row.verdict is not None:
        from_json(row.verdict, message.verdict)
    message.communications.extend(run_communications(message))
    return message


def stored_decision_message(row: NecessityDecision) -> sbc_pb2.StoredDecision:
    """A stored decision on SBC."""
    necessity = from_json(row.result, sbc_pb2.SbcNecessity())
    necessity.decision_id = str(row.pk)
    return sbc_pb2.StoredDecision(
        decision_id=str(row.pk),
        source=value_of(sbc_pb2.DecisionSource, row.source),
        model_id=row.model_id,
        source_id=row.source_id,
        necessity=necessity,
        create_time=timestamp(row.create_time),
    )
