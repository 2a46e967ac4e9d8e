"""Models, their fits under the reference prior, and the evidence curves taken from the fits."""

from __future__ import annotations

import uuid
from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import (
    Base,
    JsonList,
    JsonObject,
    Owned,
    Resource,
    at_least,
    extended_from,
    positive,
)


class RegisteredModel(Resource):
    """A registered model version; immutable but for what is worked out of it once: remarks and prior predictive."""

    __tablename__ = "bayesian_model_metadata"
    __table_args__ = (
        UniqueConstraint("client_id", "model_id"),
        Index(None, "client_id", "create_time", "pk"),
        Index(None, "dataset_pk"),
        at_least("parameter_count", 1),
    )
    NOUN: ClassVar[str] = "model"
    ID_FIELD: ClassVar[str] = "model_id"
    PUBLIC_ID: ClassVar[str] = "model_id"

    model_id: Mapped[str]
    family: Mapped[str]
    spec: Mapped[JsonObject]
    dataset_pk: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("datasets.pk"))
    parameter_count: Mapped[int]
    model_hash: Mapped[str]
    warnings: Mapped[JsonList] = mapped_column(default=list)
    prior_predictive: Mapped[JsonObject | None]


class Fit(Owned):
    """One fit of a model; `fit_key` digests everything that it depends on beside the model."""

    __tablename__ = "fits"
    __table_args__ = (UniqueConstraint("model_pk", "fit_key"), Index(None, "client_id", "create_time", "pk"))

    model_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("bayesian_model_metadata.pk"))
    fit_key: Mapped[str]
    diagnostics: Mapped[JsonObject]
    provenance: Mapped[JsonObject]
    facts: Mapped[JsonObject] = mapped_column(default=dict)


class FitDraws(Base):
    """Posterior draws of one quantity: `chains` x `draws` numbers, little-endian, chain after chain."""

    __tablename__ = "fit_draws"
    __table_args__ = (at_least("chains", 1), at_least("draws", 1))

    fit_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("fits.pk", ondelete="CASCADE"), primary_key=True)
    quantity: Mapped[str] = mapped_column(primary_key=True)
    chains: Mapped[int]
    draws: Mapped[int]
    data: Mapped[bytes]


class StoredCurve(Resource):
    """The evidence of a fit about one quantity of one channel: log-likelihood over a grid, with replicates."""

    __tablename__ = "evidence_curves"
    __table_args__ = (
        UniqueConstraint("fit_pk", "quantity", "channel"),
        Index(None, "client_id", "create_time", "pk"),
        CheckConstraint("lower < upper and upper <= 'Infinity'", name="bounds"),
        at_least("n_grid", 2),
        at_least("n_replicates", 0),
        extended_from("effective_sample_size", 0),
        positive("months"),
    )

    NOUN: ClassVar[str] = "evidence curve"
    ID_FIELD: ClassVar[str] = "curve_id"
    fit_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("fits.pk"))
    quantity: Mapped[str]
    channel: Mapped[str]
    reference: Mapped[JsonObject]
    lower: Mapped[float]
    upper: Mapped[float]
    n_grid: Mapped[int]
    n_replicates: Mapped[int]
    grid: Mapped[bytes]
    log_likelihood: Mapped[bytes]
    heavy_tail_log_likelihood: Mapped[bytes]
    replicates: Mapped[bytes]
    facts: Mapped[JsonObject] = mapped_column(default=dict)
    effective_sample_size: Mapped[float]
    months: Mapped[float]
