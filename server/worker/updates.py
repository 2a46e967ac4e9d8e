"""Recommended prior updates from a session's latest conflict analysis."""

from __future__ import annotations

import asyncio

from liftos.bayes.v1 import conflict_pb2, elicitation_pb2, prior_update_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.priors.update import Strategy, update
from persistence.tables import ClientPrior, ConflictEvidence, EvidenceCurve, Job, PriorUpdate, Session
from server.lineage import lineage_of, refuse_used_experiments, updates_from
from server.resources import conflict_message, owned
from server.services.prior_updates import latest_conflict, prior_update_message
from server.wire import from_json, label, to_json, value_of
from server.worker.calls import Commit, WorkerContext
from server.worker.convert import belief_law, estimate_of_law, from_law
from server.worker.fits import curve_of
from server.worker.words import recentred

DEFAULT_STRATEGY = prior_update_pb2.UPDATE_STRATEGY_EVIDENCE_WEIGHTED
DEFAULT_EVIDENCE = 10.0


async def update_priors(context: WorkerContext, job: Job) -> Commit:
    """Update every belief of the request's session; a pure function of the stored beliefs and curves."""
    request = prior_update_pb2.UpdatePriorsRequest.FromString(job.request)
    strategy = request.update_strategy or DEFAULT_STRATEGY
    minimum = request.min_evidence_strength if request.HasField("min_evidence_strength") else DEFAULT_EVIDENCE
    async with context.database.session() as session:
        elicited = await owned(session, Session, request.client_id, request.session_id)
        conflict = await latest_conflict(session, elicited)
        analysis = await conflict_message(session, conflict)
        statement = (
            select(ClientPrior, EvidenceCurve)
            .join(ConflictEvidence, ConflictEvidence.prior_pk == ClientPrior.pk)
            .join(EvidenceCurve, EvidenceCurve.pk == ConflictEvidence.curve_pk)
            .where(ConflictEvidence.conflict_pk == conflict.pk)
            .order_by(ClientPrior.ordinal)
        )
        pairs = [(row[0], row[1]) for row in (await session.execute(statement)).all()]
        curves = [curve_of(curve) for _, curve in pairs]
        refuse_used_experiments([row for row, _ in pairs], request.experiments)
    found = {belief.belief_id: belief for belief in analysis.beliefs}
    updates = []
    for (row, _), curve in zip(pairs, curves, strict=True):
        belief = from_json(row.belief, elicitation_pb2.Belief())
        figures = found[row.belief_id]
        before = belief_law(belief, curve.reference, "compiled")
        unreliable = figures.status == conflict_pb2.CONFLICT_STATUS_UNRELIABLE
        message = prior_update_pb2.BeliefUpdate(
            belief_id=belief.belief_id,
            estimand=belief.estimand,
            before=from_law(before),
            before_summary=estimate_of_law(before),
            data_side=figures.data_side,
            log_bayes_factor=recentred(figures),
        )
        if unreliable:
            message.after.CopyFrom(message.before)
            message.after_summary.CopyFrom(message.before_summary)
            message.action = prior_update_pb2.UPDATE_ACTION_CHECK_MODEL
            message.reasons.append(f"The conflict figures are unreliable: {figures.status_reason}")
        else:
            chosen = Strategy[label(prior_update_pb2.UpdateStrategy, strategy)]
            result = await asyncio.to_thread(update, before, curve, chosen, minimum, recentred(figures))
            message.after.CopyFrom(from_law(result.distribution))
            message.after_summary.CopyFrom(estimate_of_law(result.distribution))
            message.changed = result.changed
            message.action = value_of(prior_update_pb2.UpdateAction, result.action.name)
            message.reasons.extend(result.reasons)
            if result.weight is not None:
                message.weight = result.weight
        updates.append(message)
    recommendation = prior_update_pb2.PriorUpdate(
        update_strategy=strategy,
        min_evidence_strength=minimum,
        beliefs=updates,
        exploratory=conflict.exploratory,
    )

    async def commit(session: AsyncSession) -> prior_update_pb2.UpdatePriorsResponse:
        recommendation.lineage.CopyFrom(await lineage_of(session, conflict, updates, request.experiments))
        recommendation.looks = await updates_from(session, conflict)
        stored = PriorUpdate(
            client_id=request.client_id,
            session_pk=elicited.pk,
            conflict_pk=conflict.pk,
            update_strategy=label(prior_update_pb2.UpdateStrategy, strategy),
            min_evidence_strength=minimum,
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
