"""Windows of data that were used, what priors have seen of them, and who has looked at them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import ColumnElement, exists, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from persistence.tables import ClientPrior, Conflict, DataWindow, Job, PriorLineage, RecommendedUpdate

Unknown = tuple[str, str]
"""Quantity and channel of a belief, as the rows of `client_priors` have them."""


async def find_window(session: AsyncSession, client_id: str, window_key: str) -> DataWindow | None:
    """The client's window with this key."""
    statement = select(DataWindow).where(DataWindow.client_id == client_id, DataWindow.window_key == window_key)
    return (await session.scalars(statement)).one_or_none()


async def store_window(session: AsyncSession, window: DataWindow) -> DataWindow:
    """The stored window with the key of `window`, which is left alone; another worker may have been first."""
    columns = [column.key for column in DataWindow.__table__.columns if column.key not in ("pk", "create_time")]
    values = {name: getattr(window, name) for name in columns}
    await session.execute(insert(DataWindow).values(**values).on_conflict_do_nothing())
    stored = await find_window(session, window.client_id, window.window_key)
    assert stored is not None
    return stored


async def seen_by(
    session: AsyncSession, prior_pks: Collection[uuid.UUID]
) -> Sequence[tuple[PriorLineage, DataWindow, RecommendedUpdate]]:
    """What priors have seen, and through which accepted update; own updates first, then the latest first."""
    statement = (
        select(PriorLineage, DataWindow, RecommendedUpdate)
        .join(DataWindow, DataWindow.pk == PriorLineage.window_pk)
        .join(RecommendedUpdate, RecommendedUpdate.pk == PriorLineage.update_pk)
        .where(PriorLineage.prior_pk.in_(prior_pks))
        .order_by(PriorLineage.inherited, RecommendedUpdate.decide_time.desc(), DataWindow.pk)
    )
    return [(row[0], row[1], row[2]) for row in (await session.execute(statement)).all()]


async def add_seen(
    session: AsyncSession, prior_pk: uuid.UUID, seen: Iterable[tuple[uuid.UUID, uuid.UUID, bool]]
) -> None:
    """Record what a prior has seen: window, update and whether it is inherited; the first of two that agree counts."""
    rows = {(window, update): inherited for window, update, inherited in reversed(list(seen))}
    session.add_all(
        PriorLineage(prior_pk=prior_pk, window_pk=window, update_pk=update, inherited=inherited)
        for (window, update), inherited in rows.items()
    )
    await session.flush()


async def analysed_windows(session: AsyncSession, client_id: str, about: Collection[Unknown]) -> Sequence[DataWindow]:
    """The window of each successful conflict analysis of the client that was about one of the unknowns."""
    statement = (
        select(DataWindow)
        .join(Conflict, Conflict.window_pk == DataWindow.pk)
        .join(Job, Job.pk == Conflict.job_pk)
        .where(Conflict.client_id == client_id, Job.state == "SUCCEEDED", _about(Conflict.session_pk, about))
    )
    return (await session.scalars(statement)).all()


async def updated_windows(session: AsyncSession, client_id: str, about: Collection[Unknown]) -> Sequence[DataWindow]:
    """The window behind each recommended update of the client of a belief about one of the unknowns."""
    statement = (
        select(DataWindow)
        .join(Conflict, Conflict.window_pk == DataWindow.pk)
        .join(RecommendedUpdate, RecommendedUpdate.conflict_pk == Conflict.pk)
        .where(RecommendedUpdate.client_id == client_id, _about(RecommendedUpdate.session_pk, about))
    )
    return (await session.scalars(statement)).all()


def _about(session_pk: InstrumentedAttribute[uuid.UUID], about: Collection[Unknown]) -> ColumnElement[bool]:
    """Whether a session holds a belief about one of the unknowns."""
    unknown = tuple_(ClientPrior.quantity, ClientPrior.channel)
    return exists().where(ClientPrior.session_pk == session_pk, unknown.in_(about))
