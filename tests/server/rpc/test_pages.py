"""Pages are closed by bytes as well as by number."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from liftos.bayes.v1 import dataset_pb2

from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import Dataset
from server.rpc.pages import PAGE_BYTES, page_of

LARGE = PAGE_BYTES // 3


async def walk(database: Database, size: int) -> list[list[str]]:
    """All pages of the client's data sets, with messages of `size` bytes."""

    async def build(row: Dataset) -> dataset_pb2.Dataset:
        return dataset_pb2.Dataset(dataset_id=row.dataset_id, sha256="x" * size)

    pages: list[list[str]] = []
    token = ""
    while True:
        request: Any = SimpleNamespace(client_id="acme", page_size=0, page_token=token)
        async with database.session() as session:
            found, token = await page_of(session, Dataset, request, "", build)
        pages.append([message.dataset_id for message in found])
        if not token:
            return pages


async def test_a_page_of_large_items_is_closed_early_and_the_next_goes_on_there(database: Database) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
        for index in range(7):
            session.add(
                Dataset(
                    pk=uuid.uuid4(),
                    client_id="acme",
                    dataset_id=f"d{index}",
                    columns=[],
                    row_count=1,
                    total_bytes=8,
                    fingerprint="f",
                )
            )
            await session.flush()
    small = await walk(database, 10)
    assert len(small) == 1
    large = await walk(database, LARGE)
    assert [len(page) for page in large] == [2, 2, 2, 1]
    assert [name for page in large for name in page] == small[0]
    # An item beyond the limit is still delivered, alone.
    assert [len(page) for page in await walk(database, PAGE_BYTES + 1)] == [1] * 7
