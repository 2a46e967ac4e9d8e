"""Brings a database to the schema of this release: our tables by Alembic, the queue's by procrastinate's own SQL."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from procrastinate.schema import SchemaManager
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from persistence.database import engine_url, translated

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
"""The newest revision; a migration's file begins with its own."""
SUPPORTED_REVISIONS = frozenset({HEAD})
"""The revisions that this release's code can run on: during a blue-green switch the schema is one step ahead."""
# An arbitrary number that only this function locks.
_LOCK = 0x4C696674_4F53


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, made in code so that an installed package needs no file beside it."""
    config = Config()
    # ConfigParser takes % for interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(url: str) -> str:
    """Apply what is missing and return the revision; safe to call again and from several processes at once.

    Blocks (call it in a thread from a coroutine). Raises `StorageUnavailable`.
    """
    with translated():
        engine = _engine(url)
        with engine.connect() as connection:
            # Of the session, not of the transaction: a migration may commit in between (CREATE INDEX CONCURRENTLY).
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.commit()
            try:
                # A migration must not queue up behind a long transaction and block everybody behind itself.
                connection.execute(text("set lock_timeout = '3s'"))
                connection.commit()
                command.upgrade(alembic_config(connection), "head")
                connection.commit()
                _upgrade_queue(connection)
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": _LOCK})
                connection.commit()
        engine.dispose()
    return HEAD


def current_revision(url: str) -> str | None:
    """Revision of the database at `url`; None if it was never migrated. Blocks. Raises `StorageUnavailable`."""
    with translated(), _engine(url).connect() as connection:
        if connection.scalar(text("select to_regclass('alembic_version')")) is None:
            return None
        revision: str | None = connection.scalar(text("select version_num from alembic_version"))
        return revision


def _engine(url: str) -> Engine:
    return create_engine(engine_url(url), poolclass=NullPool, connect_args={"connect_timeout": 10})


def _upgrade_queue(connection: Connection) -> None:
    """Install procrastinate's schema, or apply those of its migrations that came with a newer version of it."""
    scripts = {path.name: path for path in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))}
    connection.execute(
        text(
            "create table if not exists queue_migrations"
            " (name text primary key, apply_time timestamptz not null default now())"
        )
    )
    if connection.scalar(text("select to_regclass('procrastinate_jobs')")) is None:
        _run_script(connection, SchemaManager.get_schema())
        missing = list(scripts)
    else:
        applied = set(connection.scalars(text("select name from queue_migrations")))
        missing = [name for name in scripts if name not in applied]
        for name in missing:
            _run_script(connection, scripts[name].read_text(encoding="utf-8"))
    if missing:
        connection.execute(text("insert into queue_migrations (name) values (:name)"), [{"name": n} for n in missing])


def _run_script(connection: Connection, script: str) -> None:
    # Several statements at once: only possible without parameters, straight through the driver.
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute(script)
