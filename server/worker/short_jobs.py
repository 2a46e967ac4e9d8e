"""Short computations: claim the job, compute, and write resource and response in one fenced transaction."""

from __future__ import annotations

import asyncio
import logging
import uuid

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from engine.errors import EngineError, InvalidInput, UnsupportedModel, UnsupportedQuantity
from persistence import jobs
from persistence.database import StorageUnavailable
from persistence.idempotency import request_of_job
from persistence.tables import Job
from server.contract.errors import ServiceError, came_second
from server.worker.attempts import Ending, attempt_line
from server.worker.context import Handler, WorkerContext
from server.worker.retries import MAX_ATTEMPTS, WORKERS_DIED, keep_lease

log = logging.getLogger(__name__)


class LostLease(Exception):
    """Another worker has taken the job over; this one's result is dropped."""


async def run_call(context: WorkerContext, handlers: dict[str, Handler], job_pk: uuid.UUID) -> None:
    """Run one job to its end; returns at once if another worker holds it or it has ended."""
    lease = context.settings.lease_seconds
    async with context.database.session() as session:
        job = await jobs.claim(session, job_pk, lease)
        if job is None:
            return
        request_id = await request_of_job(session, job.client_id, job.kind, job.pk)
    with attempt_line(job, request_id or "") as ended:
        await _attempt(context, handlers, job, lease, ended)


async def _attempt(context: WorkerContext, handlers: dict[str, Handler], job: Job, lease: float, ended: Ending) -> None:
    if job.attempt > MAX_ATTEMPTS:
        async with context.database.session() as session:
            await jobs.fail(session, job.pk, job.attempt, "COMPUTATION_FAILED", WORKERS_DIED)
        ended.failed("COMPUTATION_FAILED")
        return
    renewal = asyncio.create_task(_renew(context, job, lease))
    try:
        commit = await handlers[job.kind](context, job)
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
        reason, message, field = explained(error)
        metadata = error.metadata if isinstance(error, ServiceError) else None
        async with context.database.session() as session:
            held = await jobs.fail(session, job.pk, job.attempt, reason, message, field, metadata)
        ended.failed(reason, held)
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)


async def _renew(context: WorkerContext, job: Job, lease: float) -> None:
    async def renew(session: AsyncSession) -> bool:
        return await jobs.renew(session, job.pk, job.attempt, lease)

    await keep_lease(context, lease, renew)


def explained(error: Exception) -> tuple[str, str, str | None]:
    """Reason, message and field that a caller may see of an error; what nobody foresaw becomes an incident."""
    if isinstance(error, InvalidInput):
        return "INVALID_FIELD", error.message, error.field
    if isinstance(error, UnsupportedQuantity):
        return "UNIMPLEMENTED", f"{error.quantity}: {error.message}", None
    if isinstance(error, UnsupportedModel):
        return "UNIMPLEMENTED", str(error), None
    if isinstance(error, EngineError):
        return "COMPUTATION_FAILED", str(error), None
    if isinstance(error, ServiceError):
        field = error.violations[0].field if error.violations else None
        message = error.violations[0].description if error.violations else error.message
        return error.reason, message, field
    if isinstance(error, IntegrityError) and (second := came_second(error)) is not None:
        return second.reason, second.message, None
    incident = uuid.uuid4().hex
    log.error("incident %s", incident, exc_info=error)
    return "INTERNAL", f"internal error, incident {incident}", None
