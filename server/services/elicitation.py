"""ElicitationService: sessions and the beliefs in them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import grpc
from liftos.bayes.v1 import common_pb2, elicitation_pb2, elicitation_pb2_grpc, model_pb2, prior_update_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.lookup import get_owned
from persistence.tables import ClientPrior, Job, Model, PriorUpdate, Session
from server.calls import Calls
from server.errors import ServiceError, already_exists, invalid_field, not_found, unimplemented
from server.formats import quantity_words, shown
from server.idempotency import seen_before
from server.lineage import accepted_update
from server.pages import page_of
from server.resources import (
    belief_message,
    beliefs_of,
    by_pk,
    correlated_beliefs,
    owned,
    session_message,
    share_groups,
)
from server.services.models import check_distribution, check_estimand
from server.wire import from_json, to_json

Context = grpc.aio.ServicerContext[Any, Any]
_NOT_FITTED = frozenset({"distribution", "pooled", "updated_prior"})
_SHARES = (common_pb2.QUANTITY_SHARE_OF_OUTCOME, common_pb2.QUANTITY_SHARE_OF_MEDIA)


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
            await _refuse_copy(session, row, request)

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
                # The other shares of a group stay, but without this one they are no longer a Dirichlet distribution.
                groups = [group for group in share_groups(row) if request.belief_id not in group.belief_ids]
                row.share_groups = [to_json(group) for group in groups]
                row.coherence_notes = coherence_notes(left, channels_of(model), groups, correlated_beliefs(row))
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
        """Have a worker compile the shares together and store a belief for each."""
        check_shares(request)

        async def prepare(session: AsyncSession, job: Job) -> None:
            await self._changeable(session, request.client_id, request.session_id, etag=None)

        return await self.calls.run("ADD_SHARES", request, context, elicitation_pb2.AddShareBeliefsResponse, prepare)

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
        """Have a worker work out what the beliefs imply."""

        async def prepare(session: AsyncSession, job: Job) -> None:
            await owned(session, Session, request.client_id, request.session_id)

        return await self.calls.run(
            "ELICITATION_FEEDBACK", request, context, elicitation_pb2.GetElicitationFeedbackResponse, prepare
        )

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


async def _refuse_copy(session: AsyncSession, row: Session, request: elicitation_pb2.AddBeliefRequest) -> None:
    """Refuse a distribution in the place of a prior that the session was opened with: it would have seen no data."""
    if row.adopted_update_pk is None or not request.statement.HasField("distribution"):
        return
    adopted = await by_pk(session, PriorUpdate, row.adopted_update_pk)
    update = from_json(adopted.result or {}, prior_update_pb2.PriorUpdate())
    if any(belief.estimand == request.estimand for belief in update.beliefs):
        raise invalid_field(
            "statement.distribution",
            f"the session was opened from update {adopted.pk}, which has a prior of this quantity: state "
            "`updated_prior`, which knows the data that it has seen, or the client's own words",
        )


def check_statement(path: str, statement: elicitation_pb2.BeliefStatement) -> None:
    """Check what the options of the contract cannot; raises ServiceError with the path of the field."""
    form = str(statement.WhichOneof("form"))
    if statement.family and form in _NOT_FITTED:
        raise invalid_field(f"{path}.family", f"must be absent: a statement in the form {form} is what it is")
    inner = f"{path}.{form}"
    match form:
        case "mean_plus_minus":
            _check_meaning(inner, statement.mean_plus_minus)
        case "quantiles":
            if len(statement.quantiles.probabilities) != len(statement.quantiles.values):
                raise invalid_field(f"{inner}.values", "one value for each probability")
            for name in ("probabilities", "values"):
                _check_increasing(f"{inner}.{name}", getattr(statement.quantiles, name))
        case "range":
            _check_increasing(f"{inner}.upper", (statement.range.lower, statement.range.upper), "must be above lower")
            if statement.range.HasField("mean") and statement.range.HasField("mode"):
                raise invalid_field(f"{inner}.mode", "at most one of mean and mode")
        case "roulette":
            if len(statement.roulette.edges) != len(statement.roulette.chips) + 1:
                raise invalid_field(f"{inner}.edges", "one more than chips: the edges of the bins that these lie on")
            _check_increasing(f"{inner}.edges", statement.roulette.edges)
        case "mode_and_bounds":
            bounds = statement.mode_and_bounds
            _check_increasing(f"{inner}.upper", (bounds.lower, bounds.upper), "must be above lower")
            if not bounds.lower <= bounds.mode <= bounds.upper:
                raise invalid_field(f"{inner}.mode", "must lie between lower and upper")
        case "distribution":
            check_distribution(inner, statement.distribution)
        case "pooled" | "updated_prior":
            pass  # what they name is looked up, and checked, where they are compiled
        case _:
            raise AssertionError(f"a statement in the form {form} is not checked")


def _check_increasing(path: str, numbers: Iterable[float], message: str = "strictly increasing") -> None:
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise invalid_field(path, message)


def _check_meaning(path: str, stated: elicitation_pb2.MeanPlusMinus) -> None:
    interval = stated.meaning == elicitation_pb2.PLUS_MINUS_MEANING_INTERVAL_HALF_WIDTH
    if interval and not stated.HasField("level"):
        raise invalid_field(f"{path}.level", "required with INTERVAL_HALF_WIDTH")
    if not interval and stated.HasField("level"):
        raise invalid_field(f"{path}.level", "forbidden with SD")


def check_shares(request: elicitation_pb2.AddShareBeliefsRequest) -> None:
    """Check what the options of the contract cannot: which shares, each channel once, and what their "±" means."""
    if request.quantity not in _SHARES:
        raise invalid_field("quantity", "SHARE_OF_OUTCOME or SHARE_OF_MEDIA")
    for index, share in enumerate(request.shares):
        _check_meaning(f"shares[{index}].share", share.share)
        for name in ("belief_id", "channel"):
            if any(getattr(other, name) == getattr(share, name) for other in request.shares[:index]):
                raise invalid_field(f"shares[{index}].{name}", f"{getattr(share, name)!r} is used twice")


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
    for row in rows:
        estimand = belief_message(row).estimand
        if not can_be_prior(estimand, channels):
            what = quantity_words(estimand.quantity)
            raise unimplemented(
                f"a fit with belief {row.belief_id!r}, which is about a {what}, as its prior "
                "(leave the session out, or confirm one without this belief)",
                field,
            )


def can_be_prior(estimand: common_pb2.Estimand, channels: Sequence[str]) -> bool:
    """Whether a belief about it can be the prior of a fit of a model with these channels; of a summary always."""
    if not channels:
        return True
    coefficient = estimand.quantity == common_pb2.QUANTITY_COEFFICIENT and estimand.channel in channels
    return not coefficient and estimand.quantity not in NOT_PRIORS


def channels_of(model: Model) -> list[str]:
    """Names of a registered model's channels; none for a summary."""
    return [channel.name for channel in from_json(model.spec, model_pb2.ModelSpec()).additive_mmm.channels]


