"""The ledger of simulation-based calibration: shards, claimed and fenced, and the rows that they leave."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import translated
from persistence.driver import driver_connection
from persistence.jobs import lease_end
from persistence.tables import SbcResult, SbcShard


@dataclass(frozen=True)
class SbcRow:
    """One simulation: the arrays are in the order of the validation's `quantities`.

    NaN, and None, mean that the fit gave no number; both are stored as NULL. Ranks that do not exist are None.
    """

    simulation: int
    status: int
    n_draws: int
    r_hat: float | None
    ess: float | None
    ranks: Sequence[int | None]
    v: Sequence[float | None]
    ties: Sequence[float | None]
    truth: Sequence[float | None]
    posterior_mean: Sequence[float | None]
    posterior_sd: Sequence[float | None]


async def plan_shards(
    session: AsyncSession, validation_pk: uuid.UUID, part: str, first: int, stop: int, shard_size: int
) -> list[SbcShard]:
    """Cut the simulations from `first` up to, not including, `stop` into shards, the last one possibly smaller.

    Their ordinals follow those of the run's other shards.
    """
    query = select(func.coalesce(func.max(SbcShard.ordinal) + 1, 0)).where(SbcShard.validation_pk == validation_pk)
    following = int((await session.scalars(query)).one())
    shards = [
        SbcShard(
            validation_pk=validation_pk,
            ordinal=ordinal,
            part=part,
            first_simulation=begin,
            n_simulations=min(shard_size, stop - begin),
        )
        for ordinal, begin in enumerate(range(first, stop, shard_size), following)
    ]
    session.add_all(shards)
    await session.flush()
    return shards


async def claim_shard(
    session: AsyncSession, validation_pk: uuid.UUID, ordinal: int, lease_seconds: float
) -> SbcShard | None:
    """Take the shard: RUNNING, the next attempt, a lease. None if it is done or another worker's lease is running."""
    expired = and_(SbcShard.state == "RUNNING", SbcShard.lease_until < func.clock_timestamp())
    statement = (
        update(SbcShard)
        .where(*_key(validation_pk, ordinal), or_(SbcShard.state == "QUEUED", expired))
        .values(state="RUNNING", attempt=SbcShard.attempt + 1, lease_until=lease_end(lease_seconds))
        .returning(SbcShard)
    )
    options = {"synchronize_session": False, "populate_existing": True}
    return (await session.scalars(statement, execution_options=options)).one_or_none()


async def renew_shard(
    session: AsyncSession, validation_pk: uuid.UUID, ordinal: int, attempt: int, lease_seconds: float
) -> bool:
    """Prolong the lease; False when this attempt no longer holds the shard."""
    statement = (
        update(SbcShard)
        .where(*_key(validation_pk, ordinal), SbcShard.attempt == attempt, SbcShard.state == "RUNNING")
        .values(lease_until=lease_end(lease_seconds))
        .returning(SbcShard.ordinal)
    )
    renewed = await session.execute(statement, execution_options={"synchronize_session": False})
    return renewed.first() is not None


async def finish_shard(
    session: AsyncSession,
    validation_pk: uuid.UUID,
    ordinal: int,
    attempt: int,
    rows: Sequence[SbcRow],
    compute_seconds: float,
) -> bool:
    """Write the shard's simulations and mark it DONE; False, and nothing written, when the attempt is stale.

    Raises ValueError unless `rows` are exactly the simulations of the shard, and psycopg's CheckViolation (from COPY)
    for numbers that the ledger refuses.
    """
    statement = (
        update(SbcShard)
        .where(*_key(validation_pk, ordinal), SbcShard.attempt == attempt, SbcShard.state == "RUNNING")
        .values(state="DONE", lease_until=None, compute_seconds=compute_seconds)
        .returning(SbcShard)
    )
    options = {"synchronize_session": False, "populate_existing": True}
    shard = (await session.scalars(statement, execution_options=options)).one_or_none()
    if shard is None:
        return False
    expected = range(shard.first_simulation, shard.first_simulation + shard.n_simulations)
    ordered = sorted(rows, key=lambda row: row.simulation)
    if [row.simulation for row in ordered] != list(expected):
        raise ValueError(f"shard {ordinal} consists of the simulations {expected.start} to {expected.stop - 1}")
    columns = ", ".join(field.name for field in fields(SbcRow))
    connection = await driver_connection(session)
    with translated():
        async with (
            connection.cursor() as cursor,
            cursor.copy(f"copy sbc_results (validation_pk, part, {columns}) from stdin") as copy,
        ):
            for row in ordered:
                await copy.write_row((validation_pk, shard.part, *_stored(row)))
    return True


