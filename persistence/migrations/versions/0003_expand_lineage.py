"""Lineage of priors, outcomes of conflicts, decisions on calibration with their policies, and held-out months."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SEVERITY = "severity in ('WEAK', 'MODERATE', 'STRONG', 'VERY_STRONG')"


def owned(name: str, *columns: sa.schema.SchemaItem) -> None:
    """A table of resources of a client."""
    op.create_table(
        name,
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        *columns,
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f(f"pk_{name}")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f(f"fk_{name}_client_id")),
    )


def upgrade() -> None:
    # Every new column has a default or may be empty, so that servers of the previous version can go on writing.
    json, text = postgresql.JSONB, sa.Text
    double = postgresql.DOUBLE_PRECISION

    owned(
        "data_windows",
        sa.Column("window_key", text(), nullable=False),
        sa.Column("dataset_id", text(), nullable=False),
        sa.Column("dataset_sha256", text(), nullable=False),
        sa.Column("kpi", text(), nullable=False),
        sa.Column("geos", json(), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=True),
        sa.Column("last_date", sa.Date(), nullable=True),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("digests", json(), nullable=False),
        sa.UniqueConstraint("client_id", "window_key", name=op.f("uq_data_windows_client_id_window_key")),
        sa.CheckConstraint("first_date <= last_date", name=op.f("ck_data_windows_dates")),
        sa.CheckConstraint("(first_date is null) = (last_date is null)", name=op.f("ck_data_windows_both_dates")),
        sa.CheckConstraint("row_count >= 1", name=op.f("ck_data_windows_row_count")),
    )
    op.create_index(
        op.f("ix_data_windows_client_id_kpi_first_date"), "data_windows", ["client_id", "kpi", "first_date"]
    )

    op.create_table(
        "prior_lineage",
        sa.Column("prior_pk", sa.Uuid(), nullable=False),
        sa.Column("window_pk", sa.Uuid(), nullable=False),
        sa.Column("update_pk", sa.Uuid(), nullable=False),
        sa.Column("inherited", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("prior_pk", "window_pk", "update_pk", name=op.f("pk_prior_lineage")),
        sa.ForeignKeyConstraint(
            ["prior_pk"], ["client_priors.pk"], name=op.f("fk_prior_lineage_prior_pk"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["window_pk"], ["data_windows.pk"], name=op.f("fk_prior_lineage_window_pk")),
        sa.ForeignKeyConstraint(
            ["update_pk"], ["prior_update_recommendations.pk"], name=op.f("fk_prior_lineage_update_pk")
        ),
    )
    for column in ("window_pk", "update_pk"):
        op.create_index(op.f(f"ix_prior_lineage_{column}"), "prior_lineage", [column])

    owned(
        "conflict_outcomes",
        sa.Column("conflict_pk", sa.Uuid(), nullable=False),
        sa.Column("prior_pk", sa.Uuid(), nullable=False),
        sa.Column("side", text(), nullable=False),
        sa.Column("experiment", json(), nullable=True),
        sa.Column("reason", text(), nullable=False),
        sa.Column("recorded_by", text(), nullable=False),
        sa.Column("severity", text(), nullable=True),
        sa.Column("conflict", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conflict_pk"], ["prior_data_conflicts.pk"], name=op.f("fk_conflict_outcomes_conflict_pk")
        ),
        sa.ForeignKeyConstraint(["prior_pk"], ["client_priors.pk"], name=op.f("fk_conflict_outcomes_prior_pk")),
        sa.CheckConstraint("side in ('CLIENT', 'DATA', 'NEITHER')", name=op.f("ck_conflict_outcomes_side")),
        sa.CheckConstraint(SEVERITY, name=op.f("ck_conflict_outcomes_severity")),
    )
    op.create_index(
        op.f("ix_conflict_outcomes_client_id_create_time_pk"), "conflict_outcomes", ["client_id", "create_time", "pk"]
    )
    op.create_index(op.f("ix_conflict_outcomes_conflict_pk_prior_pk"), "conflict_outcomes", ["conflict_pk", "prior_pk"])

    owned(
        "necessity_policies",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("max_parameters", sa.Integer(), nullable=False),
        sa.Column("max_bayes_factor", double(), nullable=False),
        sa.Column("max_impact_minor", sa.BigInteger(), nullable=False),
        sa.Column("min_confidence", double(), nullable=False),
        sa.Column("policy_hash", text(), nullable=False),
        sa.Column("adopted_by", text(), nullable=False),
        sa.Column("reason", text(), nullable=False),
        sa.UniqueConstraint("client_id", "version", name=op.f("uq_necessity_policies_client_id_version")),
        sa.CheckConstraint("version >= 2", name=op.f("ck_necessity_policies_version")),
        sa.CheckConstraint("max_parameters >= 1", name=op.f("ck_necessity_policies_max_parameters")),
        sa.CheckConstraint(
            "max_bayes_factor > 0 and max_bayes_factor < 'Infinity'",
            name=op.f("ck_necessity_policies_max_bayes_factor"),
        ),
        sa.CheckConstraint("max_impact_minor >= 0", name=op.f("ck_necessity_policies_max_impact_minor")),
        sa.CheckConstraint(
            "min_confidence >= 0 and min_confidence <= 1", name=op.f("ck_necessity_policies_min_confidence")
        ),
    )
    op.create_index(
        op.f("ix_necessity_policies_client_id_create_time_pk"), "necessity_policies", ["client_id", "create_time", "pk"]
    )

    owned(
        "necessity_decisions",
        sa.Column("decision_key", text(), nullable=False),
        sa.Column("source", text(), nullable=False),
        sa.Column("model_id", text(), nullable=False),
        sa.Column("source_id", text(), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("inputs", json(), nullable=False),
        sa.Column("evidence", json(), nullable=False),
        sa.Column("decision", text(), nullable=False),
        sa.Column("result", json(), nullable=False),
        sa.UniqueConstraint("client_id", "decision_key", name=op.f("uq_necessity_decisions_client_id_decision_key")),
        sa.CheckConstraint(
            "decision in ('ESSENTIAL', 'UNDETERMINED', 'NOT_REQUIRED_BY_POLICY')",
            name=op.f("ck_necessity_decisions_decision"),
        ),
        sa.CheckConstraint(
            "source in ('CHECK', 'CONFLICT', 'ATTRIBUTION')", name=op.f("ck_necessity_decisions_source")
        ),
        sa.CheckConstraint("policy_version >= 1", name=op.f("ck_necessity_decisions_policy_version")),
    )
    op.create_index(
        op.f("ix_necessity_decisions_client_id_create_time_pk"),
        "necessity_decisions",
        ["client_id", "create_time", "pk"],
    )

    for table in ("prior_data_conflicts", "attributions", "sbc_validations"):
        op.add_column(table, sa.Column("hold_out_months", sa.Integer(), server_default="0", nullable=False))
        op.create_check_constraint(op.f(f"ck_{table}_hold_out_months"), table, "hold_out_months >= 0")
    for table in ("prior_data_conflicts", "attributions", "prior_update_recommendations"):
        op.add_column(table, sa.Column("exploratory", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("prior_data_conflicts", sa.Column("window_pk", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_prior_data_conflicts_window_pk"), "prior_data_conflicts", "data_windows", ["window_pk"], ["pk"]
    )
    op.create_index(op.f("ix_prior_data_conflicts_window_pk"), "prior_data_conflicts", ["window_pk"])

    sessions = "prior_elicitation_sessions"
    op.add_column(sessions, sa.Column("share_groups", json(), server_default="[]", nullable=False))
    op.add_column(sessions, sa.Column("adopted_update_pk", sa.Uuid(), nullable=True))
    op.add_column(sessions, sa.Column("correlation", json(), nullable=True))
    op.create_foreign_key(
        op.f(f"fk_{sessions}_adopted_update_pk"),
        sessions,
        "prior_update_recommendations",
        ["adopted_update_pk"],
        ["pk"],
    )
    op.create_index(op.f(f"ix_{sessions}_adopted_update_pk"), sessions, ["adopted_update_pk"])
    op.add_column("jobs", sa.Column("error_metadata", json(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "error_metadata")
    for column in ("correlation", "adopted_update_pk", "share_groups"):
        op.drop_column("prior_elicitation_sessions", column)
    op.drop_column("prior_data_conflicts", "window_pk")
    for table in ("prior_data_conflicts", "attributions", "prior_update_recommendations"):
        op.drop_column(table, "exploratory")
    for table in ("prior_data_conflicts", "attributions", "sbc_validations"):
        op.drop_column(table, "hold_out_months")
    for table in ("necessity_decisions", "necessity_policies", "conflict_outcomes", "prior_lineage", "data_windows"):
        op.drop_table(table)