def coherence_notes(
    beliefs: Sequence[elicitation_pb2.Belief],
    channels: Sequence[str],
    groups: Sequence[elicitation_pb2.ShareGroup] = (),
    correlated: Collection[str] = (),
) -> list[str]:
    """Remarks on the beliefs about a model with these channels taken together, before any data are looked at.

    Shares that were stated together, in one of the groups, sum to what they should by construction. Of shares that are
    `correlated`, as those of an adopted update are, nothing is said that holds for independent ones.
    """
    notes = []
    together = {belief_id for group in groups for belief_id in group.belief_ids}
    stated: dict[common_pb2.Quantity.ValueType, dict[str, common_pb2.Estimate]] = {}
    alone: dict[common_pb2.Quantity.ValueType, dict[str, common_pb2.Estimate]] = {}
    for belief in beliefs:
        stated.setdefault(belief.estimand.quantity, {})[belief.estimand.channel] = belief.summary
        if belief.belief_id not in together:
            alone.setdefault(belief.estimand.quantity, {})[belief.estimand.channel] = belief.summary
    coupled = {belief.estimand.quantity for belief in beliefs if belief.belief_id in correlated}
    for quantity in _SHARES:
        independent = quantity not in coupled
        if alone.get(quantity) and (note := _whole_note(quantity, stated[quantity], channels, independent)):
            notes.append(note)
    shares = stated.get(common_pb2.QUANTITY_SHARE_OF_OUTCOME, {})
    totals = stated.get(common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME, {})
    for whole in totals.values():
        if whole.mean > 1:
            notes.append(
                f"The stated total of all media is {_percent(whole.mean)} of outcome, which leaves a negative baseline."
            )
        if shares and (note := _total_note(whole, shares, set(channels) == set(shares))):
            notes.append(note)
        for channel, part in stated.get(common_pb2.QUANTITY_SHARE_OF_MEDIA, {}).items():
            if channel in shares and (note := _product_note(channel, part, whole, shares[channel])):
                notes.append(note)
    return notes


