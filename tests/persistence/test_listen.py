"""Watchers wake when a transaction with news commits, and after a lost connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from sqlalchemy import text

from persistence import jobs
from persistence.database import Database
from persistence.listen import JobListener


async def settled(wake: Any) -> None:
    """Consume the wake-up that a new connection gives to everybody."""
    assert await wake.wait(5)


async def test_a_watcher_wakes_at_commit_and_only_for_its_job(
    database: Database, database_url: str, world: Any
) -> None:
    async with (
        JobListener(database_url) as listener,
        listener.subscribe(world.job.pk) as mine,
        listener.subscribe(world.validation.job_pk) as other,
    ):
        await settled(mine)
        await settled(other)
        async with database.session() as session:
            await jobs.append_event(session, world.job.pk, lambda _: b"1")
            await jobs.append_event(session, world.job.pk, lambda _: b"2")
            assert not await mine.wait(0.1)
        assert await mine.wait(5)
        assert not await mine.wait(0.1)
        assert not await other.wait(0)


async def test_the_end_of_a_job_wakes_its_watchers(database: Database, database_url: str, world: Any) -> None:
    async with JobListener(database_url) as listener, listener.subscribe(world.job.pk) as wake:
        await settled(wake)
        async with database.session() as session:
            await jobs.claim(session, world.job.pk, 30)
            await jobs.succeed(session, world.job.pk, 1, b"")
        assert await wake.wait(5)
        async with database.session() as session:
            await session.execute(text("update jobs set state = 'RUNNING', end_time = null"))
            await jobs.fail(session, world.job.pk, 1, "INTERNAL", "m")
        assert await wake.wait(5)


async def test_a_rollback_wakes_nobody(database: Database, database_url: str, world: Any) -> None:
    async with JobListener(database_url) as listener, listener.subscribe(world.job.pk) as wake:
        await settled(wake)
        with contextlib.suppress(RuntimeError):
            async with database.session() as session:
                await jobs.append_event(session, world.job.pk, lambda _: b"")
                raise RuntimeError("stop")
        assert not await wake.wait(0.2)


async def test_the_listener_reconnects_and_wakes_everybody(
    database: Database, database_url: str, world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with JobListener(database_url) as listener, listener.subscribe(world.job.pk) as wake:
        await settled(wake)
        with caplog.at_level(logging.WARNING, "persistence.listen"):
            async with database.session() as session:
                killed = await session.scalar(
                    text(
                        "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                        " where application_name = 'liftos-bayes-listen' and datname = current_database()"
                    )
                )
            assert killed == 1
            assert await wake.wait(10)
        assert "connection was lost" in caplog.text
        async with database.session() as session:
            await jobs.append_event(session, world.job.pk, lambda _: b"")
        assert await wake.wait(5)


async def test_a_subscription_ends_with_its_block(database_url: str, world: Any) -> None:
    async with JobListener(database_url) as listener:
        async with listener.subscribe(world.job.pk), listener.subscribe(world.job.pk):
            pass
        assert not listener._wakes
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "job-listener"]
