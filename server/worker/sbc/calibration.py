"""Calibration runs between engine, store and contract: what a part computes, its rows, reports and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from liftos.bayes.v1 import sbc_pb2

from engine.arrays import Floats, Integers
from engine.errors import InvalidInput
from engine.inference.backend import Backend
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.laplace import LaplaceApproximation
from engine.inference.nuts import Nuts
from engine.inference.svi import FullRankSvi, MeanFieldSvi
from engine.models.protocol import Model
from engine.rules.sbc_presets import Part
from engine.sbc.contraction import Contraction, summarise
from engine.sbc.coverage import Coverage
from engine.sbc.interim import InterimReport
from engine.sbc.judgement import Judgement, PartRecord, judge, rules_of
from engine.sbc.ledger import RankLedger, Status
from engine.sbc.ranked_quantities import equivalents, ranked_quantities, recovered_quantities
from engine.sbc.recovery import Recovery
from engine.sbc.shard import MAX_DRAWS, run_shard
from engine.sbc.shared_numbers import SharedNumbers, shared_numbers
from engine.sbc.verdict import Outcome, QuantityVerdict, Verdict
from persistence.sbc_runs import SbcRow
from persistence.tables import SbcResult, SbcValidation
from server.contract.wire import value_of
from server.texts.recovery_words import explain_recovery
from server.texts.shared_number_notes import explain_shared
from server.worker.fitting.compiler import compile_clock

COMPREHENSIVE = "COMPREHENSIVE"


def backend_of(method: str, parameters: int) -> Backend:
    """The inference that a run checks, for a model of so many parameters."""
    production = BatchedHmc.simulation(parameters)
    match method:
        case "NUTS":
            return Nuts(
                production.chains,
                draws=250,
                r_hat_limit=production.r_hat_limit,
                ess_limit=production.ess_limit,
            )
        case "LAPLACE":
            return LaplaceApproximation(production.chains, production.draws)
        case "SVI_MEAN_FIELD":
            return MeanFieldSvi(production.chains, production.draws)
        case "SVI_FULL_RANK":
            return FullRankSvi(production.chains, production.draws)
        case "PRODUCTION":
            return production
        case _:
            raise AssertionError(f"there is no inference of the method {method!r}")


def simulate(model: Model, run: SbcValidation, part: str, simulations: Integers) -> tuple[RankLedger, float]:
    """The ledger of the simulations, and the seconds of it that went into compiling."""
    truth = {each["quantity"]: float(each["value"]) for each in run.fixed_truth} if run.fixed_truth else None
    try:
        if truth is None:
            names = ranked_quantities(model, run.further_quantities, dependence=run.validation_type == COMPREHENSIVE)
        else:
            names = recovered_quantities(model, run.further_quantities)
    except InvalidInput as error:
        raise InvalidInput(f"spec.{error.field}", error.message) from None
    inference = backend_of(run.inference_method, len(model.parameter_names))
    with compile_clock() as clock:
        ledger = run_shard(model, Seed.of(run.seed), simulations, inference, MAX_DRAWS, names, Part[part], truth)
    return ledger, clock.seconds


def shared_tests(run: SbcValidation, ledgers: Mapping[str, RankLedger], model: Model) -> dict[Part, SharedNumbers]:
    """The test for shared random numbers of every part that decides and has the simulations that were planned first."""
    parts = {Part[part["part"]]: part["planned"][0] for part in run.parts}
    level = rules_of(list(parts), run.alpha).alpha_shared
    tests = {}
    for part, first in parts.items():
        rows = ledgers[part.value].prefix() if part.value in ledgers and part.decides else None
        if rows is not None and len(rows) >= first:
            tests[part] = shared_numbers(model, rows.rows(rows.simulations < first), Seed.of(run.seed), part, level)
    return tests


def judged(run: SbcValidation, ledgers: Mapping[str, RankLedger], tests: Mapping[Part, SharedNumbers]) -> Judgement:
    """The judgement on a run, from the ledgers of its parts and their tests for shared random numbers."""
    records = [
        PartRecord(part, ledgers.get(part.value), tuple(stored["planned"]), tests[part].p if part in tests else None)
        for part, stored in ((Part[stored["part"]], stored) for stored in run.parts)
    ]
    return judge(records, run.alpha, may_pass=run.validation_type != "QUICK")


def rows_of(ledger: RankLedger) -> list[SbcRow]:
    """The ledger's simulations as rows of the store."""
    return [
        SbcRow(
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


def _finite(values: Floats) -> list[float]:
    """The values, those that are not finite as NaN, which is stored as absent."""
    return np.where(np.isfinite(values), values, np.nan).tolist()  # type: ignore[no-any-return]


def ledger_of(rows: Sequence[SbcResult], quantities: tuple[str, ...]) -> RankLedger:
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


def _coverage_messages(coverages: Sequence[Coverage | None]) -> list[sbc_pb2.Coverage]:
    return [
        sbc_pb2.Coverage(nominal=c.represented, observed=c.observed, lower=c.lower, upper=c.upper)
        for c in coverages
        if c is not None
    ]


def interim_message(report: InterimReport, part: Part) -> sbc_pb2.InterimReport:
    """Interim statistics of a part, the quantities with the strongest evidence first."""
    quantities = [
        sbc_pb2.QuantityCalibration(
            quantity=q.quantity,
            part=value_of(sbc_pb2.SbcPart, part.value),
            n_simulations=q.n,
            p_value=1.0 if q.p is None else q.p,
            mean_rank=0.5 if q.mean_pit is None else q.mean_pit,
            log_e_value=q.log_e,
            log_e_value_peak=q.log_e_peak,
            coverage=_coverage_messages((q.coverage_50, q.coverage_90)),
            shape=value_of(sbc_pb2.RankShape, q.shape.value),
            failing=q.quantity in report.failing,
        )
        for q in sorted(report.quantities, key=lambda q: -q.log_e)
    ]
    return sbc_pb2.InterimReport(
        part=value_of(sbc_pb2.SbcPart, part.value),
        n_simulations=report.contiguous,
        n_failed=report.failures,
        log_global_e_value=report.log_e_overall,
        quantities=quantities,
        running_verdict=sbc_pb2.VERDICT_KIND_FAIL if report.detected else sbc_pb2.VERDICT_KIND_UNSPECIFIED,
    )


def verdict_message(
    judgement: Judgement,
    ledgers: Mapping[str, RankLedger],
    alpha: float,
    model: Model,
    tests: Mapping[Part, SharedNumbers],
) -> sbc_pb2.SbcVerdict:
    """The verdict with its statistics; quantities with the smallest adjusted p-value first."""
    deciding = {part: verdict for part, verdict in judgement.verdicts.items() if not part.is_canary}
    judged_rows = {part: ledgers[part.value].prefix() for part in deciding}
    quantities = []
    for part, verdict in deciding.items():
        ledger = judged_rows[part]
        learnt, same = _learnt(ledger, part, model), equivalents(model, ledger.quantities)
        quantities += [
            _quantity_message(q, part, verdict, learnt.get(q.quantity), same.get(q.quantity, ()))
            for q in verdict.quantities
        ]
    quantities.sort(key=lambda q: (q.adjusted_p_value if q.HasField("adjusted_p_value") else 1.0, q.part, q.quantity))
    done = sum(verdict.done for verdict in deciding.values())
    failed = done - sum(verdict.accepted for verdict in deciding.values())
    message = sbc_pb2.SbcVerdict(
        kind=_KINDS[judgement.outcome],
        reasons=judgement.reasons,
        quantities=quantities,
        n_simulations=done,
        n_failed=failed,
        failure_rate=failed / done if done else 0.0,
        n_escalated=sum(int(np.sum(rows.status == Status.RETRIED)) for rows in judged_rows.values()),
        alpha=alpha,
        explanation=judgement.sentence,
        canaries=[
            _canary_message(part, verdict, part not in judgement.undetected)
            for part, verdict in judgement.verdicts.items()
            if part.is_canary and (part in judgement.undetected or verdict.outcome is Outcome.FAIL)
        ],
        named_reasons=[value_of(sbc_pb2.VerdictReason, reason.value) for reason in judgement.named],
        shared_numbers=[
            _shared_message(part, test, judgement.verdicts[part].rules.alpha_shared) for part, test in tests.items()
        ],
    )
    # What every part would have seen: the least sensitive of them speaks for the run.
    reach = [verdict.detectable for verdict in deciding.values()]
    for field, values, worst in (
        ("detectable_sd_factor", [each.sd_factor_low for each in reach], min),
        ("detectable_sd_factor_above", [each.sd_factor_high for each in reach], max),
        ("detectable_bias_sd", [each.bias for each in reach], max),
    ):
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            setattr(message, field, worst(known))
    return message


_KINDS = {
    Outcome.PASS: sbc_pb2.VERDICT_KIND_PASS,
    Outcome.FAIL: sbc_pb2.VERDICT_KIND_FAIL,
    Outcome.INCONCLUSIVE: sbc_pb2.VERDICT_KIND_INCONCLUSIVE,
}


def _learnt(ledger: RankLedger, part: Part, model: Model) -> dict[str, Contraction]:
    """z-scores of every quantity, and contraction where the prior's sd is known: that of posterior SBC is not."""
    scales = dict.fromkeys(ledger.quantities, math.nan)
    if part is Part.PRIOR:
        scales |= {name: float(prior.sd) for name, prior in model.priors.items() if name in scales}
    return {summary.quantity: summary for summary in summarise(ledger, scales)}


def _quantity_message(
    q: QuantityVerdict, part: Part, verdict: Verdict, learnt: Contraction | None, same: Sequence[str]
) -> sbc_pb2.QuantityCalibration:
    message = sbc_pb2.QuantityCalibration(
        quantity=q.quantity,
        part=value_of(sbc_pb2.SbcPart, part.value),
        n_simulations=verdict.accepted,
        p_value=1.0 if q.p is None else q.p,
        adjusted_p_value=q.p_holm,
        max_ecdf_deviation=q.distance or 0.0,
        mean_rank=0.5 if q.mean_pit is None else q.mean_pit,
        log_e_value=q.log_e,
        log_e_value_peak=q.log_e_peak,
        coverage=_coverage_messages(q.coverage),
        shape=value_of(sbc_pb2.RankShape, q.shape.value),
        failing=q.failing,
        equivalent_quantities=same,
        tie_fraction=q.ties,
        n_not_finite=q.not_finite,
    )
    if verdict.accepted < verdict.done and q.p_best is not None:
        message.worst_case_p_value = q.p_best
    if learnt is not None:
        for name, value in (
            ("contraction", learnt.contraction),
            ("z_mean", learnt.z_mean),
            ("z_sd", learnt.z_sd),
        ):
            if math.isfinite(value):
                setattr(message, name, value)
    return message


def _shared_message(part: Part, test: SharedNumbers, level: float) -> sbc_pb2.SharedNumbersTest:
    message = sbc_pb2.SharedNumbersTest(
        part=value_of(sbc_pb2.SbcPart, part.value),
        n_simulations=test.simulations,
        p_value=test.p,
        level=level,
        quantity=test.quantity,
        observation=test.observation,
        correlation=test.correlation,
        distance_of_truth=test.far_truth,
        distance_of_noise=test.far_noise,
        untested=value_of(sbc_pb2.UntestedReason, test.untested.value if test.untested else None),
    )
    message.explanation = explain_shared(message)
    return message


def recovery_message(found: Recovery, planned: int) -> sbc_pb2.RecoveryReport:
    """The report on a fixed truth."""
    message = sbc_pb2.RecoveryReport(
        n_simulations=found.done,
        planned=planned,
        n_failed=found.failed,
        quantities=[
            sbc_pb2.QuantityRecovery(
                quantity=q.quantity,
                truth=q.truth,
                n_simulations=q.n,
                coverage=_coverage_messages(q.coverage),
                bias=q.bias.value if q.bias else None,
                bias_error=q.bias.error if q.bias and math.isfinite(q.bias.error) else None,
                bias_in_sd=q.z.value if q.z else None,
                bias_in_sd_error=q.z.error if q.z and math.isfinite(q.z.error) else None,
                posterior_sd=q.sd,
            )
            for q in found.quantities
        ],
    )
    message.summary.extend(explain_recovery(message))
    return message


def _canary_message(part: Part, verdict: Verdict, detected: bool) -> sbc_pb2.CanaryResult:
    strongest = max(verdict.quantities, key=lambda q: q.log_e_peak)
    return sbc_pb2.CanaryResult(
        canary=value_of(sbc_pb2.SbcPart, part.value),
        detected=detected,
        n_simulations=verdict.done,
        quantity=strongest.quantity,
        log_e_value_peak=strongest.log_e_peak,
    )
