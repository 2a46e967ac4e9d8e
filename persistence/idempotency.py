"""Idempotency: a request identifier is used once, and a repetition is answered with what the first use created."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.errors import StorageError
from persistence.tables import RequestLog


class RequestIdReused(StorageError):
    """The request identifier was used before with a different payload."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id} was used before with a different payload")
        self.request_id = request_id


@dataclass(frozen=True)
class Replay:
    """What the first use of the request identifier created."""

    job_pk: uuid.UUID | None
    resource_id: str | None


async def remember(
    session: AsyncSession, client_id: str, method: str, request_id: str, fingerprint: str
) -> Replay | None:
    """Take the identifier for this transaction: None for its first use, else what that use created.

    Waits while another transaction that took it is open; if that one is rolled back, this one is the first use.
    `fingerprint`: digest of the payload. Raises `RequestIdReused` when it differs from the first use's.
    """
    key = (RequestLog.client_id == client_id, RequestLog.method == method, RequestLog.request_id == request_id)
    entry = insert(RequestLog).values(
        client_id=client_id, method=method, request_id=request_id, fingerprint=fingerprint
    )
    while True:
        taken = await session.execute(entry.on_conflict_do_nothing().returning(RequestLog.request_id))
        if taken.first() is not None:
            return None
        query = select(RequestLog.fingerprint, RequestLog.job_pk, RequestLog.resource_id).where(*key)
        row = (await session.execute(query)).first()
        if row is None:  # deleted between the two statements
            continue
        if row.fingerprint != fingerprint:
            raise RequestIdReused(request_id)
        return Replay(job_pk=row.job_pk, resource_id=row.resource_id)


async def attach(
    session: AsyncSession,
    client_id: str,
    method: str,
    request_id: str,
    *,
    job_pk: uuid.UUID | None = None,
    resource_id: str | None = None,
) -> None:
    """Record what the request created, in the transaction that called `remember`."""
    await session.execute(
        update(RequestLog)
        .where(RequestLog.client_id == client_id, RequestLog.method == method, RequestLog.request_id == request_id)
        .values(job_pk=job_pk, resource_id=resource_id)
    )


async def request_of_job(session: AsyncSession, client_id: str, method: str, job_pk: uuid.UUID) -> str | None:
    """The request identifier that created the job, None if it was created without one."""
    # Client and method come first in the primary key: few rows are looked at, although job_pk has no index.
    key = (RequestLog.client_id == client_id, RequestLog.method == method, RequestLog.job_pk == job_pk)
    request_id: str | None = await session.scalar(select(RequestLog.request_id).where(*key))
    return request_id
