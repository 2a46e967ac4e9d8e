"""Data sets: resumable upload in chunks, sealing, reading."""

from __future__ import annotations

import datetime
import zlib
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy
from sqlalchemy import exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from persistence.errors import StorageError
from persistence.tables import Dataset, DatasetChunk, RegisteredModel
from persistence.tables.datasets import MAX_CHUNK_BYTES


class DatasetExists(StorageError):
    """The identifier belongs to a data set with another header."""


class DatasetSealed(StorageError):
    """The data set is complete and immutable."""


class UploadGone(StorageError):
    """The upload was discarded meanwhile."""


class DatasetInUse(StorageError):
    """A model uses the data set."""


class OffsetMismatch(StorageError):
    """The chunk does not begin where the stored content ends."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"the next chunk starts at offset {expected}")
        self.expected = expected


class ChunkRefused(StorageError):
    """The chunk is damaged, of a wrong size, or reaches beyond the announced content."""


class UploadIncomplete(StorageError):
    """Content is missing."""


class ContentDamaged(StorageError):
    """Stored content does not match its check value."""


async def begin_upload(
    session: AsyncSession,
    client_id: str,
    dataset_id: str,
    *,
    columns: list[dict[str, Any]],
    row_count: int,
    total_bytes: int,
    fingerprint: str,
) -> Dataset:
    """A new upload, or the one, perhaps sealed, that was begun with the same `fingerprint` (digest of the header).

    The row is locked until the end of the transaction. Raises `DatasetExists`.
    """
    await session.execute(
        insert(Dataset)
        .values(
            client_id=client_id,
            dataset_id=dataset_id,
            columns=columns,
            row_count=row_count,
            total_bytes=total_bytes,
            fingerprint=fingerprint,
        )
        .on_conflict_do_nothing()
    )
    query = select(Dataset).where(Dataset.client_id == client_id, Dataset.dataset_id == dataset_id).with_for_update()
    dataset = (await session.scalars(query, execution_options={"populate_existing": True})).one()
    if dataset.fingerprint != fingerprint:
        raise DatasetExists(dataset_id)
    return dataset


async def append_chunk(session: AsyncSession, dataset: Dataset, offset: int, data: bytes, crc32: int) -> int:
    """Store the next chunk and return the committed length. `crc32`: of `data`, as in zlib.

    Raises `OffsetMismatch`, `ChunkRefused`, `DatasetSealed`, `UploadGone`.
    """
    await _lock_upload(session, dataset)
    if offset != dataset.committed_bytes:
        raise OffsetMismatch(dataset.committed_bytes)
    if not 0 < len(data) <= MAX_CHUNK_BYTES:
        raise ChunkRefused(f"a chunk holds 1 to {MAX_CHUNK_BYTES} bytes")
    if offset + len(data) > dataset.total_bytes:
        raise ChunkRefused(f"the header announced {dataset.total_bytes} bytes")
    if zlib.crc32(data) != crc32:
        raise ChunkRefused("the chunk does not match its crc32")
    next_ordinal = (
        select(func.coalesce(func.max(DatasetChunk.ordinal) + 1, 0))
        .where(DatasetChunk.dataset_pk == dataset.pk)
        .scalar_subquery()
    )
    await session.execute(
        insert(DatasetChunk).values(
            dataset_pk=dataset.pk, ordinal=next_ordinal, start_offset=offset, data=data, crc32=crc32
        )
    )
    await _change(session, dataset, committed_bytes=offset + len(data))
    return dataset.committed_bytes


async def seal(
    session: AsyncSession,
    dataset: Dataset,
    *,
    sha256: str,
    first_date: datetime.date | None = None,
    last_date: datetime.date | None = None,
    grain: str | None = None,
    month_day: int | None = None,
) -> Dataset:
    """Make the complete upload immutable. Raises `UploadIncomplete`, `DatasetSealed`, `UploadGone`."""
    await _lock_upload(session, dataset)
    if dataset.committed_bytes != dataset.total_bytes:
        raise UploadIncomplete(f"{dataset.committed_bytes} of {dataset.total_bytes} bytes are there")
    await _change(
        session,
        dataset,
        state="SEALED",
        sha256=sha256,
        first_date=first_date,
        last_date=last_date,
        grain=grain,
        month_day=month_day,
        seal_time=func.now(),
    )
    return dataset


async def discard(session: AsyncSession, dataset: Dataset) -> bool:
    """Remove an upload that was not sealed, with its chunks; False when it is sealed or gone."""
    return await _delete(session, dataset, Dataset.state == "UPLOADING")


async def remove(session: AsyncSession, dataset: Dataset) -> bool:
    """Delete the data set with its chunks; False when it is gone. Raises `DatasetInUse`."""
    # The lock keeps a model from taking up the data set between the question and the deletion.
    await session.execute(select(Dataset.pk).where(Dataset.pk == dataset.pk).with_for_update())
    if await session.scalar(select(exists().where(RegisteredModel.dataset_pk == dataset.pk))):
        raise DatasetInUse(dataset.dataset_id)
    return await _delete(session, dataset)


async def read_chunk(session: AsyncSession, dataset: Dataset, offset: int) -> DatasetChunk | None:
    """The chunk that holds the byte at `offset`; None at the end. Raises `ContentDamaged`."""
    query = (
        select(DatasetChunk)
        .where(DatasetChunk.dataset_pk == dataset.pk, DatasetChunk.start_offset <= offset)
        .order_by(DatasetChunk.start_offset.desc())
        .limit(1)
    )
    chunk = (await session.scalars(query)).one_or_none()
    if chunk is None or offset >= chunk.start_offset + len(chunk.data):
        return None
    session.expunge(chunk)  # the session would keep every chunk in memory
    if zlib.crc32(chunk.data) != chunk.crc32:
        raise ContentDamaged(f"chunk {chunk.ordinal} of data set {dataset.dataset_id}")
    return chunk


async def iter_chunks(session: AsyncSession, dataset: Dataset, offset: int = 0) -> AsyncIterator[DatasetChunk]:
    """The chunks in order, beginning with the one that holds the byte at `offset`; one in memory at a time."""
    while (chunk := await read_chunk(session, dataset, offset)) is not None:
        yield chunk
        offset = chunk.start_offset + len(chunk.data)


async def read_content(session: AsyncSession, dataset: Dataset) -> bytes:
    """The stored content: all of it when sealed. Raises `ContentDamaged`."""
    content = b"".join([chunk.data async for chunk in iter_chunks(session, dataset)])
    if dataset.state == "SEALED" and len(content) != dataset.total_bytes:
        raise ContentDamaged(f"data set {dataset.dataset_id} holds {len(content)} of {dataset.total_bytes} bytes")
    return content


async def read_range(session: AsyncSession, dataset: Dataset, start: int, stop: int) -> bytes:
    """The stored bytes from `start` up to `stop`; chunks outside are not read. Raises `ContentDamaged`."""
    pieces: list[bytes] = []
    async for chunk in iter_chunks(session, dataset, start):
        pieces.append(chunk.data[max(start - chunk.start_offset, 0) : stop - chunk.start_offset])
        if chunk.start_offset + len(chunk.data) >= stop:
            break
    content = b"".join(pieces)
    if len(content) != stop - start:
        raise ContentDamaged(f"data set {dataset.dataset_id} holds {len(content)} bytes of {stop - start}")
    return content


async def _lock_upload(session: AsyncSession, dataset: Dataset) -> None:
    query = select(Dataset.state, Dataset.committed_bytes).where(Dataset.pk == dataset.pk).with_for_update()
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise UploadGone(dataset.dataset_id)
    if row.state == "SEALED":
        raise DatasetSealed(dataset.dataset_id)
    set_committed_value(dataset, "committed_bytes", row.committed_bytes)


async def _change(session: AsyncSession, dataset: Dataset, **values: Any) -> None:
    """Write to the row and mirror it on `dataset`, which may stem from an earlier transaction."""
    columns = [getattr(Dataset, name) for name in values]
    statement = update(Dataset).where(Dataset.pk == dataset.pk).values(**values).returning(*columns)
    row = (await session.execute(statement, execution_options={"synchronize_session": False})).one()
    for name in values:
        set_committed_value(dataset, name, getattr(row, name))


async def _delete(session: AsyncSession, dataset: Dataset, *condition: Any) -> bool:
    statement = sqlalchemy.delete(Dataset).where(Dataset.pk == dataset.pk, *condition).returning(Dataset.pk)
    gone = await session.execute(statement, execution_options={"synchronize_session": False})
    deleted = gone.first() is not None
    if deleted and dataset in session:
        session.expunge(dataset)
    return deleted
