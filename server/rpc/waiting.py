"""Short computations: stored as a job, run by a worker, awaited up to the caller's deadline."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from liftos.bayes.rules import Violation
from sqlalchemy.ext.asyncio import AsyncSession

from persistence import idempotency as requests
from persistence import jobs, queue
from persistence.database import Database
from persistence.listen import JobListener
from persistence.lookup import ensure_client
from persistence.tables import Job
from server.contract.errors import Reason, ServiceError
from server.contract.job_kinds import JOB_KINDS, Kind, R
from server.contract.wire import fingerprint
from server.settings import Settings

Prepare = Callable[[AsyncSession, Job], Awaitable[None]]

POLL_SECONDS = 2.0
"""A notification can be lost with its connection; the job is looked at this often all the same."""


class Calls:
    """Submits jobs and waits for them."""

    def __init__(self, database: Database, listener: JobListener, settings: Settings) -> None:
        self.database = database
        self.listener = listener
        self.settings = settings

    async def run(
        self,
        kind: Kind[R],
        request: Any,
        context: grpc.aio.ServicerContext[Any, Any],
        prepare: Prepare | None = None,
    ) -> R:
        """Run `request` as a job of `kind` and return its response.

        `prepare` checks preconditions and adds rows in the transaction that creates the job; it does not run again when
        the same `request_id` is seen again. Raises ServiceError STILL_RUNNING at the deadline, and the job's own error.
        """
        async with self.database.session() as session:
            job_pk = await self._submit(session, kind, request, prepare)
        return await self.wait(job_pk, context, kind.response)

    async def _submit(self, session: AsyncSession, kind: Kind[Any], request: Any, prepare: Prepare | None) -> uuid.UUID:
        await ensure_client(session, request.client_id)
        request_id = getattr(request, "request_id", "")
        if request_id:
            replay = await requests.remember(session, request.client_id, kind.name, request_id, fingerprint(request))
            if replay is not None and replay.job_pk is not None:
                return replay.job_pk
        job = await jobs.create(session, request.client_id, kind.name, request.SerializeToString())
        if prepare is not None:
            await prepare(session, job)
        # What fits nothing goes before all that may need many seconds.
        priority, name = (0, queue.CALLS) if kind.fits else (1, queue.QUICK)
        await queue.defer(session, "run_call", queue=name, priority=priority, job=str(job.pk))
        if request_id:
            await requests.attach(session, request.client_id, kind.name, request_id, job_pk=job.pk)
        return job.pk

    async def wait(self, job_pk: uuid.UUID, context: grpc.aio.ServicerContext[Any, Any], response_type: type[R]) -> R:
        """Wait for a job's response; a wait that is broken off does not touch the job."""
        remaining = context.time_remaining()
        seconds = self.settings.default_unary_seconds if remaining is None else remaining
        # The answer must leave before the caller's own deadline strikes, or the reason would be lost.
        deadline = asyncio.get_running_loop().time() + min(seconds * 0.95, self.settings.max_unary_seconds)
        async with self.listener.subscribe(job_pk) as wake:
            while True:
                async with self.database.session() as session:
                    job = await jobs.get(session, job_pk)
                if job is None:
                    raise ServiceError(Reason.INTERNAL, "the job has vanished", metadata={"incident_id": str(job_pk)})
                if job.state == "SUCCEEDED":
                    return response_type.FromString(job.response or b"")
                if job.state in {"FAILED", "CANCELLED"}:
                    raise job_error(job)
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise ServiceError(Reason.STILL_RUNNING, still_running(job), metadata={"job_id": str(job_pk)})
                await wake.wait(min(left, POLL_SECONDS))


def still_running(job: Job) -> str:
    """What a caller is told whose deadline came before the result."""
    goes_on = "no worker has begun the work yet" if job.state == "QUEUED" else "the work goes on"
    # The server cannot see what the worker is doing, but this is why most first calls take long.
    compiling = (
        " (the first fit of a model of a new shape compiles programs for up to a minute; later ones do not)"
        if JOB_KINDS[job.kind].fits
        else ""
    )
    return f"{goes_on}{compiling}; call again with the same request_id"


def job_error(job: Job) -> ServiceError:
    """The error that a job ended with."""
    without = Reason.COMPUTATION_FAILED if job.state == "FAILED" else Reason.INVALID_STATE
    # A newer version may have written a reason that this one does not know.
    reason = Reason.__members__.get(job.error_reason or without, Reason.COMPUTATION_FAILED)
    message = job.error_message or "the computation was cancelled"
    violations = [Violation(job.error_field, message)] if job.error_field else []
    text = f"{job.error_field}: {message}" if job.error_field else message
    return ServiceError(
        reason, text, violations=violations, metadata=(job.error_metadata or {}) | {"job_id": str(job.pk)}
    )
