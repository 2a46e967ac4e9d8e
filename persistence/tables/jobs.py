"""Jobs, their events, and the log of request identifiers."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, BigInt, CreateTime, JsonObject, Owned, at_least, one_of

OPEN_JOB_STATES = ("QUEUED", "RUNNING")
TERMINAL_JOB_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")
JOB_STATES = OPEN_JOB_STATES + TERMINAL_JOB_STATES


class Job(Owned):
    """Work done by a worker. Writes of a worker are valid only under the `attempt` that it claimed (fencing)."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "client_id", "create_time", "pk"),
        Index("ix_jobs_open", "state", "lease_until", postgresql_where="state in ('QUEUED', 'RUNNING')"),
        one_of("state", JOB_STATES),
        at_least("attempt", 0),
        at_least("done", 0),
        at_least("done_before", 0),
        at_least("total", 0),
        at_least("last_sequence", 0),
        CheckConstraint("(state in ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (end_time is not null)", name="end_time"),
        CheckConstraint("state <> 'FAILED' or error_reason is not null", name="error_reason"),
    )

    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default="QUEUED")
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime.datetime | None]
    # Read by no one any more; migrations only add, so the column stays and wants a value.
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    request: Mapped[bytes]
    response: Mapped[bytes | None]
    error_reason: Mapped[str | None]
    error_message: Mapped[str | None]
    error_field: Mapped[str | None]
    error_metadata: Mapped[JsonObject | None]
    done: Mapped[BigInt] = mapped_column(default=0)
    # What was done when the job was taken up again: the rate is that of the rest.
    done_before: Mapped[BigInt] = mapped_column(default=0, server_default="0")
    total: Mapped[BigInt] = mapped_column(default=0)
    last_sequence: Mapped[BigInt] = mapped_column(default=0)
    start_time: Mapped[datetime.datetime | None]
    end_time: Mapped[datetime.datetime | None]


class JobEvent(Base):
    """An event of a job; `sequence` runs from 1 without gaps."""

    __tablename__ = "job_events"
    __table_args__ = (at_least("sequence", 1),)

    job_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.pk", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[BigInt] = mapped_column(primary_key=True, autoincrement=False)
    payload: Mapped[bytes]
    create_time: Mapped[CreateTime]


class RequestLog(Base):
    """A request identifier that was used, and what it created."""

    __tablename__ = "request_log"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    method: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    job_pk: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("jobs.pk"))
    resource_id: Mapped[str | None]
    create_time: Mapped[CreateTime]
