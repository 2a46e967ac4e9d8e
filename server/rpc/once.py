"""Requests that were seen before: the same `request_id` does its work once."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from persistence import idempotency as requests
from persistence.idempotency import Replay
from persistence.lookup import ensure_client
from server.contract.wire import fingerprint


async def seen_before(session: AsyncSession, method: str, request: Any) -> Replay | None:
    """What the request created when it came first, None if this is the first time.

    Records it in the caller's transaction, together with the client. Raises RequestIdReused for another payload.
    """
    await ensure_client(session, request.client_id)
    return await requests.remember(session, request.client_id, method, request.request_id, fingerprint(request))
