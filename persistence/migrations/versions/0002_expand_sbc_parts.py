"""Parts of calibration runs, the inference they check, and what resuming and extending them needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PARTS = (
    "part in ('PRIOR', 'POSTERIOR', 'CANARY_NARROW_POSTERIOR', 'CANARY_HALF_DATA', 'CANARY_LAGGED_MEDIA',"
    " 'CANARY_PRIOR_AS_POSTERIOR')"
)


def upgrade() -> None:
    # Every column has a default, so that servers of the previous version can go on writing.
    op.add_column("jobs", sa.Column("done_before", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_jobs_done_before"), "jobs", "done_before >= 0")

    columns = {
        "parts": sa.Column("parts", postgresql.JSONB(), server_default="[]", nullable=False),
        "inference_method": sa.Column("inference_method", sa.Text(), server_default="PRODUCTION", nullable=False),
        "further_quantities": sa.Column("further_quantities", postgresql.JSONB(), server_default="[]", nullable=False),
        "plan_key": sa.Column("plan_key", sa.Text(), server_default="", nullable=False),
    }
    for column in columns.values():
        op.add_column("sbc_validations", column)
    op.create_check_constraint(
        op.f("ck_sbc_validations_inference_method"),
        "sbc_validations",
        "inference_method in ('PRODUCTION', 'NUTS', 'LAPLACE', 'SVI_MEAN_FIELD', 'SVI_FULL_RANK')",
    )

    for table in ("sbc_shards", "sbc_results"):
        op.add_column(table, sa.Column("part", sa.Text(), server_default="PRIOR", nullable=False))
        op.create_check_constraint(op.f(f"ck_{table}_part"), table, PARTS)
    op.add_column("sbc_shards", sa.Column("attempts_before", sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_sbc_shards_attempts_before"), "sbc_shards", "attempts_before >= 0")
    # A wider key refuses nothing that the narrower one admitted. The table is locked while it is built.
    op.drop_constraint(op.f("pk_sbc_results"), "sbc_results", type_="primary")
    op.create_primary_key(op.f("pk_sbc_results"), "sbc_results", ["validation_pk", "part", "simulation"])


def downgrade() -> None:
    for table in ("sbc_results", "sbc_shards"):
        op.execute(f"delete from {table} where part <> 'PRIOR'")
    op.drop_constraint(op.f("pk_sbc_results"), "sbc_results", type_="primary")
    op.create_primary_key(op.f("pk_sbc_results"), "sbc_results", ["validation_pk", "simulation"])
    op.drop_column("sbc_shards", "attempts_before")
    for table in ("sbc_results", "sbc_shards"):
        op.drop_column(table, "part")
    for column in ("plan_key", "further_quantities", "inference_method", "parts"):
        op.drop_column("sbc_validations", column)
    op.drop_column("jobs", "done_before")
