"""The decision whether simulation-based calibration is essential, for callers and for the analyses themselves."""

from __future__ import annotations

import datetime
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from liftos.bayes.v1 import common_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from engine.inference.batch import BatchedHmc
from engine.rules.sbc_policy import INPUTS, NecessityEvidence, NecessityInputs, NecessityPolicy
from engine.rules.sbc_policy import check_necessity as decide
from engine.rules.sbc_presets import ValidationType
from engine.sbc.power import detectable_by
from persistence.tables import Fit, Job, RecordedDecision, RegisteredModel, SbcValidation
from server.contract.families.registry import registered
from server.contract.period import Period
from server.contract.wire import digest, from_json, label, to_json, value_of
from server.records.certificates import Standing, reference_key, standing
from server.records.lookups import by_pk, dataset_of, owned
from server.records.policies import policy_in_force
from server.records.rows import check_period
from server.texts.policy_words import (
    explain_change,
    explain_decision,
    labelled_factor,
    passed,
    passed_elsewhere,
    standing_fail,
)
from server.worker.context import Commit, WorkerContext
from server.worker.sbc.costs import NOTHING, cost_message, measured, workload

CENTS = 100
EXACT = "exact"
"""Name of the inference of a model with a closed form, which has no sampler to doubt."""

# A label stands for its band: what is just above the lower end of the band is compared with the threshold.
LABELLED = {
    sbc_pb2.CONFLICT_SEVERITY_WEAK: 1.0,
    sbc_pb2.CONFLICT_SEVERITY_MODERATE: 3.0,
    sbc_pb2.CONFLICT_SEVERITY_STRONG: 10.0,
    sbc_pb2.CONFLICT_SEVERITY_VERY_STRONG: 100.0,
}


@dataclass(frozen=True)
class Calibration:
    """What calibration said about the model when a decision was made, as far as its answer quotes it.

    run_id, verdict, validation_type, simulations, ended (ISO 8601), failing: of the run that decides about exactly this
    fit, empty without one; elsewhere: in a sentence, the PASS that holds no longer
    """

    run_id: str = ""
    verdict: str = ""
    validation_type: str = ""
    simulations: int = 0
    ended: str = ""
    failing: tuple[str, ...] = ()
    elsewhere: str = ""

    @property
    def failed(self) -> bool:
        """Whether a FAIL stands."""
        return self.verdict == "FAIL"

    @property
    def answer(self) -> ValidationType:
        """The kind of run that could undo the FAIL: one that asks the same and can pass, which a QUICK one cannot."""
        kind = ValidationType[self.validation_type]
        return ValidationType.STANDARD if kind is ValidationType.QUICK else kind


@dataclass(frozen=True)
class Question:
    """What is decided about, and on whose behalf.

    source_id: the analysis or attribution; empty for CHECK. model, period: None when no model is named. diagnostics:
    those of the production fit where the caller has them.
    """

    client_id: str
    source: str
    source_id: str
    model: RegisteredModel | None
    period: Period
    inputs: NecessityInputs
    diagnostics: common_pb2.FitDiagnostics | None = None
    policy_version: int | None = None


async def decided(session: AsyncSession, question: Question) -> sbc_pb2.SbcNecessity:
    """Decide under the policy in force, with evidence and cost from the store, and store the decision."""
    policy = await policy_in_force(session, question.client_id, question.policy_version)
    evidence, calibration, measurement = NecessityEvidence(), Calibration(), NOTHING
    carry_over = False
    if question.model is not None:
        stands = await standing(session, question.model, question.period)
        calibration = await _calibration(session, question.model, question.period, stands)
        evidence = fit_evidence(question.diagnostics, stands)
        carry_over = registered(question.model.family).carry_over
    message = necessity_message(question.inputs, evidence, calibration, policy, datetime.datetime.now(datetime.UTC))
    if message.recommended_simulations:
        if question.model is not None:
            measurement = await measured(session, question.model, question.period)
        work = workload(message.recommended_validation_type, message.recommended_simulations, carry_over=carry_over)
        message.cost.CopyFrom(cost_message(measurement, work))
    message.decision_id = await _store(session, question, evidence, calibration, message)
    return message


