"""Runs of simulation-based calibration, their shards, and the ledger of simulations."""

from __future__ import annotations

import datetime
import uuid
from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, SmallInteger
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION
from sqlalchemy.orm import Mapped, mapped_column

from persistence.tables.base import (
    Base,
    BigInt,
    JsonList,
    JsonObject,
    Resource,
    all_finite,
    at_least,
    extended_from,
    finite_from,
    one_of,
)

# Names of the contract's enum values without their prefix.
VALIDATION_TYPES = ("QUICK", "STANDARD", "COMPREHENSIVE", "POSTERIOR", "RECOVERY")
VERDICT_KINDS = ("PASS", "FAIL", "INCONCLUSIVE", "CANCELLED")
SHARD_STATES = ("QUEUED", "RUNNING", "DONE")
SBC_PARTS = (
    "PRIOR",
    "POSTERIOR",
    "RECOVERY",
    "CANARY_NARROW_POSTERIOR",
    "CANARY_HALF_DATA",
    "CANARY_LAGGED_MEDIA",
    "CANARY_PRIOR_AS_POSTERIOR",
)
INFERENCE_METHODS = ("PRODUCTION", "NUTS", "LAPLACE", "SVI_MEAN_FIELD", "SVI_FULL_RANK")


class SbcValidation(Resource):
    """A run and the parts that it consists of.

    `parts` is a list of objects, one for each part in the order of computing: `part`; `planned`, the numbers of
    simulations, one more for every extension; `quantities`, what is ranked in the order of the arrays of the ledger,
    null before the first simulation; `reported`, the simulations behind the part's latest interim report. It is written
    under the lock of the run's job. `num_simulations` is the planned number of the parts that decide. `plan_key`
    identifies what was asked for. `fixed_truth` and `recovery` are of RECOVERY alone, which has no verdict: the
    parameters by name, in their order, and the latest report.
    """

    __tablename__ = "sbc_validations"
    __table_args__ = (
        Index(None, "client_id", "create_time", "pk"),
        Index("ix_sbc_validations_certificate", "client_id", "model_pk", "certificate_key", "verdict_kind"),
        Index(None, "model_pk"),
        Index(None, "session_pk"),
        one_of("validation_type", VALIDATION_TYPES),
        one_of("verdict_kind", VERDICT_KINDS),
        one_of("inference_method", INFERENCE_METHODS),
        at_least("num_simulations", 1),
        at_least("data_period_months", 1),
        at_least("hold_out_months", 0),
        at_least("seed", 0),
        at_least("shard_size", 1),
        CheckConstraint("alpha > 0 and alpha < 1", name="alpha"),
    )

    NOUN: ClassVar[str] = "SBC run"
    ID_FIELD: ClassVar[str] = "run_id"
    model_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("bayesian_model_metadata.pk"))
    session_pk: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("prior_elicitation_sessions.pk"))
    job_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.pk"), unique=True)
    validation_type: Mapped[str]
    num_simulations: Mapped[int]
    data_period_months: Mapped[int]
    hold_out_months: Mapped[int] = mapped_column(default=0, server_default="0")
    seed: Mapped[BigInt]
    alpha: Mapped[float]
    stop_on_fail: Mapped[bool] = mapped_column(default=False)
    shard_size: Mapped[int]
    # Written by the previous version; `parts` took its place.
    quantities: Mapped[JsonList | None]
    parts: Mapped[JsonList] = mapped_column(server_default="[]")
    inference_method: Mapped[str] = mapped_column(server_default="PRODUCTION")
    further_quantities: Mapped[JsonList] = mapped_column(server_default="[]")
    plan_key: Mapped[str] = mapped_column(server_default="")
    certificate_key: Mapped[str]
    verdict_kind: Mapped[str | None]
    verdict: Mapped[JsonObject | None]
    interim: Mapped[JsonObject | None]
    fixed_truth: Mapped[JsonList | None]
    recovery: Mapped[JsonObject | None]


class SbcShard(Base):
    """A batch of consecutive simulations, the unit of work; written under the `attempt` that claimed it."""

    __tablename__ = "sbc_shards"
    __table_args__ = (
        Index("ix_sbc_shards_open", "lease_until", postgresql_where="state <> 'DONE'"),
        one_of("state", SHARD_STATES),
        one_of("part", SBC_PARTS),
        at_least("ordinal", 0),
        at_least("first_simulation", 0),
        at_least("n_simulations", 1),
        at_least("attempt", 0),
        at_least("attempts_before", 0),
        finite_from("compute_seconds", 0),
    )

    validation_pk: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sbc_validations.pk", ondelete="CASCADE"), primary_key=True
    )
    ordinal: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    part: Mapped[str] = mapped_column(server_default="PRIOR")
    first_simulation: Mapped[int]
    n_simulations: Mapped[int]
    state: Mapped[str] = mapped_column(default="QUEUED")
    attempt: Mapped[int] = mapped_column(default=0)
    # Attempts that do not count any more, since the run was resumed after them.
    attempts_before: Mapped[int] = mapped_column(default=0, server_default="0")
    lease_until: Mapped[datetime.datetime | None]
    compute_seconds: Mapped[float | None]


class SbcResult(Base):
    """One simulation of the ledger; an array element is NULL where the fit gave no finite number."""

    __tablename__ = "sbc_results"
    __table_args__ = (
        at_least("simulation", 0),
        one_of("part", SBC_PARTS),
        at_least("n_draws", 0),
        extended_from("r_hat", 0),
        finite_from("ess", 0),
        CheckConstraint("0 <= all(v) and 1 >= all(v)", name="v"),
        CheckConstraint("0 <= all(ties) and 1 >= all(ties)", name="ties"),
        all_finite("truth"),
        all_finite("posterior_mean"),
        CheckConstraint("0 <= all(posterior_sd) and 'Infinity' > all(posterior_sd)", name="posterior_sd"),
        CheckConstraint(
            "cardinality(ranks) = cardinality(v) and cardinality(ranks) = cardinality(ties)"
            " and cardinality(ranks) = cardinality(truth)"
            " and cardinality(ranks) = cardinality(posterior_mean) and cardinality(ranks) = cardinality(posterior_sd)",
            name="lengths",
        ),
    )

    validation_pk: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sbc_validations.pk", ondelete="CASCADE"), primary_key=True
    )
    part: Mapped[str] = mapped_column(primary_key=True, server_default="PRIOR")
    simulation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    status: Mapped[int] = mapped_column(SmallInteger)
    n_draws: Mapped[int]
    r_hat: Mapped[float | None]
    ess: Mapped[float | None]
    ranks: Mapped[list[int | None]] = mapped_column(ARRAY(Integer))
    v: Mapped[list[float | None]] = mapped_column(ARRAY(DOUBLE_PRECISION))
    ties: Mapped[list[float | None]] = mapped_column(ARRAY(DOUBLE_PRECISION))
    truth: Mapped[list[float | None]] = mapped_column(ARRAY(DOUBLE_PRECISION))
    posterior_mean: Mapped[list[float | None]] = mapped_column(ARRAY(DOUBLE_PRECISION))
    posterior_sd: Mapped[list[float | None]] = mapped_column(ARRAY(DOUBLE_PRECISION))
