"""Look-ups of stored resources that every service and the worker share."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from persistence.lookup import get_owned
from persistence.tables import Dataset, RegisteredModel, Resource
from server.contract.errors import not_found

E = TypeVar("E", bound=Resource)

TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


async def owned(
    session: AsyncSession, entity: type[E], client_id: str, public_id: str, *, field: str = "", for_update: bool = False
) -> E:
    """The client's resource with this id; ServiceError NOT_FOUND naming the field otherwise."""
    row = await get_owned(session, entity, client_id, public_id, for_update=for_update)
    if row is None:
        raise not_found(entity.NOUN, public_id, field or entity.ID_FIELD)
    return row


async def by_pk(session: AsyncSession, entity: type[E], pk: uuid.UUID) -> E:
    """The row with this primary key, which a foreign key guarantees to exist."""
    return await session.get_one(entity, pk)


async def dataset_of(session: AsyncSession, model: RegisteredModel) -> Dataset | None:
    """The data set of a model, None for one that carries its own summary."""
    return await by_pk(session, Dataset, model.dataset_pk) if model.dataset_pk else None


async def sealed_dataset(session: Any, client_id: str, dataset_id: str, field: str = "dataset_id") -> Dataset:
    """The client's data set, which must be complete."""
    row = await owned(session, Dataset, client_id, dataset_id, field=field)
    if row.state != "SEALED":
        raise not_found("sealed data set", dataset_id, field)
    return row
