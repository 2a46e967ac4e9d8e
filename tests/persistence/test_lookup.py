"""A resource is found by its owner only, and a malformed identifier finds nothing."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from persistence.database import Database
from persistence.lookup import ensure_client, get_owned
from persistence.tables import (
    Client,
    Conflict,
    Dataset,
    ElicitedSession,
    RegisteredModel,
    SbcValidation,
    StoredAttribution,
)

SOME = uuid.UUID(int=1)


async def test_resources_are_found_by_the_identifier_of_their_kind(database: Database, world: Any) -> None:
    async with database.session() as session:
        for entity, public_id, pk in (
            (Dataset, "sales", world.dataset.pk),
            (RegisteredModel, "mmm", world.model.pk),
            (ElicitedSession, "s1", world.session.pk),
            (Conflict, str(world.conflict.pk), world.conflict.pk),
            (SbcValidation, world.validation.pk.hex, world.validation.pk),
            (Conflict, str(world.conflict.pk).upper(), world.conflict.pk),
        ):
            found = await get_owned(session, entity, "acme", public_id, for_update=True)  # type: ignore[type-var]
            assert found is not None
            assert found.pk == pk
            assert await get_owned(session, entity, "other", public_id) is None  # type: ignore[type-var]


@pytest.mark.parametrize("public_id", ["", "x", "1", f"{{{SOME}}}", f"urn:uuid:{SOME}", "a\0b"])
async def test_a_malformed_identifier_finds_nothing(database: Database, public_id: str) -> None:
    async with database.session() as session:
        assert await get_owned(session, StoredAttribution, "acme", public_id) is None
        assert await get_owned(session, Dataset, "acme", public_id) is None


async def test_for_update_reads_what_was_committed_meanwhile(database: Database, world: Any) -> None:
    async with database.session() as session:
        stale = await get_owned(session, ElicitedSession, "acme", "s1")
        assert stale is not None
        async with database.session() as other:
            changed = await get_owned(other, ElicitedSession, "acme", "s1", for_update=True)
            assert changed is not None
            changed.version = 2
        fresh = await get_owned(session, ElicitedSession, "acme", "s1", for_update=True)
        assert fresh is not None
        assert fresh.version == 2


async def test_a_client_is_made_once_however_many_ask(database: Database) -> None:
    async def ensure() -> None:
        async with database.session() as session:
            await ensure_client(session, "acme")

    await asyncio.gather(*(ensure() for _ in range(6)))
    async with database.session() as session:
        assert list(await session.scalars(select(Client.client_id))) == ["acme"]
