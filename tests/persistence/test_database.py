"""A session is a transaction, and a lost database is told apart from a defect."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from persistence.database import Database, StorageUnavailable, engine_url
from persistence.lookup import ensure_client
from persistence.tables import Client


async def test_a_session_commits_on_exit_and_rolls_back_on_an_exception(database: Database) -> None:
    async with database.session() as session:
        await ensure_client(session, "kept")
    with contextlib.suppress(RuntimeError):
        async with database.session() as session:
            await ensure_client(session, "dropped")
            raise RuntimeError("stop")
    async with database.session() as session:
        assert list(await session.scalars(select(Client.client_id))) == ["kept"]


async def test_the_error_of_a_statement_does_not_quote_its_parameters(database: Database) -> None:
    with pytest.raises(ProgrammingError) as raised:
        async with database.session() as session:
            await session.execute(text("select * from no_such_table where name = :name"), {"name": "a belief"})
    assert "no_such_table" in str(raised.value)
    assert "a belief" not in str(raised.value)


async def test_a_lost_connection_is_storage_unavailable_and_the_pool_recovers(database: Database) -> None:
    async def lose() -> None:
        async with database.session() as session:
            pid = await session.scalar(text("select pg_backend_pid()"))
            async with database.session() as other:
                await other.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})
            await session.execute(text("select 1"))

    with pytest.raises(StorageUnavailable):
        await lose()
    await database.ping()


async def test_a_cancelled_call_rolls_back_and_gives_its_connection_back(database_url: str) -> None:
    database = Database(database_url, pool_size=1)

    async def slow() -> None:
        async with database.session() as session:
            await ensure_client(session, "dropped")
            await session.execute(text("select pg_sleep(60)"))

    for _ in range(3):
        task = asyncio.create_task(slow())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5), database.session() as session:
        assert list(await session.scalars(select(Client.client_id))) == []
    await database.close()


async def test_an_absent_server_is_storage_unavailable(tmp_path: Path) -> None:
    database = Database(f"postgresql://postgres:@/postgres?host={tmp_path}")
    with pytest.raises(StorageUnavailable):
        await database.ping()
    await database.close()


async def test_a_mistake_in_sql_is_not_storage_unavailable(database: Database) -> None:
    with pytest.raises(ProgrammingError):
        async with database.session() as session:
            await session.execute(text("select nonsense"))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
def test_every_spelling_of_the_scheme_means_psycopg(scheme: str) -> None:
    url = engine_url(f"{scheme}://u:p%40@h:1/d?sslmode=require")
    assert (url.drivername, url.password, url.query["sslmode"]) == ("postgresql+psycopg", "p@", "require")


def test_other_databases_are_refused() -> None:
    with pytest.raises(ValueError, match="must begin with postgresql"):
        engine_url("sqlite:///x")
