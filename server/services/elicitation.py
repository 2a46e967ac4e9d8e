"""ElicitationService: sessions and the beliefs in them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import grpc
from liftos.bayes.v1 import common_pb2, elicitation_pb2, elicitation_pb2_grpc, model_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.lookup import get_owned
from persistence.tables import ClientPrior, Job, Model, Session
from server.calls import Calls
from server.errors import ServiceError, already_exists, invalid_field, not_found, unimplemented
from server.idempotency import seen_before
from server.lineage import accepted_update
from server.pages import page_of
from server.resources import belief_message, beliefs_of, owned, session_message
from server.services.models import check_distribution, check_estimand
from server.wire import from_json, label

Context = grpc.aio.ServicerContext[Any, Any]
_LATER_FORMS = frozenset({"range", "roulette", "mode_and_bounds"})


class ElicitationServicer(elicitation_pb2_grpc.ElicitationServiceServicer):
    """Sessions of a client. Statements are compiled by a worker, since that is statistics."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self.database = database
        self.calls = calls

    async def CreateElicitationSession(
        self, request: elicitation_pb2.CreateElicitationSessionRequest, context: Context
    ) -> elicitation_pb2.CreateElicitationSessionResponse:
        """Open a session."""
        async with self.database.session() as session:
            replay = await seen_before(session, "CreateElicitationSession", request)
            if replay is None:
                model = await owned(session, Model, request.client_id, request.model_id)
                if await get_owned(session, Session, request.client_id, request.session_id) is not None:
                    raise already_exists("elicitation session", request.session_id, "session_id")
                row = Session(
                    client_id=request.client_id,
                    session_id=request.session_id,
                    model_pk=model.pk,
                    state="DRAFT",
                    client_confidence=request.client_confidence if request.HasField("client_confidence") else None,
                    coherence_notes=[],
                    version=1,
                )
                session.add(row)
                await session.flush()
            return elicitation_pb2.CreateElicitationSessionResponse(
                session=await self._message(session, request.client_id, request.session_id)
            )

    async def GetElicitationSession(
        self, request: elicitation_pb2.GetElicitationSessionRequest, context: Context
    ) -> elicitation_pb2.GetElicitationSessionResponse:
        """Return a session."""
        async with self.database.session() as session:
            return elicitation_pb2.GetElicitationSessionResponse(
                session=await self._message(session, request.client_id, request.session_id)
            )

    async def ListElicitationSessions(
        self, request: elicitation_pb2.ListElicitationSessionsRequest, context: Context
    ) -> elicitation_pb2.ListElicitationSessionsResponse:
        """List the sessions of a client."""
        async with self.database.session() as session:
            build = partial(session_message, session)
            found, token = await page_of(session, Session, request, "", build)
            return elicitation_pb2.ListElicitationSessionsResponse(sessions=found, next_page_token=token)

    async def UpdateElicitationSession(
        self, request: elicitation_pb2.UpdateElicitationSessionRequest, context: Context
    ) -> elicitation_pb2.UpdateElicitationSessionResponse:
        """Change the fields that the mask names."""
        for index, path in enumerate(request.update_mask.paths):
            if path != "client_confidence":
                raise invalid_field(f"update_mask.paths[{index}]", f"{path!r} cannot be changed")
        async with self.database.session() as session:
            replay = await seen_before(session, "UpdateElicitationSession", request)
            if replay is None:
                row = await self._changeable(session, request.client_id, request.session_id, request.etag)
                if request.update_mask.paths:
                    present = request.patch.HasField("client_confidence")
                    row.client_confidence = request.patch.client_confidence if present else None
                    row.version += 1
            return elicitation_pb2.UpdateElicitationSessionResponse(
                session=await self._message(session, request.client_id, request.session_id)
            )

    async def AddBelief(
        self, request: elicitation_pb2.AddBeliefRequest, context: Context
    ) -> elicitation_pb2.AddBeliefResponse:
        """Have a worker compile the statement and store the belief."""
        check_estimand("estimand", request.estimand)
        check_statement("statement", request.statement)
        factor = request.role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR
        if factor and request.statement.HasField("updated_prior"):
            raise invalid_field("role", "an updated prior is the whole prior of its quantity: MARGINAL_REPLACEMENT")

        async def prepare(session: AsyncSession, job: Job) -> None:
            row = await self._changeable(session, request.client_id, request.session_id, etag=None)
            taken = select(ClientPrior.pk).where(
                ClientPrior.session_pk == row.pk, ClientPrior.belief_id == request.belief_id
            )
            if await session.scalar(taken) is not None:
                raise already_exists("belief", request.belief_id, "belief_id")
            if request.statement.HasField("updated_prior"):
                stated = request.statement.updated_prior
                await accepted_update(session, request.client_id, stated.update_id, "statement.updated_prior.update_id")

        return await self.calls.run("ADD_BELIEF", request, context, elicitation_pb2.AddBeliefResponse, prepare)

    async def RemoveBelief(
        self, request: elicitation_pb2.RemoveBeliefRequest, context: Context
    ) -> elicitation_pb2.RemoveBeliefResponse:
        """Remove a belief."""
        async with self.database.session() as session:
            replay = await seen_before(session, "RemoveBelief", request)
            if replay is None:
                row = await self._changeable(session, request.client_id, request.session_id, request.etag)
                statement = select(ClientPrior).where(
                    ClientPrior.session_pk == row.pk, ClientPrior.belief_id == request.belief_id
                )
                belief = (await session.scalars(statement)).one_or_none()
                if belief is None:
                    raise not_found("belief", request.belief_id, "belief_id")
                await session.delete(belief)
                await session.flush()
                forget_correlation(row, request.belief_id)
                left = [belief_message(other) for other in await beliefs_of(session, row.pk)]
                model = await session.get_one(Model, row.model_pk)
                row.coherence_notes = coherence_notes(left, channels_of(model))
                row.state = "FEEDBACK" if left else "DRAFT"
                row.version += 1
            return elicitation_pb2.RemoveBeliefResponse(
                session=await self._message(session, request.client_id, request.session_id)
            )

    async def ConfirmElicitationSession(
        self, request: elicitation_pb2.ConfirmElicitationSessionRequest, context: Context
    ) -> elicitation_pb2.ConfirmElicitationSessionResponse:
        """Make a session immutable."""
        async with self.database.session() as session:
            replay = await seen_before(session, "ConfirmElicitationSession", request)
            if replay is None:
                row = await self._changeable(session, request.client_id, request.session_id, request.etag)
                if row.state != "FEEDBACK":
                    raise ServiceError(
                        "INVALID_STATE", "a session without beliefs cannot be confirmed", metadata={"state": row.state}
                    )
                row.state = "CONFIRMED"
                row.confirm_time = datetime.datetime.now(datetime.UTC)
                row.version += 1
            return elicitation_pb2.ConfirmElicitationSessionResponse(
                session=await self._message(session, request.client_id, request.session_id)
            )

    async def AddShareBeliefs(
        self, request: elicitation_pb2.AddShareBeliefsRequest, context: Context
    ) -> elicitation_pb2.AddShareBeliefsResponse:
        """Not there yet."""
        raise unimplemented("beliefs about shares stated together", "")

    async def AdoptPriorUpdate(
        self, request: elicitation_pb2.AdoptPriorUpdateRequest, context: Context
    ) -> elicitation_pb2.AdoptPriorUpdateResponse:
        """Have a worker make a session of the priors of an accepted update."""

        async def prepare(session: AsyncSession, job: Job) -> None:
            await accepted_update(session, request.client_id, request.update_id)
            if request.model_id:
                await owned(session, Model, request.client_id, request.model_id)
            if await get_owned(session, Session, request.client_id, request.session_id) is not None:
                raise already_exists("elicitation session", request.session_id, "session_id")

        return await self.calls.run(
            "ADOPT_PRIOR_UPDATE", request, context, elicitation_pb2.AdoptPriorUpdateResponse, prepare
        )

    async def GetElicitationFeedback(
        self, request: elicitation_pb2.GetElicitationFeedbackRequest, context: Context
    ) -> elicitation_pb2.GetElicitationFeedbackResponse:
        """Not there yet."""
        raise unimplemented("feedback on a session", "")

    async def FitPrior(
        self, request: elicitation_pb2.FitPriorRequest, context: Context
    ) -> elicitation_pb2.FitPriorResponse:
        """Have a worker compile a statement."""
        check_statement("statement", request.statement)
        if request.statement.HasField("updated_prior"):
            raise invalid_field("statement.updated_prior", "is compiled already; add it to a session")
        return await self.calls.run("FIT_PRIOR", request, context, elicitation_pb2.FitPriorResponse)

    async def _message(
        self, session: AsyncSession, client_id: str, session_id: str
    ) -> elicitation_pb2.ElicitationSession:
        await session.flush()
        return await session_message(session, await owned(session, Session, client_id, session_id))

    async def _changeable(self, session: AsyncSession, client_id: str, session_id: str, etag: str | None) -> Session:
        row = await owned(session, Session, client_id, session_id, for_update=True)
        if row.state == "CONFIRMED":
            raise ServiceError("INVALID_STATE", "a confirmed session is immutable", metadata={"state": row.state})
        if etag is not None and etag != str(row.version):
            raise ServiceError("STALE_ETAG", "the session has changed since it was read; read it again")
        return row


