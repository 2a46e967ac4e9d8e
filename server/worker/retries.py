"""When work is done again: what is tried anew, how often, and what tells that a worker has died of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from procrastinate import App, RetryStrategy
from sqlalchemy.ext.asyncio import AsyncSession

from persistence import jobs, queue
from persistence import sbc_runs as sbc
from persistence.database import Database, StorageUnavailable
from server.worker.context import WorkerContext

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 10
"""How often work is tried whose workers die of it; once more would block everybody behind it for ever."""


WORKERS_DIED = f"the workers that tried this died {MAX_ATTEMPTS} times"


class OtherVersion(Exception):
    """The run belongs to another version of the code, whose workers must compute all of it."""


# A database that is away says nothing about the work; nor does a run of another version, whose workers may come.
AGAIN = RetryStrategy(max_attempts=1000, wait=3, retry_exceptions=[StorageUnavailable, OtherVersion])


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


async def sweep(app: App, database: Database, stalled_seconds: float) -> None:
    """Deliver again what a dead worker held: neither the queue nor a lease that has run out does that by itself."""
    while True:
        try:
            count = await queue.retry_stalled(app, stalled_seconds)
            async with database.session() as session:
                calls = [job.pk for job in await jobs.abandoned(session)]
                calls += await queue.lost_calls(session, stalled_seconds)
                shards = [(shard.validation_pk, shard.ordinal) for shard in await sbc.abandoned_shards(session)]
                shards += await queue.lost_shards(session, stalled_seconds)
                for job_pk in dict.fromkeys(calls):
                    await queue.defer(session, "run_call", queue=queue.CALLS, job=str(job_pk))
                for validation, ordinal in dict.fromkeys(shards):
                    await queue.defer(
                        session, "run_shard", queue=queue.SHARDS, validation=str(validation), ordinal=ordinal
                    )
                count += len(calls) + len(shards)
            if count:
                log.warning("delivered %d pieces of work again whose worker or delivery was lost", count)
        except Exception:  # a sweep that fails must not end the worker; the next one tries again
            log.exception("the sweep failed")
        await asyncio.sleep(stalled_seconds / 2)
