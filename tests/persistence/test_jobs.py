"""Leases, fencing and the gapless sequence of events."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import text

from persistence import jobs
from persistence.database import Database
from persistence.tables import Job


async def current(database: Database, job: Job) -> Job:
    async with database.session() as session:
        found = await jobs.get(session, job.pk)
    assert found is not None
    return found


async def expire_lease(database: Database, job: Job) -> None:
    async with database.session() as session:
        await session.execute(
            text("update jobs set lease_until = now() - interval '1 s' where pk = :pk"), {"pk": job.pk}
        )


async def test_a_claimed_job_cannot_be_claimed_until_its_lease_is_over(database: Database, world: Any) -> None:
    async with database.session() as session:
        first = await jobs.claim(session, world.job.pk, 30)
    assert first is not None
    assert (first.state, first.attempt) == ("RUNNING", 1)
    assert first.start_time is not None
    async with database.session() as session:
        assert await jobs.claim(session, world.job.pk, 30) is None
        assert await jobs.abandoned(session) == []
    await expire_lease(database, world.job)
    async with database.session() as session:
        assert [job.pk for job in await jobs.abandoned(session)] == [world.job.pk]
        second = await jobs.claim(session, world.job.pk, 30)
    assert second is not None
    assert (second.attempt, second.start_time) == (2, first.start_time)


async def test_of_many_claims_at_once_one_succeeds(database: Database, world: Any) -> None:
    async def claim() -> Job | None:
        async with database.session() as session:
            return await jobs.claim(session, world.job.pk, 30)

    claims = await asyncio.gather(*(claim() for _ in range(8)))
    assert [job.attempt for job in claims if job is not None] == [1]


async def test_a_stale_attempt_writes_nothing(database: Database, world: Any) -> None:
    async with database.session() as session:
        await jobs.claim(session, world.job.pk, 30)
    await expire_lease(database, world.job)
    async with database.session() as session:
        await jobs.claim(session, world.job.pk, 30)
    async with database.session() as session:
        assert not await jobs.renew(session, world.job.pk, 1, 3600)
        assert not await jobs.succeed(session, world.job.pk, 1, b"stale")
        assert not await jobs.fail(session, world.job.pk, 1, "COMPUTATION_FAILED", "stale")
    job = await current(database, world.job)
    assert (job.state, job.response, job.error_reason, job.end_time) == ("RUNNING", None, None, None)
    async with database.session() as session:
        assert await jobs.renew(session, world.job.pk, 2, 3600)
        assert await jobs.succeed(session, world.job.pk, 2, b"good")
        assert not await jobs.succeed(session, world.job.pk, 2, b"again")
    job = await current(database, world.job)
    assert (job.state, job.response, job.lease_until) == ("SUCCEEDED", b"good", None)
    assert job.end_time is not None


async def test_a_failure_keeps_reason_message_field_and_metadata(database: Database, world: Any) -> None:
    async with database.session() as session:
        await jobs.claim(session, world.job.pk, 30)
        assert await jobs.fail(
            session, world.job.pk, 1, "INSUFFICIENT_DATA", "too few rows", "data_period_months", {"rows": "3"}
        )
    job = await current(database, world.job)
    assert (job.state, job.error_reason, job.error_message, job.error_field) == (
        "FAILED",
        "INSUFFICIENT_DATA",
        "too few rows",
        "data_period_months",
    )
    assert job.error_metadata == {"rows": "3"}


async def test_an_ended_job_changes_no_more(database: Database, world: Any) -> None:
    async with database.session() as session:
        assert await jobs.set_state(session, world.job.pk, "RUNNING")
        assert not await jobs.set_state(session, world.job.pk, "RUNNING")
        assert await jobs.set_state(session, world.job.pk, "CANCELLED")
    async with database.session() as session:
        assert not await jobs.set_state(session, world.job.pk, "SUCCEEDED", response=b"late")
        assert await jobs.claim(session, world.job.pk, 30) is None
    job = await current(database, world.job)
    assert (job.state, job.response) == ("CANCELLED", None)


async def test_an_unknown_state_is_refused(database: Database, world: Any) -> None:
    async with database.session() as session:
        with pytest.raises(ValueError, match="unknown job state"):
            await jobs.set_state(session, world.job.pk, "DONE")


async def test_events_written_at_once_get_a_gapless_sequence_even_when_some_roll_back(
    database: Database, world: Any
) -> None:
    async def append(n: int) -> int | None:
        try:
            async with database.session() as session:
                sequence = await jobs.append_event(session, world.job.pk, lambda s: f"{s}:{n}".encode(), done=n)
                await asyncio.sleep(0.001)
                if n % 5 == 0:
                    raise RuntimeError("rolled back")
                return sequence
        except RuntimeError:
            return None

    given = await asyncio.gather(*(append(n) for n in range(40)))
    async with database.session() as session:
        events = await jobs.events_after(session, world.job.pk, 0)
    assert [event.sequence for event in events] == list(range(1, 33))
    assert sorted(s for s in given if s is not None) == list(range(1, 33))
    assert {bytes(event.payload) for event in events} == {
        f"{sequence}:{n}".encode() for n, sequence in enumerate(given) if sequence is not None
    }
    job = await current(database, world.job)
    assert job.last_sequence == 32
    assert job.done == int(events[-1].payload.split(b":")[1])


async def test_events_are_read_after_a_cursor_and_in_pages(database: Database, world: Any) -> None:
    async with database.session() as session:
        for _ in range(5):
            await jobs.append_event(session, world.job.pk, lambda s: bytes([s]))
        events = await jobs.events_after(session, world.job.pk, 2, limit=2)
    assert [event.sequence for event in events] == [3, 4]


async def test_an_event_of_an_unknown_job_is_refused(database: Database) -> None:
    with pytest.raises(jobs.UnknownJob):
        async with database.session() as session:
            await jobs.append_event(session, uuid.uuid4(), lambda _: b"")
