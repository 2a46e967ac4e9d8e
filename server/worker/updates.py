"""Recommended prior updates from a session's conflict analysis."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2, prior_update_pb2
from scipy import special
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict import experiment as trial
from engine.conflict.analysis import Finding, analyse_belief
from engine.conflict.causes import Attribution
from engine.conflict.curve import EvidenceCurve
from engine.conflict.divergence import PriorWorth, prior_worth
from engine.conflict.joint import client_moments, data_moments
from engine.conflict.overlay import Overlay
from engine.conflict.reliability import MIN_EFFECTIVE
from engine.conflict.severity import Severity
from engine.errors import InvalidInput
from engine.priors.correlation import BeliefUncertainty, is_independent, posterior_correlation
from engine.priors.distribution import Distribution
from engine.priors.projection import Family, project
from engine.priors.recommendation import Recommendation, Situation, recommend
from engine.priors.update import Action, Strategy, UpdateRule, update
from engine.priors.update import PriorUpdate as Updated
from persistence import tables
from persistence.tables import ClientPrior, ConflictEvidence, FitDraws, Job, PriorUpdate, Session
from server.resources import conflict_message, owned
from server.services.conflicts import quantity_name
from server.services.prior_updates import chosen_strategy, conflict_behind, prior_update_message
from server.wire import from_json, label, to_array, to_json, value_of
from server.worker.calls import Commit, WorkerContext
from server.worker.convert import belief_law, estimate_of_law, from_law
from server.worker.dependence import prior_correlation, whole_shares
from server.worker.fits import curve_of
from server.worker.words import recentred

Floats = npt.NDArray[np.float64]

DEFAULT_EVIDENCE, DEFAULT_POWER, DEFAULT_ROBUST_WEIGHT = 10.0, 0.5, 0.2
CLASHES = 0.3
"""A belief is among those that clash if its weight in the worst direction is at least this part of the largest."""


@dataclass(frozen=True)
class Case:
    """One belief with everything that its update follows from.

    `figures` are those of the analysis, `experiments` those of the request about its quantity by their places there.
    """

    belief: elicitation_pb2.Belief
    before: Distribution
    curve: EvidenceCurve
    figures: conflict_pb2.BeliefConflict
    experiments: Mapping[int, trial.Experiment]

    @property
    def reliable(self) -> bool:
        """Whether the figures can be relied on."""
        return self.figures.status != conflict_pb2.CONFLICT_STATUS_UNRELIABLE

    @property
    def experiment(self) -> trial.Experiment | None:
        """All experiments as one."""
        return trial.Experiment.pooled(list(self.experiments.values())) if self.experiments else None


async def update_priors(context: WorkerContext, job: Job) -> Commit:
    """Update every belief of the request's session; a pure function of the stored beliefs, curves and draws."""
    request = prior_update_pb2.UpdatePriorsRequest.FromString(job.request)
    rule = update_rule(request)
    async with context.database.session() as session:
        elicited = await owned(session, Session, request.client_id, request.session_id)
        conflict = await conflict_behind(session, elicited, request.analysis_id)
        analysis = await conflict_message(session, conflict)
        pairs = await _beliefs_with_curves(session, conflict.pk)
        cases = _cases(pairs, analysis, request.experiments)
        draws = await _draws(session, pairs, cases)
    updated = [await asyncio.to_thread(_updated, case, rule) for case in cases]
    messages = [
        await asyncio.to_thread(_message, case, one, rule, analysis, request.project_to)
        for case, one in zip(cases, updated, strict=True)
    ]
    recommendation = prior_update_pb2.PriorUpdate(
        update_strategy=chosen_strategy(request),
        min_evidence_strength=rule.min_evidence_strength,
        beliefs=messages,
        lineage=lineage_of(analysis),
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
        stored = PriorUpdate(
            client_id=request.client_id,
            session_pk=elicited.pk,
            conflict_pk=conflict.pk,
            update_strategy=label(prior_update_pb2.UpdateStrategy, recommendation.update_strategy),
            min_evidence_strength=rule.min_evidence_strength,
            state="PROPOSED",
            exploratory=conflict.exploratory,
            result=to_json(recommendation),
            version=1,
        )
        session.add(stored)
        await session.flush()
        await session.refresh(stored)
        return prior_update_pb2.UpdatePriorsResponse(update=await prior_update_message(session, stored))

    return commit


def update_rule(request: prior_update_pb2.UpdatePriorsRequest) -> UpdateRule:
    """The strategy of a request with its settings."""
    return UpdateRule(
        strategy=Strategy[label(prior_update_pb2.UpdateStrategy, chosen_strategy(request))],
        min_evidence_strength=(
            request.min_evidence_strength if request.HasField("min_evidence_strength") else DEFAULT_EVIDENCE
        ),
        gate=not request.without_gate,
        power=request.power if request.HasField("power") else DEFAULT_POWER,
        robust_weight=request.robust_weight if request.HasField("robust_weight") else DEFAULT_ROBUST_WEIGHT,
        p_value=request.conservative_p_value if request.HasField("conservative_p_value") else None,
    )


def lineage_of(analysis: conflict_pb2.ConflictAnalysis) -> prior_update_pb2.Lineage:
    """What the updated priors are derived from."""
    return prior_update_pb2.Lineage(
        analysis_id=analysis.analysis_id,
        window=analysis.provenance.window if analysis.provenance.HasField("window") else None,
        dataset_id=analysis.provenance.dataset_id,
        dataset_sha256=analysis.provenance.dataset_sha256,
    )


async def _beliefs_with_curves(
    session: AsyncSession, conflict_pk: uuid.UUID
) -> list[tuple[ClientPrior, tables.EvidenceCurve]]:
    statement = (
        select(ClientPrior, tables.EvidenceCurve)
        .join(ConflictEvidence, ConflictEvidence.prior_pk == ClientPrior.pk)
        .join(tables.EvidenceCurve, tables.EvidenceCurve.pk == ConflictEvidence.curve_pk)
        .where(ConflictEvidence.conflict_pk == conflict_pk)
        .order_by(ClientPrior.ordinal)
    )
    return [(row[0], row[1]) for row in (await session.execute(statement)).all()]


def _cases(
    pairs: Sequence[tuple[ClientPrior, tables.EvidenceCurve]],
    analysis: conflict_pb2.ConflictAnalysis,
    experiments: Sequence[common_pb2.Experiment],
) -> list[Case]:
    found = {belief.belief_id: belief for belief in analysis.beliefs}
    cases = []
    for row, curve_row in pairs:
        belief, curve = from_json(row.belief, elicitation_pb2.Belief()), curve_of(curve_row)
        own = {
            index: trial.Experiment(one.estimate, one.standard_error)
            for index, one in enumerate(experiments)
            if one.estimand == belief.estimand
        }
        before = belief_law(belief, curve.reference, f"beliefs[{row.belief_id}].compiled")
        cases.append(Case(belief, before, curve, found[row.belief_id], own))
    return cases


async def _draws(
    session: AsyncSession, pairs: Sequence[tuple[ClientPrior, tables.EvidenceCurve]], cases: Sequence[Case]
) -> Floats | None:
    """Draws [k, n] of the beliefs' quantities under the reference posterior; None for one belief or without draws."""
    if len(pairs) < 2:
        return None
    rows = []
    for (_, curve), case in zip(pairs, cases, strict=True):
        name = quantity_name(case.belief.estimand)
        statement = select(FitDraws).where(FitDraws.fit_pk == curve.fit_pk, FitDraws.quantity == name)
        stored = (await session.scalars(statement)).one_or_none()
        if stored is None:
            return None
        rows.append(np.frombuffer(stored.data, "<f8"))
    return np.stack(rows)


def _updated(case: Case, rule: UpdateRule) -> Updated:
    """What the strategy makes of a belief; the belief itself where its figures are unreliable."""
    if not case.reliable:
        reason = f"the conflict figures are unreliable: {case.figures.status_reason}"
        return Updated(case.before, Action.KEEP, (reason,), changed=False)
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
    updated: Updated,
    rule: UpdateRule,
    analysis: conflict_pb2.ConflictAnalysis,
    family: common_pb2.PriorFamily.ValueType,
) -> prior_update_pb2.BeliefUpdate:
    """The recommendation for one belief, as if the model behind it were certified."""
    before, after = _worth(case.before, case.curve), _worth(updated.distribution, case.curve)
    advice, log_bf = _advice(case, updated, analysis, before)
    message = prior_update_pb2.BeliefUpdate(
        belief_id=case.belief.belief_id,
        estimand=case.belief.estimand,
        before=from_law(case.before),
        after=from_law(updated.distribution),
        before_summary=estimate_of_law(case.before),
        after_summary=estimate_of_law(updated.distribution),
        data_side=case.figures.data_side,
        changed=updated.changed,
        action=value_of(prior_update_pb2.UpdateAction, advice.action.name),
        reasons=[advice.reason, *map(_sentence, updated.reasons)],
        weight=updated.weight,
        log_bayes_factor=log_bf,
        expected_power=updated.expected_power,
        power_mode=updated.power_mode,
        prior_ess_months_before=_finite(before.months),
        prior_ess_months_after=_finite(after.months),
    )
    if before.by_moments or after.by_moments:
        message.reasons.append("What the prior is worth in months is taken from its moments, which are coarser.")
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


