"""The CHECK constraints refuse what no reader could make sense of."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sqlalchemy import Float, delete, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError

from persistence.database import Database
from persistence.tables import (
    AuditEntry,
    Base,
    ConflictEvidence,
    ElicitedSession,
    RecommendedUpdate,
    Resource,
    SbcResult,
    SbcShard,
    StoredCurve,
)

NAN = math.nan
INF = math.inf

# Columns whose numbers may be infinite.
EXTENDED = {
    ("evidence_curves", "lower"),
    ("evidence_curves", "upper"),
    ("evidence_curves", "effective_sample_size"),
    ("sbc_results", "r_hat"),
}


def evidence(world: Any, **values: Any) -> ConflictEvidence:
    return ConflictEvidence(conflict_pk=world.conflict.pk, prior_pk=world.prior.pk, **values)


def curve(world: Any, **values: Any) -> StoredCurve:
    fields: dict[str, Any] = {
        "lower": 0.0,
        "upper": INF,
        "effective_sample_size": INF,
        "months": 24.0,
    } | values
    return StoredCurve(
        client_id="acme",
        fit_pk=world.fit.pk,
        quantity="ROI",
        channel="tv",
        reference={},
        n_grid=2,
        n_replicates=0,
        grid=b"",
        log_likelihood=b"",
        heavy_tail_log_likelihood=b"",
        replicates=b"",
        **fields,
    )


def result(world: Any, **values: Any) -> SbcResult:
    fields: dict[str, Any] = {
        "r_hat": 1.0,
        "ess": 400.0,
        "v": [0.0, 1.0],
        "ties": [0.0, 0.0],
        "truth": [1.0, None],
        "posterior_mean": [1.0, -2.0],
        "posterior_sd": [0.0, 2.0],
    } | values
    return SbcResult(
        validation_pk=world.validation.pk,
        simulation=0,
        status=0,
        n_draws=99,
        ranks=[3, None],
        **fields,
    )


async def add(database: Database, row: object) -> None:
    async with database.session() as session:
        session.add(row)


async def refused(database: Database, row: object) -> None:
    with pytest.raises(IntegrityError, match="ck_"):
        await add(database, row)


@pytest.mark.parametrize(
    "column",
    [
        "log_bf_recentred",
        "log_bf_widened",
        "log_bf_reference",
        "log_bf_point",
        "mcse",
        "p_value",
        "kl_nats",
        "wasserstein_1",
        "wasserstein_2",
    ],
)
async def test_evidence_refuses_nan_and_infinity(database: Database, world: Any, column: str) -> None:
    for value in (NAN, INF, -INF):
        await refused(database, evidence(world, **{column: value}))
    await add(database, evidence(world, **{column: 0.5}))


@pytest.mark.parametrize(
    ("column", "value"), [("p_value", 1.01), ("p_value", -0.01), ("mcse", -1), ("wasserstein_1", -1), ("severity", "?")]
)
async def test_evidence_refuses_what_is_out_of_range(
    database: Database, world: Any, column: str, value: object
) -> None:
    await refused(database, evidence(world, **{column: value}))


async def test_absent_numbers_are_stored_as_absent(database: Database, world: Any) -> None:
    await add(database, evidence(world))
    async with database.session() as session:
        assert (await session.scalars(select(ConflictEvidence))).one().p_value is None


async def test_a_curve_may_reach_infinity_but_not_nan(database: Database, world: Any) -> None:
    for column in ("lower", "upper", "effective_sample_size", "months"):
        await refused(database, curve(world, **{column: NAN}))
    await refused(database, curve(world, months=0.0))
    await refused(database, curve(world, months=INF))
    await refused(database, curve(world, lower=1.0, upper=1.0))
    await refused(database, curve(world, effective_sample_size=-1.0))
    await add(database, curve(world, lower=-INF))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("v", [0.5, NAN]),
        ("v", [0.5, 1.01]),
        ("v", [-0.01, 0.5]),
        ("v", [0.5]),
        ("truth", [0.5, NAN]),
        ("truth", [0.5, INF]),
        ("posterior_mean", [NAN, 0.5]),
        ("posterior_mean", [-INF, 0.5]),
        ("posterior_sd", [NAN, 0.5]),
        ("posterior_sd", [-1.0, 0.5]),
        ("posterior_sd", [INF, 0.5]),
        ("r_hat", NAN),
        ("ess", NAN),
        ("ess", INF),
        ("ess", -1.0),
        ("ties", [2.0, 0.0]),
    ],
)
async def test_the_ledger_refuses_nonsense(database: Database, world: Any, column: str, value: object) -> None:
    await refused(database, result(world, **{column: value}))


async def test_the_ledger_keeps_absent_elements(database: Database, world: Any) -> None:
    await add(database, result(world, r_hat=INF))
    async with database.session() as session:
        row = (await session.scalars(select(SbcResult))).one()
    assert (row.ranks, row.truth, row.v) == ([3, None], [1.0, None], [0.0, 1.0])


def test_every_float_column_has_a_check_that_names_it() -> None:
    for table in Base.metadata.tables.values():
        checks = " ".join(str(getattr(c, "sqltext", "")) for c in table.constraints)
        for column in table.columns:
            kind = column.type.item_type if isinstance(column.type, ARRAY) else column.type
            if isinstance(kind, Float):
                assert column.name in checks, (table.name, column.name)
                infinite = f"{column.name} <= 'Infinity'" in checks or f"{column.name} < upper" in checks
                assert infinite == ((table.name, column.name) in EXTENDED), (table.name, column.name)


@pytest.mark.parametrize("value", [NAN, 1.5, -0.1])
async def test_a_session_refuses_an_impossible_confidence(database: Database, world: Any, value: float) -> None:
    await refused(
        database, ElicitedSession(client_id="acme", session_id="s2", model_pk=world.model.pk, client_confidence=value)
    )


async def test_an_update_refuses_unknown_states_and_nan(database: Database, world: Any) -> None:
    def update(**values: Any) -> RecommendedUpdate:
        fields = {"update_strategy": "CONSERVATIVE", "min_evidence_strength": 3.0} | values
        return RecommendedUpdate(client_id="acme", session_pk=world.session.pk, conflict_pk=world.conflict.pk, **fields)

    for bad in ({"state": "MAYBE"}, {"min_evidence_strength": NAN}, {"update_strategy": "GUESS"}):
        await refused(database, update(**bad))
    await refused(database, update(state="ACCEPTED"))  # without the time of the decision
    await add(database, update())


async def test_a_shard_refuses_nan_seconds(database: Database, world: Any) -> None:
    await refused(
        database,
        SbcShard(
            validation_pk=world.validation.pk,
            ordinal=9,
            first_simulation=0,
            n_simulations=1,
            compute_seconds=NAN,
        ),
    )


async def test_nan_in_json_is_refused_before_it_reaches_the_database(database: Database) -> None:
    entry = AuditEntry(client_id="acme", actor="a", action="b", resource_type="c", resource_id="d", detail={"p": NAN})
    with pytest.raises(ValueError, match="not JSON compliant"):
        await add(database, entry)


async def test_rows_are_made_with_time_ordered_keys_and_a_time(database: Database, world: Any) -> None:
    entries = [
        AuditEntry(client_id="acme", actor="a", action=str(n), resource_type="c", resource_id="d") for n in range(50)
    ]
    for entry in entries:
        await add(database, entry)
    keys = [entry.pk for entry in entries]
    assert keys == sorted(keys)
    assert {key.version for key in keys} == {7}
    assert all(entry.create_time.tzinfo is not None for entry in entries)


async def test_deleting_a_session_takes_its_beliefs_with_it_but_not_what_refers_to_them(
    database: Database, world: Any
) -> None:
    with pytest.raises(IntegrityError, match="fk_prior_data_conflicts_session_pk"):
        async with database.session() as session:
            await session.execute(delete(ElicitedSession).where(ElicitedSession.pk == world.session.pk))


@pytest.mark.parametrize("table", Resource.__subclasses__(), ids=lambda table: table.__name__)
def test_a_resource_says_what_it_is_called_and_by_which_field_it_is_named(table: type[Resource]) -> None:
    assert table.NOUN
    assert table.ID_FIELD.endswith("_id")
    assert hasattr(table, table.PUBLIC_ID)