def check_statement(path: str, statement: elicitation_pb2.BeliefStatement) -> None:
    """Check what the options of the contract cannot; raises ServiceError with the path of the field."""
    form = str(statement.WhichOneof("form"))
    if form in _LATER_FORMS:
        raise unimplemented(f"a statement in the form {form}", f"{path}.{form}")
    if form == "mean_plus_minus":
        stated = statement.mean_plus_minus
        interval = stated.meaning == elicitation_pb2.PLUS_MINUS_MEANING_INTERVAL_HALF_WIDTH
        if interval and not stated.HasField("level"):
            raise invalid_field(f"{path}.mean_plus_minus.level", "required with INTERVAL_HALF_WIDTH")
        if not interval and stated.HasField("level"):
            raise invalid_field(f"{path}.mean_plus_minus.level", "forbidden with SD")
    elif form == "quantiles":
        quantiles = statement.quantiles
        if len(quantiles.probabilities) != len(quantiles.values):
            raise invalid_field(f"{path}.quantiles.values", "one value for each probability")
        for name in ("probabilities", "values"):
            numbers = list(getattr(quantiles, name))
            if any(later <= earlier for earlier, later in pairwise(numbers)):
                raise invalid_field(f"{path}.quantiles.{name}", "strictly increasing")
    elif form == "updated_prior":
        if statement.family:
            raise invalid_field(f"{path}.family", "not with an updated prior, which is what it is")
    else:
        check_distribution(f"{path}.distribution", statement.distribution)


