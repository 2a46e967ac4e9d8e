"""Jobs enter the queue with the transaction that creates them, and come back when their worker dies."""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import text

from persistence import jobs, queue
from persistence.database import Database
from persistence.lookup import ensure_client


async def queued(database: Database) -> list[tuple[Any, ...]]:
    async with database.session() as session:
        rows = await session.execute(
            text("select task_name, queue_name, priority, args, status::text from procrastinate_jobs order by id")
        )
        return [tuple(row) for row in rows]


async def test_a_rollback_removes_the_queued_job_together_with_its_row(database: Database) -> None:
    with contextlib.suppress(RuntimeError):
        async with database.session() as session:
            await ensure_client(session, "acme")
            job = await jobs.create(session, "acme", "conflict", b"")
            await queue.defer(session, "analyze", queue=queue.CALLS, job=str(job.pk))
            raise RuntimeError("stop")
    assert await queued(database) == []


async def test_a_commit_enqueues_with_queue_priority_and_arguments(database: Database) -> None:
    async with database.session() as session:
        number = await queue.defer(session, "shard", queue=queue.SHARDS, priority=-1, run="x", ordinal=3)
    assert number > 0
    assert await queued(database) == [("shard", "shards", -1, {"run": "x", "ordinal": 3}, "todo")]


async def test_a_worker_runs_what_was_deferred_by_name(database: Database, database_url: str) -> None:
    app = queue.make_app(database_url)
    seen: list[int] = []

    @app.task(name="shard", queue=queue.SHARDS)
    async def shard(ordinal: int) -> None:
        seen.append(ordinal)

    async with database.session() as session:
        for ordinal in range(3):
            await queue.defer(session, "shard", queue=queue.SHARDS, ordinal=ordinal)
    async with app.open_async():
        await app.run_worker_async(queues=[queue.SHARDS], wait=False, install_signal_handlers=False)
    assert seen == [0, 1, 2]


async def test_what_a_dead_worker_held_is_enqueued_again_once(database: Database, database_url: str) -> None:
    app = queue.make_app(database_url)
    async with database.session() as session:
        await queue.defer(session, "shard", queue=queue.SHARDS, ordinal=0)
    async with app.open_async():
        worker = await app.job_manager.register_worker()
        taken = await app.job_manager.fetch_job(queues=[queue.SHARDS], worker_id=worker)
        assert taken is not None
        assert await queue.retry_stalled(app, 30) == 0
        async with database.session() as session:
            await session.execute(text("update procrastinate_workers set last_heartbeat = now() - interval '1 hour'"))
        assert await queue.retry_stalled(app, 30) == 1
        assert await queue.retry_stalled(app, 30) == 0
        again = await app.job_manager.fetch_job(queues=[queue.SHARDS], worker_id=worker)
    assert again is not None
    assert (again.id, again.attempts) == (taken.id, 1)


async def test_calls_of_this_version_are_out_of_the_reach_of_the_version_before(database: Database) -> None:
    async with database.session() as session:
        await queue.defer(session, "run_call", queue=queue.CALLS, job="a")
        await queue.defer(session, "run_call", queue=queue.QUICK, job="b")
        names = set((await session.scalars(text("select queue_name from procrastinate_jobs"))).all())
    assert names.isdisjoint({queue.CALLS, queue.SHARDS})
    assert names <= set(queue.taken([queue.CALLS]))
    # What the version before has delivered is understood; quick calls are taken in between shards too.
    assert queue.CALLS in queue.taken([queue.CALLS])
    assert len(names & set(queue.taken([queue.SHARDS]))) == 1


async def test_a_call_whose_delivery_was_lost_is_found_and_a_waiting_one_is_not(database: Database) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
        waiting = await jobs.create(session, "acme", "ADD_BELIEF", b"")
        lost = await jobs.create(session, "acme", "ADD_BELIEF", b"")
        done = await jobs.create(session, "acme", "ADD_BELIEF", b"")
        await queue.defer(session, "run_call", queue=queue.CALLS, job=str(waiting.pk))
        claimed = await jobs.claim(session, done.pk, 30)
        assert claimed is not None
        await jobs.succeed(session, done.pk, claimed.attempt, b"")
    async with database.session() as session:
        assert await queue.lost_calls(session, 0) == [lost.pk]
        assert await queue.lost_calls(session, 3600) == []


async def test_a_shard_whose_delivery_was_lost_is_found_and_so_is_a_run_that_lacks_its_verdict(
    database: Database, world: Any
) -> None:
    run = world.validation.pk
    async with database.session() as session:
        await queue.defer(session, "run_shard", queue=queue.SHARDS, validation=str(run), ordinal=1)
        assert await queue.lost_shards(session, 0) == [(run, 0), (run, 2)]
        await session.execute(text("update sbc_shards set state = 'DONE' where ordinal in (0, 2)"))
        assert await queue.lost_shards(session, 0) == []
        await session.execute(text("update sbc_shards set state = 'DONE'"))
        # A delivery that is still to come, or at work, will give the verdict.
        assert await queue.lost_shards(session, 0) == []
        await queue.drop_shards(session, run)
        # Complete but for the verdict: one shard stands for the report that is missing.
        assert await queue.lost_shards(session, 0) == [(run, 0)]
        await session.execute(text("update jobs set state = 'SUCCEEDED', end_time = now()"))
        assert await queue.lost_shards(session, 0) == []


async def test_what_waits_for_a_run_that_has_ended_is_taken_out_of_the_queue(database: Database, world: Any) -> None:
    async with database.session() as session:
        for run in (str(world.validation.pk), "another"):
            await queue.defer(session, "run_shard", queue=queue.SHARDS, validation=run, ordinal=0)
        await queue.drop_shards(session, world.validation.pk)
    assert [row[3]["validation"] for row in await queued(database)] == ["another"]
