"""Elicitation sessions and the client's beliefs."""

from __future__ import annotations

import datetime
import uuid
from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import (
    Base,
    CreateTime,
    JsonList,
    JsonObject,
    PrimaryUuid,
    Resource,
    at_least,
    between,
    one_of,
)

SESSION_STATES = ("DRAFT", "FEEDBACK", "CONFIRMED")


class ElicitedSession(Resource):
    """An elicitation session; immutable once CONFIRMED. `version` is what an etag is made of."""

    __tablename__ = "prior_elicitation_sessions"
    __table_args__ = (
        UniqueConstraint("client_id", "session_id"),
        Index(None, "client_id", "create_time", "pk"),
        Index(None, "model_pk"),
        Index(None, "adopted_update_pk"),
        one_of("state", SESSION_STATES),
        between("client_confidence", 0, 1),
        at_least("version", 1),
        CheckConstraint("(state = 'CONFIRMED') = (confirm_time is not null)", name="confirm_time"),
    )
    NOUN: ClassVar[str] = "elicitation session"
    ID_FIELD: ClassVar[str] = "session_id"
    PUBLIC_ID: ClassVar[str] = "session_id"

    session_id: Mapped[str]
    model_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("bayesian_model_metadata.pk"))
    state: Mapped[str] = mapped_column(default="DRAFT")
    client_confidence: Mapped[float | None]
    coherence_notes: Mapped[JsonList] = mapped_column(default=list)
    version: Mapped[int] = mapped_column(default=1)
    confirm_time: Mapped[datetime.datetime | None]
    # Groups of shares stated together: a list of ShareGroup messages as JSON.
    share_groups: Mapped[JsonList] = mapped_column(default=list, server_default="[]")
    # The accepted update that the session was opened from, and the correlation of its beliefs: by belief_id, in order.
    adopted_update_pk: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("prior_update_recommendations.pk", use_alter=True)
    )
    correlation: Mapped[JsonObject | None]


class ClientPrior(Base):
    """A belief of the client within a session; `belief` is the whole message as JSON."""

    __tablename__ = "client_priors"
    __table_args__ = (UniqueConstraint("session_pk", "belief_id"), at_least("ordinal", 0))

    pk: Mapped[PrimaryUuid]
    session_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("prior_elicitation_sessions.pk", ondelete="CASCADE"))
    belief_id: Mapped[str]
    ordinal: Mapped[int]
    quantity: Mapped[str]
    channel: Mapped[str]
    belief: Mapped[JsonObject]
    create_time: Mapped[CreateTime]
