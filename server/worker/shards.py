"""Shards of SBC runs: compute a batch, add it to the ledger, report, and give the verdict at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import uuid
from typing import Any

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2, sbc_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.errors import EngineError, UnsupportedQuantity
from engine.inference.settings import FitSettings
from engine.models.protocol import LOG_PRIOR, Seed
from engine.models.protocol import Model as EngineModel
from engine.priors.distribution import Uniform
from engine.sbc import coverage as coverage_statistics
from engine.sbc.contraction import summarise
from engine.sbc.interim import InterimReport, interim
from engine.sbc.ledger import RankLedger, Status
from engine.sbc.rules import VerdictRules
from engine.sbc.shard import run_shard as simulate_shard
from engine.sbc.verdict import Outcome, Verdict, in_words, verdict
from persistence import jobs, sbc
from persistence.database import StorageUnavailable
from persistence.tables import Job, Model, SbcResult, SbcShard, SbcValidation
from server.certificates import fit_key
from server.resources import TERMINAL_STATES, beliefs_of, by_pk, dataset_of
from server.services.sbc import DEFAULT_ALPHA, append_event, finish_run
from server.wire import from_json, label, to_json, value_of
from server.worker.calls import MAX_ATTEMPTS, WORKERS_DIED, WorkerContext, explained, keep_lease

log = logging.getLogger(__name__)

MAX_DRAWS = 99
REPORT_GROWTH = 1.1
ALPHA_SEQUENTIAL_SHARE = 0.2
"""Part of the run's error rate that is spent on announcing a FAIL early (methods: .01 of .05)."""


async def run_shard(context: WorkerContext, validation_pk: uuid.UUID, ordinal: int) -> None:
    """Compute one shard unless it is done or held by another worker, then report; can be called any number of times."""
    # Locks are taken in one order everywhere, shard before job, so that two workers cannot wait for each other.
    async with context.database.session() as session:
        run = await session.get(SbcValidation, validation_pk)
        if run is None:
            return
        job = await session.get_one(Job, run.job_pk)
        if job.state in TERMINAL_STATES:
            return
        if await run_key(session, run) != run.certificate_key:
            raise OtherVersion(f"run {validation_pk} was started by another version")
        shard = await sbc.claim_shard(session, validation_pk, ordinal, context.settings.lease_seconds)
        if shard is not None and await jobs.set_state(session, job.pk, "RUNNING"):
            job = await jobs.lock(session, job.pk)
            running = sbc_pb2.StateChanged(state=common_pb2.JOB_STATE_RUNNING)
            await append_event(session, run, job, state_changed=running)
    try:
        if shard is not None:
            if shard.attempt > MAX_ATTEMPTS:
                raise EngineError(WORKERS_DIED)
            if not await _compute(context, run, shard):
                return
        await _report(context, validation_pk)
    except StorageUnavailable:
        raise  # the database's trouble says nothing about the run: the shard is delivered again
    except Exception as error:
        # A failure that repeats would be delivered again for ever: the run ends with the reason instead.
        reason, message, field = explained(error)
        async with context.database.session() as session:
            job = await jobs.lock(session, run.job_pk)
            if job.state not in TERMINAL_STATES:
                run = await session.get_one(SbcValidation, validation_pk, populate_existing=True)
                await finish_run(session, run, job, "FAILED", None, reason=reason, message=message, field=field or "")


class OtherVersion(Exception):
    """The run belongs to another version of the code, whose workers must compute all of it."""


async def run_key(session: AsyncSession, run: SbcValidation) -> str:
    """The key that this version would give the run."""
    model = await by_pk(session, Model, run.model_pk)
    beliefs = await beliefs_of(session, run.session_pk) if run.session_pk else []
    return fit_key(model, await dataset_of(session, model), run.data_period_months, beliefs)


async def _compute(context: WorkerContext, run: SbcValidation, shard: SbcShard) -> bool:
    """Simulate and fit the shard, and write it; False if the run ended or another worker took the shard meanwhile."""
    lease = context.settings.lease_seconds
    renewal = asyncio.create_task(_renew(context, shard, lease))
    try:
        async with context.database.session() as session:
            model = await context.models.of_run(session, run)
        begin = time.monotonic()
        simulations = np.arange(shard.first_simulation, shard.first_simulation + shard.n_simulations)
        ledger = await asyncio.to_thread(
            simulate_shard,
            model,
            Seed.of(run.seed),
            simulations,
            FitSettings.simulation(len(model.parameter_names)),
            MAX_DRAWS,
            ranked_quantities(model),
        )
        seconds = time.monotonic() - begin
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
    finished = sbc_pb2.BatchFinished(
        first_simulation=shard.first_simulation,
        n_simulations=shard.n_simulations,
        n_failed=int(np.sum(~ledger.accepted)),
        compute_seconds=seconds,
    )
    with contextlib.suppress(_Dropped):
        async with context.database.session() as session:
            if not await sbc.finish_shard(session, run.pk, shard.ordinal, shard.attempt, rows_of(ledger), seconds):
                raise _Dropped
            job = await jobs.lock(session, run.job_pk)
            if job.state in TERMINAL_STATES:
                raise _Dropped
            run = await session.get_one(SbcValidation, run.pk)
            if run.quantities is None:
                run.quantities = list(ledger.quantities)
            elif tuple(run.quantities) != ledger.quantities:
                raise EngineError("the quantities of the shards differ; were they computed by different versions?")
            done, _ = await sbc.counts(session, run.pk)
            await append_event(session, run, job, done=done, batch_finished=finished)
        return True
    return False