def _percent(share: float) -> str:
    return shown(share, common_pb2.QUANTITY_SHARE_OF_OUTCOME)


def _whole_note(
    quantity: common_pb2.Quantity.ValueType,
    shares: Mapping[str, common_pb2.Estimate],
    channels: Sequence[str],
    independent: bool,
) -> str:
    """A remark when shares exceed the whole, may well do so, or are all there is without filling it."""
    name = quantity_words(quantity)
    total = sum(share.mean for share in shares.values())
    if total > 1:
        return (
            f"The stated means of {name} sum to {_percent(total)}, which is more than the whole: "
            "together these beliefs leave a negative rest."
        )
    if not independent or not all(share.HasField("mean") and share.HasField("sd") for share in shares.values()):
        return ""
    spread = math.hypot(*(share.sd for share in shares.values()))
    if quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA and set(shares) == set(channels) and total + 1.96 * spread < 1:
        return (
            f"The stated means of {name} of all channels sum to {_percent(total)}, which is less than the whole by "
            "more than chance. State them together, so that they sum to 100 %."
        )
    chance = 0.5 * math.erfc((1 - total) / (spread * math.sqrt(2.0))) if spread > 0 else 0.0
    if chance > 0.05 and len(shares) > 1:
        return (
            f"Taken as independent, the stated beliefs about {name} exceed the whole with a probability of "
            f"{100 * chance:.0f} %. State them together, so that they cannot."
        )
    return ""


def _product_note(
    channel: str, of_media: common_pb2.Estimate, media: common_pb2.Estimate, of_outcome: common_pb2.Estimate
) -> str:
    """A remark when a share of outcome is not the share of media of the total, by more than 1.96 of the joint sds."""
    if not all(part.HasField("mean") and part.HasField("sd") for part in (of_media, media, of_outcome)):
        return ""
    implied = of_media.mean * media.mean
    spread = math.hypot(of_media.sd * media.mean, of_media.mean * media.sd, of_outcome.sd)
    if abs(implied - of_outcome.mean) <= 1.96 * spread:
        return ""
    return (
        f"{channel}'s stated share of media, {_percent(of_media.mean)}, of the stated total of all media, "
        f"{_percent(media.mean)}, would be {_percent(implied)} of outcome, but {_percent(of_outcome.mean)} is stated: "
        "more than chance apart."
    )


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
        f"The stated shares of outcome of {of} sum to {_percent(total)}, the stated total of all media is "
        f"{_percent(whole.mean)}: more than chance apart, so not all of these beliefs can hold."
    )
