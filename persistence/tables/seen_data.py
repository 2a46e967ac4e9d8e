"""Which rows of data the analyses have used and the priors have seen."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, BigInt, JsonList, JsonObject, Owned, at_least


class DataWindow(Owned):
    """Rows of outcome as they were when they were used: which geos and days, and a digest of each month's values.

    Rows are told apart by client, KPI, geo and day, so that restated values are the same rows. `geos` is empty for
    national data. `digests` maps geo (empty: national) to calendar month to a digest of that month's values. A data set
    may be deleted; what was seen of it stays known, so there is no foreign key.
    """

    __tablename__ = "data_windows"
    __table_args__ = (
        UniqueConstraint("client_id", "window_key"),
        Index(None, "client_id", "kpi", "first_date"),
        CheckConstraint("first_date <= last_date", name="dates"),
        CheckConstraint("(first_date is null) = (last_date is null)", name="both_dates"),
        at_least("row_count", 1),
    )

    window_key: Mapped[str]
    dataset_id: Mapped[str]
    dataset_sha256: Mapped[str]
    kpi: Mapped[str]
    geos: Mapped[JsonList]
    first_date: Mapped[datetime.date | None]
    # The last day that the last row covers, not the date of that row.
    last_date: Mapped[datetime.date | None]
    # As of the data set: first and last date cannot tell the 28th of every month from the last days of months.
    month_day: Mapped[int | None] = mapped_column(SmallInteger)
    row_count: Mapped[BigInt]
    digests: Mapped[JsonObject]


class PriorLineage(Base):
    """A prior has seen a window through an accepted update: its own, or one of its parents'."""

    __tablename__ = "prior_lineage"
    __table_args__ = (Index(None, "window_pk"), Index(None, "update_pk"))

    prior_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("client_priors.pk", ondelete="CASCADE"), primary_key=True)
    window_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("data_windows.pk"), primary_key=True)
    update_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("prior_update_recommendations.pk"), primary_key=True)
    inherited: Mapped[bool]
