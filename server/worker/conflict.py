"""Conflict analysis of a session: reference fit, evidence curves, figures, decision on SBC."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.analysis import BeliefConflict, analyse_belief
from engine.conflict.bayes_factor import BayesFactor
from engine.conflict.curve import CurveKind, EvidenceCurve
from engine.conflict.joint import joint_conflict
from engine.conflict.overlay import Overlay
from engine.conflict.severity import Severity
from engine.priors.distribution import Distribution
from engine.sbc.decision import NecessityInputs
from persistence import tables
from persistence.tables import ClientPrior, Conflict, ConflictEvidence, Job, Model, Session
from server.certificates import reference_certificate
from server.formats import estimand as estimand_words
from server.resources import beliefs_of, conflict_message
from server.services.conflicts import quantity_name
from server.wire import from_json, label, to_json, value_of
from server.worker.calls import Commit, WorkerContext
from server.worker.convert import estimate_of_law, to_law
from server.worker.fits import StoredFit, stored_curve, stored_fit
from server.worker.necessity import fit_evidence, necessity_message
from server.worker.words import explain_conflict, recentred


@dataclass(frozen=True)
class Examined:
    """One belief with its curve and the figures computed from the two."""

    row: ClientPrior
    curve_row: tables.EvidenceCurve
    prior: Distribution
    curve: EvidenceCurve
    figures: BeliefConflict
    message: conflict_pb2.BeliefConflict


async def examine(
    context: WorkerContext, fit: StoredFit, rows: Sequence[ClientPrior], confidence_threshold: float | None
) -> list[Examined]:
    """Compare every belief with its evidence curve."""
    examined = []
    for row in rows:
        belief = from_json(row.belief, elicitation_pb2.Belief())
        curve_row, curve = await stored_curve(context, fit, belief.estimand)
        prior = to_law(belief.compiled, f"beliefs[{row.belief_id}].compiled")
        figures = await asyncio.to_thread(
            analyse_belief,
            prior,
            curve,
            confidence_threshold=confidence_threshold,
            draws=fit.draws_of(quantity_name(belief.estimand)) if curve.kind is CurveKind.DRAWS else None,
        )
        message = belief_message(belief, (prior, curve, figures), str(curve_row.pk))
        examined.append(Examined(row, curve_row, prior, curve, figures, message))
    return examined


async def analyze_conflict(context: WorkerContext, job: Job) -> Commit:
    """Analyse the session of a request."""
    async with context.database.session() as session:
        row = (await session.scalars(select(Conflict).where(Conflict.job_pk == job.pk))).one()
        elicited = await session.get_one(Session, row.session_pk)
        model_row = await session.get_one(Model, row.model_pk)
        beliefs = await beliefs_of(session, elicited.pk)
        certified = await reference_certificate(session, model_row, row.data_period_months)
    fit = await stored_fit(context, model_row, row.data_period_months)
    examined = await examine(context, fit, beliefs, row.confidence_threshold)
    joint = _joint(fit, examined)
    diagnostics = fit.diagnostics
    analysis = conflict_pb2.ConflictAnalysis(
        confidence_threshold=row.confidence_threshold,
        beliefs=[one.message for one in examined],
        joint=joint,
        severity=max((one.message.severity for one in examined), default=conflict_pb2.SEVERITY_UNSPECIFIED),
        conflict=any(one.message.conflict for one in examined),
        sbc_necessity=session_necessity(
            model_row, elicited, row.business_impact_minor, [one.message for one in examined], diagnostics, certified
        ),
        diagnostics=diagnostics,
        provenance=fit.provenance,
        notes=fit_notes(fit, row.data_period_months),
    )

    async def commit(session: AsyncSession) -> conflict_pb2.AnalyzeConflictResponse:
        stored = await session.get_one(Conflict, row.pk)
        stored.result = to_json(analysis)
        severity = label(conflict_pb2.Severity, analysis.severity)
        stored.severity = None if severity == "UNSPECIFIED" else severity
        stored.conflict = analysis.conflict
        for one in examined:
            session.add(_evidence(row, one))
        await session.flush()
        message = await conflict_message(session, stored)
        message.state = common_pb2.JOB_STATE_SUCCEEDED
        return conflict_pb2.AnalyzeConflictResponse(analysis=message)

    return commit


def session_necessity(
    model: Model,
    elicited: Session | None,
    business_impact_minor: int | None,
    beliefs: Sequence[conflict_pb2.BeliefConflict],
    diagnostics: common_pb2.FitDiagnostics,
    certified: tables.SbcValidation | None,
) -> sbc_pb2.SbcNecessity:
    """The decision on SBC with everything that an analysis knows."""
    reliable = [recentred(b) for b in beliefs if b.status != conflict_pb2.CONFLICT_STATUS_UNRELIABLE]
    inputs = NecessityInputs(
        n_parameters=model.parameter_count,
        log_bayes_factor=max(reliable, default=None),
        business_impact_minor_units=business_impact_minor,
        client_confidence=elicited.client_confidence if elicited else None,
    )
    return necessity_message(inputs, fit_evidence(diagnostics, certified), certified)


def fit_notes(fit: StoredFit, months: int) -> list[str]:
    """What to mind about the window and the fit."""
    notes = []
    if not fit.provenance.dataset_id and fit.months != months:
        notes.append(f"The summary stands for {fit.months:g} months; the window of {months} months does not apply.")
    if fit.row.facts["months"] < months - 1 and fit.provenance.dataset_id:
        notes.append(f"{months} months were asked for; the data set has {fit.months:.1f}.")
    if not fit.diagnostics.converged:
        notes.append("The sampler did not meet its thresholds; the figures must not be relied on.")
    if (edge := fit.row.facts.get("edge_rows", 0)) > 0:
        where = " of each geo" if fit.row.facts.get("geos", 1) > 1 else ""
        notes.append(f"The first {edge} rows{where} lack lead-in data, so their carry-over is understated.")
    return notes


def belief_message(
    belief: elicitation_pb2.Belief, examined: tuple[Distribution, EvidenceCurve, BeliefConflict], curve_id: str
) -> conflict_pb2.BeliefConflict:
    """The figures of one belief as a message."""
    prior, curve, found = examined
    overlay = Overlay(prior, curve)
    if found.confidence_threshold is None:
        rule = f"recentred Bayes factor at least {found.conflict_threshold:g}"
    else:
        rule = f"node-split p at most {1 - found.confidence_threshold:g}"
    message = conflict_pb2.BeliefConflict(
        belief_id=belief.belief_id,
        estimand=belief.estimand,
        prior=belief.compiled,
        bayes_factors=[
            _factor(factor) for factor in (found.recentred, found.widened, found.reference, found.point_mle)
        ],
        severity=_severity(found.severity),
        severity_probability=found.severity_probability,
        severity_if_heavy_tailed=_severity(found.severity_if_heavy_tailed),
        null_rate=found.null_rate or 0.0,
        conflict=found.conflict,
        conflict_rule=f"{rule}; {found.conflict_null_rate:.1%} of data sets that agree with the belief reach it",
        confirms=found.confirms,
        p_value=found.p.value,
        p_value_se=found.p.se,
        kl_divergence_nats=found.kl.value,
        information_gain_nats=found.information_gain.value,
        wasserstein_1=found.wasserstein.w1,
        wasserstein_2=found.wasserstein.w2,
        wasserstein_scaled=found.wasserstein.w1_scaled,
        client=belief.summary,
        data_side=estimate_of_law(overlay.data_side),
        client_posterior=estimate_of_law(overlay.client_posterior),
        status=value_of(conflict_pb2.ConflictStatus, found.status.name),
        status_reason="; ".join(found.reasons),
        finding=value_of(conflict_pb2.Finding, found.finding.name),
        curve_id=curve_id,
    )
    if math.isfinite(found.prior_ess_months):
        message.prior_ess_months = found.prior_ess_months
    message.explanation = explain_conflict(message)
    return message


def _severity(severity: Severity | None) -> conflict_pb2.Severity.ValueType:
    return value_of(conflict_pb2.Severity, severity.name if severity else None)  # type: ignore[no-any-return]


def _factor(factor: BayesFactor) -> conflict_pb2.BayesFactor:
    message = conflict_pb2.BayesFactor(
        alternative=value_of(conflict_pb2.BayesFactorAlternative, factor.alternative.name),
        log_bayes_factor=factor.log_bf,
        mcse=factor.mcse,
        estimator=value_of(conflict_pb2.BayesFactorEstimator, factor.estimator.name),
    )
    if factor.khat is not None and math.isfinite(factor.khat):
        message.pareto_k = factor.khat
    return message


def _joint(fit: StoredFit, examined: Sequence[Examined]) -> conflict_pb2.JointConflict | None:
    """All beliefs together, on unconstrained coordinates; None for a single belief."""
    if len(examined) < 2:
        return None
    estimands = [from_json(one.row.belief, elicitation_pb2.Belief()).estimand for one in examined]
    names = [quantity_name(estimand) for estimand in estimands]
    coordinates = [
        one.curve.support.to_unconstrained(np.ravel(fit.draws_of(name)))
        for one, name in zip(examined, names, strict=True)
    ]
    # The reference's pull is taken out by weights 1 / p_ref, as in the node-split p.
    log_weights = -sum(
        one.curve.reference.unconstrained_logpdf(u) for one, u in zip(examined, coordinates, strict=True)
    )
    weights = np.exp(log_weights - np.max(log_weights))
    stacked = np.stack(coordinates)
    mean = np.average(stacked, axis=1, weights=weights)
    found = joint_conflict([one.prior for one in examined], mean, np.cov(stacked, aweights=weights))
    return conflict_pb2.JointConflict(
        d_squared=found.d2,
        degrees_of_freedom=found.df,
        p_value=found.p,
        log_calibrated_bayes_factor=found.log_bf_cal,
        worst_direction=_direction(estimands, found.worst_direction),
    )


def _direction(estimands: Sequence[common_pb2.Estimand], weights: Sequence[float]) -> str:
    """The combination of beliefs that clashes most, in words; small parts are left out."""
    parts = [
        f"{estimand_words(estimand)} too {'low' if weight > 0 else 'high'}"
        for estimand, weight in zip(estimands, weights, strict=True)
        if abs(weight) > 0.3
    ]
    return "The beliefs put " + " and ".join(parts) + "."


def _evidence(row: Conflict, one: Examined) -> ConflictEvidence:
    """The figures of one belief in columns, for the store's own queries."""
    factors = {int(factor.alternative): factor for factor in one.message.bayes_factors}

    def log_factor(alternative: int) -> float | None:
        return factors[alternative].log_bayes_factor if alternative in factors else None

    headline = factors.get(conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED)
    severity = label(conflict_pb2.Severity, one.message.severity)
    return ConflictEvidence(
        conflict_pk=row.pk,
        prior_pk=one.row.pk,
        curve_pk=one.curve_row.pk,
        log_bf_recentred=log_factor(conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED),
        log_bf_widened=log_factor(conflict_pb2.BAYES_FACTOR_ALTERNATIVE_WIDENED),
        log_bf_reference=log_factor(conflict_pb2.BAYES_FACTOR_ALTERNATIVE_REFERENCE),
        log_bf_point=log_factor(conflict_pb2.BAYES_FACTOR_ALTERNATIVE_POINT_MLE),
        mcse=headline.mcse if headline else None,
        p_value=one.message.p_value,
        # Infinite when the belief excludes values that the data side does not; a column holds numbers only.
        kl_nats=one.message.kl_divergence_nats if math.isfinite(one.message.kl_divergence_nats) else None,
        wasserstein_1=one.message.wasserstein_1,
        wasserstein_2=one.message.wasserstein_2,
        severity=None if severity == "UNSPECIFIED" else severity,
        status=label(conflict_pb2.ConflictStatus, one.message.status),
        finding=label(conflict_pb2.Finding, one.message.finding),
    )
