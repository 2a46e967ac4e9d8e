"""Short computations: claim the job, compute, and write resource and response in one fenced transaction."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from persistence import jobs
from persistence.database import StorageUnavailable
from persistence.idempotency import request_of_job
from persistence.tables import Job
from server.contract.errors import Reason
from server.contract.job_kinds import JOB_KINDS, Kind
from server.records.failures import explained
from server.worker.attempts import Ending, attempt_line
from server.worker.context import Handler, WorkerContext
from server.worker.retries import MAX_ATTEMPTS, WORKERS_DIED, keep_lease


class LostLease(Exception):
    """Another worker has taken the job over; this one's result is dropped."""


async def run_call(context: WorkerContext, handlers: Mapping[Kind[Any], Handler], job_pk: uuid.UUID) -> None:
    """Run one job to its end; returns at once if another worker holds it or it has ended."""
    lease = context.settings.lease_seconds
    async with context.database.session() as session:
        job = await jobs.claim(session, job_pk, lease)
        if job is None:
            return
        request_id = await request_of_job(session, job.client_id, job.kind, job.pk)
    with attempt_line(job, request_id or "") as ended:
        await _attempt(context, handlers, job, lease, ended)


async def _attempt(
    context: WorkerContext, handlers: Mapping[Kind[Any], Handler], job: Job, lease: float, ended: Ending
) -> None:
    if job.attempt > MAX_ATTEMPTS:
        async with context.database.session() as session:
            await jobs.fail(session, job.pk, job.attempt, Reason.COMPUTATION_FAILED, WORKERS_DIED)
        ended.failed(Reason.COMPUTATION_FAILED)
        return
    renewal = asyncio.create_task(_renew(context, job, lease))
    try:
        commit = await handlers[JOB_KINDS[job.kind]](context, job)
        async with context.database.session() as session:
            response = await commit(session)
            if not await jobs.succeed(session, job.pk, job.attempt, response.SerializeToString()):
                raise LostLease
        ended.state = "SUCCEEDED"
    except LostLease:
        ended.state = "DROPPED"
    except StorageUnavailable:
        raise  # the database's trouble says nothing about the job: it is delivered again
    except Exception as error:
        told = explained(error)
        message, field = told.at_rest()
        async with context.database.session() as session:
            held = await jobs.fail(session, job.pk, job.attempt, told.reason, message, field, told.metadata)
        ended.failed(told.reason, held)
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)


async def _renew(context: WorkerContext, job: Job, lease: float) -> None:
    async def renew(session: AsyncSession) -> bool:
        return await jobs.renew(session, job.pk, job.attempt, lease)

    await keep_lease(context, lease, renew)
