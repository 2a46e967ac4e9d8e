"""The day of the month that monthly rows are on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES, COLUMN = ("datasets", "data_windows"), "month_day"


def upgrade() -> None:
    # It may be empty, so that servers of the previous version can go on writing.
    for table in TABLES:
        op.add_column(table, sa.Column(COLUMN, sa.SmallInteger(), nullable=True))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, COLUMN)
