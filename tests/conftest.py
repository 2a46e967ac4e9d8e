"""A Postgres for the tests: one embedded server per run, a freshly migrated database per test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg.sql import SQL, Identifier

from persistence import migrate
from persistence.database import Database, conninfo, engine_url
from persistence.embedded import EmbeddedPostgres
from tests.postgres import copy_cluster, end_cluster

# The same examples in every run, so that what fails is what was changed; `HYPOTHESIS_PROFILE=explore` looks further.
settings.register_profile("default", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_TEMPLATE = "liftos_bayes_template"
# Renamed, for the processes of a parallel run too: the service refuses variables of its prefix that it does not know.
_OTHER_POSTGRES = os.environ.pop("LIFTOS_BAYES_TEST_POSTGRES", "") or os.environ.get("TEST_POSTGRES", "")
os.environ["TEST_POSTGRES"] = _OTHER_POSTGRES


def _with_database(url: str, name: str) -> str:
    return engine_url(url).set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def _execute(url: str, statement: SQL, name: str, *more: str) -> None:
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        connection.execute(statement.format(*(Identifier(part) for part in (name, *more))))


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[Path]:
    """Directory of an embedded Postgres that was initialised, over what an earlier attempt had left, and stopped."""
    directory = Path(tempfile.mkdtemp(prefix="lb-new-")).resolve()
    unfinished = directory / "postgres.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(directory)
    try:
        server.start()
        server.stop()
        yield directory
    finally:
        end_cluster(directory)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of the administration database of an embedded Postgres that lives as long as the test run.

    LIFTOS_BAYES_TEST_POSTGRES names another server to test against, any Postgres from 15 on, by a superuser's URL.
    """
    if _OTHER_POSTGRES:
        yield _OTHER_POSTGRES
        return
    directory = Path(tempfile.mkdtemp(prefix="lb-pg-")).resolve()
    copy_cluster(request.getfixturevalue("postgres_template"), directory)
    server = EmbeddedPostgres(directory, settings={"fsync": "off", "synchronous_commit": "off"})
    try:
        yield server.start()
    finally:
        end_cluster(directory)
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def new_database(postgres_url: str) -> Callable[[], str]:
    """Makes migrated databases and returns their URLs; for fixtures of a wider scope than `database_url`."""
    _execute(postgres_url, SQL("create database {}"), _TEMPLATE)
    migrate.upgrade(_with_database(postgres_url, _TEMPLATE))
    numbers = itertools.count(1)

    def make() -> str:
        name = f"test_{next(numbers)}"
        _execute(postgres_url, SQL("create database {} template {}"), name, _TEMPLATE)
        return _with_database(postgres_url, name)

    return make  # they go with the server


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """URL of a migrated, empty database of the test's own."""
    return new_database()


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """URL of a database without any schema."""
    _execute(postgres_url, SQL("create database {}"), "test_empty")
    yield _with_database(postgres_url, "test_empty")
    _execute(postgres_url, SQL("drop database {} with (force)"), "test_empty")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open `Database` on `database_url`."""
    database = Database(database_url)
    yield database
    await database.close()
