"""The decision whether simulation-based calibration is essential, for callers and for the analyses themselves."""

from __future__ import annotations

import math

from liftos.bayes.v1 import common_pb2, sbc_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.sbc.decision import Change, NecessityEvidence, NecessityInputs
from engine.sbc.decision import check_necessity as decide
from persistence.tables import Job, Model, SbcValidation
from server.certificates import reference_certificate
from server.period import Period
from server.resources import owned
from server.wire import from_json, value_of
from server.worker.calls import Commit, WorkerContext

INPUTS = {
    "n_parameters": "model_complexity",
    "bayes_factor": "bayes_factor",
    "business_impact_minor_units": "business_impact",
    "client_confidence": "client_confidence",
}
"""The contract's names of the policy's inputs."""

CENTS = 100

# A label stands for its band; the geometric middle of the band is compared with the threshold.
LABELLED = {
    sbc_pb2.CONFLICT_SEVERITY_WEAK: math.sqrt(3.0),
    sbc_pb2.CONFLICT_SEVERITY_MODERATE: math.sqrt(30.0),
    sbc_pb2.CONFLICT_SEVERITY_STRONG: math.sqrt(1000.0),
    sbc_pb2.CONFLICT_SEVERITY_VERY_STRONG: 100.0,
}


def necessity_message(
    inputs: NecessityInputs, evidence: NecessityEvidence, certified: SbcValidation | None
) -> sbc_pb2.SbcNecessity:
    """The decision on the given inputs, with the certificate that satisfies it where there is one."""
    found = decide(inputs, evidence)
    kind = value_of(
        sbc_pb2.ValidationType, None if found.validation_type.value == "NONE" else found.validation_type.value
    )
    standing = certified if certified is not None and certified.verdict_kind == "FAIL" else None
    if standing is not None:
        # A smaller run, or one that does not ask about what failed, would change nothing.
        kind = value_of(sbc_pb2.ValidationType, standing.validation_type)
    message = sbc_pb2.SbcNecessity(
        decision=value_of(sbc_pb2.NecessityDecision, found.decision.value),
        missing_inputs=[INPUTS[name] for name in found.missing],
        evidence=[trigger.value for trigger in found.evidence],
        policy_id=f"{found.policy_id}/{found.policy_version}",
        policy_hash=found.policy_hash,
        recommended_validation_type=kind,
        recommended_simulations=found.simulations if standing is None else 2 * standing.num_simulations,
        satisfied_by_run_id=str(certified.pk) if certified is not None and certified.verdict_kind == "PASS" else "",
        what_would_change=[_change(change) for change in found.changes],
        explanation=found.sentence,
    )
    if standing is not None:
        message.evidence.append("STANDING_FAIL")
        message.explanation = f"{found.sentence} {standing_fail(standing)}"
    for rule in found.rules:
        unit = CENTS if rule.field == "business_impact_minor_units" else 1
        entry = message.rules.add(
            input=INPUTS[rule.field], operator=rule.operator, threshold=rule.threshold / unit, near_miss=rule.near_miss
        )
        if rule.observed is not None:
            entry.observed = rule.observed / unit
        if rule.triggered is not None:
            entry.fired = rule.triggered
    return message


def standing_fail(run: SbcValidation) -> str:
    """What a FAIL that stands is about, and what would answer it."""
    verdict = from_json(run.verdict or {}, sbc_pb2.SbcVerdict())
    names = ", ".join(dict.fromkeys(q.quantity for q in verdict.quantities if q.failing)) or "what it ranked"
    return (
        f"SBC run {run.pk} failed ({names}). It stands until a larger run passes that ranks the same: "
        f"{run.validation_type} with more than {run.num_simulations} simulations."
    )


def _change(change: Change) -> str:
    together = " together with the others" if change.together else ""
    return f"{INPUTS[change.field]} {change.requirement}{together} would make it {change.leads_to.value}."


def fit_evidence(diagnostics: common_pb2.FitDiagnostics | None, certified: SbcValidation | None) -> NecessityEvidence:
    """Evidence triggers from a fit and from the newest run for the same key."""
    passed = certified is not None and certified.verdict_kind == "PASS"
    if diagnostics is None or diagnostics.inference == "exact":
        return NecessityEvidence(certified_pass=passed)
    return NecessityEvidence(
        certified_pass=passed,
        divergences=diagnostics.divergences,
        r_hat=diagnostics.max_r_hat,
        ess=min(diagnostics.min_ess_bulk, diagnostics.min_ess_tail),
    )


async def check_necessity(context: WorkerContext, job: Job) -> Commit:
    """Apply the policy to the inputs of a request; the complexity of a named model is looked up."""
    request = sbc_pb2.CheckSbcNecessityRequest.FromString(job.request)

    async def commit(session: AsyncSession) -> sbc_pb2.CheckSbcNecessityResponse:
        complexity = request.model_complexity if request.HasField("model_complexity") else None
        certified = None
        if request.model_id:
            model = await owned(session, Model, request.client_id, request.model_id)
            complexity = model.parameter_count if complexity is None else complexity
            certified = await reference_certificate(session, model, Period.asked(request))
        factor = request.bayes_factor if request.HasField("bayes_factor") else LABELLED.get(request.conflict_severity)
        inputs = NecessityInputs(
            n_parameters=complexity,
            bayes_factor=factor,
            business_impact_minor_units=(
                request.business_impact.minor_units if request.HasField("business_impact") else None
            ),
            client_confidence=request.client_confidence if request.HasField("client_confidence") else None,
        )
        evidence = fit_evidence(None, certified) if request.model_id else NecessityEvidence()
        return sbc_pb2.CheckSbcNecessityResponse(necessity=necessity_message(inputs, evidence, certified))

    return commit
