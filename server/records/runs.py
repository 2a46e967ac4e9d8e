"""Calibration runs as they are planned, started, told of and ended, whoever asks for them."""

from __future__ import annotations

import datetime
import math
import secrets
from collections.abc import Sequence
from typing import Any

from liftos.bayes.v1 import common_pb2, elicitation_pb2, model_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.errors import UnsupportedQuantity
from engine.rules.quantity_names import check_ranked, check_recovered
from engine.rules.sbc_presets import CHUNK, SIMULATIONS, Part, ValidationType, parts_of
from persistence import jobs, queue
from persistence import sbc_runs as sbc
from persistence.tables import ClientPrior, Dataset, ElicitedSession, Job, RegisteredModel, SbcValidation
from persistence.tables.jobs import OPEN_JOB_STATES
from server.contract.errors import Reason, ServiceError, invalid_field
from server.contract.families.registry import registered
from server.contract.job_kinds import SBC_RUN
from server.contract.period import Period
from server.contract.wire import digest, from_json, label, timestamp, to_json, value_of
from server.records.certificates import fit_key
from server.records.content import stored_columns
from server.records.lineage import refuse_seen
from server.records.lookups import dataset_of, owned
from server.records.messages import progress_message
from server.records.rows import check_period
from server.records.sessions import beliefs_of, check_priors, confirmed_session

MAX_SIMULATIONS = 100_000
DEFAULT_ALPHA = 0.05
SHARDS = 16
"""Most shards of a run while they are smaller than the configured size: enough for many workers and for progress to be
seen, few enough for full batches."""


async def plan_run(
    session: AsyncSession,
    client_id: str,
    spec: sbc_pb2.SbcRunSpec,
    most: int,
    truth: Sequence[sbc_pb2.FixedTruth] = (),
) -> SbcValidation:
    """The run that a specification asks for, not yet stored, with `most` simulations in a shard.

    truth: of RECOVERY, what a worker has made of the specification's.
    """
    validation_type = spec.validation_type or sbc_pb2.VALIDATION_TYPE_STANDARD
    kind = ValidationType[label(sbc_pb2.ValidationType, validation_type)]
    recovers = kind is ValidationType.RECOVERY
    _check_kind(spec, recovers=recovers)
    model = await owned(session, RegisteredModel, client_id, spec.model_id, field="spec.model_id")
    elicited: ElicitedSession | None = None
    if spec.session_id:
        elicited = await confirmed_session(session, client_id, spec.session_id, "spec.session_id")
        if elicited.model_pk != model.pk:
            raise ServiceError(
                Reason.INVALID_STATE, "the session is about another model", metadata={"state": "CONFIRMED"}
            )
    period = Period.asked(spec)
    dataset = await dataset_of(session, model)
    check_period(model, dataset, period, "spec.")
    beliefs = await beliefs_of(session, elicited.pk) if elicited else []
    check_priors(model, beliefs, "spec.session_id")
    num_simulations = spec.num_simulations if spec.HasField("num_simulations") else SIMULATIONS[kind]
    parts = parts_of(kind, num_simulations, canaries=spec.canaries, carry_over=registered(model.family).carry_over)
    _check_further(model, dataset, beliefs, spec.further_quantities, recovers=recovers)
    of_data = recovers and spec.other_truths == sbc_pb2.OTHER_TRUTHS_POSTERIOR_MEAN
    if of_data or any(part is Part.POSTERIOR for part, _ in parts):
        await refuse_seen(session, model, period, beliefs)
    method = label(sbc_pb2.InferenceMethod, spec.inference_method or sbc_pb2.INFERENCE_METHOD_PRODUCTION)
    alpha = spec.alpha if spec.HasField("alpha") else DEFAULT_ALPHA
    return SbcValidation(
        client_id=client_id,
        model_pk=model.pk,
        session_pk=elicited.pk if elicited else None,
        validation_type=kind.value,
        num_simulations=num_simulations,
        data_period_months=period.months,
        hold_out_months=period.hold_out,
        seed=spec.seed if spec.HasField("seed") else secrets.randbits(63),
        alpha=alpha,
        stop_on_fail=spec.stop_on_fail,
        shard_size=shard_size(num_simulations, most),
        parts=[{"part": part.value, "planned": [number], "quantities": None, "reported": 0} for part, number in parts],
        inference_method=method,
        further_quantities=list(spec.further_quantities),
        plan_key=digest(
            validation_type,
            [part.value for part, _ in parts],
            method,
            sorted(spec.further_quantities),
            alpha,
            *([] if not recovers else [(each.quantity, each.value) for each in truth]),
        ),
        fixed_truth=[to_json(each) for each in truth] if recovers else None,
        certificate_key=fit_key(model, dataset, period, beliefs, method),
    )


def _check_kind(spec: sbc_pb2.SbcRunSpec, *, recovers: bool) -> None:
    """Refuse what the type of the run has no use for."""
    if recovers:
        without = "has no verdict, so there is nothing of this kind"
        for name, given in (
            ("alpha", spec.HasField("alpha")),
            ("stop_on_fail", spec.stop_on_fail),
            ("canaries", spec.canaries),
        ):
            if given:
                raise invalid_field(f"spec.{name}", f"RECOVERY {without}")
        return
    for name, given in (("fixed_truth", len(spec.fixed_truth) > 0), ("other_truths", spec.other_truths != 0)):
        if given:
            raise invalid_field(f"spec.{name}", "only for RECOVERY: the truths of other types are drawn")