def _advice(
    case: Case, updated: Updated, analysis: conflict_pb2.ConflictAnalysis, worth: PriorWorth
) -> tuple[Recommendation, float]:
    """What is recommended, and the recentred log Bayes factor against the belief: of data and experiments together."""
    figures, experiment = case.figures, case.experiment
    finding = Finding[label(conflict_pb2.Finding, figures.finding)]
    severity = _severity(figures.severity)
    heavy = _severity(figures.severity_if_heavy_tailed)
    p_value, log_bf = figures.p_value, recentred(figures)
    sensitivity = figures.sensitivity.prior if figures.HasField("sensitivity") else None
    distance = None
    if experiment is not None and case.reliable:
        threshold = analysis.confidence_threshold if analysis.HasField("confidence_threshold") else None
        both = analyse_belief(
            case.before, trial.with_experiment(case.curve, experiment), confidence_threshold=threshold
        )
        finding, severity, heavy = both.finding, both.severity, both.severity_if_heavy_tailed
        p_value, log_bf = both.p.value, both.recentred.log_bf
        sensitivity = None if both.sensitivity is None else both.sensitivity.prior.value
        distance = trial.distance(experiment, Overlay(case.before, case.curve).data_side)
    attribution = label(conflict_pb2.ConflictAttribution, figures.attribution)
    situation = Situation(
        finding=finding,
        severity=severity,
        severity_if_heavy_tailed=heavy,
        attribution=None if attribution == "UNSPECIFIED" else Attribution[attribution],
        z=-float(special.ndtri(0.5 * max(p_value, 1e-300))),
        belief_months=worth.months,
        data_months=case.curve.months,
        prior_sensitivity=sensitivity,
        joint_conflict=_clashes(analysis.joint, figures.belief_id),
        incoherence_z=(
            analysis.joint.incoherence_z
            if analysis.joint.HasField("incoherence_z")
            and case.belief.estimand.quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA
            else None
        ),
        experiment_z=distance,
        outcome=updated.action,
    )
    return recommend(situation), log_bf


