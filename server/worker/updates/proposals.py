"""Recommended prior updates from a session's conflict analysis."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

from liftos.bayes.v1 import common_pb2, conflict_pb2, prior_update_pb2, sbc_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.curve import EvidenceCurve
from engine.conflict.divergence import PriorWorth, prior_worth
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Distribution
from engine.distributions.families import Family
from engine.errors import InvalidInput
from engine.rules.sbc_policy import check_necessity
from engine.updates.projection import project
from engine.updates.update import Action, PriorUpdate, Strategy, UpdateRule, update
from persistence.tables import Conflict, ElicitedSession, Job, RecommendedUpdate, RegisteredModel
from server.contract.update_settings import chosen_strategy
from server.contract.wire import label, to_array, to_json, value_of
from server.records.lineage import lineage_of, overlaps_of, refuse_used_experiments, updates_from, window_behind
from server.records.lookups import owned
from server.records.messages import conflict_message
from server.records.policies import policy_in_force
from server.records.prior_updates import conflict_behind
from server.texts.advice import explain_grounds
from server.texts.analysis_notes import MONTHS_BY_MOMENTS
from server.texts.phrases import recentred
from server.worker.conflict.analyses import session_inputs
from server.worker.context import Commit, WorkerContext
from server.worker.conversion import estimate_of_law, from_law
from server.worker.updates.cases import Case, beliefs_with_curves, cases_of, joint_draws, updated_correlation
from server.worker.updates.situation import advice

_SETTINGS = ("min_evidence_strength", "power", "robust_weight")
"""Of an update, called in the contract as in the engine."""


async def update_priors(context: WorkerContext, job: Job) -> Commit:
    """Update every belief of the request's session; a pure function of the stored beliefs, curves and draws."""
    request = prior_update_pb2.UpdatePriorsRequest.FromString(job.request)
    rule = update_rule(request)
    async with context.database.session() as session:
        elicited = await owned(session, ElicitedSession, request.client_id, request.session_id)
        conflict = await conflict_behind(session, elicited, request.analysis_id)
        analysis = await conflict_message(session, conflict)
        pairs = await beliefs_with_curves(session, conflict.pk)
        cases = cases_of(pairs, analysis, request.experiments)
        draws = await joint_draws(session, pairs, cases)
        refuse_used_experiments([row for row, _ in pairs], request.experiments)
        # An analysis of an earlier version did not look whether its priors had seen the rows.
        window = await window_behind(session, conflict)
        twice = bool(await overlaps_of(session, window, [row for row, _ in pairs]))
    updated = [await asyncio.to_thread(_updated, case, rule) for case in cases]
    messages = [
        await asyncio.to_thread(_message, case, change, rule, analysis, request.project_to)
        for case, change in zip(cases, updated, strict=True)
    ]
    recommendation = prior_update_pb2.PriorUpdate(
        update_strategy=chosen_strategy(request),
        min_evidence_strength=rule.min_evidence_strength,
        beliefs=messages,
        exploratory=conflict.exploratory or twice,
        experiments=request.experiments,
        power=rule.power if rule.strategy is Strategy.POWER_PRIOR else None,
        robust_weight=rule.robust_weight if rule.strategy is Strategy.ROBUST_MIXTURE else None,
    )
    between = await asyncio.to_thread(updated_correlation, elicited, cases, updated, draws, rule)
    if isinstance(between, str):
        recommendation.summary.append(between)
    elif between is not None:
        recommendation.correlation.CopyFrom(to_array(between))

    async def commit(session: AsyncSession) -> prior_update_pb2.UpdatePriorsResponse:
        recommendation.lineage.CopyFrom(await lineage_of(session, conflict, messages, request.experiments))
        recommendation.looks = await updates_from(session, conflict)
        recommendation.sbc_decision = await _decision(session, conflict, elicited, analysis, messages)
        stored = RecommendedUpdate(
            client_id=request.client_id,
            session_pk=elicited.pk,
            conflict_pk=conflict.pk,
            update_strategy=label(prior_update_pb2.UpdateStrategy, recommendation.update_strategy),
            min_evidence_strength=rule.min_evidence_strength,
            state="PROPOSED",
            exploratory=recommendation.exploratory,
            result=to_json(recommendation),
            version=1,
        )
        session.add(stored)
        await session.flush()
        # The server renders the answer from the row, in the light of what stands against a release by then.
        return prior_update_pb2.UpdatePriorsResponse(update=prior_update_pb2.PriorUpdate(update_id=str(stored.pk)))

    return commit


