"""What a calibration run costs, from finished runs of the same client; never a number that nobody has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from liftos.bayes.v1 import sbc_pb2
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.tables import Job, JobEvent, Model, SbcValidation
from server.certificates import PRODUCTION
from server.formats import number
from server.period import Period
from server.validation_types import DEFAULT_SIMULATIONS, POSTERIOR, parts_of
from server.wire import label

RUNS = 10
"""Most runs that are looked at, the newest: what ran long ago ran on other machines."""
ENOUGH_RUNS = 5
"""From so many runs on their spread is that of runs; with fewer it is taken from their shards."""
SIMILAR = 0.5
"""Relative difference of the number of parameters up to which another model tells what this one takes."""


@dataclass(frozen=True)
class Timing:
    """A finished run since it was last taken up.

    seconds: on the clock, from the first shard's start to the verdict, by whatever workers there were
    compile_share: share of the workers' seconds that went into compiling, which does not grow with the run
    fits: done in that time, a simulation of posterior SBC counting for two
    slowest: worker-seconds per fit of the slowest shard, compilation left out, over the mean of all shards
    """

    seconds: float
    compile_share: float
    fits: int
    slowest: float

    def predicted(self, fits: int) -> float:
        """Seconds that a run of so many fits would take: the compilation once, the rest by the number of fits."""
        return self.seconds * (self.compile_share + (1.0 - self.compile_share) * fits / self.fits)

    def bound(self, fits: int) -> float:
        """The same if every shard went as the slowest one did."""
        return self.seconds * (self.compile_share + (1.0 - self.compile_share) * self.slowest * fits / self.fits)


@dataclass(frozen=True)
class Measured:
    """Timings and what they are of."""

    basis: sbc_pb2.CostBasis.ValueType
    timings: Sequence[Timing]
    subject: str


NOTHING = Measured(sbc_pb2.COST_BASIS_UNKNOWN, (), "")


def fits_of(part: str) -> int:
    """Fits that a simulation of a part takes: posterior SBC fits the data first, then data and replicate together."""
    return 2 if part == POSTERIOR else 1


def planned_fits(kind: sbc_pb2.ValidationType.ValueType, simulations: int, family: str) -> int:
    """Fits of a run of a preset with so many simulations in each part that decides, canaries included."""
    parts = parts_of(kind, simulations, canaries=False, carry_over=family.startswith("additive_mmm"))
    return sum(size * fits_of(part) for part, size in parts)


async def measured(session: AsyncSession, model: Model, period: Period) -> Measured:
    """The newest finished runs of the model over the period, else those of similar models of the client."""
    same = await _timings(
        session,
        SbcValidation.client_id == model.client_id,
        SbcValidation.model_pk == model.pk,
        SbcValidation.data_period_months == period.months,
        SbcValidation.hold_out_months == period.hold_out,
    )
    if same:
        return Measured(sbc_pb2.COST_BASIS_SAME_MODEL, same, f"model {model.model_id!r} over {period}")
    low, high = (1 - SIMILAR) * model.parameter_count, (1 + SIMILAR) * model.parameter_count
    similar = await _timings(
        session,
        SbcValidation.client_id == model.client_id,
        Model.family == model.family,
        Model.parameter_count.between(low, high),
    )
    if similar:
        subject = f"models of {number(low)} to {number(high)} parameters over any window"
        return Measured(sbc_pb2.COST_BASIS_SIMILAR_MODELS, similar, subject)
    return NOTHING


async def _timings(session: AsyncSession, *filters: ColumnElement[bool]) -> list[Timing]:
    statement = (
        select(Job)
        .join(SbcValidation, SbcValidation.job_pk == Job.pk)
        .join(Model, Model.pk == SbcValidation.model_pk)
        .where(
            SbcValidation.inference_method == PRODUCTION,
            Job.state == "SUCCEEDED",
            Job.start_time.is_not(None),
            *filters,
        )
        .order_by(SbcValidation.create_time.desc(), SbcValidation.pk.desc())
        .limit(RUNS)
    )
    found = [await _timing(session, job) for job in await session.scalars(statement)]
    return [timing for timing in found if timing is not None]


async def _timing(session: AsyncSession, job: Job) -> Timing | None:
    """The timing of a run; None if no shard was computed in the time."""
    assert job.start_time is not None
    assert job.end_time is not None
    # A run that was resumed or extended is timed from there, with the shards since then.
    statement = select(JobEvent.payload).where(JobEvent.job_pk == job.pk, JobEvent.create_time >= job.start_time)
    events = [sbc_pb2.SbcEvent.FromString(payload) for payload in await session.scalars(statement)]
    batches = [event.batch_finished for event in events if event.HasField("batch_finished")]
    return timing((job.end_time - job.start_time).total_seconds(), batches)


def timing(seconds: float, batches: Sequence[sbc_pb2.BatchFinished]) -> Timing | None:
    """The timing of a run that took so many seconds on the clock; None without a shard."""
    if not batches or not seconds > 0:
        return None
    fits = np.array([batch.n_simulations * fits_of(label(sbc_pb2.SbcPart, batch.part)) for batch in batches])
    compiling = np.array([batch.compile_seconds for batch in batches])
    running = np.maximum(np.array([batch.compute_seconds for batch in batches]) - compiling, 0.0)
    total = float(running.sum() + compiling.sum())
    mean = running.sum() / fits.sum()
    return Timing(
        seconds=seconds,
        compile_share=float(compiling.sum()) / total if total else 0.0,
        fits=int(fits.sum()),
        slowest=float((running / fits).max() / mean) if mean else 1.0,
    )


def cost_message(found: Measured, fits: int) -> sbc_pb2.SbcCost:
    """What a run of so many fits costs by these timings."""
    message = sbc_pb2.SbcCost(basis=found.basis, fits=fits, runs=len(found.timings))
    if not found.timings:
        pilot = DEFAULT_SIMULATIONS[sbc_pb2.VALIDATION_TYPE_QUICK]
        message.explanation = (
            "Unknown: no run of this model, or of one of its family with a similar number of parameters, has ended "
            f"yet. A QUICK run of {pilot} simulations measures it, and finds gross errors on the way."
        )
        return message
    predicted = [timing.predicted(fits) for timing in found.timings]
    # Whole runs, not values between them: half, and nine of ten, took at most so long.
    message.seconds_median = float(np.quantile(predicted, 0.5, method="inverted_cdf"))
    if len(predicted) >= ENOUGH_RUNS:
        message.seconds_90 = float(np.quantile(predicted, 0.9, method="inverted_cdf"))
        spread = "The 90 % figure is that of the runs."
    else:
        message.seconds_90 = max(timing.bound(fits) for timing in found.timings)
        spread = (
            f"With fewer than {ENOUGH_RUNS} runs the 90 % figure is a bound instead: every shard as slow as the "
            "slowest one so far."
        )
    runs = "1 finished run" if len(predicted) == 1 else f"the {len(predicted)} newest finished runs"
    message.explanation = (
        f"Seconds on the clock, by {runs} of {found.subject}: compiling takes what it took then, the rest grows with "
        f"the number of fits. {spread} Other work on the same workers comes on top."
    )
    return message
