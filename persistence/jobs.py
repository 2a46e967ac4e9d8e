"""Jobs: claims with leases, results fenced by the attempt, events in a gapless sequence."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.errors import StorageError
from persistence.tables import Job, JobEvent
from persistence.tables.jobs import JOB_STATES, OPEN_JOB_STATES, TERMINAL_JOB_STATES

NOTIFY_CHANNEL = "liftos_bayes_job"


class UnknownJob(StorageError):
    """There is no such job."""


def lease_end(seconds: float) -> ColumnElement[datetime.datetime]:
    """The moment `seconds` from now, by the clock of the database; leases never use the host's."""
    return func.clock_timestamp() + datetime.timedelta(seconds=seconds)


async def create(session: AsyncSession, client_id: str, kind: str, request: bytes, total: int = 0) -> Job:
    """A new job in state QUEUED; delivering it is the queue's task (`queue.defer`, same transaction)."""
    job = Job(client_id=client_id, kind=kind, request=request, total=total)
    session.add(job)
    await session.flush()
    return job


async def get(session: AsyncSession, job_pk: uuid.UUID) -> Job | None:
    """The job as it is now."""
    return await session.get(Job, job_pk, populate_existing=True)


async def lock(session: AsyncSession, job_pk: uuid.UUID) -> Job:
    """The job, locked until the end of the transaction. Raises `UnknownJob`.

    Lock first and count afterwards, and the counts contain all that other transactions have reported before.
    """
    query = select(Job).where(Job.pk == job_pk).with_for_update().execution_options(populate_existing=True)
    job = (await session.scalars(query)).one_or_none()
    if job is None:
        raise UnknownJob(str(job_pk))
    return job


async def claim(session: AsyncSession, job_pk: uuid.UUID, lease_seconds: float) -> Job | None:
    """Take the job for this worker: RUNNING, the next attempt, a lease. None if it is held by another or has ended."""
    free = or_(Job.state == "QUEUED", and_(Job.state == "RUNNING", _lease_over()))
    return await _update(
        session,
        Job.pk == job_pk,
        free,
        state="RUNNING",
        attempt=Job.attempt + 1,
        lease_until=lease_end(lease_seconds),
        start_time=func.coalesce(Job.start_time, func.clock_timestamp()),
    )


async def renew(session: AsyncSession, job_pk: uuid.UUID, attempt: int, lease_seconds: float) -> bool:
    """Prolong the lease; False when this attempt no longer holds the job."""
    job = await _update(session, *_held(job_pk, attempt), lease_until=lease_end(lease_seconds))
    return job is not None


async def succeed(session: AsyncSession, job_pk: uuid.UUID, attempt: int, response: bytes) -> bool:
    """End the job with its result; False, and nothing written, when this attempt no longer holds it.

    On False roll the transaction back if it wrote more than this.
    """
    return await _end(session, _held(job_pk, attempt), state="SUCCEEDED", response=response)


async def fail(
    session: AsyncSession,
    job_pk: uuid.UUID,
    attempt: int,
    reason: str,
    message: str,
    field: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bool:
    """End the job with an error; False, and nothing written, when this attempt no longer holds it."""
    return await _end(
        session,
        _held(job_pk, attempt),
        state="FAILED",
        error_reason=reason,
        error_message=message,
        error_field=field,
        error_metadata=dict(metadata) if metadata else None,
    )


async def set_state(
    session: AsyncSession,
    job_pk: uuid.UUID,
    state: str,
    *,
    response: bytes | None = None,
    error_reason: str | None = None,
    error_message: str | None = None,
    error_field: str | None = None,
) -> bool:
    """Change the state without an attempt, for jobs whose work is fenced elsewhere (shards) and for cancelling.

    False, and nothing written, when the job has ended or already is in that state: of several callers one gets True.
    """
    if state not in JOB_STATES:
        raise ValueError(f"unknown job state {state}")
    where = (Job.pk == job_pk, Job.state.in_(OPEN_JOB_STATES), Job.state != state)
    if state in TERMINAL_JOB_STATES:
        return await _end(
            session,
            where,
            state=state,
            response=response,
            error_reason=error_reason,
            error_message=error_message,
            error_field=error_field,
        )
    values: dict[str, Any] = {"state": state}
    if state == "RUNNING":
        values["start_time"] = func.coalesce(Job.start_time, func.clock_timestamp())
    if await _update(session, *where, **values) is None:
        return False
    await notify(session, job_pk)
    return True


async def append_event(
    session: AsyncSession, job_pk: uuid.UUID, payload_factory: Callable[[int], bytes], *, done: int | None = None
) -> int:
    """Store the next event and return its number; watchers wake when the transaction commits.

    The job's row is locked from here to the end of the transaction, which is what keeps the sequence without gaps.
    `payload_factory`: gets the number, gives the bytes. `done`: new progress. Raises `UnknownJob`.
    """
    job = await lock(session, job_pk)
    sequence = job.last_sequence + 1
    session.add(JobEvent(job_pk=job_pk, sequence=sequence, payload=payload_factory(sequence)))
    job.last_sequence = sequence
    if done is not None:
        job.done = done
    await session.flush()
    await notify(session, job_pk)
    return sequence


async def events_after(session: AsyncSession, job_pk: uuid.UUID, after: int, limit: int = 100) -> list[JobEvent]:
    """At most `limit` events with numbers above `after`, in order."""
    query = (
        select(JobEvent)
        .where(JobEvent.job_pk == job_pk, JobEvent.sequence > after)
        .order_by(JobEvent.sequence)
        .limit(limit)
    )
    return list(await session.scalars(query))


async def abandoned(session: AsyncSession, limit: int = 100) -> list[Job]:
    """Take back running jobs whose lease is over, longest ago first: QUEUED again, for the caller to deliver anew."""
    query = select(Job).where(Job.state == "RUNNING", _lease_over()).order_by(Job.lease_until).limit(limit)
    jobs = list(await session.scalars(query.with_for_update(skip_locked=True)))
    for job in jobs:
        job.state, job.lease_until = "QUEUED", None
    return jobs


async def notify(session: AsyncSession, job_pk: uuid.UUID) -> None:
    """Wake the watchers of the job when the transaction commits; several calls in one transaction count as one."""
    await session.execute(select(func.pg_notify(NOTIFY_CHANNEL, job_pk.hex)))


def _lease_over() -> ColumnElement[bool]:
    return Job.lease_until < func.clock_timestamp()


def _held(job_pk: uuid.UUID, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return (Job.pk == job_pk, Job.attempt == attempt, Job.state == "RUNNING")


async def _end(session: AsyncSession, where: tuple[ColumnElement[bool], ...], **values: Any) -> bool:
    job = await _update(session, *where, lease_until=None, end_time=func.clock_timestamp(), **values)
    if job is None:
        return False
    await notify(session, job.pk)
    return True


async def _update(session: AsyncSession, *where: ColumnElement[bool], **values: Any) -> Job | None:
    await session.flush()
    statement = update(Job).where(*where).values(**values).returning(Job)
    options = {"synchronize_session": False, "populate_existing": True}
    return (await session.scalars(statement, execution_options=options)).one_or_none()
