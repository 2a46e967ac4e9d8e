"""Requests that were seen before: the same `request_id` does its work once."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from persistence import idempotency as requests
from persistence.idempotency import Replay
from persistence.lookup import ensure_client
from persistence.tables import Owned
from server.contract.wire import fingerprint, method_of


async def seen_before(session: AsyncSession, request: Any) -> Replay | None:
    """What the request created when it came first, None if this is the first time.

    Records it in the caller's transaction, together with the client. Raises RequestIdReused for another payload.
    """
    await ensure_client(session, request.client_id)
    return await requests.remember(
        session, request.client_id, method_of(request), request.request_id, fingerprint(request)
    )


async def created(session: AsyncSession, request: Any, row: Owned, *, job_pk: uuid.UUID | None = None) -> None:
    """Record the row that the request created, in the transaction that called `seen_before`."""
    await requests.attach(
        session, request.client_id, method_of(request), request.request_id, job_pk=job_pk, resource_id=str(row.pk)
    )
