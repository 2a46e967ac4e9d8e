"""Conflict analyses, their evidence per belief, recommended prior updates, and attributions."""

from __future__ import annotations

import datetime
import uuid
from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import (
    Base,
    BigInt,
    JsonObject,
    Resource,
    at_least,
    between,
    finite,
    finite_from,
    one_of,
)

# Names of the contract's enum values without their prefix.
SEVERITIES = ("WEAK", "MODERATE", "STRONG", "VERY_STRONG")
CONFLICT_STATUSES = ("OK", "BORDERLINE", "UNRELIABLE")
FINDINGS = ("AGREES", "CONFLICT", "DATA_SILENT", "UNRELIABLE")
OUTCOME_SIDES = ("CLIENT", "DATA", "NEITHER")
UPDATE_STATES = ("PROPOSED", "ACCEPTED", "REJECTED")
UPDATE_STRATEGIES = (
    "EVIDENCE_WEIGHTED",
    "FULL_BAYESIAN",
    "CONSERVATIVE",
    "POWER_PRIOR",
    "ADAPTIVE_POWER_PRIOR",
    "ROBUST_MIXTURE",
)


class Conflict(Resource):
    """A conflict analysis of a session; `result` is the whole message as JSON once the job has succeeded."""

    __tablename__ = "prior_data_conflicts"
    __table_args__ = (
        Index(None, "client_id", "create_time", "pk"),
        Index(None, "session_pk", "create_time"),
        Index(None, "model_pk"),
        Index(None, "window_pk"),
        at_least("data_period_months", 1),
        at_least("hold_out_months", 0),
        CheckConstraint("confidence_threshold > 0 and confidence_threshold < 1", name="confidence_threshold"),
        at_least("business_impact_minor", 0),
        one_of("severity", SEVERITIES),
    )

    NOUN: ClassVar[str] = "conflict analysis"
    ID_FIELD: ClassVar[str] = "analysis_id"
    session_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("prior_elicitation_sessions.pk"))
    model_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("bayesian_model_metadata.pk"))
    job_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.pk"), unique=True)
    data_period_months: Mapped[int]
    hold_out_months: Mapped[int] = mapped_column(default=0, server_default="0")
    # The rows that it has used; unknown for analyses of the previous version.
    window_pk: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("data_windows.pk"))
    exploratory: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    confidence_threshold: Mapped[float | None]
    business_impact_minor: Mapped[BigInt | None]
    severity: Mapped[str | None]
    conflict: Mapped[bool | None]
    result: Mapped[JsonObject | None]


class ConflictEvidence(Base):
    """The figures of one belief in a conflict analysis; natural logarithms, absent where they are unreliable."""

    __tablename__ = "conflict_evidence"
    __table_args__ = (
        Index(None, "prior_pk"),
        Index(None, "curve_pk"),
        finite("log_bf_recentred"),
        finite("log_bf_widened"),
        finite("log_bf_reference"),
        finite("log_bf_point"),
        finite_from("mcse", 0),
        between("p_value", 0, 1),
        # A divergence estimated from draws may be a little negative, so only its being a number is demanded.
        finite("kl_nats"),
        finite_from("wasserstein_1", 0),
        finite_from("wasserstein_2", 0),
        one_of("severity", SEVERITIES),
        one_of("status", CONFLICT_STATUSES),
        one_of("finding", FINDINGS),
    )

    conflict_pk: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("prior_data_conflicts.pk", ondelete="CASCADE"), primary_key=True
    )
    prior_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("client_priors.pk"), primary_key=True)
    curve_pk: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("evidence_curves.pk"))
    log_bf_recentred: Mapped[float | None]
    log_bf_widened: Mapped[float | None]
    log_bf_reference: Mapped[float | None]
    log_bf_point: Mapped[float | None]
    mcse: Mapped[float | None]
    p_value: Mapped[float | None]
    kl_nats: Mapped[float | None]
    wasserstein_1: Mapped[float | None]
    wasserstein_2: Mapped[float | None]
    severity: Mapped[str | None]
    status: Mapped[str | None]
    finding: Mapped[str | None]


class ConflictOutcome(Resource):
    """How the conflict of one belief was resolved in the end; rows are added, the latest of a belief counts."""

    __tablename__ = "conflict_outcomes"
    __table_args__ = (
        Index(None, "client_id", "create_time", "pk"),
        Index(None, "conflict_pk", "prior_pk"),
        one_of("side", OUTCOME_SIDES),
        one_of("severity", SEVERITIES),
    )

    NOUN: ClassVar[str] = "outcome"
    ID_FIELD: ClassVar[str] = "outcome_id"
    conflict_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("prior_data_conflicts.pk"))
    prior_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("client_priors.pk"))
    side: Mapped[str]
    experiment: Mapped[JsonObject | None]
    reason: Mapped[str]
    recorded_by: Mapped[str]
    # As the analysis had them, so that the report needs no parsing.
    severity: Mapped[str | None]
    conflict: Mapped[bool]


class RecommendedUpdate(Resource):
    """A recommended update of a session's beliefs and the decision about it."""

    __tablename__ = "prior_update_recommendations"
    __table_args__ = (
        Index(None, "client_id", "create_time", "pk"),
        Index(None, "session_pk", "create_time"),
        Index(None, "conflict_pk"),
        one_of("update_strategy", UPDATE_STRATEGIES),
        finite_from("min_evidence_strength", 0),
        one_of("state", UPDATE_STATES),
        at_least("version", 1),
        CheckConstraint("(state = 'PROPOSED') = (decide_time is null)", name="decide_time"),
    )

    NOUN: ClassVar[str] = "prior update"
    ID_FIELD: ClassVar[str] = "update_id"
    session_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("prior_elicitation_sessions.pk"))
    conflict_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("prior_data_conflicts.pk"))
    update_strategy: Mapped[str]
    min_evidence_strength: Mapped[float]
    state: Mapped[str] = mapped_column(default="PROPOSED")
    exploratory: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    result: Mapped[JsonObject | None]
    version: Mapped[int] = mapped_column(default=1)
    decided_by: Mapped[str | None]
    decision_reason: Mapped[str | None]
    decide_time: Mapped[datetime.datetime | None]


class StoredAttribution(Resource):
    """An attribution of the outcome to channels; `result` is the whole message as JSON once the job has succeeded."""

    __tablename__ = "attributions"
    __table_args__ = (
        Index(None, "client_id", "create_time", "pk"),
        Index(None, "model_pk"),
        Index(None, "session_pk"),
        at_least("data_period_months", 1),
        at_least("hold_out_months", 0),
    )

    NOUN: ClassVar[str] = "attribution"
    ID_FIELD: ClassVar[str] = "attribution_id"
    model_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("bayesian_model_metadata.pk"))
    session_pk: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("prior_elicitation_sessions.pk"))
    job_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.pk"), unique=True)
    data_period_months: Mapped[int]
    hold_out_months: Mapped[int] = mapped_column(default=0, server_default="0")
    exploratory: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    result: Mapped[JsonObject | None]
