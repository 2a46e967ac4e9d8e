"""Data sets and the chunks of their content."""

from __future__ import annotations

import datetime
import uuid
from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, BigInt, JsonList, Resource, at_least, one_of

DATASET_STATES = ("UPLOADING", "SEALED")
TIME_GRAINS = ("DAILY", "WEEKLY", "MONTHLY")
MAX_CHUNK_BYTES = 1 << 20


class Dataset(Resource):
    """A table of observations: columns as uploaded, content in chunks, immutable once SEALED."""

    __tablename__ = "datasets"
    __table_args__ = (
        UniqueConstraint("client_id", "dataset_id"),
        Index(None, "client_id", "create_time", "pk"),
        one_of("state", DATASET_STATES),
        one_of("grain", TIME_GRAINS),
        at_least("row_count", 1),
        at_least("total_bytes", 1),
        CheckConstraint("committed_bytes >= 0 and committed_bytes <= total_bytes", name="committed_bytes"),
        CheckConstraint("first_date <= last_date", name="dates"),
        CheckConstraint(
            "state <> 'SEALED' or (committed_bytes = total_bytes and sha256 is not null and seal_time is not null)",
            name="sealed",
        ),
    )
    NOUN: ClassVar[str] = "data set"
    ID_FIELD: ClassVar[str] = "dataset_id"
    PUBLIC_ID: ClassVar[str] = "dataset_id"

    dataset_id: Mapped[str]
    columns: Mapped[JsonList]
    row_count: Mapped[BigInt]
    total_bytes: Mapped[BigInt]
    committed_bytes: Mapped[BigInt] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(default="UPLOADING")
    fingerprint: Mapped[str]
    sha256: Mapped[str | None]
    first_date: Mapped[datetime.date | None]
    last_date: Mapped[datetime.date | None]
    grain: Mapped[str | None]
    # The day of the month that monthly rows are on, 1 to 31; a shorter month has its last day instead.
    month_day: Mapped[int | None] = mapped_column(SmallInteger)
    seal_time: Mapped[datetime.datetime | None]


class DatasetChunk(Base):
    """A piece of a data set's content, at most 1 MiB, stored out of line and uncompressed."""

    __tablename__ = "dataset_chunks"
    __table_args__ = (
        UniqueConstraint("dataset_pk", "start_offset"),
        at_least("ordinal", 0),
        at_least("start_offset", 0),
        CheckConstraint(f"octet_length(data) between 1 and {MAX_CHUNK_BYTES}", name="data"),
        CheckConstraint("crc32 between 0 and 4294967295", name="crc32"),
    )

    dataset_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.pk", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start_offset: Mapped[BigInt]
    data: Mapped[bytes]
    crc32: Mapped[BigInt]
