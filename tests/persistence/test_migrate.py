"""The schema that the migrations build is the schema that the entities describe."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, create_engine
from sqlalchemy.pool import NullPool

from persistence import migrate
from persistence.database import Database, StorageUnavailable, conninfo, engine_url
from persistence.tables import Base


def test_metadata_and_migrated_database_do_not_differ(database_url: str) -> None:
    engine = create_engine(engine_url(database_url), poolclass=NullPool)

    def ours(thing: object, name: str | None, kind: str, reflected: bool, _: object) -> bool:
        """Every table but those of the queue and of Alembic, so that a table without an entity is found too."""
        return kind != "table" or not str(name).startswith(("procrastinate_", "queue_migrations", "alembic_"))

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "include_object": ours}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_every_check_of_the_entities_is_in_the_database_with_the_same_meaning(
    database_url: str, empty_database_url: str
) -> None:
    def checks(url: str) -> dict[tuple[str, str], str]:
        with psycopg.connect(conninfo(url)) as connection:
            rows = connection.execute(
                "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint"
                " where contype in ('c', 'f') and connamespace = 'public'::regnamespace"
            ).fetchall()
        return {(table, name): text for table, name, text in rows if not table.startswith("procrastinate_")}

    engine = create_engine(engine_url(empty_database_url), poolclass=NullPool)
    Base.metadata.create_all(engine)
    declared = checks(empty_database_url)
    assert checks(database_url) == declared
    n_checks = sum(isinstance(c, CheckConstraint) for t in Base.metadata.tables.values() for c in t.constraints)
    assert sum(name.startswith("ck_") for _, name in declared) == n_checks > 60


def test_no_name_is_longer_than_postgres_keeps() -> None:
    names = [
        str(thing.name) for table in Base.metadata.tables.values() for thing in (*table.constraints, *table.indexes)
    ]
    assert max(map(len, names)) <= 63


def test_large_byte_columns_are_stored_external(database_url: str) -> None:
    with psycopg.connect(conninfo(database_url)) as connection:
        rows = connection.execute(
            "select attrelid::regclass::text, attname from pg_attribute where attstorage = 'e' and attnum > 0"
            " and attrelid::regclass::text in ('dataset_chunks', 'fit_draws', 'evidence_curves')"
        ).fetchall()
    assert sorted(rows) == [
        ("dataset_chunks", "data"),
        ("evidence_curves", "grid"),
        ("evidence_curves", "log_likelihood"),
        ("evidence_curves", "replicates"),
        ("fit_draws", "data"),
    ]


def test_upgrades_at_the_same_time_apply_every_migration_once(empty_database_url: str) -> None:
    assert migrate.current_revision(empty_database_url) is None
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(migrate.upgrade, [empty_database_url] * 3)) == [migrate.HEAD] * 3
    assert migrate.current_revision(empty_database_url) == migrate.HEAD
    assert migrate.upgrade(empty_database_url) == migrate.HEAD


def test_downgrade_removes_every_table_and_upgrade_brings_them_back(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url)
    engine = create_engine(engine_url(empty_database_url), poolclass=NullPool)
    with engine.connect() as connection:
        command.downgrade(migrate.alembic_config(connection), "base")
        connection.commit()
    with psycopg.connect(conninfo(empty_database_url)) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    assert not {name for (name,) in rows} & set(Base.metadata.tables)
    assert migrate.upgrade(empty_database_url) == migrate.HEAD


def test_a_run_of_the_first_schema_is_one_of_the_prior_part_afterwards(empty_database_url: str) -> None:
    engine = create_engine(engine_url(empty_database_url), poolclass=NullPool)
    with engine.connect() as connection:
        command.upgrade(migrate.alembic_config(connection), "0001")
        connection.commit()
    pk = "0199c0de-0000-7000-8000-000000000000"
    with psycopg.connect(conninfo(empty_database_url)) as connection:
        for table, values in (
            ("clients", {"client_id": "acme"}),
            ("jobs", {"kind": "SBC_RUN", "state": "QUEUED", "request": b"", "done": 1, "total": 1}),
            (
                "bayesian_model_metadata",
                {
                    "model_id": "m",
                    "family": "f",
                    "spec": "{}",
                    "parameter_count": 1,
                    "model_hash": "h",
                    "warnings": "[]",
                },
            ),
            (
                "sbc_validations",
                {
                    "model_pk": pk,
                    "job_pk": pk,
                    "validation_type": "QUICK",
                    "num_simulations": 1,
                    "data_period_months": 24,
                    "seed": 1,
                    "alpha": 0.05,
                    "stop_on_fail": False,
                    "shard_size": 1,
                    "certificate_key": "k",
                },
            ),
            ("sbc_shards", {"first_simulation": 0, "n_simulations": 1, "state": "DONE", "attempt": 1, "ordinal": 0}),
            ("sbc_results", {"simulation": 0, "status": 0, "n_draws": 99, "ranks": [3], **_moments(1)}),
        ):
            _insert(connection, table, values, pk)
    assert migrate.upgrade(empty_database_url) == migrate.HEAD
    with psycopg.connect(conninfo(empty_database_url)) as connection:
        assert connection.execute("select parts, inference_method from sbc_validations").fetchone() == (
            [],
            "PRODUCTION",
        )
        assert connection.execute("select part, attempts_before from sbc_shards").fetchone() == ("PRIOR", 0)
        assert connection.execute("select part, ranks from sbc_results").fetchone() == ("PRIOR", [3])
        # The previous version, which knows no parts, goes on writing.
        _insert(
            connection, "sbc_results", {"simulation": 1, "status": 0, "n_draws": 9, "ranks": [9], **_moments(1)}, pk
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            _insert(
                connection, "sbc_results", {"simulation": 1, "status": 0, "n_draws": 9, "ranks": [9]} | _moments(1), pk
            )


def _moments(quantities: int) -> dict[str, list[float]]:
    return {name: [0.5] * quantities for name in ("v", "ties", "truth", "posterior_mean", "posterior_sd")}


def _insert(connection: psycopg.Connection, table: str, values: dict[str, object], pk: str) -> None:
    """A row; what is required and not given is filled in with what the entities say it is by default."""
    columns = Base.metadata.tables[table].columns
    row = dict(values)
    if table.startswith("sbc_") and table != "sbc_validations":
        row["validation_pk"] = pk
    elif table != "clients":
        row |= {"pk": pk, "client_id": "acme"}
    for column in columns:
        known = column.name in row or column.nullable or column.server_default is not None
        if not known and column.default is not None and column.default.is_scalar:
            row[column.name] = column.default.arg
    names = ", ".join(row)
    connection.execute(f"insert into {table} ({names}) values ({', '.join(['%s'] * len(row))})", list(row.values()))


def test_a_newer_migration_of_the_queue_is_applied_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = Path(migrate.SchemaManager.get_migrations_path())
    for path in installed.glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "99.00.00_01_pre_example.sql").write_text("create table queue_example (n int); select '%';")
    monkeypatch.setattr(migrate.SchemaManager, "get_migrations_path", staticmethod(lambda: str(tmp_path)))
    migrate.upgrade(database_url)
    migrate.upgrade(database_url)
    with psycopg.connect(conninfo(database_url)) as connection:
        assert connection.execute("select count(*) from queue_example").fetchone() == (0,)


async def test_the_database_tells_its_revision(database: Database, empty_database_url: str) -> None:
    assert await database.schema_revision() == migrate.HEAD
    empty = Database(empty_database_url)
    assert await empty.schema_revision() is None
    await empty.close()


def test_head_is_the_last_migration_and_supported() -> None:
    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert script.get_current_head() == migrate.HEAD
    assert migrate.HEAD in migrate.SUPPORTED_REVISIONS


def test_expand_migrations_neither_drop_nor_rename_what_the_previous_version_reads_and_writes() -> None:
    for path in (migrate.MIGRATIONS / "versions").glob("*_expand_*.py"):
        upgrade = path.read_text().partition("def upgrade")[2].partition("def downgrade")[0]
        assert not re.search(r"drop_(table|column)|rename_|\bdrop (table|column)\b|\brename\b", upgrade), path.name


def test_an_unreachable_database_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        migrate.upgrade(f"postgresql://postgres@/postgres?host={tmp_path}")