def forget_correlation(row: Session, belief_id: str) -> None:
    """Drop a belief from the correlation of its session; what is left of one belief is none."""
    if row.correlation is None or belief_id not in row.correlation["belief_ids"]:
        return
    left = [index for index, other in enumerate(row.correlation["belief_ids"]) if other != belief_id]
    row.correlation = (
        {
            "belief_ids": [row.correlation["belief_ids"][index] for index in left],
            "matrix": [[row.correlation["matrix"][i][j] for j in left] for i in left],
        }
        if len(left) > 1
        else None
    )


NOT_PRIORS = frozenset(
    {
        common_pb2.QUANTITY_MARGINAL_ROI,
        common_pb2.QUANTITY_SHARE_OF_MEDIA,
        common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME,
    }
)
"""Quantities that depend on several parameters: a belief about one replaces the prior of none."""


def check_priors(model: Model, rows: Iterable[ClientPrior], field: str) -> None:
    """Refuse, before anything is computed, a fit under beliefs of a session that cannot be priors of the model."""
    channels = channels_of(model)
    if not channels:
        return
    for row in rows:
        estimand = belief_message(row).estimand
        coefficient = estimand.quantity == common_pb2.QUANTITY_COEFFICIENT and estimand.channel in channels
        if coefficient or estimand.quantity in NOT_PRIORS:
            what = label(common_pb2.Quantity, estimand.quantity).lower()
            raise unimplemented(f"a fit with belief {row.belief_id!r}, which is about a {what}, as its prior", field)


def channels_of(model: Model) -> list[str]:
    """Names of a registered model's channels; none for a summary."""
    return [channel.name for channel in from_json(model.spec, model_pb2.ModelSpec()).additive_mmm.channels]


def coherence_notes(beliefs: Sequence[elicitation_pb2.Belief], channels: Sequence[str]) -> list[str]:
    """Remarks on the beliefs about a model with these channels taken together, before any data are looked at."""
    notes = []
    stated: dict[common_pb2.Quantity.ValueType, dict[str, common_pb2.Estimate]] = {}
    for belief in beliefs:
        stated.setdefault(belief.estimand.quantity, {})[belief.estimand.channel] = belief.summary
    for quantity in (common_pb2.QUANTITY_SHARE_OF_OUTCOME, common_pb2.QUANTITY_SHARE_OF_MEDIA):
        total = sum(summary.mean for summary in stated.get(quantity, {}).values())
        if total > 1:
            name = label(common_pb2.Quantity, quantity).lower()
            notes.append(
                f"The stated means of {name} sum to {total:.2f}, which is more than the whole: "
                "together these beliefs leave a negative rest."
            )
    shares = stated.get(common_pb2.QUANTITY_SHARE_OF_OUTCOME, {})
    totals = stated.get(common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME, {})
    if shares:
        complete = set(channels) == set(shares)
        notes += [note for whole in totals.values() if (note := _total_note(whole, shares, complete))]
    return notes


def _total_note(whole: common_pb2.Estimate, shares: Mapping[str, common_pb2.Estimate], complete: bool) -> str:
    """A remark when stated total and sum of the stated shares are more than 1.96 of their joint sds apart.

    Where shares are missing only a sum above the total is. The beliefs are taken as independent, as they are when they
    are put into the model one by one.
    """
    parts = list(shares.values())
    if not all(part.HasField("mean") and part.HasField("sd") for part in (whole, *parts)):
        return ""
    total, spread = sum(part.mean for part in parts), math.hypot(whole.sd, *(part.sd for part in parts))
    apart = abs(whole.mean - total) if complete else total - whole.mean
    if apart <= 1.96 * spread:
        return ""
    of = "all channels" if complete else " and ".join(sorted(shares))
    return (
        f"The stated shares of outcome of {of} sum to {total:.2f}, the stated total of all media is "
        f"{whole.mean:.2f}: more than chance apart, so not all of these beliefs can hold."
    )
