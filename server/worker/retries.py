"""How often work is tried whose workers die of it, and the lease that tells that one has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import StorageUnavailable
from server.worker.context import WorkerContext

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 10
"""How often work is tried whose workers die of it; once more would block everybody behind it for ever."""


WORKERS_DIED = f"the workers that tried this died {MAX_ATTEMPTS} times"


async def keep_lease(context: WorkerContext, lease: float, renew: Callable[[AsyncSession], Awaitable[bool]]) -> None:
    """Renew a lease three times in its length until it is lost; a database that is away for a moment ends nothing."""
    while True:
        await asyncio.sleep(lease / 3)
        try:
            async with context.database.session() as session:
                if not await renew(session):
                    return
        except StorageUnavailable:
            log.warning("a lease could not be renewed; trying again")
