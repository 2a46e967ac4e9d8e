"""Handlers that compile statements to distributions."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, elicitation_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.errors import InvalidInput
from engine.priors.belief import Meaning, compile_mean_plus_minus, fit_quantiles
from engine.priors.distribution import UNIT_INTERVAL, Distribution, Normal, Support, TruncatedNormal
from persistence.tables import ClientPrior, Job, Model, Session
from server.errors import ServiceError, already_exists
from server.formats import estimand as words
from server.lineage import accepted_update, change_of, inherit
from server.period import Period
from server.resources import belief_message, beliefs_of, owned, session_message
from server.services.elicitation import channels_of, coherence_notes
from server.wire import label, to_json
from server.worker.calls import Commit, WorkerContext
from server.worker.convert import estimate_of_law, from_law, to_law
from server.worker.models import NATURAL, belief_support, check_known, natural_support

LINKED = {
    frozenset(
        {
            common_pb2.QUANTITY_SHARE_OF_OUTCOME,
            common_pb2.QUANTITY_ROI,
            common_pb2.QUANTITY_INCREMENTAL_OUTCOME,
        }
    ): "share of outcome, ROI and incremental outcome of a channel differ by a known factor only",
    frozenset(
        {common_pb2.QUANTITY_RETENTION, common_pb2.QUANTITY_HALF_LIFE}
    ): "the half-life of a channel is a known function of its retention",
}
"""Quantities of a channel that are the same unknown, and why: two beliefs would count it twice."""

MAX_BELIEFS = 50
MAX_OUTSIDE = 0.01
"""Largest probability outside the support with which a normal is truncated rather than refused."""


def check_range(statement: elicitation_pb2.BeliefStatement, natural: Support) -> None:
    """Refuse a mean that a quantity which lives there cannot have, above all a share given in per cent."""
    if statement.WhichOneof("form") != "mean_plus_minus":
        return
    mean = statement.mean_plus_minus.mean
    if not natural.lower < mean < natural.upper:
        hint = "; a share of 50 % is 0.5" if natural == UNIT_INTERVAL else ""
        message = f"{mean:g} is outside ({natural.lower:g}, {natural.upper:g}){hint}"
        raise InvalidInput("statement.mean_plus_minus.mean", message)


def compile_statement(statement: elicitation_pb2.BeliefStatement, support: Support) -> tuple[Distribution, list[str]]:
    """The distribution of a statement on a support, and remarks; InvalidInput with the path of the field to blame."""
    form = str(statement.WhichOneof("form"))
    path = f"statement.{form}"
    try:
        if form == "mean_plus_minus":
            stated = statement.mean_plus_minus
            meaning = Meaning[label(elicitation_pb2.PlusMinusMeaning, stated.meaning)]
            level = stated.level if stated.HasField("level") else None
            compiled = compile_mean_plus_minus(stated.mean, stated.plus_minus, meaning, level, support)
            return compiled.distribution, [compiled.note]
        if form == "quantiles":
            fitted = fit_quantiles(list(statement.quantiles.probabilities), list(statement.quantiles.values), support)
            return fitted.distribution, [fitted.note] if fitted.note else []
    except InvalidInput as error:
        raise InvalidInput(f"{path}.{error.field}", error.message) from None
    return on_support(to_law(statement.distribution, path), support, path)


def on_support(given: Distribution, support: Support, path: str) -> tuple[Distribution, list[str]]:
    """The given distribution, which must live where the quantity does; a normal is truncated to the support."""
    if given.support == support:
        return given, []
    outside = float(given.cdf(support.lower) + given.sf(support.upper))
    where = f"({support.lower:g}, {support.upper:g})"
    if outside > MAX_OUTSIDE:
        raise InvalidInput(path, f"{outside:.1%} of the probability lies outside {where}, where the quantity lives")
    if isinstance(given, Normal):
        note = f"Truncated to {where}: {outside:.2%} of its probability lay outside."
        return TruncatedNormal(given.mean, given.sd, support.lower, support.upper), [note]
    raise InvalidInput(path, f"must live on {where}, like the quantity; or state mean and plus-or-minus")


async def add_belief(context: WorkerContext, job: Job) -> Commit:
    """Compile the statement of a request and add the belief to its session."""
    request = elicitation_pb2.AddBeliefRequest.FromString(job.request)
    natural, support, channels = await _support(context, request)
    check_range(request.statement, natural)
    if request.statement.HasField("updated_prior"):
        distribution, notes = await _updated(context, request, support)
    else:
        distribution, notes = compile_statement(request.statement, support)
    role = request.role or elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT
    if role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR:
        notes = [*notes, "Multiplies the model's reference prior of the quantity instead of replacing it."]

    async def commit(session: AsyncSession) -> elicitation_pb2.AddBeliefResponse:
        # The session may have been confirmed, or got the same belief, while this one was being compiled.
        row = await owned(session, Session, request.client_id, request.session_id, for_update=True)
        if row.state == "CONFIRMED":
            raise ServiceError("INVALID_STATE", "a confirmed session is immutable", metadata={"state": row.state})
        existing = await beliefs_of(session, row.pk)
        _refuse_twins(existing, request)
        belief = elicitation_pb2.Belief(
            belief_id=request.belief_id,
            estimand=request.estimand,
            statement=request.statement,
            wording=request.wording,
            stated_by=request.stated_by,
            role=role,
            compiled=from_law(distribution),
            notes=notes,
            summary=estimate_of_law(distribution),
        )
        stored = ClientPrior(
            session_pk=row.pk,
            belief_id=request.belief_id,
            ordinal=max((other.ordinal for other in existing), default=-1) + 1,
            quantity=label(common_pb2.Quantity, request.estimand.quantity),
            channel=request.estimand.channel,
            belief=to_json(belief),
        )
        session.add(stored)
        row.state = "FEEDBACK"
        row.version += 1
        row.coherence_notes = coherence_notes([*(belief_message(other) for other in existing), belief], channels)
        await session.flush()
        await inherit(session, request.client_id, stored)
        await session.refresh(stored)
        return elicitation_pb2.AddBeliefResponse(
            session=await session_message(session, row), belief=belief_message(stored)
        )

    return commit


async def _updated(
    context: WorkerContext, request: elicitation_pb2.AddBeliefRequest, support: Support
) -> tuple[Distribution, list[str]]:
    """The prior that an accepted update left of a belief about the same quantity."""
    path, stated = "statement.updated_prior", request.statement.updated_prior
    async with context.database.session() as session:
        update = await accepted_update(session, request.client_id, stated.update_id, f"{path}.update_id")
    change = change_of(update, stated.belief_id, f"{path}.belief_id")
    if change.estimand != request.estimand:
        raise InvalidInput("estimand", f"the update's belief {stated.belief_id!r} is about {words(change.estimand)}")
    distribution, notes = on_support(to_law(change.after, path), support, path)
    return distribution, [f"Prior after update {stated.update_id}.", *notes]


async def _support(
    context: WorkerContext, request: elicitation_pb2.AddBeliefRequest
) -> tuple[Support, Support, list[str]]:
    """Where the model's quantity lives by its nature, where beliefs about it do, and the model's channels.

    The channel must be the model's; no other belief is about the same quantity.
    """
    async with context.database.session() as session:
        row = await owned(session, Session, request.client_id, request.session_id)
        model_row = await session.get_one(Model, row.model_pk)
        model = await context.models.prepared(session, model_row, Period())
        check_known(model, request.estimand, "estimand")
        _refuse_twins(await beliefs_of(session, row.pk), request)
    return natural_support(model, request.estimand), belief_support(model, request.estimand), channels_of(model_row)


def _refuse_twins(existing: Sequence[ClientPrior], request: elicitation_pb2.AddBeliefRequest) -> None:
    """Refuse a second belief with the same id, or about the same quantity."""
    if len(existing) >= MAX_BELIEFS:
        raise ServiceError(
            "LIMIT_EXCEEDED", f"a session holds at most {MAX_BELIEFS} beliefs", metadata={"limit": "beliefs"}
        )
    alone = frozenset({request.estimand.quantity})
    kin = next((group for group in LINKED if request.estimand.quantity in group), alone)
    why = f" ({LINKED[kin]})" if kin in LINKED else ""
    quantities = {label(common_pb2.Quantity, quantity) for quantity in kin}
    for other in existing:
        if other.belief_id == request.belief_id:
            raise already_exists("belief", request.belief_id, "belief_id")
        if other.channel == request.estimand.channel and other.quantity in quantities:
            raise InvalidInput(
                "estimand",
                f"belief {other.belief_id!r} is about the same quantity{why}; remove it first",
            )


async def fit_prior(context: WorkerContext, job: Job) -> Commit:
    """Compile the statement of a request."""
    request = elicitation_pb2.FitPriorRequest.FromString(job.request)
    check_range(request.statement, NATURAL[request.quantity])
    distribution, notes = compile_statement(request.statement, NATURAL[request.quantity])

    async def commit(session: AsyncSession) -> elicitation_pb2.FitPriorResponse:
        return elicitation_pb2.FitPriorResponse(
            compiled=from_law(distribution), summary=estimate_of_law(distribution), notes=notes
        )

    return commit
