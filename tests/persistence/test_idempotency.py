"""A request identifier creates one thing, however often and however simultaneously it arrives."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from persistence import idempotency as requests
from persistence import jobs
from persistence.database import Database
from persistence.idempotency import Replay, RequestIdReused
from persistence.lookup import ensure_client
from persistence.tables import Job

KEY = ("acme", "AnalyzeConflict", "5f0c1e2a-0000-4000-8000-000000000001")


async def analyze(database: Database, fingerprint: str = "f", *, fail: bool = False) -> Replay | None:
    async with database.session() as session:
        await ensure_client(session, "acme")
        replay = await requests.remember(session, *KEY, fingerprint)
        if replay is None:
            await asyncio.sleep(0.02)
            job = await jobs.create(session, "acme", "conflict", b"")
            await requests.attach(session, *KEY, job_pk=job.pk, resource_id="r1")
            if fail:
                raise RuntimeError("rolled back")
        return replay


async def n_jobs(database: Database) -> int | None:
    async with database.session() as session:
        return await session.scalar(select(func.count()).select_from(Job))


async def test_of_many_requests_at_once_one_creates_and_the_others_are_answered_with_it(database: Database) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
    replays = await asyncio.gather(*(analyze(database) for _ in range(6)))
    assert replays.count(None) == 1
    assert await n_jobs(database) == 1
    answers = {replay for replay in replays if replay is not None}
    assert len(answers) == 1
    (answer,) = answers
    assert answer.resource_id == "r1"
    async with database.session() as session:
        assert answer.job_pk == await session.scalar(select(Job.pk))


async def test_a_request_that_was_rolled_back_leaves_the_identifier_free_for_the_one_that_waited(
    database: Database,
) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
    failing = asyncio.create_task(analyze(database, fail=True))
    await asyncio.sleep(0.005)
    waiting = asyncio.create_task(analyze(database))
    with pytest.raises(RuntimeError, match="rolled back"):
        await failing
    assert await waiting is None
    assert await n_jobs(database) == 1


async def test_another_payload_under_the_same_identifier_is_refused(database: Database) -> None:
    assert await analyze(database) is None
    with pytest.raises(RequestIdReused):
        await analyze(database, "other")
    results = await asyncio.gather(*(analyze(database, "other") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, RequestIdReused) for result in results)
    assert await n_jobs(database) == 1


async def test_clients_and_methods_have_identifiers_of_their_own(database: Database) -> None:
    assert await analyze(database) is None
    async with database.session() as session:
        assert await requests.remember(session, "other", *KEY[1:], "g") is None
        assert await requests.remember(session, KEY[0], "UpdatePriors", KEY[2], "g") is None
