"""Shards of SBC runs: compute a batch, add it to the ledger, report, and give the verdict at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
from liftos.bayes.v1 import common_pb2, sbc_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.errors import EngineError
from engine.rules.sbc_presets import Part
from engine.sbc.interim import interim
from engine.sbc.judgement import rules_of
from engine.sbc.ledger import RankLedger
from engine.sbc.recovery import recovery
from engine.sbc.verdict import Outcome
from persistence import jobs
from persistence import sbc_runs as sbc
from persistence.database import StorageUnavailable
from persistence.tables import Job, SbcShard, SbcValidation
from server.contract.wire import label, to_json, value_of
from server.records.certificates import RECOVERY, run_key
from server.records.failures import explained
from server.records.lookups import TERMINAL_STATES
from server.records.runs import append_event, finish_run
from server.worker.attempts import Ending, attempt_line
from server.worker.context import WorkerContext
from server.worker.retries import MAX_ATTEMPTS, WORKERS_DIED, OtherVersion, keep_lease
from server.worker.sbc.calibration import (
    interim_message,
    judged,
    ledger_of,
    recovery_message,
    rows_of,
    shared_tests,
    simulate,
    verdict_message,
)

REPORT_GROWTH = 1.1


async def run_shard(context: WorkerContext, validation_pk: uuid.UUID, ordinal: int) -> None:
    """Compute one shard unless it is done or held by another worker, then report; can be called any number of times."""
    # Locks are taken in one order everywhere, shard before job, so that two workers cannot wait for each other.
    async with context.database.session() as session:
        run = await session.get(SbcValidation, validation_pk)
        if run is None:
            return
        job = await session.get_one(Job, run.job_pk)
        if job.state in TERMINAL_STATES:
            return
        if not run.parts or await run_key(session, run) != run.certificate_key:
            raise OtherVersion(f"run {validation_pk} was started by another version")
        shard = await sbc.claim_shard(session, validation_pk, ordinal, context.settings.lease_seconds)
        if shard is not None and await jobs.set_state(session, job.pk, "RUNNING"):
            job = await jobs.lock(session, job.pk)
            running = sbc_pb2.StateChanged(state=common_pb2.JOB_STATE_RUNNING)
            await append_event(session, run, job, state_changed=running)
    if shard is None:
        await _attempt(context, run, None, Ending())
        return
    # All requests for a run begin with the same two fields.
    asked = sbc_pb2.RunSbcRequest.FromString(job.request)
    with attempt_line(job, asked.request_id, attempt=shard.attempt, shard=ordinal) as ended:
        await _attempt(context, run, shard, ended)


async def _attempt(context: WorkerContext, run: SbcValidation, shard: SbcShard | None, ended: Ending) -> None:
    # The database's trouble says nothing about the run: the shard is delivered again. Any other failure would repeat,
    # for ever: the run ends with the reason instead.
    if shard is not None:
        try:
            if shard.attempt - shard.attempts_before > MAX_ATTEMPTS:
                raise EngineError(WORKERS_DIED)
            if not await _compute(context, run, shard):
                ended.state = "DROPPED"
                return
        except StorageUnavailable:
            raise
        except Exception as error:
            await _fail(context, run, error, shard, ended)
            return
    try:
        await _report(context, run.pk, shard.part if shard is not None else None)
    except StorageUnavailable:
        raise
    except Exception as error:
        await _fail(context, run, error, None, ended)
    else:
        ended.state = "SUCCEEDED"


async def _fail(
    context: WorkerContext, run: SbcValidation, error: Exception, shard: SbcShard | None, ended: Ending
) -> None:
    """End the run with the error, unless it has ended, or the shard has been taken from the worker that had it."""
    told = explained(error)
    message, field = told.at_rest()
    async with context.database.session() as session:
        lease = context.settings.lease_seconds
        if shard is not None and not await sbc.renew_shard(session, run.pk, shard.ordinal, shard.attempt, lease):
            ended.failed(told.reason, held=False)
            return
        job = await jobs.lock(session, run.job_pk)
        if held := job.state not in TERMINAL_STATES:
            run = await session.get_one(SbcValidation, run.pk, populate_existing=True)
            await finish_run(session, run, job, "FAILED", None, reason=told.reason, message=message, field=field or "")
    ended.failed(told.reason, held)


async def _compute(context: WorkerContext, run: SbcValidation, shard: SbcShard) -> bool:
    """Simulate and fit the shard, and write it; False if the run ended or another worker took the shard meanwhile."""
    lease = context.settings.lease_seconds
    renewal = asyncio.create_task(_renew(context, shard, lease))
    try:
        async with context.database.session() as session:
            model = await context.models.of_run(session, run)
        begin = time.monotonic()
        simulations = np.arange(shard.first_simulation, shard.first_simulation + shard.n_simulations)
        ledger, compile_seconds = await asyncio.to_thread(simulate, model, run, shard.part, simulations)
        seconds = time.monotonic() - begin
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
    finished = sbc_pb2.BatchFinished(
        part=value_of(sbc_pb2.SbcPart, shard.part),
        first_simulation=shard.first_simulation,
        n_simulations=shard.n_simulations,
        n_failed=int(np.sum(~ledger.accepted)),
        compute_seconds=seconds,
        compile_seconds=compile_seconds or None,
    )
    with contextlib.suppress(_Dropped):
        async with context.database.session() as session:
            if not await sbc.finish_shard(session, run.pk, shard.ordinal, shard.attempt, rows_of(ledger), seconds):
                raise _Dropped
            job = await jobs.lock(session, run.job_pk)
            if job.state in TERMINAL_STATES:
                raise _Dropped
            run = await session.get_one(SbcValidation, run.pk, populate_existing=True)
            names = part_of(run, shard.part)["quantities"]
            if names is None:
                _note(run, shard.part, quantities=list(ledger.quantities))
            elif tuple(names) != ledger.quantities:
                raise EngineError("the quantities of the shards differ; were they computed by different versions?")
            done, _ = await sbc.counts(session, run.pk)
            await append_event(session, run, job, done=done, batch_finished=finished)
        return True
    return False


def part_of(run: SbcValidation, part: str) -> dict[str, Any]:
    """What is stored of a part of the run."""
    entry: dict[str, Any] = next(stored for stored in run.parts if stored["part"] == part)
    return entry


def _note(run: SbcValidation, part: str, **facts: Any) -> None:
    """Store facts of a part; the run's job is locked by the caller."""
    run.parts = [stored | facts if stored["part"] == part else stored for stored in run.parts]