def _severity(value: conflict_pb2.Severity.ValueType) -> Severity | None:
    name = label(conflict_pb2.Severity, value)
    return None if name == "UNSPECIFIED" else Severity[name]


def _clashes(joint: conflict_pb2.JointConflict, belief_id: str) -> bool:
    """Whether the beliefs together are contradicted and this one is among those that clash."""
    if not joint.conflict:
        return False
    directions = {part.belief_id: abs(part.direction) for part in joint.parts}
    return directions[belief_id] >= CLASHES * max(directions.values())


def _projection(law: Distribution, family: Family) -> prior_update_pb2.Projection:
    """A law as one of a family; refused, with the reason, where the family cannot be it."""
    try:
        found = project(law, family)
    except InvalidInput as error:
        return prior_update_pb2.Projection(refused=True, refusal=_sentence(error.message))
    return prior_update_pb2.Projection(
        distribution=from_law(found.law),
        kl_nats=found.kl_nats,
        max_cdf_error=found.max_cdf_error,
        lower_tail_error=found.lower_tail_error,
        upper_tail_error=found.upper_tail_error,
        wasserstein_scaled=found.wasserstein_scaled,
        refused=bool(found.refusal),
        refusal=_sentence(found.refusal) if found.refusal else "",
    )


def updated_correlation(
    elicited: Session, cases: Sequence[Case], updated: Sequence[Updated], draws: Floats | None, rule: UpdateRule
) -> Floats | str | None:
    """Correlation [k, k] of the updated priors on their unconstrained scales (conflict.md §12).

    Strategies that keep the belief's shape keep its correlation; those that take the likelihood in take its coupling
    in. None for one belief and where they are independent; in words why it cannot be had.
    """
    if len(cases) < 2:
        return None
    prior = prior_correlation(elicited, [case.belief.belief_id for case in cases])
    kept = None if prior is None or is_independent(prior) else prior
    if rule.strategy in {Strategy.EVIDENCE_WEIGHTED, Strategy.ROBUST_MIXTURE, Strategy.CONSERVATIVE}:
        return kept
    if not any(one.changed for one in updated):
        return kept
    if not all(one.changed for one in updated):
        return "The correlation of the updated priors is not given: not every belief was updated."
    if draws is None:
        return "The correlation of the updated priors is not given: there are no draws of all quantities together."
    try:
        data = data_moments(
            [case.curve for case in cases], draws, whole_shares([case.belief.estimand for case in cases], draws)
        )
        if data.effective_draws < MIN_EFFECTIVE:
            return (
                "The correlation of the updated priors is not given: taking the reference priors out leaves an "
                f"effective {data.effective_draws:.0f} draws, of {MIN_EFFECTIVE:.0f} needed."
            )
        spread = [client_moments(case.before, case.curve)[1] for case in cases]
        found = posterior_correlation(
            BeliefUncertainty.of(spread, prior),
            data.cov,
            likelihood_power=rule.power if rule.strategy is Strategy.POWER_PRIOR else 1.0,
            belief_power=[1.0 if one.expected_power is None else one.expected_power for one in updated],
            experiment_precision=[_precision(case, one.distribution) for case, one in zip(cases, updated, strict=True)],
        )
    except (InvalidInput, np.linalg.LinAlgError) as error:
        return f"The correlation of the updated priors is not given: {error}."
    return None if is_independent(found) else found


def _precision(case: Case, after: Distribution) -> float:
    """Precision of the experiments on the unconstrained scale of the quantity, at the median of the updated prior."""
    if case.experiment is None:
        return 0.0
    at = case.curve.support.to_unconstrained(after.ppf(0.5))
    return float(np.exp(case.curve.support.log_jacobian(at)) / case.experiment.standard_error) ** 2
