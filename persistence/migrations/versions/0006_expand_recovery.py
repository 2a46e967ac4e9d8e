"""Runs at one fixed truth: their type, their part, the truth and the report."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TYPES = ("QUICK", "STANDARD", "COMPREHENSIVE", "POSTERIOR")
PARTS = (
    "PRIOR",
    "POSTERIOR",
    "CANARY_NARROW_POSTERIOR",
    "CANARY_HALF_DATA",
    "CANARY_LAGGED_MEDIA",
    "CANARY_PRIOR_AS_POSTERIOR",
)
CHECKED = (
    ("sbc_validations", "validation_type", TYPES),
    ("sbc_shards", "part", PARTS),
    ("sbc_results", "part", PARTS),
)


def _replace(table: str, column: str, values: tuple[str, ...]) -> None:
    name = op.f(f"ck_{table}_{column}")
    op.drop_constraint(name, table, type_="check")
    listed = ", ".join(f"'{value}'" for value in values)
    op.create_check_constraint(name, table, f"{column} in ({listed})")


def upgrade() -> None:
    # A longer list refuses nothing that the shorter one admitted; the columns may be empty.
    for table, column, values in CHECKED:
        at = values.index("POSTERIOR") + 1
        _replace(table, column, (*values[:at], "RECOVERY", *values[at:]))
    for column in ("fixed_truth", "recovery"):
        op.add_column("sbc_validations", sa.Column(column, postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.execute("delete from sbc_validations where validation_type = 'RECOVERY'")
    for column in ("recovery", "fixed_truth"):
        op.drop_column("sbc_validations", column)
    for table, column, values in CHECKED:
        _replace(table, column, values)