class _Dropped(Exception):
    """The run has ended or another worker has the shard: what was computed is rolled back."""


async def _renew(context: WorkerContext, shard: SbcShard, lease: float) -> None:
    async def renew(session: AsyncSession) -> bool:
        return await sbc.renew_shard(session, shard.validation_pk, shard.ordinal, shard.attempt, lease)

    await keep_lease(context, lease, renew)


async def _report(context: WorkerContext, validation_pk: uuid.UUID, name: str | None) -> None:
    """Store interim statistics of the part's contiguous first simulations, and the verdict once it can be given.

    `name`: the part to report on; None for no part in particular. Everything here is a pure function of the ledger, so
    it does not matter which worker does it, or how often.
    """
    async with context.database.session() as session:
        # In this order: what a part ranks is known as soon as any of its shards is done.
        prefixes = await sbc.contiguous_prefixes(session, validation_pk)
        run = await session.get_one(SbcValidation, validation_pk, populate_existing=True)
        model = await context.models.of_run(session, run)
        complete = all(prefixes.get(part["part"], 0) >= part["planned"][-1] for part in run.parts)
        due = name if name is not None and _due(run, name, prefixes.get(name, 0)) else None
    if not complete and due is None:
        return
    if run.validation_type == RECOVERY:
        await _report_recovery(context, run, prefixes, complete=complete)
        return
    # Every report reads the whole prefix: at sizes that grow by a tenth the sum of all reports stays linear.
    ledgers = await _ledgers(context, run, prefixes if due is None or complete else {due: prefixes[due]})
    message, verdict, ends = None, None, complete
    if due is not None:
        rules = rules_of([Part[part["part"]] for part in run.parts], run.alpha)
        planned = part_of(run, due)["planned"][-1]
        report = await asyncio.to_thread(interim, ledgers[due], planned, rules)
        message = interim_message(report, Part[due])
        if not complete and run.stop_on_fail and (report.detected or prefixes[due] >= planned):
            ledgers = await _ledgers(context, run, prefixes)
            ends = True
    if ends:
        tests = await asyncio.to_thread(shared_tests, run, ledgers, model)
        judgement = await asyncio.to_thread(judged, run, ledgers, tests)
        if complete or judgement.outcome is Outcome.FAIL:
            verdict = verdict_message(judgement, ledgers, run.alpha, model, tests)
    async with context.database.session() as session:
        job = await jobs.lock(session, run.job_pk)
        if job.state in TERMINAL_STATES:
            return
        # Read under the lock: another worker may have reported more meanwhile, or the run may have been extended.
        planned_then = [part["planned"] for part in run.parts]
        run = await session.get_one(SbcValidation, validation_pk, populate_existing=True)
        if [part["planned"] for part in run.parts] != planned_then:
            return
        if message is not None and due is not None and message.n_simulations > part_of(run, due)["reported"]:
            _note(run, due, reported=message.n_simulations)
            run.interim = to_json(message)
            await append_event(session, run, job, interim=message)
        if verdict is not None:
            run.verdict = to_json(verdict)
            await append_event(session, run, job, verdict=verdict)
            await finish_run(session, run, job, "SUCCEEDED", label(sbc_pb2.VerdictKind, verdict.kind))


