"""SbcService: runs, their event streams, and the decision when a run is essential."""

from __future__ import annotations

import asyncio
import datetime
import math
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
from liftos.bayes.v1 import common_pb2, sbc_pb2, sbc_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from persistence import jobs, queue, requests, sbc
from persistence.database import Database
from persistence.tables import Job, Model, SbcValidation, Session
from server.calls import POLL_SECONDS, Calls
from server.certificates import fit_key
from server.errors import ServiceError, unimplemented
from server.guard import Guard
from server.idempotency import seen_before
from server.pages import page_of
from server.resources import (
    TERMINAL_STATES,
    beliefs_of,
    confirmed_session,
    dataset_of,
    owned,
    progress_message,
    sbc_run_message,
)
from server.services.conflicts import check_money, months
from server.settings import Settings
from server.wire import label, timestamp, value_of

MAX_SIMULATIONS = 100_000
DEFAULT_SIMULATIONS = {sbc_pb2.VALIDATION_TYPE_QUICK: 100, sbc_pb2.VALIDATION_TYPE_STANDARD: 500}
DEFAULT_ALPHA = 0.05
EVENT_PAGE = 100
CHUNK = 64
"""Simulations that share one compiled call (engine/inference/settings.py): a shard of no multiple wastes a part."""
SHARDS = 16
"""Most shards of a run while they are smaller than the configured size: enough for many workers and for progress to be
seen, few enough for full batches."""
Context = grpc.aio.ServicerContext[Any, Any]


