"""Conflict analysis of a session: reference fit, evidence curves, figures, causes, decision on SBC."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, conflict_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.analysis import ConflictRule
from engine.rules.sbc_policy import NecessityInputs
from persistence.tables import ClientPrior, Conflict, ElicitedSession, Job, RegisteredModel
from server.contract.period import Period
from server.contract.wire import label, to_json
from server.records.lineage import already_used, looks_at, overlaps_of, window_of
from server.records.messages import conflict_message
from server.records.sessions import beliefs_of, confirmed_session
from server.texts.analysis_notes import (
    EXPERT_ABOUT_OTHERS,
    edge_rows,
    expert_not_reached,
    not_replicated,
    short_data,
    summary_months,
)
from server.texts.phrases import recentred
from server.texts.standing import not_relied_on
from server.worker.conflict.blame import explain_conflicts, tell_collinearity
from server.worker.conflict.comparison import Examined, audit, examine, examine_jointly
from server.worker.conflict.conflict_messages import (
    belief_conflict_message,
    evidence_row,
    joint_message,
    replicated_message,
)
from server.worker.conflict.curve_answers import tell_curves
from server.worker.context import Commit, WorkerContext
from server.worker.fitting.fits import StoredFit, stored_fit
from server.worker.sbc.necessity import Question, decided


async def analyze_conflict(context: WorkerContext, job: Job) -> Commit:
    """Analyse the session of a request."""
    request = conflict_pb2.AnalyzeConflictRequest.FromString(job.request)
    async with context.database.session() as session:
        row = (await session.scalars(select(Conflict).where(Conflict.job_pk == job.pk))).one()
        elicited = await session.get_one(ElicitedSession, row.session_pk)
        model_row = await session.get_one(RegisteredModel, row.model_pk)
        period = Period.of(row)
        beliefs = await beliefs_of(session, elicited.pk)
        experts: Sequence[ClientPrior] = ()
        if request.expert_session_id:
            rival = await confirmed_session(session, request.client_id, request.expert_session_id)
            experts = await beliefs_of(session, rival.pk)
        window = await window_of(session, model_row, period)
        overlaps = await overlaps_of(session, window, beliefs)
        overlaps += await overlaps_of(session, window, experts, request.expert_session_id)
        if overlaps and not request.exploratory:
            raise already_used(overlaps, exploratory=True, summary=model_row.dataset_pk is None)
    rule = ConflictRule(confidence_threshold=row.confidence_threshold)
    fit = await stored_fit(context, model_row, period)
    examined = await examine(context, fit, beliefs, rule, experts)
    joint = await compared_jointly(fit, elicited, examined, rule)
    messages = [belief_conflict_message(compared) for compared in examined]
    notes = fit_notes(fit, period.months)
    if request.HasField("replicates"):
        for compared, message in zip(examined, messages, strict=True):
            if (audited := await audit(fit, compared, request.replicates)) is not None:
                message.replicated.CopyFrom(replicated_message(audited))
            else:
                notes.append(not_replicated(message.belief_id))
    notes += _without_expert(examined, experts)
    tell_collinearity(fit, messages)
    if not request.without_causes:
        notes += await explain_conflicts(context, fit, model_row, period, examined, messages)
    if request.compare_curves:
        notes += await tell_curves(fit, examined, messages, rule)
    diagnostics = fit.diagnostics
    analysis = conflict_pb2.ConflictAnalysis(
        confidence_threshold=row.confidence_threshold,
        beliefs=messages,
        joint=joint,
        severity=max((message.severity for message in messages), default=conflict_pb2.SEVERITY_UNSPECIFIED),
        conflict=any(message.conflict for message in messages),
        diagnostics=diagnostics,
        provenance=fit.provenance,
        notes=notes,
        reference_fit_reused=fit.reused,
        overlaps=overlaps,
    )

    async def commit(session: AsyncSession) -> conflict_pb2.AnalyzeConflictResponse:
        stored = await session.get_one(Conflict, row.pk)
        stored.window_pk = window.pk
        stored.exploratory = bool(overlaps)
        analysis.looks = await looks_at(session, window, beliefs)
        inputs = session_inputs(model_row, elicited, row.business_impact_minor, messages, joint)
        question = Question(row.client_id, "CONFLICT", str(row.pk), model_row, period, inputs, diagnostics)
        analysis.sbc_necessity.CopyFrom(await decided(session, question))
        stored.result = to_json(analysis)
        severity = label(conflict_pb2.Severity, analysis.severity)
        stored.severity = None if severity == "UNSPECIFIED" else severity
        stored.conflict = analysis.conflict
        for compared, message in zip(examined, messages, strict=True):
            session.add(evidence_row(row, compared, message))
        await session.flush()
        answer = await conflict_message(session, stored)
        answer.state = common_pb2.JOB_STATE_SUCCEEDED
        return conflict_pb2.AnalyzeConflictResponse(analysis=answer)

    return commit


async def compared_jointly(
    fit: StoredFit, elicited: ElicitedSession, examined: Sequence[Examined], rule: ConflictRule
) -> conflict_pb2.JointConflict | None:
    """All beliefs of a session together; None where there is nothing to say together."""
    return joint_message(examined, await asyncio.to_thread(examine_jointly, fit, elicited, examined), rule)


def _without_expert(examined: Sequence[Examined], experts: Sequence[ClientPrior]) -> list[str]:
    """Which beliefs the expert's session says something about that could not be compared."""
    if not experts:
        return []
    theirs = {(row.quantity, row.channel) for row in experts}
    shared = [belief for belief in examined if (belief.row.quantity, belief.row.channel) in theirs]
    if not shared:
        return [EXPERT_ABOUT_OTHERS]
    return [expert_not_reached(belief.row.belief_id) for belief in shared if belief.figures.expert is None]


def session_inputs(
    model: RegisteredModel,
    elicited: ElicitedSession | None,
    business_impact_minor: int | None,
    beliefs: Sequence[conflict_pb2.BeliefConflict],
    joint: conflict_pb2.JointConflict | None = None,
) -> NecessityInputs:
    """What an analysis knows of the inputs of the decision on SBC.

    The Bayes factor is the largest of those that can be relied on, the calibrated one of all beliefs together among
    them; where there is a belief without such a one it is only part of the answer.
    """
    reliable = [recentred(b) for b in beliefs if b.status != conflict_pb2.CONFLICT_STATUS_UNRELIABLE]
    partial = len(reliable) < len(beliefs)
    if joint is not None and joint.status == conflict_pb2.CONFLICT_STATUS_OK:
        reliable.append(joint.log_calibrated_bayes_factor)
    return NecessityInputs(
        n_parameters=model.parameter_count,
        log_bayes_factor=max(reliable, default=None),
        bayes_factor_partial=partial or None,
        business_impact_minor_units=business_impact_minor,
        client_confidence=elicited.client_confidence if elicited else None,
    )


def fit_notes(fit: StoredFit, months: int) -> list[str]:
    """What to mind about the window and the fit."""
    notes = []
    if not fit.provenance.dataset_id and fit.months != months:
        notes.append(summary_months(fit.months, months))
    if fit.row.facts["months"] < months - 1 and fit.provenance.dataset_id:
        notes.append(short_data(fit.months, months))
    notes += not_relied_on(fit.diagnostics)
    if (edge := fit.row.facts.get("edge_rows", 0)) > 0:
        skipped = fit.row.facts.get("skipped_rows", 0)
        notes.append(edge_rows(edge, skipped, of_each_geo=fit.row.facts.get("geos", 1) > 1))
    return notes
