"""The queue: procrastinate delivers, our own tables hold the truth."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import conninfo, translated
from persistence.driver import driver_connection

CALLS = "calls"
"""Queue of short work that a caller waits for."""
SHARDS = "shards"
"""Queue of long work."""

QUICK = "quick"
"""Queue of calls that need no fit: whoever works on the others takes these in between."""

_GENERATION = {CALLS: "calls-3", QUICK: "quick-3"}
"""Where this version delivers. While two versions run side by side, workers of the earlier one must not take a call
that they would do by half: fields that they do not know, such as held-out months, they would not miss. Shards carry the
version of their run instead. Raise the number with every version whose calls an earlier one would misunderstand."""


def taken(names: list[str]) -> list[str]:
    """The queues that a worker on these takes from: quick calls too, and what an earlier version has delivered."""
    return [*dict.fromkeys([_GENERATION[QUICK], *(_GENERATION.get(name, name) for name in names), *names])]


# Never opened: it only knows how to write a job, which happens on the caller's connection.
_writer = App(connector=PsycopgConnector())


def make_app(url: str, *, max_size: int = 4) -> App:
    """A procrastinate application on the database at `url`, for the worker to register tasks with and to run.

    Open it with `async with app.open_async()`. `max_size`: most connections; a worker needs one more for LISTEN.
    """
    return App(connector=PsycopgConnector(conninfo=conninfo(url), min_size=1, max_size=max_size))


async def defer(session: AsyncSession, task_name: str, *, queue: str, priority: int = 0, **args: Any) -> int:
    """Enqueue a task in the caller's transaction and return its number: a rollback removes it.

    The task need not be known here. `priority`: higher runs first. `args`: JSON values.
    """
    connection = await driver_connection(session)
    with translated():
        return await _writer.configure_task(
            task_name, queue=_GENERATION.get(queue, queue), priority=priority, connection=connection
        ).defer_async(**args)


async def drop_shards(session: AsyncSession, validation_pk: uuid.UUID) -> None:
    """Take the waiting shards of a run that has ended out of the queue, so that nobody waits behind them."""
    await session.execute(
        text(
            "delete from procrastinate_jobs where task_name = 'run_shard' and status = 'todo'"
            " and args->>'validation' = :validation"
        ),
        {"validation": str(validation_pk)},
    )


async def retry_stalled(app: App, seconds_since_heartbeat: float = 30) -> int:
    """Enqueue again what workers held that have not shown a heartbeat for so long; returns how many there were.

    procrastinate does not do that by itself. What a task did twice is made harmless by the attempt's fence.
    """
    count = 0
    with translated():
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=seconds_since_heartbeat):
            try:
                await app.job_manager.retry_job(job)
            except ConnectorException as error:
                # Another worker swept at the same time and was first.
                if not isinstance(error.__cause__, psycopg.errors.RaiseException):
                    raise
            else:
                count += 1
    return count


_LOST_CALLS = text("""
    select j.pk from jobs j
    where j.state = 'QUEUED' and j.kind <> 'SBC_RUN' and j.create_time < now() - make_interval(secs => :age)
      and not exists (select 1 from procrastinate_jobs q where q.task_name = 'run_call'
                      and q.status in ('todo', 'doing') and q.args->>'job' = j.pk::text)
    order by j.create_time limit 100
""")
_LOST_SHARDS = text("""
    select s.validation_pk, s.ordinal from sbc_shards s
    join sbc_validations v on v.pk = s.validation_pk join jobs j on j.pk = v.job_pk
    where j.state in ('QUEUED', 'RUNNING') and j.create_time < now() - make_interval(secs => :age)
      -- An open shard that waits for delivery, or any shard of a run that only lacks its verdict.
      and (s.state = 'QUEUED'
           -- Whoever finished the last shard may be computing the verdict: then some delivery of the run is at work.
           or s.ordinal = 0 and not exists (select 1 from sbc_shards o
                                            where o.validation_pk = s.validation_pk and o.state <> 'DONE')
                            and not exists (select 1 from procrastinate_jobs q where q.task_name = 'run_shard'
                                            and q.status in ('todo', 'doing')
                                            and q.args->>'validation' = s.validation_pk::text))
      and not exists (select 1 from procrastinate_jobs q where q.task_name = 'run_shard'
                      and q.status in ('todo', 'doing') and q.args->>'validation' = s.validation_pk::text
                      and (q.args->>'ordinal')::int = s.ordinal)
    order by j.create_time, s.ordinal limit 1000
""")


async def lost_calls(session: AsyncSession, age_seconds: float) -> list[uuid.UUID]:
    """Queued jobs, older than `age_seconds`, that no entry of the queue stands for: their delivery was lost."""
    return [row[0] for row in await session.execute(_LOST_CALLS, {"age": age_seconds})]


async def lost_shards(session: AsyncSession, age_seconds: float) -> list[tuple[uuid.UUID, int]]:
    """Shards of open runs, older than `age_seconds`, that nobody computes and no entry of the queue stands for.

    Includes the first shard of a run that is complete but for its verdict.
    """
    return [(row[0], row[1]) for row in await session.execute(_LOST_SHARDS, {"age": age_seconds})]