async def _report_recovery(
    context: WorkerContext, run: SbcValidation, prefixes: Mapping[str, int], *, complete: bool
) -> None:
    """Store the report on the contiguous first simulations; with all of them the run ends, without a verdict."""
    (name,) = prefixes
    (ledger,) = (await _ledgers(context, run, prefixes)).values()
    planned = part_of(run, name)["planned"]
    report = recovery_message(await asyncio.to_thread(recovery, ledger), planned[-1])
    async with context.database.session() as session:
        job = await jobs.lock(session, run.job_pk)
        if job.state in TERMINAL_STATES:
            return
        run = await session.get_one(SbcValidation, run.pk, populate_existing=True)
        if part_of(run, name)["planned"] != planned:
            return  # it was extended meanwhile: whoever computes the rest reports
        if report.n_simulations > part_of(run, name)["reported"]:
            _note(run, name, reported=report.n_simulations)
            run.recovery = to_json(report)
            await append_event(session, run, job, recovery=report)
        if complete:
            await finish_run(session, run, job, "SUCCEEDED", None)


async def _ledgers(context: WorkerContext, run: SbcValidation, prefixes: Mapping[str, int]) -> dict[str, RankLedger]:
    """The ledgers of the parts' first simulations; parts without any are left out."""
    ledgers = {}
    for name, stop in prefixes.items():
        if stop:
            async with context.database.session() as session:
                rows = await sbc.load_results(session, run.pk, name, stop=stop)
            ledgers[name] = await asyncio.to_thread(ledger_of, rows, tuple(part_of(run, name)["quantities"]))
    return ledgers


def _due(run: SbcValidation, name: str, prefix: int) -> bool:
    """Whether the part has enough new simulations for a report, or all; canaries are judged at the end only."""
    part = part_of(run, name)
    enough = min(REPORT_GROWTH * part["reported"], part["planned"][-1])
    return not Part[name].is_canary and prefix > part["reported"] and prefix >= enough
