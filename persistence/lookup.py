"""Finding a client's resources by the identifiers that callers use."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from persistence.identifiers import parse_uuid
from persistence.tables import Client, Resource

Entity = TypeVar("Entity", bound=Resource)


async def get_owned(
    session: AsyncSession, entity: type[Entity], client_id: str, public_id: str, for_update: bool = False
) -> Entity | None:
    """The client's resource, or None when there is none or it is another client's.

    `public_id`: the caller's own identifier (data set, model, session), else the row's UUID as text; what is not a UUID
    finds nothing. `for_update`: lock the row until the end of the transaction and read its newest version.
    """
    if "\0" in client_id or "\0" in public_id:  # Postgres text cannot hold it
        return None
    key: Any = public_id
    if entity.PUBLIC_ID == "pk":
        key = parse_uuid(public_id)
        if key is None:
            return None
    column: InstrumentedAttribute[Any] = getattr(entity, entity.PUBLIC_ID)
    query = select(entity).where(entity.client_id == client_id, column == key)
    if for_update:
        query = query.with_for_update().execution_options(populate_existing=True)
    return (await session.scalars(query)).one_or_none()


async def ensure_client(session: AsyncSession, client_id: str) -> None:
    """Make the client's row unless it is there; call it before the first row that the client shall own."""
    await session.execute(insert(Client).values(client_id=client_id).on_conflict_do_nothing())