class _Dropped(Exception):
    """The run has ended or another worker has the shard: what was computed is rolled back."""


async def _renew(context: WorkerContext, shard: SbcShard, lease: float) -> None:
    async def renew(session: AsyncSession) -> bool:
        return await sbc.renew_shard(session, shard.validation_pk, shard.ordinal, shard.attempt, lease)

    await keep_lease(context, lease, renew)


async def _report(context: WorkerContext, validation_pk: uuid.UUID) -> None:
    """Store interim statistics of the contiguous first simulations, and the verdict once it can be given.

    Everything here is a pure function of the ledger, so it does not matter which worker does it, or how often.
    """
    async with context.database.session() as session:
        run = await session.get_one(SbcValidation, validation_pk)
        model = await context.models.of_run(session, run)
        prefix = await sbc.contiguous_prefix(session, validation_pk)
        complete = prefix >= run.num_simulations
        # Every report reads the whole prefix: at sizes that grow by a tenth the sum of all reports stays linear.
        if run.quantities is None or not (complete or prefix >= REPORT_GROWTH * _reported(run)):
            return
        stored = await sbc.load_results(session, validation_pk, stop=prefix)
    if not stored:
        return
    rules = VerdictRules(alpha=run.alpha, alpha_sequential=run.alpha * ALPHA_SEQUENTIAL_SHARE)
    ledger = await asyncio.to_thread(ledger_of, stored, tuple(run.quantities))
    report = await asyncio.to_thread(interim, ledger, run.num_simulations, rules)
    ends = complete or (run.stop_on_fail and report.detected)
    message = interim_message(report)
    judged = None
    if ends:
        judged = verdict_message(
            await asyncio.to_thread(verdict, ledger, run.num_simulations, rules), ledger, report, model
        )
        _withhold(run, judged)
    async with context.database.session() as session:
        job = await jobs.lock(session, run.job_pk)
        if job.state in TERMINAL_STATES:
            return
        # Read under the lock: another worker may have reported more meanwhile.
        run = await session.get_one(SbcValidation, validation_pk, populate_existing=True)
        if message.n_simulations > _reported(run):
            run.interim = to_json(message)
            await append_event(session, run, job, interim=message)
        if judged is not None:
            run.verdict = to_json(judged)
            await append_event(session, run, job, verdict=judged)
            await finish_run(session, run, job, "SUCCEEDED", label(sbc_pb2.VerdictKind, judged.kind))


def _reported(run: SbcValidation) -> int:
    """Number of simulations behind the latest interim report; 0 before the first."""
    return from_json(run.interim, sbc_pb2.InterimReport()).n_simulations if run.interim else 0


def _withhold(run: SbcValidation, judged: sbc_pb2.SbcVerdict) -> None:
    """Turn a PASS that must not certify into INCONCLUSIVE, with the reason."""
    if judged.kind != sbc_pb2.VERDICT_KIND_PASS:
        return
    if run.validation_type == "QUICK":
        reason = "A QUICK run can find errors but never certifies."
    elif run.alpha < DEFAULT_ALPHA:
        reason = f"A PASS at alpha {run.alpha:g} is easier than one at {DEFAULT_ALPHA:g}, so it does not certify."
    else:
        return
    judged.kind = sbc_pb2.VERDICT_KIND_INCONCLUSIVE
    judged.reasons.append(reason)
    judged.explanation = f"{judged.explanation} {reason}"


def ranked_quantities(model: EngineModel) -> tuple[str, ...]:
    """What is ranked: all that a fit returns but fixed multiples of a parameter, whose ranks are the same."""
    ranked = []
    flat = all(isinstance(prior, Uniform) for prior in model.priors.values())
    for name in model.quantity_names:
        if name == LOG_PRIOR and flat:
            continue  # a constant: every draw ties with the truth, which elsewhere is the mark of a stuck chain
        if name not in model.parameter_names:
            try:
                model.prior_of(name)
            except UnsupportedQuantity:
                ranked.append(name)
        else:
            ranked.append(name)
    return tuple(ranked)


def rows_of(ledger: RankLedger) -> list[sbc.SbcRow]:
    """The ledger's simulations as rows of the store."""
    return [
        sbc.SbcRow(
            simulation=int(ledger.simulations[i]),
            status=int(ledger.status[i]),
            n_draws=int(ledger.n_draws[i]),
            r_hat=float(ledger.r_hat[i]),
            ess=float(ledger.ess[i]),
            ranks=ledger.ranks[i].tolist(),
            v=ledger.v[i].tolist(),
            ties=ledger.ties[i].tolist(),
            truth=_finite(ledger.truth[i]),
            posterior_mean=_finite(ledger.mean[i]),
            posterior_sd=_finite(ledger.sd[i]),
        )
        for i in range(len(ledger))
    ]