def _check_further(
    model: RegisteredModel,
    dataset: Dataset | None,
    beliefs: Sequence[ClientPrior],
    further: Sequence[str],
    *,
    recovers: bool,
) -> None:
    """Refuse quantities that the model's family knows it has not, or that are constants, before anything is started."""
    spec, family = from_json(model.spec, model_pb2.ModelSpec()), registered(model.family)
    known = family.rankable(spec, stored_columns(dataset) if dataset else [])
    if known is None:
        return
    stated = [from_json(row.belief, elicitation_pb2.Belief()) for row in beliefs]
    factors = any(belief.role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR for belief in stated)
    flat = not factors and family.flat(spec, [belief.compiled for belief in stated])
    for index, name in enumerate(further):
        try:
            if recovers:
                check_recovered(name, known)
            else:
                check_ranked(name, known, flat=flat)
        except UnsupportedQuantity as error:
            raise invalid_field(f"spec.further_quantities[{index}]", error.message) from None


async def start_run(
    session: AsyncSession, run: SbcValidation, request: sbc_pb2.StartSbcRunRequest | sbc_pb2.RunSbcRequest
) -> None:
    """Store a planned run with its shards and hand these to the workers, in the caller's transaction."""
    job = await jobs.create(session, run.client_id, SBC_RUN, request.SerializeToString(), total=total_simulations(run))
    run.job_pk = job.pk
    session.add(run)
    await session.flush()
    for part in run.parts:
        await plan_shards(session, run, part["part"], 0, part["planned"][-1], run.shard_size)
    await append_event(session, run, job, state_changed=sbc_pb2.StateChanged(state=common_pb2.JOB_STATE_QUEUED))


async def open_run(session: AsyncSession, plan: SbcValidation) -> SbcValidation | None:
    """The newest run under way that asks what the plan asks, with at least as many simulations."""
    statement = (
        select(SbcValidation)
        .join(Job, Job.pk == SbcValidation.job_pk)
        .where(
            SbcValidation.client_id == plan.client_id,
            SbcValidation.model_pk == plan.model_pk,
            SbcValidation.certificate_key == plan.certificate_key,
            SbcValidation.plan_key == plan.plan_key,
            SbcValidation.num_simulations >= plan.num_simulations,
            Job.state.in_(OPEN_JOB_STATES),
        )
        .order_by(SbcValidation.create_time.desc())
        .limit(1)
    )
    return (await session.scalars(statement)).one_or_none()


def total_simulations(run: SbcValidation) -> int:
    """Planned simulations of all parts together."""
    return sum(int(part["planned"][-1]) for part in run.parts)


async def plan_shards(session: AsyncSession, run: SbcValidation, part: str, first: int, stop: int, size: int) -> None:
    """Cut simulations `first` to `stop` of a part into shards and deliver them."""
    for shard in await sbc.plan_shards(session, run.pk, part, first, stop, size):
        await deliver(session, run, shard.ordinal)


async def deliver(session: AsyncSession, run: SbcValidation, ordinal: int) -> None:
    """Hand a shard to the workers."""
    await queue.defer(session, "run_shard", queue="shards", validation=str(run.pk), ordinal=ordinal)


def shard_size(num_simulations: int, most: int) -> int:
    """Simulations per shard: as few whole chunks as make SHARDS shards at most, but never above `most`."""
    chunks = math.ceil(num_simulations / (SHARDS * CHUNK))
    return min(chunks * CHUNK, most)


async def append_event(
    session: AsyncSession, run: SbcValidation, job: Job, *, done: int | None = None, **event: Any
) -> int:
    """Store the next event of a run; `event` is one member of the oneof. Returns its sequence number."""
    now = datetime.datetime.now(datetime.UTC)
    if done is not None:
        job.done = done

    def payload(sequence: int) -> bytes:
        message = sbc_pb2.SbcEvent(
            run_id=str(run.pk),
            sequence=sequence,
            create_time=timestamp(now),
            progress=progress_message(job, now),
            **event,
        )
        return message.SerializeToString()

    return await jobs.append_event(session, job.pk, payload, done=done)


async def finish_run(
    session: AsyncSession, run: SbcValidation, job: Job, state: str, verdict_kind: str | None, **error: str
) -> None:
    """End a run whose job row the caller has locked: state, time, and the terminal event."""
    job.state = state
    job.end_time = datetime.datetime.now(datetime.UTC)
    job.error_reason = error.get("reason")
    job.error_message = error.get("message")
    job.error_field = error.get("field")
    run.verdict_kind = verdict_kind
    await session.flush()
    await queue.drop_shards(session, run.pk)
    changed = sbc_pb2.StateChanged(state=value_of(common_pb2.JobState, state))
    if state == "FAILED":
        changed.error.CopyFrom(
            common_pb2.JobError(
                reason=job.error_reason or "", message=job.error_message or "", field=job.error_field or ""
            )
        )
    await append_event(session, run, job, state_changed=changed)
