"""What a calibration run costs, from finished runs of the same client; never a number that nobody has measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from liftos.bayes.v1 import sbc_pb2
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.rules.sbc_presets import Part, ValidationType, parts_of
from persistence.tables import Job, JobEvent, RegisteredModel, SbcValidation
from server.contract.period import Period
from server.contract.wire import label
from server.records.certificates import PRODUCTION
from server.texts.run_costs import explain_cost, same_model, similar_models, unknown_cost

RUNS = 10
"""Most runs that are looked at, the newest: what ran long ago ran on other machines."""
ENOUGH_RUNS = 5
"""From so many runs on their spread is that of runs; with fewer it is taken from their shards."""
PER_POSTERIOR = 2
"""Fits of a simulation of posterior SBC."""
SIMILAR = 0.5
"""Relative difference of the number of parameters up to which another model tells what this one takes."""


@dataclass(frozen=True)
class Workload:
    """Simulations of a run that fit one data set each, canaries among them, and those of posterior SBC."""

    prior: int
    posterior: int

    @property
    def fits(self) -> int:
        """Fits, a simulation of posterior SBC counting for two: the data first, then data and replicate together."""
        return self.prior + PER_POSTERIOR * self.posterior


@dataclass(frozen=True)
class Timing:
    """A finished run since it was last taken up.

    seconds: on the clock, from the first shard's start to the verdict, by whatever workers there were
    busy: seconds that the workers spent on its shards; compiling: those of them that went into compiling, which do not
        grow with the run
    prior, posterior: worker-seconds per simulation of either kind, None where the run had none
    slowest: those of the slowest shard over the mean of its kind
    """

    seconds: float
    busy: float
    compiling: float
    prior: float | None
    posterior: float | None
    slowest: float

    def covers(self, work: Workload) -> bool:
        """Whether the run had simulations of every kind that is wanted."""
        return (self.prior is not None or not work.prior) and (self.posterior is not None or not work.posterior)

    def predicted(self, work: Workload, *, compiled: bool = False, slower: float = 1.0) -> float:
        """Seconds on the clock of a run with as many workers: the compilation as it was, the rest by its size.

        compiled: the programs are there, so none; slower: factor for everything but the compilation. A kind of
        simulation that the run had none of is taken from the other by its number of fits.
        """
        prior = self.prior if self.prior is not None else (self.posterior or 0.0) / PER_POSTERIOR
        posterior = self.posterior if self.posterior is not None else PER_POSTERIOR * prior
        running = slower * (prior * work.prior + posterior * work.posterior)
        return self.seconds * (running if compiled else self.compiling + running) / self.busy

    def bound(self, work: Workload) -> float:
        """The same if everything is compiled anew and every shard goes as the slowest one did."""
        return self.predicted(work, slower=self.slowest)


@dataclass(frozen=True)
class Measured:
    """Timings and what they are of."""

    basis: sbc_pb2.CostBasis.ValueType
    timings: Sequence[Timing]
    subject: str


NOTHING = Measured(sbc_pb2.COST_BASIS_UNKNOWN, (), "")


def workload(kind: sbc_pb2.ValidationType.ValueType, simulations: int, *, carry_over: bool) -> Workload:
    """What a run of a preset has to do, with so many simulations in each part that decides and canaries if any."""
    preset = ValidationType[label(sbc_pb2.ValidationType, kind)]
    parts = parts_of(preset, simulations, canaries=False, carry_over=carry_over)
    return Workload(
        prior=sum(size for part, size in parts if part is not Part.POSTERIOR),
        posterior=sum(size for part, size in parts if part is Part.POSTERIOR),
    )


async def measured(session: AsyncSession, model: RegisteredModel, period: Period) -> Measured:
    """The newest finished runs of the model over the period, else those of similar models of the client."""
    same = await _timings(
        session,
        SbcValidation.client_id == model.client_id,
        SbcValidation.model_pk == model.pk,
        SbcValidation.data_period_months == period.months,
        SbcValidation.hold_out_months == period.hold_out,
    )
    if same:
        return Measured(sbc_pb2.COST_BASIS_SAME_MODEL, same, same_model(model.model_id, str(period)))
    low, high = (1 - SIMILAR) * model.parameter_count, (1 + SIMILAR) * model.parameter_count
    similar = await _timings(
        session,
        SbcValidation.client_id == model.client_id,
        RegisteredModel.family == model.family,
        RegisteredModel.parameter_count.between(low, high),
    )
    if similar:
        return Measured(sbc_pb2.COST_BASIS_SIMILAR_MODELS, similar, similar_models(low, high))
    return NOTHING


async def _timings(session: AsyncSession, *filters: ColumnElement[bool]) -> list[Timing]:
    statement = (
        select(Job)
        .join(SbcValidation, SbcValidation.job_pk == Job.pk)
        .join(RegisteredModel, RegisteredModel.pk == SbcValidation.model_pk)
        .where(
            SbcValidation.inference_method == PRODUCTION,
            Job.state == "SUCCEEDED",
            Job.start_time.is_not(None),
            *filters,
        )
        .order_by(SbcValidation.create_time.desc(), SbcValidation.pk.desc())
        .limit(RUNS)
    )
    timings = [await _timing(session, job) for job in await session.scalars(statement)]
    return [timing for timing in timings if timing is not None]


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
    """The timing of a run that took so many seconds on the clock; None if nothing was computed in them."""
    busy = math.fsum(batch.compute_seconds for batch in batches)
    if not (seconds > 0 and busy > 0):
        return None
    rates: dict[bool, float] = {}
    slowest = 1.0
    for posterior in (False, True):
        own = [batch for batch in batches if (batch.part == sbc_pb2.SBC_PART_POSTERIOR) == posterior]
        if not own:
            continue
        running = [max(batch.compute_seconds - batch.compile_seconds, 0.0) for batch in own]
        rates[posterior] = mean = math.fsum(running) / sum(batch.n_simulations for batch in own)
        if mean > 0:
            worst = max(spent / batch.n_simulations for spent, batch in zip(running, own, strict=True))
            slowest = max(slowest, worst / mean)
    compiling = math.fsum(min(batch.compile_seconds, batch.compute_seconds) for batch in batches)
    return Timing(seconds, busy, compiling, rates.get(False), rates.get(True), slowest)


def cost_message(measurement: Measured, work: Workload) -> sbc_pb2.SbcCost:
    """What a run costs by these timings; those of runs that had everything it has, if there are any."""
    covering = [timing for timing in measurement.timings if timing.covers(work)]
    timings = covering or list(measurement.timings)
    message = sbc_pb2.SbcCost(basis=measurement.basis, fits=work.fits, runs=len(timings))
    if not timings:
        message.explanation = unknown_cost()
        return message
    few = len(timings) < ENOUGH_RUNS
    # What a model's own runs have compiled is kept; a first run, mostly compiling, would say nothing about the next.
    compiled = few and bool(covering) and measurement.basis == sbc_pb2.COST_BASIS_SAME_MODEL
    predicted = [timing.predicted(work, compiled=compiled) for timing in timings]
    # Whole runs, not values between them: half, and nine of ten, took at most so long.
    message.seconds_median = float(np.quantile(predicted, 0.5, method="inverted_cdf"))
    if few:
        message.seconds_90 = max(timing.bound(work) for timing in timings)
    else:
        message.seconds_90 = float(np.quantile(predicted, 0.9, method="inverted_cdf"))
    message.explanation = explain_cost(
        len(timings),
        measurement.subject,
        compiled=compiled,
        enough=ENOUGH_RUNS,
        other_kinds=0 if covering else PER_POSTERIOR,
    )
    return message
