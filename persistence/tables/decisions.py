"""Decisions whether simulation-based calibration is essential, and the versions of the policy behind them."""

from __future__ import annotations

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped

from persistence.tables.base import BigInt, JsonObject, Owned, at_least, between, one_of, positive

NECESSITY_DECISIONS = ("ESSENTIAL", "UNDETERMINED", "NOT_REQUIRED_BY_POLICY")
DECISION_SOURCES = ("CHECK", "CONFLICT", "ATTRIBUTION")


class AdoptedPolicy(Owned):
    """A version of a client's policy; version 1 is built in and not stored. A version never changes."""

    __tablename__ = "necessity_policies"
    __table_args__ = (
        UniqueConstraint("client_id", "version"),
        Index(None, "client_id", "create_time", "pk"),
        at_least("version", 2),
        at_least("max_parameters", 1),
        positive("max_bayes_factor"),
        at_least("max_impact_minor", 0),
        between("min_confidence", 0, 1),
    )

    version: Mapped[int]
    max_parameters: Mapped[int]
    max_bayes_factor: Mapped[float]
    max_impact_minor: Mapped[BigInt]
    min_confidence: Mapped[float]
    policy_hash: Mapped[str]
    adopted_by: Mapped[str]
    reason: Mapped[str]


class RecordedDecision(Owned):
    """A decision as it was made: inputs, evidence and version of the policy, from which it can be made again.

    `decision_key` digests all of them with the source, so that the same question asked again is one decision. Ids of
    model and source are kept as text: decisions outlive what they are about.
    """

    __tablename__ = "necessity_decisions"
    __table_args__ = (
        UniqueConstraint("client_id", "decision_key"),
        Index(None, "client_id", "create_time", "pk"),
        one_of("decision", NECESSITY_DECISIONS),
        one_of("source", DECISION_SOURCES),
        at_least("policy_version", 1),
    )

    decision_key: Mapped[str]
    source: Mapped[str]
    model_id: Mapped[str]
    source_id: Mapped[str]
    policy_version: Mapped[int]
    inputs: Mapped[JsonObject]
    evidence: Mapped[JsonObject]
    decision: Mapped[str]
    result: Mapped[JsonObject]
