"""SbcService: runs, their event streams, and the decision when a run is essential."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import grpc
import numpy as np
from liftos.bayes.v1 import common_pb2, sbc_pb2, sbc_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from engine.rules.sbc_presets import Part
from persistence import jobs
from persistence import sbc_runs as sbc
from persistence.database import Database
from persistence.tables import AdoptedPolicy, Job, RecordedDecision, RegisteredModel, SbcResult, SbcValidation
from server.contract.beyond_rules import check_money
from server.contract.errors import Reason, ServiceError, invalid_field
from server.contract.job_kinds import JobKind
from server.contract.wire import from_json, label, timestamp, to_array, to_json, value_of
from server.records.certificates import finished_run, run_key
from server.records.lookups import TERMINAL_STATES, owned
from server.records.messages import progress_message, sbc_plan_message, sbc_run_message, stored_decision_message
from server.records.policies import BUILT_IN, policy_message
from server.records.runs import (
    MAX_SIMULATIONS,
    append_event,
    deliver,
    finish_run,
    plan_run,
    plan_shards,
    shard_size,
    start_run,
    total_simulations,
)
from server.rpc.guard import Guard
from server.rpc.once import created, seen_before
from server.rpc.pages import page_of
from server.rpc.waiting import POLL_SECONDS, Calls
from server.settings import Settings

LEDGER_CELLS = 40_000
"""Simulations times quantities in one message of a ledger: six numbers of 8 bytes for each, under the 4 MiB limit."""
EVENT_PAGE = 100
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
        truth = await self._truth(request, context)
        async with self.database.session() as session:
            if request.validate_only:
                run = await plan_run(session, request.client_id, request.spec, self.settings.shard_size, truth)
                message = sbc_plan_message(run, request.spec.model_id, request.spec.session_id, {})
                message.progress.total = total_simulations(run)
                return sbc_pb2.StartSbcRunResponse(run=message)
            row, reused = await self._start(session, request, truth)
            return sbc_pb2.StartSbcRunResponse(run=await sbc_run_message(session, row), reused=reused)

    async def RunSbc(self, request: sbc_pb2.RunSbcRequest, context: Context) -> AsyncIterator[sbc_pb2.RunSbcResponse]:
        """Start a run and stream its events."""
        truth = await self._truth(request, context)
        async with self.database.session() as session:
            row, reused = await self._start(session, request, truth)
            run_id, job_pk = str(row.pk), row.job_pk
        async for event in self._events(run_id, job_pk, 0):
            yield sbc_pb2.RunSbcResponse(event=event, reused=reused)

    async def WatchSbcRun(
        self, request: sbc_pb2.WatchSbcRunRequest, context: Context
    ) -> AsyncIterator[sbc_pb2.WatchSbcRunResponse]:
        """Stream the events after a sequence number."""
        async with self.database.session() as session:
            row = await owned(session, SbcValidation, request.client_id, request.run_id)
            job = await session.get_one(Job, row.job_pk)
            if request.after_sequence > job.last_sequence:
                raise ServiceError(
                    Reason.INVALID_CURSOR,
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
                    raise ServiceError(Reason.DRAINING, "the server is draining; re-attach with WatchSbcRun")
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

    async def _truth(
        self, request: sbc_pb2.StartSbcRunRequest | sbc_pb2.RunSbcRequest, context: Context
    ) -> Sequence[sbc_pb2.FixedTruth]:
        """The truth of a run that has a fixed one, from a worker: only the prepared model knows what can be one."""
        if request.spec.validation_type != sbc_pb2.VALIDATION_TYPE_RECOVERY:
            return ()
        asked = sbc_pb2.RunSbcRequest(request_id=request.request_id, client_id=request.client_id, spec=request.spec)

        async def prepare(session: AsyncSession, job: Job) -> None:
            await plan_run(session, request.client_id, request.spec, self.settings.shard_size)

        return (await self.calls.run(JobKind.FIX_TRUTH, asked, context, prepare)).run.fixed_truth

    async def _start(
        self,
        session: AsyncSession,
        request: sbc_pb2.StartSbcRunRequest | sbc_pb2.RunSbcRequest,
        truth: Sequence[sbc_pb2.FixedTruth],
    ) -> tuple[SbcValidation, bool]:
        """The run that is asked for, and whether it comes from the store."""
        replay = await seen_before(session, request)
        if replay is not None and replay.resource_id is not None:
            first = await owned(session, SbcValidation, request.client_id, replay.resource_id)
            asked = type(request).FromString((await session.get_one(Job, first.job_pk)).request)
            return first, asked.request_id != request.request_id
        run = await plan_run(session, request.client_id, request.spec, self.settings.shard_size, truth)
        if not request.spec.fresh:
            stored = await finished_run(session, run, seed=run.seed if request.spec.HasField("seed") else None)
            if stored is not None:
                await created(session, request, stored, job_pk=stored.job_pk)
                return stored, True
        await start_run(session, run, request)
        await created(session, request, run, job_pk=run.job_pk)
        return run, False

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
                model = await owned(session, RegisteredModel, request.client_id, request.model_id)
                filters.append(SbcValidation.model_pk == model.pk)
            build = partial(sbc_run_message, session)
            runs, token = await page_of(session, SbcValidation, request, request.model_id, build, *filters)
            return sbc_pb2.ListSbcRunsResponse(runs=runs, next_page_token=token)

    async def CancelSbcRun(
        self, request: sbc_pb2.CancelSbcRunRequest, context: Context
    ) -> sbc_pb2.CancelSbcRunResponse:
        """End a run; a batch that a worker is computing finds the run ended and is dropped."""
        async with self.database.session() as session:
            replay = await seen_before(session, request)
            row = await owned(session, SbcValidation, request.client_id, request.run_id)
            if replay is None:
                job = await jobs.lock(session, row.job_pk)
                await session.refresh(row)  # it may have been resumed while the lock was waited for
                if job.state in TERMINAL_STATES and job.state != "CANCELLED":
                    raise ServiceError(
                        Reason.INVALID_STATE, f"the run has ended: {job.state}", metadata={"state": job.state}
                    )
                if job.state != "CANCELLED":
                    done = await sbc.done_by_part(session, row.pk)
                    verdict = sbc_pb2.SbcVerdict(
                        kind=sbc_pb2.VERDICT_KIND_CANCELLED,
                        n_simulations=sum(number for part, number in done.items() if not Part[part].is_canary),
                        alpha=row.alpha,
                        reasons=["The run was cancelled."],
                        explanation=f"Cancelled after {job.done} of {job.total} simulations, from which nothing is "
                        "concluded. They stay in the ledger: a resumed run goes on from there.",
                    )
                    row.verdict = to_json(verdict)
                    await append_event(session, row, job, verdict=verdict)
                    await finish_run(session, row, job, "CANCELLED", "CANCELLED")
            return sbc_pb2.CancelSbcRunResponse(run=await sbc_run_message(session, row))

    async def ResumeSbcRun(
        self, request: sbc_pb2.ResumeSbcRunRequest, context: Context
    ) -> sbc_pb2.ResumeSbcRunResponse:
        """Deliver again what a cancelled or failed run has left."""
        async with self.database.session() as session:
            replay = await seen_before(session, request)
            row = await owned(session, SbcValidation, request.client_id, request.run_id)
            if replay is None:
                # Shards before the job, as workers lock them; a run that may not go on leaves them as they were.
                shards = await sbc.reopen_shards(session, row.pk)
                job = await self._reopened(session, row, "resumed", lambda job: job.state in ("CANCELLED", "FAILED"))
                # A run that lacks its verdict only gets it from the delivery of any shard.
                for ordinal in [shard.ordinal for shard in shards] or [0]:
                    await deliver(session, row, ordinal)
                await self._queued(session, row, job)
            return sbc_pb2.ResumeSbcRunResponse(run=await sbc_run_message(session, row))

    async def ExtendSbcRun(
        self, request: sbc_pb2.ExtendSbcRunRequest, context: Context
    ) -> sbc_pb2.ExtendSbcRunResponse:
        """Add simulations to the parts that decide, and to canaries that were not noticed."""
        async with self.database.session() as session:
            replay = await seen_before(session, request)
            row = await owned(session, SbcValidation, request.client_id, request.run_id)
            if replay is None:
                job = await self._reopened(
                    session,
                    row,
                    "extended",
                    # A run at a fixed truth has no verdict that a larger number could be chosen for.
                    lambda job: job.state == "SUCCEEDED" and row.verdict_kind in ("PASS", "INCONCLUSIVE", None),
                )
                larger = row.num_simulations + request.additional_simulations
                if larger > MAX_SIMULATIONS:
                    raise invalid_field(
                        "additional_simulations",
                        f"the run would have {larger} simulations, more than {MAX_SIMULATIONS}",
                    )
                verdict = from_json(row.verdict or {}, sbc_pb2.SbcVerdict())
                missed = {label(sbc_pb2.SbcPart, c.canary) for c in verdict.canaries if not c.detected}
                size = shard_size(request.additional_simulations, self.settings.shard_size)
                parts = []
                for part in row.parts:
                    if not Part[part["part"]].is_canary or part["part"] in missed:
                        await plan_shards(session, row, part["part"], part["planned"][-1], larger, size)
                        part = part | {"planned": [*part["planned"], larger]}  # noqa: PLW2901
                    parts.append(part)
                row.parts = parts
                row.num_simulations = larger
                job.total = total_simulations(row)
                await self._queued(session, row, job)
            return sbc_pb2.ExtendSbcRunResponse(run=await sbc_run_message(session, row))

    async def _reopened(
        self, session: AsyncSession, run: SbcValidation, what: str, allowed: Callable[[Job], bool]
    ) -> Job:
        """The job of a run that has ended, locked, if it may go on; its simulations must not mix two versions."""
        job = await jobs.lock(session, run.job_pk)
        await session.refresh(run)  # the verdict may have been written while the lock was waited for
        if not allowed(job):
            ended = job.state if run.verdict_kind in (None, job.state) else f"{job.state} with {run.verdict_kind}"
            advice = {"FAIL": "; a FAIL is final", "CANCELLED": "; resume it first"}.get(run.verdict_kind or "", "")
            raise ServiceError(
                Reason.INVALID_STATE, f"a run that is {ended} cannot be {what}{advice}", metadata={"state": job.state}
            )
        if not run.parts or await run_key(session, run) != run.certificate_key:
            raise ServiceError(
                Reason.INVALID_STATE,
                f"the run was started by another version of the service and cannot be {what}; start a new one",
                metadata={"state": job.state},
            )
        return job

    async def _queued(self, session: AsyncSession, run: SbcValidation, job: Job) -> None:
        """Open the run again; until its next verdict it certifies nothing."""
        run.verdict, run.verdict_kind = None, None
        job.state, job.start_time, job.end_time, job.done_before = "QUEUED", None, None, job.done
        job.error_reason = job.error_message = job.error_field = None
        await session.flush()
        await append_event(session, run, job, state_changed=sbc_pb2.StateChanged(state=common_pb2.JOB_STATE_QUEUED))

    async def ReadSbcLedger(
        self, request: sbc_pb2.ReadSbcLedgerRequest, context: Context
    ) -> AsyncIterator[sbc_pb2.ReadSbcLedgerResponse]:
        """Stream the ledger of one part, message by message, so that a slow reader costs no memory."""
        async with self.database.session() as session:
            run = await owned(session, SbcValidation, request.client_id, request.run_id)
            wanted = label(sbc_pb2.SbcPart, request.part) if request.part else run.parts[0]["part"] if run.parts else ""
            part = next((part for part in run.parts if part["part"] == wanted), None)
            if part is None:
                names = ", ".join(part["part"] for part in run.parts) or "none, being of an earlier version"
                raise invalid_field("part", f"the run has no part {wanted}; it has {names}")
        columns = part["quantities"]
        if columns is None:
            return
        step, first = max(1, LEDGER_CELLS // len(columns)), int(request.first_simulation)
        while True:
            if self.guard.draining.is_set():
                raise ServiceError(Reason.DRAINING, f"the server is draining; read on with first_simulation {first}")
            async with self.database.session() as session:
                rows = await sbc.load_results(session, run.pk, wanted, first=first, limit=step)
            if not rows:
                return
            yield _ledger_message(wanted, columns, rows)
            first = rows[-1].simulation + 1

    async def CreateNecessityPolicy(
        self, request: sbc_pb2.CreateNecessityPolicyRequest, context: Context
    ) -> sbc_pb2.CreateNecessityPolicyResponse:
        """Have a worker, which knows the whole policy, put a new version in force."""
        _check_thresholds(request.thresholds)
        return await self.calls.run(JobKind.CREATE_POLICY, request, context)

    async def ListNecessityPolicies(
        self, request: sbc_pb2.ListNecessityPoliciesRequest, context: Context
    ) -> sbc_pb2.ListNecessityPoliciesResponse:
        """List the versions of a client's policy; the built-in one is in no table."""

        async def build(row: AdoptedPolicy) -> sbc_pb2.NecessityPolicy:
            return policy_message(row)

        async with self.database.session() as session:
            policies, token = await page_of(session, AdoptedPolicy, request, "", build)
        return sbc_pb2.ListNecessityPoliciesResponse(
            policies=policies if token else [*policies, BUILT_IN], next_page_token=token
        )

    async def ListNecessityDecisions(
        self, request: sbc_pb2.ListNecessityDecisionsRequest, context: Context
    ) -> sbc_pb2.ListNecessityDecisionsResponse:
        """List stored decisions."""

        async def build(row: RecordedDecision) -> sbc_pb2.StoredDecision:
            return stored_decision_message(row)

        async with self.database.session() as session:
            decisions, token = await page_of(session, RecordedDecision, request, "", build)
        return sbc_pb2.ListNecessityDecisionsResponse(decisions=decisions, next_page_token=token)

    async def ReplayNecessityPolicy(
        self, request: sbc_pb2.ReplayNecessityPolicyRequest, context: Context
    ) -> sbc_pb2.ReplayNecessityPolicyResponse:
        """Have a worker decide past decisions again."""
        _check_thresholds(request.thresholds)
        return await self.calls.run(JobKind.REPLAY_POLICY, request, context)

    async def CheckSbcNecessity(
        self, request: sbc_pb2.CheckSbcNecessityRequest, context: Context
    ) -> sbc_pb2.CheckSbcNecessityResponse:
        """Have a worker apply the policy."""
        check_money(request)
        if request.HasField("bayes_factor") and request.HasField("log_bayes_factor"):
            raise invalid_field("log_bayes_factor", "not together with bayes_factor")
        if request.model_id:
            async with self.database.session() as session:
                await owned(session, RegisteredModel, request.client_id, request.model_id)
        return await self.calls.run(JobKind.CHECK_NECESSITY, request, context)


def _check_thresholds(thresholds: sbc_pb2.NecessityThresholds) -> None:
    if thresholds.business_impact.currency != "USD":
        raise invalid_field("thresholds.business_impact.currency", "only USD: no rate is supplied")


def _ledger_message(part: str, columns: list[str], rows: list[SbcResult]) -> sbc_pb2.ReadSbcLedgerResponse:
    def array(name: str, dtype: str) -> common_pb2.NumericArray:
        return to_array(np.array([getattr(row, name) for row in rows], dtype=dtype))  # None becomes NaN

    return sbc_pb2.ReadSbcLedgerResponse(
        part=value_of(sbc_pb2.SbcPart, part),
        quantities=columns,
        simulations=array("simulation", "<i8"),
        status=array("status", "<i8"),
        n_draws=array("n_draws", "<i8"),
        ranks=array("ranks", "<i8"),
        **{name: array(name, "<f8") for name in _LEDGER_FLOATS},
    )


_LEDGER_FLOATS = ("r_hat", "ess", "v", "ties", "truth", "posterior_mean", "posterior_sd")