async def _decision(
    session: AsyncSession,
    conflict: Conflict,
    elicited: ElicitedSession,
    analysis: conflict_pb2.ConflictAnalysis,
    updates: Sequence[prior_update_pb2.BeliefUpdate],
) -> sbc_pb2.NecessityDecision.ValueType:
    """Whether calibration is essential by the policy in force, with the factors of the update, experiments included."""
    model = await session.get_one(RegisteredModel, conflict.model_pk)
    inputs = session_inputs(model, elicited, conflict.business_impact_minor, analysis.beliefs, analysis.joint)
    if inputs.log_bayes_factor is not None:
        largest = max(inputs.log_bayes_factor, *(belief.log_bayes_factor for belief in updates))
        inputs = replace(inputs, log_bayes_factor=largest)
    policy = await policy_in_force(session, conflict.client_id)
    decision = check_necessity(inputs, policy=policy).decision
    return value_of(sbc_pb2.NecessityDecision, decision.value)  # type: ignore[no-any-return]


def update_rule(request: prior_update_pb2.UpdatePriorsRequest) -> UpdateRule:
    """The strategy of a request with its settings; those that it does not have are the engine's."""
    given = {field.name: value for field, value in request.ListFields() if field.name in _SETTINGS}
    return UpdateRule(
        strategy=Strategy[label(prior_update_pb2.UpdateStrategy, chosen_strategy(request))],
        gate=not request.without_gate,
        p_value=request.conservative_p_value if request.HasField("conservative_p_value") else None,
        **given,
    )


def _updated(case: Case, rule: UpdateRule) -> PriorUpdate:
    """What the strategy makes of a belief; the belief itself where its figures are unreliable."""
    if case.refusal:
        reason = f"the conflict figures are unreliable: {case.refusal}"
        return PriorUpdate(case.before, Action.KEEP, (reason,), changed=False)
    try:
        return update(
            case.before,
            case.curve,
            rule,
            log_bf=recentred(case.figures),
            experiments=list(case.experiments.values()),
        )
    except InvalidInput as error:
        raise InvalidInput(_blamed(case, error.field), error.message) from None


def _blamed(case: Case, field: str) -> str:
    """Path in the request, or among the session's beliefs, of what the engine cannot work with."""
    if case.experiments and field in {"estimate", "standard_error"}:
        return f"experiments[{min(case.experiments)}].{field}"
    return f"beliefs[{case.belief.belief_id}].compiled"


def _message(
    case: Case,
    updated: PriorUpdate,
    rule: UpdateRule,
    analysis: conflict_pb2.ConflictAnalysis,
    family: common_pb2.PriorFamily.ValueType,
) -> prior_update_pb2.BeliefUpdate:
    """The recommendation for one belief, as if the model behind it were certified."""
    before, after = _worth(case.before, case.curve), _worth(updated.distribution, case.curve)
    recommendation, log_bf = advice(case, updated, analysis, before.months)
    message = prior_update_pb2.BeliefUpdate(
        belief_id=case.belief.belief_id,
        estimand=case.belief.estimand,
        before=from_law(case.before),
        after=from_law(updated.distribution),
        before_summary=estimate_of_law(case.before),
        after_summary=estimate_of_law(updated.distribution),
        data_side=case.figures.data_side,
        changed=updated.changed,
        action=value_of(prior_update_pb2.UpdateAction, recommendation.action.name),
        reasons=[explain_grounds(recommendation.grounds), *map(_sentence, updated.reasons)],
        weight=updated.weight,
        log_bayes_factor=log_bf,
        expected_power=updated.expected_power,
        power_mode=updated.power_mode,
        prior_ess_months_before=_finite(before.months),
        prior_ess_months_after=_finite(after.months),
    )
    if before.by_moments or after.by_moments:
        message.reasons.append(MONTHS_BY_MOMENTS)
    if case.experiment is not None:
        message.experiment_side.CopyFrom(estimate_of_law(case.experiment.law))
    if family:
        message.projection.CopyFrom(_projection(updated.distribution, Family[label(common_pb2.PriorFamily, family)]))
    return message


def _worth(law: Distribution, curve: EvidenceCurve) -> PriorWorth:
    """What a prior is worth in months of the analysis's data, experiments left out."""
    return prior_worth(Overlay(law, curve))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _projection(law: Distribution, family: Family) -> prior_update_pb2.Projection:
    """A law as one of a family; refused, with the reason, where the family cannot be it."""
    try:
        projection = project(law, family)
    except InvalidInput as error:
        return prior_update_pb2.Projection(refused=True, refusal=_sentence(error.message))
    return prior_update_pb2.Projection(
        distribution=from_law(projection.law),
        kl_nats=projection.kl_nats,
        max_cdf_error=projection.max_cdf_error,
        lower_tail_error=projection.lower_tail_error,
        upper_tail_error=projection.upper_tail_error,
        wasserstein_scaled=projection.wasserstein_scaled,
        refused=bool(projection.refusal),
        refusal=_sentence(projection.refusal) if projection.refusal else "",
    )