async def counts(session: AsyncSession, validation_pk: uuid.UUID) -> tuple[int, int]:
    """Number of simulations in the ledger, and number of shards that are not DONE."""
    done = SbcShard.state == "DONE"
    query = select(func.coalesce(func.sum(SbcShard.n_simulations).filter(done), 0), func.count().filter(~done)).where(
        SbcShard.validation_pk == validation_pk
    )
    simulations, open_shards = (await session.execute(query)).one()
    return int(simulations), int(open_shards)


async def contiguous_prefixes(session: AsyncSession, validation_pk: uuid.UUID) -> dict[str, int]:
    """For each part the number n such that its simulations 0 to n - 1 are all in the ledger."""
    query = (
        select(
            SbcShard.part,
            func.coalesce(
                func.min(SbcShard.first_simulation).filter(SbcShard.state != "DONE"), func.sum(SbcShard.n_simulations)
            ),
        )
        .where(SbcShard.validation_pk == validation_pk)
        .group_by(SbcShard.part)
    )
    return {part: int(prefix) for part, prefix in await session.execute(query)}


async def done_by_part(session: AsyncSession, validation_pk: uuid.UUID) -> dict[str, int]:
    """For each part the number of simulations in the ledger."""
    query = (
        select(SbcShard.part, func.sum(SbcShard.n_simulations))
        .where(SbcShard.validation_pk == validation_pk, SbcShard.state == "DONE")
        .group_by(SbcShard.part)
    )
    return {part: int(number) for part, number in await session.execute(query)}


async def load_results(
    session: AsyncSession,
    validation_pk: uuid.UUID,
    part: str,
    *,
    first: int = 0,
    stop: int | None = None,
    limit: int | None = None,
) -> list[SbcResult]:
    """The part's simulations from `first` up to, not including, `stop` that are in the ledger, in order, the first
    `limit` of them.
    """
    query = select(SbcResult).where(
        SbcResult.validation_pk == validation_pk, SbcResult.part == part, SbcResult.simulation >= first
    )
    if stop is not None:
        query = query.where(SbcResult.simulation < stop)
    return list(await session.scalars(query.order_by(SbcResult.simulation).limit(limit)))


async def reopen_shards(session: AsyncSession, validation_pk: uuid.UUID) -> list[SbcShard]:
    """Take back every shard that is not DONE, for the caller to deliver anew, in order; earlier attempts do not count.

    Whoever still computes one of them has lost it: its attempt will not be accepted.
    """
    query = select(SbcShard).where(SbcShard.validation_pk == validation_pk, SbcShard.state != "DONE")
    shards = list(await session.scalars(query.order_by(SbcShard.ordinal).with_for_update()))
    for shard in shards:
        shard.state, shard.lease_until, shard.attempts_before = "QUEUED", None, shard.attempt
    return shards


async def abandoned_shards(session: AsyncSession, limit: int = 100) -> list[SbcShard]:
    """Take back running shards whose lease is over, longest ago first: QUEUED again, for the caller to deliver anew."""
    query = (
        select(SbcShard)
        .where(SbcShard.state == "RUNNING", SbcShard.lease_until < func.clock_timestamp())
        .order_by(SbcShard.lease_until)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    shards = list(await session.scalars(query))
    for shard in shards:
        shard.state, shard.lease_until = "QUEUED", None
    return shards


def _key(validation_pk: uuid.UUID, ordinal: int) -> tuple[ColumnElement[bool], ...]:
    return (SbcShard.validation_pk == validation_pk, SbcShard.ordinal == ordinal)


def _stored(row: SbcRow) -> Iterable[object]:
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name == "ranks":
            yield [None if rank is None else int(rank) for rank in value]
        elif field.name in ("v", "ties", "truth", "posterior_mean", "posterior_sd"):
            yield [_number(element) for element in value]
        elif field.name in ("r_hat", "ess"):
            yield _number(value)
        else:
            yield int(value)


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
