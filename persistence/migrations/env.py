"""Alembic's environment: runs the migrations on the connection that `persistence.migrate` hands over."""

from __future__ import annotations

from alembic import context

from persistence.tables import Base

connection = context.config.attributes["connection"]
if connection is None:
    raise RuntimeError("migrations are run through persistence.migrate, which provides the connection")
context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
