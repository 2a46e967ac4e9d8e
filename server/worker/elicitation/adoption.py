"""Handler that opens a session with the priors of an accepted update: the way to use them with the next data."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2, elicitation_pb2, prior_update_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.errors import InvalidInput
from engine.models.protocol import Model
from persistence.lookup import get_owned
from persistence.tables import ClientPrior, ElicitedSession, Job, RegisteredModel
from server.contract.errors import already_exists
from server.contract.period import Period
from server.contract.wire import from_array, from_json, label, to_json
from server.records.lineage import accepted_update, inherit
from server.records.lookups import owned
from server.records.messages import session_message
from server.records.sessions import belief_message, beliefs_of, channels_of
from server.texts.coherence import coherence_notes
from server.worker.context import Commit, WorkerContext
from server.worker.conversion import estimate_of_law, from_law
from server.worker.elicitation.beliefs import place_of
from server.worker.elicitation.statements import Compiled, compile_given
from server.worker.fitting.prepared import check_known


async def adopt_prior_update(context: WorkerContext, job: Job) -> Commit:
    """Make every updated prior of a request's update a belief of a new session, with its lineage."""
    request = elicitation_pb2.AdoptPriorUpdateRequest.FromString(job.request)
    async with context.database.session() as session:
        row = await accepted_update(session, request.client_id, request.update_id)
        update = from_json(row.result or {}, prior_update_pb2.PriorUpdate())
        before = await session.get_one(ElicitedSession, row.session_pk)
        replaced = {prior.belief_id: belief_message(prior) for prior in await beliefs_of(session, before.pk)}
        model_row = (
            await owned(session, RegisteredModel, request.client_id, request.model_id)
            if request.model_id
            else await session.get_one(RegisteredModel, before.model_pk)
        )
        model = await context.models.prepared(session, model_row, Period.whole())
    beliefs = [
        _belief(request, change, replaced[change.belief_id], _law(request, change, model)) for change in update.beliefs
    ]
    correlation = (
        {"belief_ids": [belief.belief_id for belief in beliefs], "matrix": from_array(update.correlation).tolist()}
        if update.HasField("correlation")
        else None
    )

    async def commit(session: AsyncSession) -> elicitation_pb2.AdoptPriorUpdateResponse:
        if await get_owned(session, ElicitedSession, request.client_id, request.session_id) is not None:
            raise already_exists("elicitation session", request.session_id, "session_id")
        adopted = ElicitedSession(
            client_id=request.client_id,
            session_id=request.session_id,
            model_pk=model_row.pk,
            state="FEEDBACK",
            client_confidence=request.client_confidence if request.HasField("client_confidence") else None,
            coherence_notes=coherence_notes(
                beliefs, channels_of(model_row), correlated=[] if correlation is None else correlation["belief_ids"]
            ),
            version=1,
            adopted_update_pk=row.pk,
            correlation=correlation,
        )
        session.add(adopted)
        await session.flush()
        for ordinal, belief in enumerate(beliefs):
            prior = ClientPrior(
                session_pk=adopted.pk,
                belief_id=belief.belief_id,
                ordinal=ordinal,
                quantity=label(common_pb2.Quantity, belief.estimand.quantity),
                channel=belief.estimand.channel,
                belief=to_json(belief),
            )
            session.add(prior)
            await session.flush()
            await inherit(session, request.client_id, prior)
            await session.refresh(prior)
        await session.refresh(adopted)
        return elicitation_pb2.AdoptPriorUpdateResponse(session=await session_message(session, adopted))

    return commit


def _law(
    request: elicitation_pb2.AdoptPriorUpdateRequest, change: prior_update_pb2.BeliefUpdate, model: Model
) -> Compiled:
    """The updated prior, or its projection, which the model must be able to have."""
    stored = change.after
    if request.projected:
        if not change.projection.HasField("distribution") or change.projection.refused:
            why = change.projection.refusal or "the update was not projected on a family"
            raise InvalidInput("projected", f"belief {change.belief_id!r}: {why}")
        stored = change.projection.distribution
    try:
        check_known(model, change.estimand, "model_id")
        return compile_given(stored, place_of(model, change.estimand), path="model_id")
    except InvalidInput as error:
        raise InvalidInput("model_id", f"belief {change.belief_id!r}: {error.message}") from None


def _belief(
    request: elicitation_pb2.AdoptPriorUpdateRequest,
    change: prior_update_pb2.BeliefUpdate,
    before: elicitation_pb2.Belief,
    prior: Compiled,
) -> elicitation_pb2.Belief:
    """The updated prior as a belief, in the words of the one that it replaces."""
    what = "Projection of the prior" if request.projected else "Prior"
    kept = "" if change.changed else ", which left it as it was"
    return elicitation_pb2.Belief(
        belief_id=change.belief_id,
        estimand=change.estimand,
        statement=elicitation_pb2.BeliefStatement(
            updated_prior=elicitation_pb2.UpdatedPriorStatement(update_id=request.update_id, belief_id=change.belief_id)
        ),
        wording=before.wording,
        stated_by=before.stated_by,
        role=elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT,
        compiled=from_law(prior.distribution),
        notes=[f"{what} after update {request.update_id}{kept}. The wording is that of the belief before it."],
        summary=estimate_of_law(prior.distribution),
        fit=prior.fit,
    )
