"""Conflict analysis of a session: reference fit, evidence curves, figures, causes, decision on SBC."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, conflict_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.analysis import ConflictRule
from engine.rules.policy import NecessityInputs
from persistence.tables import ClientPrior, Conflict, ElicitedSession, Job, RegisteredModel
from server.contract.period import Period
from server.contract.wire import label, to_json
from server.records.lineage import already_used, looks_at, overlaps_of, window_of
from server.records.messages import conflict_message
from server.records.sessions import beliefs_of, confirmed_session
from server.texts.phrases import recentred
from server.worker.conflict.blame import explain_conflicts, tell_collinearity
from server.worker.conflict.comparison import Examined, audit, examine, examine_jointly
from server.worker.conflict.conflict_messages import belief_message, evidence_row, joint_message, replicated_message
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
    joint = await compared_jointly(elicited, examined, rule)
    messages = [belief_message(one) for one in examined]
    notes = fit_notes(fit, period.months)
    if request.HasField("replicates"):
        for one, message in zip(examined, messages, strict=True):
            if (audited := await audit(fit, one, request.replicates)) is not None:
                message.replicated.CopyFrom(replicated_message(audited))
            else:
                notes.append(
                    f"Data cannot be replicated under belief {message.belief_id}: no single parameter sets it."
                )
    notes += _without_expert(examined, experts)
    tell_collinearity(fit, messages)
    if not request.without_causes:
        notes += await explain_conflicts(context, fit, model_row, period, examined, messages)
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
        for one, message in zip(examined, messages, strict=True):
            session.add(evidence_row(row, one, message))
        await session.flush()
        answer = await conflict_message(session, stored)
        answer.state = common_pb2.JOB_STATE_SUCCEEDED
        return conflict_pb2.AnalyzeConflictResponse(analysis=answer)

    return commit


async def compared_jointly(
    elicited: ElicitedSession, examined: Sequence[Examined], rule: ConflictRule
) -> conflict_pb2.JointConflict | None:
    """All beliefs of a session together; None where there is nothing to say together."""
    return joint_message(examined, await asyncio.to_thread(examine_jointly, elicited, examined), rule)


def _without_expert(examined: Sequence[Examined], experts: Sequence[ClientPrior]) -> list[str]:
    """Which beliefs the expert's session says something about that could not be compared."""
    if not experts:
        return []
    theirs = {(row.quantity, row.channel) for row in experts}
    shared = [one for one in examined if (one.row.quantity, one.row.channel) in theirs]
    if not shared:
        return ["The expert's session holds no belief about a quantity of this one."]
    return [
        f"Belief {one.row.belief_id} cannot be compared with the expert's, which the draws do not reach."
        for one in shared
        if one.figures.expert is None
    ]


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
        notes.append(f"The summary stands for {fit.months:g} months; the window of {months} months does not apply.")
    if fit.row.facts["months"] < months - 1 and fit.provenance.dataset_id:
        notes.append(f"{months} months were asked for; the data set has {fit.months:.1f}.")
    if not fit.diagnostics.converged:
        notes.append("The sampler did not meet its thresholds; the figures must not be relied on.")
    if (edge := fit.row.facts.get("edge_rows", 0)) > 0:
        where = " of each geo" if fit.row.facts.get("geos", 1) > 1 else ""
        notes.append(f"The first {edge} rows{where} lack lead-in data, so their carry-over is understated.")
    return notes