class SbcServicer(sbc_pb2_grpc.SbcServiceServicer):
    """Simulation-based calibration of a client's models."""

    def __init__(self, database: Database, calls: Calls, settings: Settings, guard: Guard) -> None:
        self.database = database
        self.calls = calls
        self.settings = settings
        self.guard = guard

    async def StartSbcRun(self, request: sbc_pb2.StartSbcRunRequest, context: Context) -> sbc_pb2.StartSbcRunResponse:
        """Store a run with its shards and hand the shards to the workers, in one transaction."""
        async with self.database.session() as session:
            if request.validate_only:
                run = await self._plan(session, request.client_id, request.spec)
                return sbc_pb2.StartSbcRunResponse(
                    run=sbc_pb2.SbcRun(
                        client_id=request.client_id,
                        model_id=request.spec.model_id,
                        session_id=request.spec.session_id,
                        validation_type=value_of(sbc_pb2.ValidationType, run.validation_type),
                        num_simulations=run.num_simulations,
                        data_period_months=run.data_period_months,
                        certificate_key=run.certificate_key,
                        stop_on_fail=run.stop_on_fail,
                        progress=common_pb2.JobProgress(total=run.num_simulations),
                    )
                )
            row = await self._start(session, "StartSbcRun", request)
            return sbc_pb2.StartSbcRunResponse(run=await sbc_run_message(session, row))

    async def RunSbc(self, request: sbc_pb2.RunSbcRequest, context: Context) -> AsyncIterator[sbc_pb2.RunSbcResponse]:
        """Start a run and stream its events."""
        async with self.database.session() as session:
            row = await self._start(session, "RunSbc", request)
            run_id, job_pk = str(row.pk), row.job_pk
        async for event in self._events(run_id, job_pk, 0):
            yield sbc_pb2.RunSbcResponse(event=event)

    async def WatchSbcRun(
        self, request: sbc_pb2.WatchSbcRunRequest, context: Context
    ) -> AsyncIterator[sbc_pb2.WatchSbcRunResponse]:
        """Stream the events after a sequence number."""
        async with self.database.session() as session:
            row = await owned(session, SbcValidation, request.client_id, request.run_id)
            job = await session.get_one(Job, row.job_pk)
            if request.after_sequence > job.last_sequence:
                raise ServiceError(
                    "INVALID_CURSOR",
                    f"after_sequence is {request.after_sequence}, but the last event has number {job.last_sequence}",
                    metadata={"last_sequence": str(job.last_sequence)},
                )
            run_id, job_pk = str(row.pk), row.job_pk
        async for event in self._events(run_id, job_pk, request.after_sequence):
            yield sbc_pb2.WatchSbcRunResponse(event=event)

    async def _events(self, run_id: str, job_pk: Any, after: int) -> AsyncIterator[sbc_pb2.SbcEvent]:
        """Stored events page by page, so that a slow reader costs no memory; heartbeats in between; ends at the end."""
        loop = asyncio.get_running_loop()
        last_sent = loop.time()
        async with self.calls.listener.subscribe(job_pk) as wake:
            while True:
                if self.guard.draining.is_set():
                    raise ServiceError("DRAINING", "the server is draining; re-attach with WatchSbcRun")
                async with self.database.session() as session:
                    job = await session.get_one(Job, job_pk, populate_existing=True)
                    page = await jobs.events_after(session, job_pk, after, EVENT_PAGE)
                for stored in page:
                    yield sbc_pb2.SbcEvent.FromString(stored.payload)
                    after = stored.sequence
                    last_sent = loop.time()
                if after >= job.last_sequence and job.state in TERMINAL_STATES:
                    return
                if page:
                    continue
                silent = self.settings.heartbeat_seconds - (loop.time() - last_sent)
                if silent <= 0:
                    now = datetime.datetime.now(datetime.UTC)
                    yield sbc_pb2.SbcEvent(
                        run_id=run_id,
                        sequence=after,
                        create_time=timestamp(now),
                        progress=progress_message(job, now),
                        heartbeat=sbc_pb2.Heartbeat(),
                    )
                    last_sent = loop.time()
                    continue
                await wake.wait(min(silent, POLL_SECONDS))

    async def _plan(self, session: AsyncSession, client_id: str, spec: sbc_pb2.SbcRunSpec) -> SbcValidation:
        """The run that a specification asks for, not yet stored."""
        kind = spec.validation_type or sbc_pb2.VALIDATION_TYPE_STANDARD
        if kind not in DEFAULT_SIMULATIONS:
            raise unimplemented(f"validation type {label(sbc_pb2.ValidationType, kind)}", "spec.validation_type")
        model = await owned(session, Model, client_id, spec.model_id, field="spec.model_id")
        elicited: Session | None = None
        if spec.session_id:
            elicited = await confirmed_session(session, client_id, spec.session_id, "spec.session_id")
            if elicited.model_pk != model.pk:
                raise ServiceError(
                    "INVALID_STATE", "the session is about another model", metadata={"state": "CONFIRMED"}
                )
        window = months(spec)
        beliefs = await beliefs_of(session, elicited.pk) if elicited else []
        num_simulations = spec.num_simulations if spec.HasField("num_simulations") else DEFAULT_SIMULATIONS[kind]
        return SbcValidation(
            client_id=client_id,
            model_pk=model.pk,
            session_pk=elicited.pk if elicited else None,
            validation_type=label(sbc_pb2.ValidationType, kind),
            num_simulations=num_simulations,
            data_period_months=window,
            seed=spec.seed if spec.HasField("seed") else secrets.randbits(63),
            alpha=spec.alpha if spec.HasField("alpha") else DEFAULT_ALPHA,
            stop_on_fail=spec.stop_on_fail,
            shard_size=shard_size(num_simulations, self.settings.shard_size),
            certificate_key=fit_key(model, await dataset_of(session, model), window, beliefs),
        )

    async def _start(
        self, session: AsyncSession, method: str, request: sbc_pb2.StartSbcRunRequest | sbc_pb2.RunSbcRequest
    ) -> SbcValidation:
        replay = await seen_before(session, method, request)
        if replay is not None and replay.resource_id is not None:
            return await owned(session, SbcValidation, request.client_id, replay.resource_id)
        run = await self._plan(session, request.client_id, request.spec)
        job = await jobs.create(
            session, request.client_id, "SBC_RUN", request.SerializeToString(), total=run.num_simulations
        )
        run.job_pk = job.pk
        session.add(run)
        await session.flush()
        for shard in await sbc.plan_shards(session, run, run.shard_size):
            await queue.defer(session, "run_shard", queue="shards", validation=str(run.pk), ordinal=shard.ordinal)
        await append_event(session, run, job, state_changed=sbc_pb2.StateChanged(state=common_pb2.JOB_STATE_QUEUED))
        await requests.attach(
            session, request.client_id, method, request.request_id, job_pk=job.pk, resource_id=str(run.pk)
        )
        return run

    async def GetSbcRun(self, request: sbc_pb2.GetSbcRunRequest, context: Context) -> sbc_pb2.GetSbcRunResponse:
        """Return a run."""
        async with self.database.session() as session:
            row = await owned(session, SbcValidation, request.client_id, request.run_id)
            return sbc_pb2.GetSbcRunResponse(run=await sbc_run_message(session, row))

    async def ListSbcRuns(self, request: sbc_pb2.ListSbcRunsRequest, context: Context) -> sbc_pb2.ListSbcRunsResponse:
        """List the runs of a client."""
        async with self.database.session() as session:
            filters = []
            if request.model_id:
                model = await owned(session, Model, request.client_id, request.model_id)
                filters.append(SbcValidation.model_pk == model.pk)
            build = partial(sbc_run_message, session)
            found, token = await page_of(session, SbcValidation, request, request.model_id, build, *filters)
            return sbc_pb2.ListSbcRunsResponse(runs=found, next_page_token=token)

    async def CancelSbcRun(
        self, request: sbc_pb2.CancelSbcRunRequest, context: Context
    ) -> sbc_pb2.CancelSbcRunResponse:
        """End a run; a batch that a worker is computing finds the run ended and is dropped."""
        async with self.database.session() as session:
            replay = await seen_before(session, "CancelSbcRun", request)
            row = await owned(session, SbcValidation, request.client_id, request.run_id)
            if replay is None:
                job = await session.get_one(Job, row.job_pk, with_for_update=True)
                if job.state in TERMINAL_STATES and job.state != "CANCELLED":
                    raise ServiceError(
                        "INVALID_STATE", f"the run has ended: {job.state}", metadata={"state": job.state}
                    )
                if job.state != "CANCELLED":
                    await finish_run(session, row, job, "CANCELLED", "CANCELLED")
            return sbc_pb2.CancelSbcRunResponse(run=await sbc_run_message(session, row))

    async def ExtendSbcRun(
        self, request: sbc_pb2.ExtendSbcRunRequest, context: Context
    ) -> sbc_pb2.ExtendSbcRunResponse:
        """Not there yet."""
        raise unimplemented("extending a finished run", "run_id")

    async def CheckSbcNecessity(
        self, request: sbc_pb2.CheckSbcNecessityRequest, context: Context
    ) -> sbc_pb2.CheckSbcNecessityResponse:
        """Have a worker apply the policy."""
        check_money(request)
        if request.model_id:
            async with self.database.session() as session:
                await owned(session, Model, request.client_id, request.model_id)
        return await self.calls.run("CHECK_NECESSITY", request, context, sbc_pb2.CheckSbcNecessityResponse)


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
