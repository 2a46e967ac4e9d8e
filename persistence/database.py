"""The connection pool and the transaction: one `session()` is one transaction."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import psycopg
import sqlalchemy.exc
from procrastinate.exceptions import ConnectorException
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from persistence.errors import StorageError

# NaN in jsonb is an error of the server's; refusing it here names the value's place in the program instead.
_dumps = functools.partial(json.dumps, allow_nan=False, separators=(",", ":"))


class StorageUnavailable(StorageError):
    """The database cannot be reached, or gave up on the statement; trying again later may help."""


def engine_url(url: str) -> URL:
    """`url` (`postgresql://…`, `postgres://…` or with a driver, TCP or socket) as SQLAlchemy's URL for psycopg 3."""
    parsed = make_url(url)
    backend = "postgresql" if parsed.drivername == "postgres" else parsed.get_backend_name()
    if backend != "postgresql":
        raise ValueError(f"the database URL must begin with postgresql://, not {parsed.drivername}://")
    return parsed.set(drivername="postgresql+psycopg")


def conninfo(url: str) -> str:
    """`url` as libpq reads it, for connections outside the pool."""
    return engine_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def translated() -> Iterator[None]:
    """Turn lost connections, exhausted pools, deadlocks and timeouts of the drivers into `StorageUnavailable`."""
    try:
        yield
    except (
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.InterfaceError,
        sqlalchemy.exc.TimeoutError,
        psycopg.OperationalError,
    ) as error:
        raise StorageUnavailable(type(error).__name__) from error
    except sqlalchemy.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise StorageUnavailable(type(error).__name__) from error
        raise
    except ConnectorException as error:
        if isinstance(error.__cause__, psycopg.OperationalError):
            raise StorageUnavailable(type(error.__cause__).__name__) from error
        raise


class Database:
    """A pool of connections, bound to the event loop that first uses it.

    `url`: see `engine_url`. `pool_size`: most connections of this process; a caller waits 10 s for a free one.
    """

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = url
        self.engine = create_async_engine(
            engine_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            pool_pre_ping=True,
            json_serializer=_dumps,
            hide_parameters=True,  # a traceback in the log must not quote what a caller has sent
            connect_args={"connect_timeout": 10, "application_name": "liftos-bayes"},
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction: committed on exit, rolled back on an exception. Raises `StorageUnavailable`.

        Objects stay readable after the end.
        """
        with translated():
            async with self._sessions.begin() as session:
                yield session

    async def ping(self) -> None:
        """Return if the database answers; raises `StorageUnavailable`."""
        async with self.session() as session:
            await session.execute(text("select 1"))

    async def schema_revision(self) -> str | None:
        """Revision of the schema; None for a database that was never migrated. Raises `StorageUnavailable`."""
        async with self.session() as session:
            if await session.scalar(text("select to_regclass('alembic_version')")) is None:
                return None
            revision: str | None = await session.scalar(text("select version_num from alembic_version"))
            return revision

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
