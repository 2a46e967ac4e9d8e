"""Clients: the tenants that own everything else."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import Base, CreateTime


class Client(Base):
    """A client; the row is made by its first write."""

    __tablename__ = "clients"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    create_time: Mapped[CreateTime]