def _finite(values: npt.NDArray[np.float64]) -> list[float]:
    """The values, those that are not finite as NaN, which is stored as absent."""
    return np.where(np.isfinite(values), values, np.nan).tolist()  # type: ignore[no-any-return]


def ledger_of(rows: list[SbcResult], quantities: tuple[str, ...]) -> RankLedger:
    """The ledger of stored rows; numbers that the fit did not give come back as NaN."""

    def column(name: str, dtype: Any) -> Any:
        return np.array([getattr(row, name) for row in rows], dtype=dtype)

    return RankLedger(
        simulations=column("simulation", np.int64),
        quantities=quantities,
        ranks=column("ranks", np.int32),
        n_draws=column("n_draws", np.int32),
        v=column("v", np.float64),
        ties=column("ties", np.float64),
        status=column("status", np.uint8),
        r_hat=column("r_hat", np.float64),
        ess=column("ess", np.float64),
        mean=column("posterior_mean", np.float64),
        sd=column("posterior_sd", np.float64),
        truth=column("truth", np.float64),
    )


def _coverage_messages(found: tuple[coverage_statistics.Coverage | None, ...]) -> list[sbc_pb2.Coverage]:
    return [
        sbc_pb2.Coverage(nominal=c.represented, observed=c.observed, lower=c.lower, upper=c.upper)
        for c in found
        if c is not None
    ]


def interim_message(report: InterimReport) -> sbc_pb2.InterimReport:
    """Interim statistics, the quantities with the strongest evidence first."""
    quantities = [
        sbc_pb2.QuantityCalibration(
            quantity=q.quantity,
            n_simulations=q.n,
            p_value=1.0 if q.p is None else q.p,
            mean_rank=0.5 if q.mean_pit is None else q.mean_pit,
            log_e_value=q.log_e,
            coverage=_coverage_messages((q.coverage_50, q.coverage_90)),
            shape=value_of(sbc_pb2.RankShape, q.shape.value),
        )
        for q in sorted(report.quantities, key=lambda q: -q.log_e)
    ]
    return sbc_pb2.InterimReport(
        n_simulations=report.contiguous,
        n_failed=report.failures,
        log_global_e_value=report.log_e_overall,
        quantities=quantities,
        running_verdict=sbc_pb2.VERDICT_KIND_FAIL if report.detected else sbc_pb2.VERDICT_KIND_UNSPECIFIED,
    )


def verdict_message(
    found: Verdict, ledger: RankLedger, report: InterimReport, model: EngineModel
) -> sbc_pb2.SbcVerdict:
    """The verdict with its statistics; quantities with the smallest adjusted p-value first."""
    prior_sds = {name: float(prior.sd) for name, prior in model.priors.items() if name in ledger.quantities}
    learnt = {
        summary.quantity: summary.contraction
        for summary in summarise(ledger, {name: sd for name, sd in prior_sds.items() if math.isfinite(sd) and sd > 0})
        if math.isfinite(summary.contraction)
    }
    running = {q.quantity: q for q in report.quantities}
    quantities = []
    for q in sorted(found.quantities, key=lambda q: (1.0 if q.p_holm is None else q.p_holm, q.quantity)):
        now = running[q.quantity]
        quantities.append(
            sbc_pb2.QuantityCalibration(
                quantity=q.quantity,
                n_simulations=found.accepted,
                p_value=1.0 if q.p is None else q.p,
                adjusted_p_value=q.p_holm,
                max_ecdf_deviation=q.distance or 0.0,
                mean_rank=0.5 if now.mean_pit is None else now.mean_pit,
                log_e_value=now.log_e,
                coverage=_coverage_messages(q.coverage),
                contraction=learnt.get(q.quantity),
                shape=value_of(sbc_pb2.RankShape, q.shape.value),
            )
        )
    kinds = {
        Outcome.PASS: sbc_pb2.VERDICT_KIND_PASS,
        Outcome.FAIL: sbc_pb2.VERDICT_KIND_FAIL,
        Outcome.INCONCLUSIVE: sbc_pb2.VERDICT_KIND_INCONCLUSIVE,
    }
    return sbc_pb2.SbcVerdict(
        kind=kinds[found.outcome],
        reasons=[f"{in_words(reason)[0].upper()}{in_words(reason)[1:]}." for reason in found.reasons],
        quantities=quantities,
        n_simulations=found.done,
        n_failed=found.done - found.accepted,
        n_escalated=int(np.sum(ledger.status == Status.RETRIED)),
        alpha=found.rules.alpha,
        detectable_sd_factor=found.detectable.sd_factor_low,
        detectable_bias_sd=found.detectable.bias,
        explanation=found.sentence,
    )
