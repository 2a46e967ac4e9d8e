"""The audit log: who decided what."""

from __future__ import annotations

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreateTime, JsonObject, PrimaryUuid


class AuditEntry(Base):
    """An action that somebody took on a resource. No foreign keys: entries outlive what they are about."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(None, "client_id", "create_time", "pk"),
        Index(None, "client_id", "resource_type", "resource_id"),
    )

    pk: Mapped[PrimaryUuid]
    client_id: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[str]
    detail: Mapped[JsonObject] = mapped_column(default=dict)
    create_time: Mapped[CreateTime]
