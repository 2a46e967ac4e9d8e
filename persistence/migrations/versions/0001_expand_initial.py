"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Numbers as bytes do not compress, and uncompressed ones can be read in part.
EXTERNAL = (
    ("dataset_chunks", "data"),
    ("fit_draws", "data"),
    ("evidence_curves", "grid"),
    ("evidence_curves", "log_likelihood"),
    ("evidence_curves", "replicates"),
)
TABLES = (
    "sbc_shards",
    "sbc_results",
    "prior_update_recommendations",
    "conflict_evidence",
    "sbc_validations",
    "prior_data_conflicts",
    "fit_draws",
    "evidence_curves",
    "client_priors",
    "attributions",
    "prior_elicitation_sessions",
    "fits",
    "request_log",
    "job_events",
    "dataset_chunks",
    "bayesian_model_metadata",
    "jobs",
    "datasets",
    "clients",
    "audit_log",
)


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_client_id_create_time_pk"), "audit_log", ["client_id", "create_time", "pk"])
    op.create_index(
        op.f("ix_audit_log_client_id_resource_type_resource_id"),
        "audit_log",
        ["client_id", "resource_type", "resource_id"],
    )
    op.create_table(
        "clients",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_clients")),
    )
    op.create_table(
        "datasets",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("columns", postgresql.JSONB(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("committed_bytes", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("first_date", sa.Date(), nullable=True),
        sa.Column("last_date", sa.Date(), nullable=True),
        sa.Column("grain", sa.Text(), nullable=True),
        sa.Column("seal_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("grain in ('DAILY', 'WEEKLY', 'MONTHLY')", name=op.f("ck_datasets_grain")),
        sa.CheckConstraint(
            "state <> 'SEALED' or (committed_bytes = total_bytes and sha256 is not null and seal_time is not null)",
            name=op.f("ck_datasets_sealed"),
        ),
        sa.CheckConstraint("state in ('UPLOADING', 'SEALED')", name=op.f("ck_datasets_state")),
        sa.CheckConstraint(
            "committed_bytes >= 0 and committed_bytes <= total_bytes", name=op.f("ck_datasets_committed_bytes")
        ),
        sa.CheckConstraint("first_date <= last_date", name=op.f("ck_datasets_dates")),
        sa.CheckConstraint("row_count >= 1", name=op.f("ck_datasets_row_count")),
        sa.CheckConstraint("total_bytes >= 1", name=op.f("ck_datasets_total_bytes")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f("fk_datasets_client_id")),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_datasets")),
        sa.UniqueConstraint("client_id", "dataset_id", name=op.f("uq_datasets_client_id_dataset_id")),
    )
    op.create_index(op.f("ix_datasets_client_id_create_time_pk"), "datasets", ["client_id", "create_time", "pk"])
    op.create_table(
        "jobs",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column("error_reason", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_field", sa.Text(), nullable=True),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.Column("start_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("end_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(state in ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (end_time is not null)", name=op.f("ck_jobs_end_time")
        ),
        sa.CheckConstraint("state <> 'FAILED' or error_reason is not null", name=op.f("ck_jobs_error_reason")),
        sa.CheckConstraint(
            "state in ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_jobs_attempt")),
        sa.CheckConstraint("done >= 0", name=op.f("ck_jobs_done")),
        sa.CheckConstraint("last_sequence >= 0", name=op.f("ck_jobs_last_sequence")),
        sa.CheckConstraint("total >= 0", name=op.f("ck_jobs_total")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f("fk_jobs_client_id")),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_client_id_create_time_pk"), "jobs", ["client_id", "create_time", "pk"])
    op.create_index("ix_jobs_open", "jobs", ["state", "lease_until"], postgresql_where="state in ('QUEUED', 'RUNNING')")
    op.create_table(
        "bayesian_model_metadata",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("spec", postgresql.JSONB(), nullable=False),
        sa.Column("dataset_pk", sa.Uuid(), nullable=True),
        sa.Column("parameter_count", sa.Integer(), nullable=False),
        sa.Column("model_hash", sa.Text(), nullable=False),
        sa.Column("warnings", postgresql.JSONB(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("parameter_count >= 1", name=op.f("ck_bayesian_model_metadata_parameter_count")),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.client_id"], name=op.f("fk_bayesian_model_metadata_client_id")
        ),
        sa.ForeignKeyConstraint(["dataset_pk"], ["datasets.pk"], name=op.f("fk_bayesian_model_metadata_dataset_pk")),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_bayesian_model_metadata")),
        sa.UniqueConstraint("client_id", "model_id", name=op.f("uq_bayesian_model_metadata_client_id_model_id")),
    )
    op.create_index(
        op.f("ix_bayesian_model_metadata_client_id_create_time_pk"),
        "bayesian_model_metadata",
        ["client_id", "create_time", "pk"],
    )
    op.create_index(op.f("ix_bayesian_model_metadata_dataset_pk"), "bayesian_model_metadata", ["dataset_pk"])
    op.create_table(
        "dataset_chunks",
        sa.Column("dataset_pk", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_offset", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("crc32", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("crc32 between 0 and 4294967295", name=op.f("ck_dataset_chunks_crc32")),
        sa.CheckConstraint("octet_length(data) between 1 and 1048576", name=op.f("ck_dataset_chunks_data")),
        sa.CheckConstraint("ordinal >= 0", name=op.f("ck_dataset_chunks_ordinal")),
        sa.CheckConstraint("start_offset >= 0", name=op.f("ck_dataset_chunks_start_offset")),
        sa.ForeignKeyConstraint(
            ["dataset_pk"], ["datasets.pk"], name=op.f("fk_dataset_chunks_dataset_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_pk", "ordinal", name=op.f("pk_dataset_chunks")),
        sa.UniqueConstraint("dataset_pk", "start_offset", name=op.f("uq_dataset_chunks_dataset_pk_start_offset")),
    )
    op.create_table(
        "job_events",
        sa.Column("job_pk", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sequence >= 1", name=op.f("ck_job_events_sequence")),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.pk"], name=op.f("fk_job_events_job_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_pk", "sequence", name=op.f("pk_job_events")),
    )
    op.create_table(
        "request_log",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("job_pk", sa.Uuid(), nullable=True),
        sa.Column("resource_id", sa.Text(), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.pk"], name=op.f("fk_request_log_job_pk")),
        sa.PrimaryKeyConstraint("client_id", "method", "request_id", name=op.f("pk_request_log")),
    )
    op.create_table(
        "fits",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("model_pk", sa.Uuid(), nullable=False),
        sa.Column("fit_key", sa.Text(), nullable=False),
        sa.Column("diagnostics", postgresql.JSONB(), nullable=False),
        sa.Column("provenance", postgresql.JSONB(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f("fk_fits_client_id")),
        sa.ForeignKeyConstraint(["model_pk"], ["bayesian_model_metadata.pk"], name=op.f("fk_fits_model_pk")),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_fits")),
        sa.UniqueConstraint("model_pk", "fit_key", name=op.f("uq_fits_model_pk_fit_key")),
    )
    op.create_index(op.f("ix_fits_client_id_create_time_pk"), "fits", ["client_id", "create_time", "pk"])
    op.create_table(
        "prior_elicitation_sessions",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("model_pk", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("client_confidence", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("coherence_notes", postgresql.JSONB(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("confirm_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(state = 'CONFIRMED') = (confirm_time is not null)",
            name=op.f("ck_prior_elicitation_sessions_confirm_time"),
        ),
        sa.CheckConstraint(
            "state in ('DRAFT', 'FEEDBACK', 'CONFIRMED')", name=op.f("ck_prior_elicitation_sessions_state")
        ),
        sa.CheckConstraint(
            "client_confidence >= 0 and client_confidence <= 1",
            name=op.f("ck_prior_elicitation_sessions_client_confidence"),
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_prior_elicitation_sessions_version")),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.client_id"], name=op.f("fk_prior_elicitation_sessions_client_id")
        ),
        sa.ForeignKeyConstraint(
            ["model_pk"], ["bayesian_model_metadata.pk"], name=op.f("fk_prior_elicitation_sessions_model_pk")
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_prior_elicitation_sessions")),
        sa.UniqueConstraint("client_id", "session_id", name=op.f("uq_prior_elicitation_sessions_client_id_session_id")),
    )
    op.create_index(
        op.f("ix_prior_elicitation_sessions_client_id_create_time_pk"),
        "prior_elicitation_sessions",
        ["client_id", "create_time", "pk"],
    )
    op.create_index(op.f("ix_prior_elicitation_sessions_model_pk"), "prior_elicitation_sessions", ["model_pk"])
    op.create_table(
        "attributions",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("model_pk", sa.Uuid(), nullable=False),
        sa.Column("session_pk", sa.Uuid(), nullable=True),
        sa.Column("job_pk", sa.Uuid(), nullable=False),
        sa.Column("data_period_months", sa.Integer(), nullable=False),
        sa.Column("result", postgresql.JSONB(), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("data_period_months >= 1", name=op.f("ck_attributions_data_period_months")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f("fk_attributions_client_id")),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.pk"], name=op.f("fk_attributions_job_pk")),
        sa.ForeignKeyConstraint(["model_pk"], ["bayesian_model_metadata.pk"], name=op.f("fk_attributions_model_pk")),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["prior_elicitation_sessions.pk"], name=op.f("fk_attributions_session_pk")
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_attributions")),
        sa.UniqueConstraint("job_pk", name=op.f("uq_attributions_job_pk")),
    )
    op.create_index(
        op.f("ix_attributions_client_id_create_time_pk"), "attributions", ["client_id", "create_time", "pk"]
    )
    op.create_index(op.f("ix_attributions_model_pk"), "attributions", ["model_pk"])
    op.create_index(op.f("ix_attributions_session_pk"), "attributions", ["session_pk"])
    op.create_table(
        "client_priors",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("session_pk", sa.Uuid(), nullable=False),
        sa.Column("belief_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("belief", postgresql.JSONB(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("ordinal >= 0", name=op.f("ck_client_priors_ordinal")),
        sa.ForeignKeyConstraint(
            ["session_pk"],
            ["prior_elicitation_sessions.pk"],
            name=op.f("fk_client_priors_session_pk"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_client_priors")),
        sa.UniqueConstraint("session_pk", "belief_id", name=op.f("uq_client_priors_session_pk_belief_id")),
    )
    op.create_table(
        "evidence_curves",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("fit_pk", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("reference", postgresql.JSONB(), nullable=False),
        sa.Column("lower", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("upper", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("n_grid", sa.Integer(), nullable=False),
        sa.Column("n_replicates", sa.Integer(), nullable=False),
        sa.Column("grid", sa.LargeBinary(), nullable=False),
        sa.Column("log_likelihood", sa.LargeBinary(), nullable=False),
        sa.Column("heavy_tail_log_likelihood", sa.LargeBinary(), nullable=False),
        sa.Column("replicates", sa.LargeBinary(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("effective_sample_size", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("months", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "effective_sample_size >= 0 and effective_sample_size <= 'Infinity'",
            name=op.f("ck_evidence_curves_effective_sample_size"),
        ),
        sa.CheckConstraint("lower < upper and upper <= 'Infinity'", name=op.f("ck_evidence_curves_bounds")),
        sa.CheckConstraint("months > 0 and months < 'Infinity'", name=op.f("ck_evidence_curves_months")),
        sa.CheckConstraint("n_grid >= 2", name=op.f("ck_evidence_curves_n_grid")),
        sa.CheckConstraint("n_replicates >= 0", name=op.f("ck_evidence_curves_n_replicates")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f("fk_evidence_curves_client_id")),
        sa.ForeignKeyConstraint(["fit_pk"], ["fits.pk"], name=op.f("fk_evidence_curves_fit_pk")),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_evidence_curves")),
        sa.UniqueConstraint("fit_pk", "quantity", "channel", name=op.f("uq_evidence_curves_fit_pk_quantity_channel")),
    )
    op.create_index(
        op.f("ix_evidence_curves_client_id_create_time_pk"), "evidence_curves", ["client_id", "create_time", "pk"]
    )
    op.create_table(
        "fit_draws",
        sa.Column("fit_pk", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Text(), nullable=False),
        sa.Column("chains", sa.Integer(), nullable=False),
        sa.Column("draws", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("chains >= 1", name=op.f("ck_fit_draws_chains")),
        sa.CheckConstraint("draws >= 1", name=op.f("ck_fit_draws_draws")),
        sa.ForeignKeyConstraint(["fit_pk"], ["fits.pk"], name=op.f("fk_fit_draws_fit_pk"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("fit_pk", "quantity", name=op.f("pk_fit_draws")),
    )
    op.create_table(
        "prior_data_conflicts",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("session_pk", sa.Uuid(), nullable=False),
        sa.Column("model_pk", sa.Uuid(), nullable=False),
        sa.Column("job_pk", sa.Uuid(), nullable=False),
        sa.Column("data_period_months", sa.Integer(), nullable=False),
        sa.Column("confidence_threshold", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("business_impact_minor", sa.BigInteger(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=True),
        sa.Column("conflict", sa.Boolean(), nullable=True),
        sa.Column("result", postgresql.JSONB(), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "severity in ('WEAK', 'MODERATE', 'STRONG', 'VERY_STRONG')", name=op.f("ck_prior_data_conflicts_severity")
        ),
        sa.CheckConstraint("business_impact_minor >= 0", name=op.f("ck_prior_data_conflicts_business_impact_minor")),
        sa.CheckConstraint(
            "confidence_threshold > 0 and confidence_threshold < 1",
            name=op.f("ck_prior_data_conflicts_confidence_threshold"),
        ),
        sa.CheckConstraint("data_period_months >= 1", name=op.f("ck_prior_data_conflicts_data_period_months")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f("fk_prior_data_conflicts_client_id")),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.pk"], name=op.f("fk_prior_data_conflicts_job_pk")),
        sa.ForeignKeyConstraint(
            ["model_pk"], ["bayesian_model_metadata.pk"], name=op.f("fk_prior_data_conflicts_model_pk")
        ),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["prior_elicitation_sessions.pk"], name=op.f("fk_prior_data_conflicts_session_pk")
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_prior_data_conflicts")),
        sa.UniqueConstraint("job_pk", name=op.f("uq_prior_data_conflicts_job_pk")),
    )
    op.create_index(
        op.f("ix_prior_data_conflicts_client_id_create_time_pk"),
        "prior_data_conflicts",
        ["client_id", "create_time", "pk"],
    )
    op.create_index(op.f("ix_prior_data_conflicts_model_pk"), "prior_data_conflicts", ["model_pk"])
    op.create_index(
        op.f("ix_prior_data_conflicts_session_pk_create_time"), "prior_data_conflicts", ["session_pk", "create_time"]
    )
    op.create_table(
        "sbc_validations",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("model_pk", sa.Uuid(), nullable=False),
        sa.Column("session_pk", sa.Uuid(), nullable=True),
        sa.Column("job_pk", sa.Uuid(), nullable=False),
        sa.Column("validation_type", sa.Text(), nullable=False),
        sa.Column("num_simulations", sa.Integer(), nullable=False),
        sa.Column("data_period_months", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("alpha", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("stop_on_fail", sa.Boolean(), nullable=False),
        sa.Column("shard_size", sa.Integer(), nullable=False),
        sa.Column("quantities", postgresql.JSONB(), nullable=True),
        sa.Column("certificate_key", sa.Text(), nullable=False),
        sa.Column("verdict_kind", sa.Text(), nullable=True),
        sa.Column("verdict", postgresql.JSONB(), nullable=True),
        sa.Column("interim", postgresql.JSONB(), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "validation_type in ('QUICK', 'STANDARD', 'COMPREHENSIVE', 'POSTERIOR')",
            name=op.f("ck_sbc_validations_validation_type"),
        ),
        sa.CheckConstraint(
            "verdict_kind in ('PASS', 'FAIL', 'INCONCLUSIVE', 'CANCELLED')",
            name=op.f("ck_sbc_validations_verdict_kind"),
        ),
        sa.CheckConstraint("alpha > 0 and alpha < 1", name=op.f("ck_sbc_validations_alpha")),
        sa.CheckConstraint("data_period_months >= 1", name=op.f("ck_sbc_validations_data_period_months")),
        sa.CheckConstraint("num_simulations >= 1", name=op.f("ck_sbc_validations_num_simulations")),
        sa.CheckConstraint("seed >= 0", name=op.f("ck_sbc_validations_seed")),
        sa.CheckConstraint("shard_size >= 1", name=op.f("ck_sbc_validations_shard_size")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.client_id"], name=op.f("fk_sbc_validations_client_id")),
        sa.ForeignKeyConstraint(["job_pk"], ["jobs.pk"], name=op.f("fk_sbc_validations_job_pk")),
        sa.ForeignKeyConstraint(["model_pk"], ["bayesian_model_metadata.pk"], name=op.f("fk_sbc_validations_model_pk")),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["prior_elicitation_sessions.pk"], name=op.f("fk_sbc_validations_session_pk")
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_sbc_validations")),
        sa.UniqueConstraint("job_pk", name=op.f("uq_sbc_validations_job_pk")),
    )
    op.create_index(
        "ix_sbc_validations_certificate",
        "sbc_validations",
        ["client_id", "model_pk", "certificate_key", "verdict_kind"],
    )
    op.create_index(
        op.f("ix_sbc_validations_client_id_create_time_pk"), "sbc_validations", ["client_id", "create_time", "pk"]
    )
    op.create_index(op.f("ix_sbc_validations_model_pk"), "sbc_validations", ["model_pk"])
    op.create_index(op.f("ix_sbc_validations_session_pk"), "sbc_validations", ["session_pk"])
    op.create_table(
        "conflict_evidence",
        sa.Column("conflict_pk", sa.Uuid(), nullable=False),
        sa.Column("prior_pk", sa.Uuid(), nullable=False),
        sa.Column("curve_pk", sa.Uuid(), nullable=True),
        sa.Column("log_bf_recentred", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("log_bf_widened", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("log_bf_reference", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("log_bf_point", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("mcse", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("p_value", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("kl_nats", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("wasserstein_1", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("wasserstein_2", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("finding", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "finding in ('AGREES', 'CONFLICT', 'DATA_SILENT', 'UNRELIABLE')", name=op.f("ck_conflict_evidence_finding")
        ),
        sa.CheckConstraint("kl_nats > '-Infinity' and kl_nats < 'Infinity'", name=op.f("ck_conflict_evidence_kl_nats")),
        sa.CheckConstraint(
            "log_bf_point > '-Infinity' and log_bf_point < 'Infinity'", name=op.f("ck_conflict_evidence_log_bf_point")
        ),
        sa.CheckConstraint(
            "log_bf_recentred > '-Infinity' and log_bf_recentred < 'Infinity'",
            name=op.f("ck_conflict_evidence_log_bf_recentred"),
        ),
        sa.CheckConstraint(
            "log_bf_reference > '-Infinity' and log_bf_reference < 'Infinity'",
            name=op.f("ck_conflict_evidence_log_bf_reference"),
        ),
        sa.CheckConstraint(
            "log_bf_widened > '-Infinity' and log_bf_widened < 'Infinity'",
            name=op.f("ck_conflict_evidence_log_bf_widened"),
        ),
        sa.CheckConstraint("mcse >= 0 and mcse < 'Infinity'", name=op.f("ck_conflict_evidence_mcse")),
        sa.CheckConstraint(
            "severity in ('WEAK', 'MODERATE', 'STRONG', 'VERY_STRONG')", name=op.f("ck_conflict_evidence_severity")
        ),
        sa.CheckConstraint("status in ('OK', 'BORDERLINE', 'UNRELIABLE')", name=op.f("ck_conflict_evidence_status")),
        sa.CheckConstraint(
            "wasserstein_1 >= 0 and wasserstein_1 < 'Infinity'", name=op.f("ck_conflict_evidence_wasserstein_1")
        ),
        sa.CheckConstraint(
            "wasserstein_2 >= 0 and wasserstein_2 < 'Infinity'", name=op.f("ck_conflict_evidence_wasserstein_2")
        ),
        sa.CheckConstraint("p_value >= 0 and p_value <= 1", name=op.f("ck_conflict_evidence_p_value")),
        sa.ForeignKeyConstraint(
            ["conflict_pk"],
            ["prior_data_conflicts.pk"],
            name=op.f("fk_conflict_evidence_conflict_pk"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["curve_pk"], ["evidence_curves.pk"], name=op.f("fk_conflict_evidence_curve_pk")),
        sa.ForeignKeyConstraint(["prior_pk"], ["client_priors.pk"], name=op.f("fk_conflict_evidence_prior_pk")),
        sa.PrimaryKeyConstraint("conflict_pk", "prior_pk", name=op.f("pk_conflict_evidence")),
    )
    op.create_index(op.f("ix_conflict_evidence_curve_pk"), "conflict_evidence", ["curve_pk"])
    op.create_index(op.f("ix_conflict_evidence_prior_pk"), "conflict_evidence", ["prior_pk"])
    op.create_table(
        "prior_update_recommendations",
        sa.Column("pk", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("session_pk", sa.Uuid(), nullable=False),
        sa.Column("conflict_pk", sa.Uuid(), nullable=False),
        sa.Column("update_strategy", sa.Text(), nullable=False),
        sa.Column("min_evidence_strength", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", postgresql.JSONB(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decision_reason", sa.Text(), nullable=True),
        sa.Column("decide_time", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("create_time", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(state = 'PROPOSED') = (decide_time is null)", name=op.f("ck_prior_update_recommendations_decide_time")
        ),
        sa.CheckConstraint(
            "min_evidence_strength >= 0 and min_evidence_strength < 'Infinity'",
            name=op.f("ck_prior_update_recommendations_min_evidence_strength"),
        ),
        sa.CheckConstraint(
            "state in ('PROPOSED', 'ACCEPTED', 'REJECTED')", name=op.f("ck_prior_update_recommendations_state")
        ),
        sa.CheckConstraint(
            "update_strategy in ('EVIDENCE_WEIGHTED', 'FULL_BAYESIAN', 'CONSERVATIVE', 'POWER_PRIOR',"
            " 'ADAPTIVE_POWER_PRIOR', 'ROBUST_MIXTURE')",
            name=op.f("ck_prior_update_recommendations_update_strategy"),
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_prior_update_recommendations_version")),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.client_id"], name=op.f("fk_prior_update_recommendations_client_id")
        ),
        sa.ForeignKeyConstraint(
            ["conflict_pk"], ["prior_data_conflicts.pk"], name=op.f("fk_prior_update_recommendations_conflict_pk")
        ),
        sa.ForeignKeyConstraint(
            ["session_pk"], ["prior_elicitation_sessions.pk"], name=op.f("fk_prior_update_recommendations_session_pk")
        ),
        sa.PrimaryKeyConstraint("pk", name=op.f("pk_prior_update_recommendations")),
    )
    op.create_index(
        op.f("ix_prior_update_recommendations_client_id_create_time_pk"),
        "prior_update_recommendations",
        ["client_id", "create_time", "pk"],
    )
    op.create_index(
        op.f("ix_prior_update_recommendations_conflict_pk"), "prior_update_recommendations", ["conflict_pk"]
    )
    op.create_index(
        op.f("ix_prior_update_recommendations_session_pk_create_time"),
        "prior_update_recommendations",
        ["session_pk", "create_time"],
    )
    op.create_table(
        "sbc_results",
        sa.Column("validation_pk", sa.Uuid(), nullable=False),
        sa.Column("simulation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("n_draws", sa.Integer(), nullable=False),
        sa.Column("r_hat", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("ess", sa.DOUBLE_PRECISION(), nullable=True),
        sa.Column("ranks", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("v", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False),
        sa.Column("ties", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False),
        sa.Column("truth", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False),
        sa.Column("posterior_mean", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False),
        sa.Column("posterior_sd", postgresql.ARRAY(sa.DOUBLE_PRECISION()), nullable=False),
        sa.CheckConstraint(
            "'-Infinity' < all(posterior_mean) and 'Infinity' > all(posterior_mean)",
            name=op.f("ck_sbc_results_posterior_mean"),
        ),
        sa.CheckConstraint("'-Infinity' < all(truth) and 'Infinity' > all(truth)", name=op.f("ck_sbc_results_truth")),
        sa.CheckConstraint(
            "0 <= all(posterior_sd) and 'Infinity' > all(posterior_sd)", name=op.f("ck_sbc_results_posterior_sd")
        ),
        sa.CheckConstraint("ess >= 0 and ess < 'Infinity'", name=op.f("ck_sbc_results_ess")),
        sa.CheckConstraint("r_hat >= 0 and r_hat <= 'Infinity'", name=op.f("ck_sbc_results_r_hat")),
        sa.CheckConstraint("0 <= all(v) and 1 >= all(v)", name=op.f("ck_sbc_results_v")),
        sa.CheckConstraint("0 <= all(ties) and 1 >= all(ties)", name=op.f("ck_sbc_results_ties")),
        sa.CheckConstraint(
            "cardinality(ranks) = cardinality(v) and cardinality(ranks) = cardinality(ties)"
            " and cardinality(ranks) = cardinality(truth)"
            " and cardinality(ranks) = cardinality(posterior_mean) and cardinality(ranks) = cardinality(posterior_sd)",
            name=op.f("ck_sbc_results_lengths"),
        ),
        sa.CheckConstraint("n_draws >= 0", name=op.f("ck_sbc_results_n_draws")),
        sa.CheckConstraint("simulation >= 0", name=op.f("ck_sbc_results_simulation")),
        sa.ForeignKeyConstraint(
            ["validation_pk"], ["sbc_validations.pk"], name=op.f("fk_sbc_results_validation_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("validation_pk", "simulation", name=op.f("pk_sbc_results")),
    )
    op.create_table(
        "sbc_shards",
        sa.Column("validation_pk", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_simulation", sa.Integer(), nullable=False),
        sa.Column("n_simulations", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("compute_seconds", sa.DOUBLE_PRECISION(), nullable=True),
        sa.CheckConstraint(
            "compute_seconds >= 0 and compute_seconds < 'Infinity'", name=op.f("ck_sbc_shards_compute_seconds")
        ),
        sa.CheckConstraint("state in ('QUEUED', 'RUNNING', 'DONE')", name=op.f("ck_sbc_shards_state")),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_sbc_shards_attempt")),
        sa.CheckConstraint("first_simulation >= 0", name=op.f("ck_sbc_shards_first_simulation")),
        sa.CheckConstraint("n_simulations >= 1", name=op.f("ck_sbc_shards_n_simulations")),
        sa.CheckConstraint("ordinal >= 0", name=op.f("ck_sbc_shards_ordinal")),
        sa.ForeignKeyConstraint(
            ["validation_pk"], ["sbc_validations.pk"], name=op.f("fk_sbc_shards_validation_pk"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("validation_pk", "ordinal", name=op.f("pk_sbc_shards")),
    )
    op.create_index("ix_sbc_shards_open", "sbc_shards", ["lease_until"], postgresql_where="state <> 'DONE'")
    for table, column in EXTERNAL:
        op.execute(f"alter table {table} alter column {column} set storage external")


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
