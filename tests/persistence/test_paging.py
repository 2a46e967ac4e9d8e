"""Pages join without gap or overlap, and a token works for the list and filter that issued it only."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.paging import InvalidPageToken, list_page
from persistence.tables import Dataset, Job


async def fill(database: Database, per_transaction: int, transactions: int) -> list[uuid.UUID]:
    """Rows of one transaction share their create_time, so that the key decides."""
    keys: list[uuid.UUID] = []
    for _ in range(transactions):
        async with database.session() as session:
            await ensure_client(session, "acme")
            rows = [Job(client_id="acme", kind="k", request=b"") for _ in range(per_transaction)]
            session.add_all(rows)
            await session.flush()
            keys += sorted(row.pk for row in rows)
    return keys[::-1]


async def page(session: AsyncSession, size: int, token: str, key: str = "acme") -> tuple[list[Job], str]:
    return await list_page(session, Job, Job.client_id == "acme", page_size=size, page_token=token, filter_key=key)


@pytest.mark.parametrize("size", [1, 3, 4, 12, 50])
async def test_pages_join_to_the_whole_list_newest_first(database: Database, size: int) -> None:
    expected = await fill(database, 4, 3)
    seen: list[uuid.UUID] = []
    token = ""
    async with database.session() as session:
        while True:
            items, token = await page(session, size, token)
            seen += [item.pk for item in items]
            if not token:
                break
            assert len(items) == size
    assert seen == expected


async def test_rows_that_are_added_meanwhile_do_not_shift_the_pages(database: Database) -> None:
    expected = await fill(database, 4, 1)
    async with database.session() as session:
        first, token = await page(session, 2, "")
    await fill(database, 3, 1)
    async with database.session() as session:
        second, token = await page(session, 2, token)
    assert [item.pk for item in first + second] == expected
    assert token == ""


async def test_page_size_zero_means_fifty(database: Database) -> None:
    await fill(database, 51, 1)
    async with database.session() as session:
        items, token = await page(session, 0, "")
    assert len(items) == 50
    assert token


async def test_a_token_is_refused_by_another_filter_and_another_list(database: Database) -> None:
    await fill(database, 2, 1)
    async with database.session() as session:
        _, token = await page(session, 1, "")
        with pytest.raises(InvalidPageToken):
            await page(session, 1, token, key="other")
        with pytest.raises(InvalidPageToken):
            await list_page(session, Dataset, page_size=1, page_token=token, filter_key="acme")


def encoded(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "\u00fc",
        "a b",
        "AAAA",
        "====",
        encoded({}),
        encoded(None),
        encoded([1, 2]),
        encoded([2, "", "2026-01-01T00:00:00+00:00", "00" * 16]),
        "[" * 900,
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
async def test_what_is_not_a_token_is_refused(database: Database, token: str) -> None:
    async with database.session() as session:
        with pytest.raises(InvalidPageToken):
            await page(session, 1, token)


@pytest.mark.parametrize("position", [2, 3])
@pytest.mark.parametrize("value", ["", "no", 3, None, [], "2026-01-01T00:00:00"])
async def test_a_forged_token_is_refused(database: Database, position: int, value: object) -> None:
    await fill(database, 2, 1)
    async with database.session() as session:
        _, token = await page(session, 1, "")
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        content[position] = value
        with pytest.raises(InvalidPageToken):
            await page(session, 1, encoded(content))
