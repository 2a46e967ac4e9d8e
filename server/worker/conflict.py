"""Conflict analysis of a session: reference fit, evidence curves, figures, decision on SBC."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from engine.conflict.analysis import BeliefConflict, analyse_belief, joint_conflict
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.curve import EvidenceCurve
from engine.priors.distribution import Distribution
from engine.sbc.decision import NecessityInputs
from persistence import tables
from persistence.tables import ClientPrior, Conflict, ConflictEvidence, Job, Model, Session
from server.report import estimand as estimand_words
from server.resources import beliefs_of, conflict_message
from server.services.conflicts import quantity_name
from server.wire import from_json, label, to_json
from server.worker.calls import Commit, WorkerContext
from server.worker.convert import to_law
from server.worker.fits import StoredFit, stored_curve, stored_fit
from server.worker.necessity import fit_evidence, necessity_message, reference_certificate
from server.worker.words import recentred

CONFLICT_THRESHOLD = 10.0


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
            conflict_threshold=CONFLICT_THRESHOLD,
        )
        message = belief_message(belief, figures, str(curve_row.pk), confidence_threshold)
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
    if fit.row.facts["months"] < months - 1 and fit.provenance.dataset_id:
        notes.append(f"{months} months were asked for; the data set has {fit.months:.1f}.")
    if not fit.diagnostics.converged:
        notes.append("The sampler did not meet its thresholds; the figures must not be relied on.")
    if (edge := fit.row.facts.get("edge_rows", 0)) > 0:
        notes.append(f"The first {edge} rows lack lead-in data, so their carry-over is understated.")
    return notes


def belief_message(
    belief: elicitation_pb2.Belief, found: BeliefConflict, curve_id: str, confidence_threshold: float | None
) -> conflict_pb2.BeliefConflict:
    """The figures of one belief as a message."""
    raise NotImplementedError


def _joint(fit: StoredFit, examined: Sequence[Examined]) -> conflict_pb2.JointConflict | None:
    """All beliefs together, on unconstrained coordinates; None for a single belief or without draws."""
    names = [quantity_name(from_json(one.row.belief, elicitation_pb2.Belief()).estimand) for one in examined]
    if len(examined) < 2 or any(name not in fit.draws for name in names):
        return None
    coordinates = np.stack(
        [
            one.curve.support.to_unconstrained(np.ravel(fit.draws[name]))
            for one, name in zip(examined, names, strict=True)
        ]
    )
    words = [estimand_words(from_json(one.row.belief, elicitation_pb2.Belief()).estimand) for one in examined]
    found = joint_conflict([one.prior for one in examined], coordinates.mean(axis=1), np.cov(coordinates), words)
    return conflict_pb2.JointConflict(
        d_squared=found.d2,
        degrees_of_freedom=found.df,
        p_value=found.p,
        log_calibrated_bayes_factor=found.log_bf_cal,
        worst_direction=found.worst_direction,
    )


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
        kl_nats=one.message.kl_divergence_nats,
        wasserstein_1=one.message.wasserstein_1,
        wasserstein_2=one.message.wasserstein_2,
        severity=None if severity == "UNSPECIFIED" else severity,
        status=label(conflict_pb2.ConflictStatus, one.message.status),
        finding=label(conflict_pb2.Finding, one.message.finding),
    )