def necessity_message(
    inputs: NecessityInputs,
    evidence: NecessityEvidence,
    calibration: Calibration,
    policy: NecessityPolicy,
    now: datetime.datetime,
) -> sbc_pb2.SbcNecessity:
    """The decision as a message, all but its cost and id: a pure function, so that a stored one can be made again."""
    decision = decide(inputs, evidence, policy)
    kind: ValidationType | None = decision.validation_type if decision.simulations else None
    simulations = decision.simulations
    sentences = [explain_decision(decision, policy, inputs.bayes_factor_words)]
    signs = [trigger.value for trigger in decision.evidence]
    if calibration.failed:
        # A smaller run, or one that does not ask about what failed, would change nothing.
        kind, simulations = calibration.answer, 2 * calibration.simulations
        signs.append("STANDING_FAIL")
        sentences.append(standing_fail(calibration.run_id, calibration.failing, calibration.simulations, kind))
    elif calibration.verdict == "PASS":
        ago = now - datetime.datetime.fromisoformat(calibration.ended)
        # Where a conflict asks for posterior SBC, such a pass would have left nothing to recommend.
        off = kind is ValidationType.POSTERIOR
        sentences.append(passed(calibration.run_id, ago, calibration.simulations, off_the_conflict=off))
    if calibration.elsewhere:
        sentences.append(calibration.elsewhere)
    message = sbc_pb2.SbcNecessity(
        decision=value_of(sbc_pb2.NecessityDecision, decision.decision.value),
        missing_inputs=[INPUTS[name] for name in decision.missing],
        evidence=signs,
        policy_id=f"{decision.policy_id}/{decision.policy_version}",
        policy_version=decision.policy_version,
        policy_hash=decision.policy_hash,
        recommended_validation_type=value_of(sbc_pb2.ValidationType, kind.value if kind else None),
        recommended_simulations=simulations,
        satisfied_by_run_id=calibration.run_id if calibration.verdict == "PASS" else "",
        what_would_change=[explain_change(change, policy) for change in decision.changes],
        explanation=" ".join(sentences),
    )
    if kind is not None:
        reach = detectable_by(kind, simulations, inputs.n_parameters, policy)
        for field, value in (
            ("detectable_sd_factor_above", reach.sd_factor_high),
            ("detectable_sd_factor", reach.sd_factor_low),
            ("detectable_bias_sd", reach.bias),
        ):
            if value is not None:
                setattr(message, field, value)
    for rule in decision.rules:
        unit = CENTS if rule.field == "business_impact_minor_units" else 1
        entry = message.rules.add(
            input=INPUTS[rule.field], operator=rule.operator, threshold=rule.threshold / unit, near_miss=rule.near_miss
        )
        if rule.observed is not None and rule.margin is not None:
            entry.observed, entry.margin = rule.observed / unit, rule.margin / unit
        if rule.triggered is not None:
            entry.fired = rule.triggered
    return message


def fit_evidence(diagnostics: common_pb2.FitDiagnostics | None, stands: Standing) -> NecessityEvidence:
    """Evidence from the production fit, if there is one, and from the calibration of its model."""
    stale = stands.elsewhere is not None
    certified = {"certified_pass": stands.passed or stale, "stale_pass": stale, "posterior_pass": stands.posterior}
    if diagnostics is None or diagnostics.inference == EXACT:
        return NecessityEvidence(**certified)
    return NecessityEvidence(
        **certified,
        divergences=diagnostics.divergences,
        r_hat=diagnostics.max_r_hat,
        ess=min(diagnostics.min_ess_bulk, diagnostics.min_ess_tail),
        approximate_inference=diagnostics.inference != BatchedHmc.single().name,
    )


async def _calibration(session: AsyncSession, model: RegisteredModel, period: Period, stands: Standing) -> Calibration:
    other = stands.elsewhere
    elsewhere = "" if other is None else await _no_longer(session, model, period, other)
    run = stands.run
    if run is None:
        return Calibration(elsewhere=elsewhere)
    verdict = from_json(run.verdict or {}, sbc_pb2.SbcVerdict())
    job = await session.get_one(Job, run.job_pk)
    return Calibration(
        run_id=str(run.pk),
        verdict=run.verdict_kind or "",
        validation_type=run.validation_type,
        simulations=run.num_simulations,
        ended=(job.end_time or run.create_time).isoformat(),
        failing=tuple(dict.fromkeys(q.quantity for q in verdict.quantities if q.failing)),
        elsewhere=elsewhere,
    )


async def _no_longer(session: AsyncSession, model: RegisteredModel, period: Period, run: SbcValidation) -> str:
    """Which run has passed, and what it was about that is not this."""
    other = None if run.model_pk == model.pk else (await by_pk(session, RegisteredModel, run.model_pk)).model_id
    window = None if Period.of(run) == period else str(Period.of(run))
    return passed_elsewhere(str(run.pk), other, window, of_session=run.session_pk is not None)


