"""Stored rows as messages of the contract, and the look-ups that every service shares."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from liftos.bayes.v1 import (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    model_pb2,
    sbc_pb2,
)
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.sbc_runs import done_by_part
from persistence.tables import (
    Conflict,
    Dataset,
    ElicitedSession,
    Job,
    RecordedDecision,
    RegisteredModel,
    SbcValidation,
    StoredAttribution,
)
from server.contract.errors import Reason
from server.contract.period import Period
from server.contract.wire import date_range, from_json, timestamp, to_array, value_of
from server.records.lookups import by_pk
from server.records.sessions import belief_message, beliefs_of, correlation_of, share_groups
from server.texts.communications import (
    attribution_communications,
    calibration_at_issue,
    conflict_communications,
    run_communications,
)

EXPLORATORY = "Exploratory, not inferential: "
"""What every sentence of an answer that counts data twice begins with."""


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


def model_message(row: RegisteredModel) -> model_pb2.Model:
    """A stored model."""
    model = model_pb2.Model(
        client_id=row.client_id,
        model_id=row.model_id,
        spec=from_json(row.spec, model_pb2.ModelSpec()),
        parameter_count=row.parameter_count,
        model_hash=row.model_hash,
        warnings=row.warnings,
        create_time=timestamp(row.create_time),
    )
    if row.prior_predictive is not None:
        from_json(row.prior_predictive, model.prior_predictive)
    return model


async def session_message(session: AsyncSession, row: ElicitedSession) -> elicitation_pb2.ElicitationSession:
    """A stored session with its beliefs."""
    model = await by_pk(session, RegisteredModel, row.model_pk)
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


def error_message(job: Job) -> common_pb2.JobError | None:
    """Why a job failed, None if it did not."""
    if job.state != "FAILED":
        return None
    return common_pb2.JobError(
        reason=job.error_reason or Reason.COMPUTATION_FAILED,
        message=job.error_message or "",
        field=job.error_field or "",
    )


async def conflict_message(session: AsyncSession, row: Conflict) -> conflict_pb2.ConflictAnalysis:
    """A stored conflict analysis, with the state of its job."""
    job = await session.get_one(Job, row.job_pk)
    message = from_json(row.result, conflict_pb2.ConflictAnalysis()) if row.result else conflict_pb2.ConflictAnalysis()
    message.client_id = row.client_id
    message.analysis_id = str(row.pk)
    message.session_id = (await by_pk(session, ElicitedSession, row.session_pk)).session_id
    message.model_id = (await by_pk(session, RegisteredModel, row.model_pk)).model_id
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


async def attribution_message(session: AsyncSession, row: StoredAttribution) -> attribution_pb2.Attribution:
    """A stored attribution, with the state of its job."""
    job = await session.get_one(Job, row.job_pk)
    message = from_json(row.result, attribution_pb2.Attribution()) if row.result else attribution_pb2.Attribution()
    message.client_id = row.client_id
    message.attribution_id = str(row.pk)
    message.model_id = (await by_pk(session, RegisteredModel, row.model_pk)).model_id
    if row.session_pk is not None:
        message.session_id = (await by_pk(session, ElicitedSession, row.session_pk)).session_id
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


async def _certified(session: AsyncSession, row: Conflict | StoredAttribution, necessity: sbc_pb2.SbcNecessity) -> bool:
    """Whether the model of an answer has passed calibration by now, where the answer says that it had not."""
    from server.records.certificates import reference_certificate

    if not calibration_at_issue(necessity):
        return False
    decides = await reference_certificate(session, await by_pk(session, RegisteredModel, row.model_pk), Period.of(row))
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
        fixed_truth=[from_json(each, sbc_pb2.FixedTruth()) for each in row.fixed_truth or ()],
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
    model_id = (await by_pk(session, RegisteredModel, row.model_pk)).model_id
    session_id = (await by_pk(session, ElicitedSession, row.session_pk)).session_id if row.session_pk else ""
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
    if row.recovery is not None:
        from_json(row.recovery, message.recovery)
    message.communications.extend(run_communications(message))
    return message


def stored_decision_message(row: RecordedDecision) -> sbc_pb2.StoredDecision:
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
