"""Handlers that compile statements to distributions."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, elicitation_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.elicitation.stated_shares import Shares, fit_shares
from engine.errors import InvalidInput
from engine.models.protocol import Model
from persistence.tables import ClientPrior, ElicitedSession, Job, RegisteredModel
from server.contract.beyond_rules import LARGEST_FRACTION
from server.contract.errors import Reason, ServiceError, already_exists
from server.contract.period import Period
from server.contract.quantities import QUANTITIES, same_unknown
from server.contract.quantities import estimand as words
from server.contract.wire import label, to_json
from server.records.lineage import accepted_update, change_of, inherit
from server.records.lookups import owned
from server.records.messages import session_message
from server.records.sessions import belief_message, beliefs_of, channels_of, correlated_beliefs, share_groups
from server.texts.coherence import coherence_notes
from server.texts.law_shapes import shape_remark
from server.worker.context import Commit, WorkerContext
from server.worker.conversion import estimate_of_law, from_law
from server.worker.elicitation.statements import (
    Place,
    check_range,
    compile_given,
    compile_statement,
    fit_message,
    pool_members,
    refuse_narrower,
    stated_sd,
)
from server.worker.fitting.prepared import belief_support, check_known, natural_support, support_of

MAX_BELIEFS = 50


async def add_belief(context: WorkerContext, job: Job) -> Commit:
    """Compile the statement of a request and add the belief to its session."""
    request = elicitation_pb2.AddBeliefRequest.FromString(job.request)
    estimand = request.estimand
    async with context.database.session() as session:
        row, model, channels = await _about(context, session, request.client_id, request.session_id)
        check_known(model, estimand, "estimand")
        _refuse_twins(await beliefs_of(session, row.pk), request.belief_id, estimand)
        members = await pool_members(session, request.client_id, request.statement, estimand.quantity, estimand.channel)
        before = await _updated(session, request)
    place = place_of(model, estimand)
    if before is None:
        check_range(request.statement, place.natural)
        _refuse_per_cent(request)
        compiled = compile_statement(request.statement, place, members)
    else:
        compiled = compile_given(before, place, f"Prior after update {request.statement.updated_prior.update_id}.")
    refuse_narrower(compiled.distribution, place)
    role = request.role or elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT
    notes = list(compiled.notes)
    if role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR:
        notes.append("Multiplies the model's reference prior of the quantity instead of replacing it.")
    stated = from_law(compiled.distribution)
    if remark := shape_remark(stated, estimand.quantity):
        notes.append(remark)
    belief = elicitation_pb2.Belief(
        belief_id=request.belief_id,
        estimand=estimand,
        statement=request.statement,
        wording=request.wording,
        stated_by=request.stated_by,
        role=role,
        compiled=stated,
        notes=notes,
        summary=estimate_of_law(compiled.distribution),
        fit=compiled.fit,
        disagreement=compiled.disagreement,
        data_seen=request.data_seen if request.HasField("data_seen") else None,
    )

    async def commit(session: AsyncSession) -> elicitation_pb2.AddBeliefResponse:
        row = await _open_session(session, request.client_id, request.session_id)
        existing = await beliefs_of(session, row.pk)
        _refuse_twins(existing, request.belief_id, estimand)
        stored = await _store(session, row, existing, belief)
        await inherit(session, request.client_id, stored)
        await _finish(session, row, channels)
        await session.refresh(stored)
        return elicitation_pb2.AddBeliefResponse(
            session=await session_message(session, row), belief=belief_message(stored)
        )

    return commit


async def _updated(session: AsyncSession, request: elicitation_pb2.AddBeliefRequest) -> common_pb2.Distribution | None:
    """The prior that an accepted update left of a belief about the same quantity, where that is stated."""
    if not request.statement.HasField("updated_prior"):
        return None
    path, stated = "statement.updated_prior", request.statement.updated_prior
    update = await accepted_update(session, request.client_id, stated.update_id, f"{path}.update_id")
    change = change_of(update, stated.belief_id, f"{path}.belief_id")
    if change.estimand != request.estimand:
        raise InvalidInput("estimand", f"the update's belief {stated.belief_id!r} is about {words(change.estimand)}")
    return change.after


async def add_shares(context: WorkerContext, job: Job) -> Commit:
    """Compile the shares of a request together and add them to its session, a belief each, as a group."""
    request = elicitation_pb2.AddShareBeliefsRequest.FromString(job.request)
    estimands = [common_pb2.Estimand(quantity=request.quantity, channel=share.channel) for share in request.shares]
    of_media = request.quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA
    async with context.database.session() as session:
        row, model, channels = await _about(context, session, request.client_id, request.session_id)
        for index, estimand in enumerate(estimands):
            try:
                check_known(model, estimand, f"shares[{index}]")
            except InvalidInput as error:
                wrong_quantity = error.field.endswith(".quantity")
                raise InvalidInput("quantity" if wrong_quantity else error.field, error.message) from None
        existing = await beliefs_of(session, row.pk)
        for index, estimand in enumerate(estimands):
            _refuse_twins(existing, request.shares[index].belief_id, estimand, f"shares[{index}]")
    if of_media and (missing := [name for name in channels if name not in {share.channel for share in request.shares}]):
        raise InvalidInput("shares", f"shares of media are those of every channel; {', '.join(missing)} is missing")
    fitted = _fit_shares(request, rest=not of_media)
    beliefs = [
        elicitation_pb2.Belief(
            belief_id=share.belief_id,
            estimand=estimand,
            statement=elicitation_pb2.BeliefStatement(mean_plus_minus=share.share),
            wording=request.wording,
            stated_by=request.stated_by,
            role=elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT,
            compiled=from_law(law),
            notes=_share_notes(share, fitted, index, rest=not of_media),
            summary=estimate_of_law(law),
            fit=fit_message(law, place_of(model, estimand)),
            data_seen=request.data_seen if request.HasField("data_seen") else None,
        )
        for index, (share, estimand, law) in enumerate(zip(request.shares, estimands, fitted.marginals, strict=True))
    ]
    group = elicitation_pb2.ShareGroup(
        quantity=request.quantity, belief_ids=[share.belief_id for share in request.shares], alpha=fitted.alpha
    )

    async def commit(session: AsyncSession) -> elicitation_pb2.AddShareBeliefsResponse:
        row = await _open_session(session, request.client_id, request.session_id)
        for index, belief in enumerate(beliefs):
            existing = await beliefs_of(session, row.pk)
            _refuse_twins(existing, belief.belief_id, belief.estimand, f"shares[{index}]")
            await _store(session, row, existing, belief)
        row.share_groups = [*row.share_groups, to_json(group)]
        await _finish(session, row, channels)
        return elicitation_pb2.AddShareBeliefsResponse(session=await session_message(session, row))

    return commit


def _fit_shares(request: elicitation_pb2.AddShareBeliefsRequest, *, rest: bool) -> Shares:
    sds = [stated_sd(share.share, f"shares[{index}].share") for index, share in enumerate(request.shares)]
    for index, share in enumerate(request.shares):
        if not 0.0 < share.share.mean < 1.0:
            message = f"{share.share.mean:g} is outside (0, 1); a share of 50 % is 0.5"
            raise InvalidInput(f"shares[{index}].share.mean", message)
    try:
        return fit_shares([share.share.mean for share in request.shares], sds, rest=rest)
    except InvalidInput as error:
        raise InvalidInput("shares", f"the {error.field} {error.message}") from None


def _share_notes(share: elicitation_pb2.ChannelShare, fitted: Shares, index: int, *, rest: bool) -> list[str]:
    """What was asked for and what the share has: a Dirichlet distribution has one concentration for all."""
    asked, mean, sd = stated_sd(share.share, "shares"), fitted.means[index], fitted.sds[index]
    whole = "with the rest as baseline" if rest else "of all media"
    notes = [
        f"Stated together with the other shares, {whole}: a Dirichlet distribution of concentration "
        f"{sum(fitted.alpha):.4g}, of which this share is the marginal. Asked for an sd of {100 * asked:.3g} %, it has "
        f"{100 * sd:.3g} %."
    ]
    if abs(mean - share.share.mean) > 5e-4:
        notes.append(
            f"Its mean was scaled from {100 * share.share.mean:.3g} % to {100 * mean:.3g} %: the shares sum to one."
        )
    return notes


async def _about(
    context: WorkerContext, session: AsyncSession, client_id: str, session_id: str
) -> tuple[ElicitedSession, Model, list[str]]:
    """A session, the model that it is about, over all of its data, and the model's channels.

    A belief is about a quantity, and which window it is held against is chosen at the analysis.
    """
    row = await owned(session, ElicitedSession, client_id, session_id)
    model_row = await session.get_one(RegisteredModel, row.model_pk)
    return row, await context.models.prepared(session, model_row, Period.whole()), channels_of(model_row)


def place_of(model: Model, estimand: common_pb2.Estimand) -> Place:
    """What beliefs about an estimand of the model are about, and where they live."""
    natural, beliefs = natural_support(model, estimand), belief_support(model, estimand)
    return Place(estimand.quantity, f"the {words(estimand)}", natural, beliefs)


async def _open_session(session: AsyncSession, client_id: str, session_id: str) -> ElicitedSession:
    """The session, which may have been confirmed while something was computed for it."""
    row = await owned(session, ElicitedSession, client_id, session_id, for_update=True)
    if row.state == "CONFIRMED":
        raise ServiceError(Reason.INVALID_STATE, "a confirmed session is immutable", metadata={"state": row.state})
    return row


async def _store(
    session: AsyncSession, row: ElicitedSession, existing: Sequence[ClientPrior], belief: elicitation_pb2.Belief
) -> ClientPrior:
    """The belief as the last of its session."""
    stored = ClientPrior(
        session_pk=row.pk,
        belief_id=belief.belief_id,
        ordinal=max((other.ordinal for other in existing), default=-1) + 1,
        quantity=label(common_pb2.Quantity, belief.estimand.quantity),
        channel=belief.estimand.channel,
        belief=to_json(belief),
    )
    session.add(stored)
    await session.flush()
    await session.refresh(stored)
    return stored


async def _finish(session: AsyncSession, row: ElicitedSession, channels: Sequence[str]) -> None:
    """What changes in a session with its beliefs."""
    row.state = "FEEDBACK"
    row.version += 1
    beliefs = [belief_message(other) for other in await beliefs_of(session, row.pk)]
    row.coherence_notes = coherence_notes(beliefs, channels, share_groups(row), correlated_beliefs(row))
    await session.flush()


def _refuse_per_cent(request: elicitation_pb2.AddBeliefRequest) -> None:
    """Refuse a total of all media in per cent: nothing bounds it above, but many times the outcome is a slip."""
    total = QUANTITIES[request.estimand.quantity].of_all
    mean = request.statement.mean_plus_minus.mean
    if total and mean > LARGEST_FRACTION:
        raise InvalidInput("statement.mean_plus_minus.mean", f"{mean:g} times the outcome; 50 % is 0.5")


def _refuse_twins(
    existing: Sequence[ClientPrior], belief_id: str, estimand: common_pb2.Estimand, path: str = ""
) -> None:
    """Refuse a second belief with the same id, or about the same quantity; `path` is where the request names them."""
    if len(existing) >= MAX_BELIEFS:
        raise ServiceError(
            Reason.LIMIT_EXCEEDED, f"a session holds at most {MAX_BELIEFS} beliefs", metadata={"limit": "beliefs"}
        )
    why = QUANTITIES[estimand.quantity].same_as
    quantities = {label(common_pb2.Quantity, quantity) for quantity in same_unknown(estimand.quantity)}
    for other in existing:
        if other.belief_id == belief_id:
            raise already_exists("belief", belief_id, f"{path}.belief_id" if path else "belief_id")
        if other.channel == estimand.channel and other.quantity in quantities:
            raise InvalidInput(
                path or "estimand",
                f"belief {other.belief_id!r} is about the same quantity{f' ({why})' if why else ''}; remove it first",
            )


async def fit_prior(context: WorkerContext, job: Job) -> Commit:
    """Compile the statement of a request."""
    request = elicitation_pb2.FitPriorRequest.FromString(job.request)
    async with context.database.session() as session:
        members = await pool_members(session, request.client_id, request.statement, request.quantity, None)
    natural = support_of(request.quantity)
    about = label(common_pb2.Quantity, request.quantity).lower().replace("_", " ")
    place = Place(request.quantity, f"the {about}", natural, members[0].law.support if members else natural)
    check_range(request.statement, natural)
    compiled = compile_statement(request.statement, place, members)
    notes = list(compiled.notes)
    try:
        refuse_narrower(compiled.distribution, place)
    except InvalidInput as error:
        notes.append(f"Not to be had as a belief: {error.message}.")
    if remark := shape_remark(from_law(compiled.distribution), request.quantity):
        notes.append(remark)

    async def commit(session: AsyncSession) -> elicitation_pb2.FitPriorResponse:
        return elicitation_pb2.FitPriorResponse(
            compiled=from_law(compiled.distribution),
            summary=estimate_of_law(compiled.distribution),
            notes=notes,
            fit=compiled.fit,
        )

    return commit
