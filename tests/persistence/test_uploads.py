"""An upload can be resumed where it stopped, and what was sealed stays as it was."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import random
import zlib
from typing import Any

import pytest
from sqlalchemy import func, select, text

from persistence import uploads as datasets
from persistence.database import Database
from persistence.lookup import ensure_client, get_owned
from persistence.tables import Dataset, DatasetChunk

CONTENT = random.Random(1).randbytes(2_500_000)
CHUNK = 1 << 20


async def begin(database: Database, fingerprint: str = "f", total: int = len(CONTENT)) -> Dataset:
    async with database.session() as session:
        await ensure_client(session, "acme")
        return await datasets.begin_upload(
            session,
            "acme",
            "d1",
            columns=[{"name": "week"}],
            row_count=10,
            total_bytes=total,
            fingerprint=fingerprint,
        )


async def append(database: Database, dataset: Dataset, offset: int, data: bytes, crc32: int | None = None) -> int:
    async with database.session() as session:
        crc = zlib.crc32(data) if crc32 is None else crc32
        return await datasets.append_chunk(session, dataset, offset, data, crc)


async def seal(database: Database, dataset: Dataset) -> Dataset:
    async with database.session() as session:
        return await datasets.seal(
            session,
            dataset,
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            first_date=datetime.date(2024, 1, 1),
            last_date=datetime.date(2024, 3, 4),
            grain="WEEKLY",
        )


async def uploaded(database: Database) -> Dataset:
    dataset = await begin(database)
    for offset in range(0, len(CONTENT), CHUNK):
        await append(database, dataset, offset, CONTENT[offset : offset + CHUNK])
    return dataset


async def test_a_broken_upload_is_resumed_at_its_committed_offset(database: Database) -> None:
    dataset = await begin(database)
    assert await append(database, dataset, 0, CONTENT[:1000]) == 1000
    with contextlib.suppress(RuntimeError):
        async with database.session() as session:
            await datasets.append_chunk(session, dataset, 1000, CONTENT[1000:2000], zlib.crc32(CONTENT[1000:2000]))
            raise RuntimeError("broken")
    again = await begin(database)
    assert (again.pk, again.committed_bytes, again.state) == (dataset.pk, 1000, "UPLOADING")
    assert await append(database, again, 1000, CONTENT[1000:CHUNK]) == CHUNK
    assert await append(database, again, CHUNK, CONTENT[CHUNK : 2 * CHUNK]) == 2 * CHUNK
    assert await append(database, again, 2 * CHUNK, CONTENT[2 * CHUNK :]) == len(CONTENT)
    sealed = await seal(database, again)
    assert (sealed.state, sealed.grain, sealed.last_date) == ("SEALED", "WEEKLY", datetime.date(2024, 3, 4))
    assert sealed.seal_time is not None
    async with database.session() as session:
        stored = await get_owned(session, Dataset, "acme", "d1")
        assert stored is not None
        assert (stored.state, stored.sha256) == ("SEALED", hashlib.sha256(CONTENT).hexdigest())
        assert await datasets.read_content(session, stored) == CONTENT


async def test_chunks_are_read_from_any_offset(database: Database) -> None:
    dataset = await seal(database, await uploaded(database))
    async with database.session() as session:
        offset = CHUNK + 5
        chunks = [chunk async for chunk in datasets.iter_chunks(session, dataset, offset)]
        assert [chunk.start_offset for chunk in chunks] == [CHUNK, 2 * CHUNK]
        assert b"".join(chunk.data for chunk in chunks)[5:] == CONTENT[offset:]
        assert await datasets.read_chunk(session, dataset, len(CONTENT)) is None


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (CHUNK - 3, CHUNK + 3), (5, len(CONTENT)), (CHUNK, 2 * CHUNK)])
async def test_a_range_is_read_across_chunks(database: Database, start: int, stop: int) -> None:
    dataset = await seal(database, await uploaded(database))
    async with database.session() as session:
        assert await datasets.read_range(session, dataset, start, stop) == CONTENT[start:stop]
        with pytest.raises(datasets.ContentDamaged):
            await datasets.read_range(session, dataset, start, len(CONTENT) + 1)


async def test_a_chunk_that_leaves_a_gap_or_repeats_is_refused_with_the_right_offset(database: Database) -> None:
    dataset = await begin(database)
    await append(database, dataset, 0, b"abc")
    for offset in (0, 2, 4):
        with pytest.raises(datasets.OffsetMismatch) as caught:
            await append(database, dataset, offset, b"x")
        assert caught.value.expected == 3


async def test_damaged_and_oversized_chunks_are_refused(database: Database) -> None:
    dataset = await begin(database, total=10)
    for data, crc in ((b"abc", 1), (b"", None), (b"x" * 11, None), (b"x" * (CHUNK + 1), None)):
        with pytest.raises(datasets.ChunkRefused):
            await append(database, dataset, 0, data, crc)
    async with database.session() as session:
        assert await session.scalar(select(func.count()).select_from(DatasetChunk)) == 0


async def test_an_identifier_belongs_to_its_first_header(database: Database) -> None:
    await begin(database)
    with pytest.raises(datasets.DatasetExists):
        await begin(database, "other header")


async def test_an_incomplete_upload_cannot_be_sealed_and_a_sealed_one_not_changed(database: Database) -> None:
    dataset = await begin(database, total=4)
    with pytest.raises(datasets.UploadIncomplete):
        await seal(database, dataset)
    await append(database, dataset, 0, b"abcd")
    await seal(database, dataset)
    with pytest.raises(datasets.DatasetSealed):
        await append(database, dataset, 4, b"e")
    with pytest.raises(datasets.DatasetSealed):
        await seal(database, dataset)
    async with database.session() as session:
        assert not await datasets.discard(session, dataset)


async def test_a_discarded_upload_leaves_nothing_and_can_begin_anew(database: Database) -> None:
    dataset = await begin(database)
    await append(database, dataset, 0, b"abc")
    async with database.session() as session:
        assert await datasets.discard(session, dataset)
        assert await session.scalar(select(func.count()).select_from(DatasetChunk)) == 0
    with pytest.raises(datasets.UploadGone):
        await append(database, dataset, 3, b"d")
    assert (await begin(database, "other header")).committed_bytes == 0


async def test_a_data_set_that_a_model_uses_cannot_be_removed(database: Database, world: Any) -> None:
    with pytest.raises(datasets.DatasetInUse):
        async with database.session() as session:
            await datasets.remove(session, world.dataset)
    unused = await seal(database, await uploaded(database))
    async with database.session() as session:
        assert await datasets.remove(session, unused)
    async with database.session() as session:
        assert not await datasets.remove(session, unused)
        assert await session.scalar(select(func.count()).select_from(DatasetChunk)) == 0


async def test_damage_in_storage_is_noticed(database: Database) -> None:
    dataset = await uploaded(database)
    async with database.session() as session:
        await session.execute(text("update dataset_chunks set data = set_byte(data, 7, 0) where ordinal = 1"))
    async with database.session() as session:
        with pytest.raises(datasets.ContentDamaged):
            await datasets.read_content(session, dataset)