async def fit_diagnostics(
    session: AsyncSession, model: RegisteredModel, period: Period
) -> common_pb2.FitDiagnostics | None:
    """Diagnostics of the stored reference fit of a model over a period, None where it has not been fitted yet."""
    key = await reference_key(session, model, period)
    statement = select(Fit.diagnostics).where(Fit.model_pk == model.pk, Fit.fit_key == key)
    stored = await session.scalar(statement)
    return None if stored is None else from_json(stored, common_pb2.FitDiagnostics())


D = TypeVar("D", NecessityInputs, NecessityEvidence, Calibration)
_FLOATS = frozenset({"bayes_factor", "log_bayes_factor", "client_confidence", "r_hat", "ess"})


def stored(values: NecessityInputs | NecessityEvidence | Calibration) -> dict[str, Any]:
    """The values as a JSON object, what is missing left out; numbers keep all digits, and infinity, as text."""
    return {
        name: repr(float(value)) if name in _FLOATS else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(values).items()
        if value is not None
    }


def restored(kind: type[D], values: dict[str, Any]) -> D:
    """The values of a stored JSON object; what another version has written beside them is left out."""
    known: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in values:
            value = values[field.name]
            known[field.name] = (
                float(value) if field.name in _FLOATS else tuple(value) if isinstance(value, list) else value
            )
    return kind(**known)


async def _store(
    session: AsyncSession,
    question: Question,
    evidence: NecessityEvidence,
    calibration: Calibration,
    message: sbc_pb2.SbcNecessity,
) -> str:
    """Store the decision unless the same one is stored already; returns its id."""
    inputs = stored(question.inputs)
    seen = {"fit": stored(evidence), "calibration": stored(calibration)}
    model_id = question.model.model_id if question.model is not None else ""
    period = question.period.key if question.model is not None else []
    key = digest(
        question.source, question.source_id, model_id, period, message.policy_version, message.policy_hash, inputs, seen
    )
    row = RecordedDecision
    statement = (
        insert(row)
        .values(
            client_id=question.client_id,
            decision_key=key,
            source=question.source,
            model_id=model_id,
            source_id=question.source_id,
            policy_version=message.policy_version,
            inputs=inputs,
            evidence=seen,
            decision=label(sbc_pb2.NecessityDecision, message.decision),
            result=to_json(message),
        )
        .on_conflict_do_nothing()
        .returning(row.pk)
    )
    pk = await session.scalar(statement)
    if pk is None:
        pk = await session.scalar(select(row.pk).where(row.client_id == question.client_id, row.decision_key == key))
    return str(pk)


async def check_necessity(context: WorkerContext, job: Job) -> Commit:
    """Apply the policy to the inputs of a request; what is known of a named model is looked up."""
    request = sbc_pb2.CheckSbcNecessityRequest.FromString(job.request)

    async def commit(session: AsyncSession) -> sbc_pb2.CheckSbcNecessityResponse:
        complexity = request.model_complexity if request.HasField("model_complexity") else None
        period = Period.asked(request)
        model, diagnostics = None, None
        if request.model_id:
            model = await owned(session, RegisteredModel, request.client_id, request.model_id)
            check_period(model, await dataset_of(session, model), period)
            complexity = model.parameter_count if complexity is None else complexity
            diagnostics = await fit_diagnostics(session, model, period)
        log_factor = request.log_bayes_factor if request.HasField("log_bayes_factor") else None
        factor = request.bayes_factor if request.HasField("bayes_factor") else None
        words = None
        if factor is None and log_factor is None and request.conflict_severity in LABELLED:
            end = LABELLED[request.conflict_severity]
            factor, words = math.nextafter(end, math.inf), labelled_factor(request.conflict_severity, end)
        inputs = NecessityInputs(
            n_parameters=complexity,
            bayes_factor=factor,
            bayes_factor_words=words,
            log_bayes_factor=log_factor,
            business_impact_minor_units=(
                request.business_impact.minor_units if request.HasField("business_impact") else None
            ),
            client_confidence=request.client_confidence if request.HasField("client_confidence") else None,
        )
        version = request.policy_version if request.HasField("policy_version") else None
        question = Question(request.client_id, "CHECK", "", model, period, inputs, diagnostics, version)
        return sbc_pb2.CheckSbcNecessityResponse(necessity=await decided(session, question))

    return commit
