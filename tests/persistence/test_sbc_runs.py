"""Shards are claimed once, and a stale attempt leaves nothing in the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import pytest
from psycopg.errors import CheckViolation
from sqlalchemy import text

from persistence import sbc_runs as sbc
from persistence.database import Database
from persistence.sbc_runs import SbcRow
from persistence.tables import SbcShard


def row(simulation: int, **values: Any) -> SbcRow:
    fields: dict[str, Any] = {
        "simulation": simulation,
        "status": 0,
        "n_draws": 99,
        "r_hat": 1.001,
        "ess": 400.5,
        "ranks": [simulation, 99 - simulation],
        "v": [0.25, 1.0],
        "ties": [0.0, 0.01],
        "truth": [0.1, -1e300],
        "posterior_mean": [0.1 + 0.2, 2.0],
        "posterior_sd": [1e-300, 3.0],
    } | values
    return SbcRow(**fields)


def rows_of(shard: SbcShard) -> list[SbcRow]:
    return [row(n) for n in range(shard.first_simulation, shard.first_simulation + shard.n_simulations)]


async def claim(database: Database, world: Any, ordinal: int) -> SbcShard | None:
    async with database.session() as session:
        return await sbc.claim_shard(session, world.validation.pk, ordinal, 30)


async def finish(database: Database, world: Any, ordinal: int, attempt: int) -> bool:
    async with database.session() as session:
        return await sbc.finish_shard(
            session, world.validation.pk, ordinal, attempt, rows_of(world.shards[ordinal]), 1.5
        )


async def ledger(database: Database, world: Any) -> tuple[list[int], tuple[int, int], int]:
    async with database.session() as session:
        results = await sbc.load_results(session, world.validation.pk, "PRIOR")
        return (
            [result.simulation for result in results],
            await sbc.counts(session, world.validation.pk),
            (await sbc.contiguous_prefixes(session, world.validation.pk))["PRIOR"],
        )


async def expire_leases(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("update sbc_shards set lease_until = now() - interval '1 s'"))


async def test_a_run_is_cut_into_consecutive_shards(world: Any) -> None:
    assert [(s.ordinal, s.first_simulation, s.n_simulations) for s in world.shards] == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]


async def test_the_prefix_waits_for_the_first_open_shard(database: Database, world: Any) -> None:
    assert await ledger(database, world) == ([], (0, 3), 0)
    for ordinal, expected in (
        (2, ([8, 9], (2, 2), 0)),
        (0, ([0, 1, 2, 3, 8, 9], (6, 1), 4)),
        (1, (list(range(10)), (10, 0), 10)),
    ):
        shard = await claim(database, world, ordinal)
        assert shard is not None
        assert await finish(database, world, ordinal, shard.attempt)
        assert await ledger(database, world) == expected
    assert await claim(database, world, 1) is None


async def test_of_many_claims_at_once_one_succeeds(database: Database, world: Any) -> None:
    claims = await asyncio.gather(*(claim(database, world, 0) for _ in range(8)))
    assert [shard.attempt for shard in claims if shard is not None] == [1]


async def test_a_stale_attempt_writes_nothing(database: Database, world: Any) -> None:
    first = await claim(database, world, 0)
    assert first is not None
    await expire_leases(database)
    async with database.session() as session:
        assert [shard.ordinal for shard in await sbc.abandoned_shards(session)] == [0]
    second = await claim(database, world, 0)
    assert second is not None
    assert (first.attempt, second.attempt) == (1, 2)
    async with database.session() as session:
        assert not await sbc.renew_shard(session, world.validation.pk, 0, 1, 30)
        assert await sbc.renew_shard(session, world.validation.pk, 0, 2, 30)
    assert not await finish(database, world, 0, 1)
    assert await ledger(database, world) == ([], (0, 3), 0)
    assert await finish(database, world, 0, 2)
    assert not await finish(database, world, 0, 2)
    assert await ledger(database, world) == ([0, 1, 2, 3], (4, 2), 4)


async def test_a_worker_whose_lease_is_over_may_finish_as_long_as_nobody_took_the_shard(
    database: Database, world: Any
) -> None:
    await claim(database, world, 0)
    await expire_leases(database)
    assert await finish(database, world, 0, 1)


async def test_two_attempts_that_finish_at_once_leave_one_set_of_rows(database: Database, world: Any) -> None:
    await claim(database, world, 0)
    finished = await asyncio.gather(*(finish(database, world, 0, 1) for _ in range(4)))
    assert sorted(finished) == [False, False, False, True]
    assert await ledger(database, world) == ([0, 1, 2, 3], (4, 2), 4)


async def test_a_rollback_takes_back_the_copied_rows_and_the_state(database: Database, world: Any) -> None:
    await claim(database, world, 0)
    with contextlib.suppress(RuntimeError):
        async with database.session() as session:
            assert await sbc.finish_shard(session, world.validation.pk, 0, 1, rows_of(world.shards[0]), 1.0)
            raise RuntimeError("stop")
    assert await ledger(database, world) == ([], (0, 3), 0)


@pytest.mark.parametrize("simulations", [[0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 2], [1, 2, 3, 4]])
async def test_rows_of_other_simulations_are_refused(database: Database, world: Any, simulations: list[int]) -> None:
    await claim(database, world, 0)
    with pytest.raises(ValueError, match="simulations 0 to 3"):
        async with database.session() as session:
            await sbc.finish_shard(session, world.validation.pk, 0, 1, [row(n) for n in simulations], 1.0)
    assert await ledger(database, world) == ([], (0, 3), 0)


async def test_numbers_come_back_as_they_were_and_nan_as_absent(database: Database, world: Any) -> None:
    await claim(database, world, 2)
    failed = row(
        9,
        status=1,
        r_hat=math.nan,
        ess=None,
        ranks=[None, None],
        v=[math.nan, None],
        posterior_mean=[math.nan, 1.0],
    )
    async with database.session() as session:
        assert await sbc.finish_shard(session, world.validation.pk, 2, 1, [failed, row(8)], 0.0)
        good, bad = await sbc.load_results(session, world.validation.pk, "PRIOR", first=8, stop=10)
    assert (good.ranks, good.v, good.truth) == ([8, 91], [0.25, 1.0], [0.1, -1e300])
    assert (good.posterior_mean, good.posterior_sd) == ([0.1 + 0.2, 2.0], [1e-300, 3.0])
    assert (good.r_hat, good.ess, good.n_draws) == (1.001, 400.5, 99)
    assert (bad.status, bad.r_hat, bad.ess) == (1, None, None)
    assert (bad.ranks, bad.v, bad.posterior_mean) == ([None, None], [None, None], [None, 1.0])


async def test_the_checks_hold_for_copied_rows_too(database: Database, world: Any) -> None:
    await claim(database, world, 2)
    bad = [row(8), row(9, truth=[math.inf, 0.0])]
    with pytest.raises(CheckViolation, match="ck_sbc_results_truth"):
        async with database.session() as session:
            await sbc.finish_shard(session, world.validation.pk, 2, 1, bad, 0.0)
    assert await ledger(database, world) == ([], (0, 3), 0)


async def test_parts_have_ledgers_of_their_own_and_shards_in_one_order(database: Database, world: Any) -> None:
    pk = world.validation.pk
    async with database.session() as session:
        canary = await sbc.plan_shards(session, pk, "CANARY_HALF_DATA", 0, 3, 4)
        more = await sbc.plan_shards(session, pk, "PRIOR", 10, 15, 4)
    assert [(s.ordinal, s.part, s.first_simulation, s.n_simulations) for s in (*canary, *more)] == [
        (3, "CANARY_HALF_DATA", 0, 3),
        (4, "PRIOR", 10, 4),
        (5, "PRIOR", 14, 1),
    ]
    for ordinal, shard in ((0, world.shards[0]), (3, canary[0])):
        await claim(database, world, ordinal)
        async with database.session() as session:
            assert await sbc.finish_shard(session, pk, ordinal, 1, rows_of(shard), 1.0)
    async with database.session() as session:
        assert await sbc.contiguous_prefixes(session, pk) == {"PRIOR": 4, "CANARY_HALF_DATA": 3}
        assert await sbc.done_by_part(session, pk) == {"PRIOR": 4, "CANARY_HALF_DATA": 3}
        assert [r.simulation for r in await sbc.load_results(session, pk, "CANARY_HALF_DATA")] == [0, 1, 2]
        assert [r.simulation for r in await sbc.load_results(session, pk, "PRIOR")] == [0, 1, 2, 3]


async def test_a_reopened_shard_is_lost_to_whoever_computes_it_and_its_attempts_do_not_count(
    database: Database, world: Any
) -> None:
    for ordinal in (0, 1):
        await claim(database, world, ordinal)
    assert await finish(database, world, 0, 1)
    async with database.session() as session:
        assert [s.ordinal for s in await sbc.reopen_shards(session, world.validation.pk)] == [1, 2]
    assert not await finish(database, world, 1, 1)
    again = await claim(database, world, 1)
    assert again is not None
    assert (again.attempt, again.attempts_before) == (2, 1)
    assert await finish(database, world, 1, 2)
    assert await ledger(database, world) == (list(range(8)), (8, 1), 8)
