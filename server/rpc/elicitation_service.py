"""ElicitationService: sessions and the beliefs in them."""

from __future__ import annotations

import datetime
from functools import partial
from typing import Any

import grpc
from liftos.bayes.v1 import elicitation_pb2, elicitation_pb2_grpc, prior_update_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.lookup import get_owned
from persistence.tables import ClientPrior, ElicitedSession, Job, RecommendedUpdate, RegisteredModel
from server.contract.beyond_rules import check_estimand
from server.contract.errors import Reason, ServiceError, already_exists, invalid_field, not_found
from server.contract.job_kinds import JobKind
from server.contract.stated_beliefs import check_shares, check_statement
from server.contract.wire import from_json, to_json
from server.records.lineage import accepted_update
from server.records.lookups import by_pk, owned
from server.records.messages import session_message
from server.records.sessions import (
    belief_message,
    beliefs_of,
    channels_of,
    correlated_beliefs,
    forget_correlation,
    share_groups,
)
from server.rpc.once import seen_before
from server.rpc.pages import page_of
from server.rpc.waiting import Calls
from server.texts.coherence import coherence_notes

Context = grpc.aio.ServicerContext[Any, Any]


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
            replay = await seen_before(session, request)
            if replay is None:
                model = await owned(session, RegisteredModel, request.client_id, request.model_id)
                if await get_owned(session, ElicitedSession, request.client_id, request.session_id) is not None:
                    raise already_exists("elicitation session", request.session_id, "session_id")
                row = ElicitedSession(
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
            sessions, token = await page_of(session, ElicitedSession, request, "", build)
            return elicitation_pb2.ListElicitationSessionsResponse(sessions=sessions, next_page_token=token)

    async def UpdateElicitationSession(
        self, request: elicitation_pb2.UpdateElicitationSessionRequest, context: Context
    ) -> elicitation_pb2.UpdateElicitationSessionResponse:
        """Change the fields that the mask names."""
        for index, path in enumerate(request.update_mask.paths):
            if path != "client_confidence":
                raise invalid_field(f"update_mask.paths[{index}]", f"{path!r} cannot be changed")
        async with self.database.session() as session:
            replay = await seen_before(session, request)
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

        return await self.calls.run(JobKind.ADD_BELIEF, request, context, prepare)

    async def RemoveBelief(
        self, request: elicitation_pb2.RemoveBeliefRequest, context: Context
    ) -> elicitation_pb2.RemoveBeliefResponse:
        """Remove a belief."""
        async with self.database.session() as session:
            replay = await seen_before(session, request)
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
                model = await session.get_one(RegisteredModel, row.model_pk)
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
            replay = await seen_before(session, request)
            if replay is None:
                row = await self._changeable(session, request.client_id, request.session_id, request.etag)
                if row.state != "FEEDBACK":
                    raise ServiceError(
                        Reason.INVALID_STATE,
                        "a session without beliefs cannot be confirmed",
                        metadata={"state": row.state},
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

        return await self.calls.run(JobKind.ADD_SHARES, request, context, prepare)

    async def AdoptPriorUpdate(
        self, request: elicitation_pb2.AdoptPriorUpdateRequest, context: Context
    ) -> elicitation_pb2.AdoptPriorUpdateResponse:
        """Have a worker make a session of the priors of an accepted update."""

        async def prepare(session: AsyncSession, job: Job) -> None:
            await accepted_update(session, request.client_id, request.update_id)
            if request.model_id:
                await owned(session, RegisteredModel, request.client_id, request.model_id)
            if await get_owned(session, ElicitedSession, request.client_id, request.session_id) is not None:
                raise already_exists("elicitation session", request.session_id, "session_id")

        return await self.calls.run(JobKind.ADOPT_PRIOR_UPDATE, request, context, prepare)

    async def GetElicitationFeedback(
        self, request: elicitation_pb2.GetElicitationFeedbackRequest, context: Context
    ) -> elicitation_pb2.GetElicitationFeedbackResponse:
        """Have a worker work out what the beliefs imply."""

        async def prepare(session: AsyncSession, job: Job) -> None:
            await owned(session, ElicitedSession, request.client_id, request.session_id)

        return await self.calls.run(JobKind.ELICITATION_FEEDBACK, request, context, prepare)

    async def FitPrior(
        self, request: elicitation_pb2.FitPriorRequest, context: Context
    ) -> elicitation_pb2.FitPriorResponse:
        """Have a worker compile a statement."""
        check_statement("statement", request.statement)
        if request.statement.HasField("updated_prior"):
            raise invalid_field("statement.updated_prior", "is compiled already; add it to a session")
        return await self.calls.run(JobKind.FIT_PRIOR, request, context)

    async def _message(
        self, session: AsyncSession, client_id: str, session_id: str
    ) -> elicitation_pb2.ElicitationSession:
        await session.flush()
        return await session_message(session, await owned(session, ElicitedSession, client_id, session_id))

    async def _changeable(
        self, session: AsyncSession, client_id: str, session_id: str, etag: str | None
    ) -> ElicitedSession:
        row = await owned(session, ElicitedSession, client_id, session_id, for_update=True)
        if row.state == "CONFIRMED":
            raise ServiceError(Reason.INVALID_STATE, "a confirmed session is immutable", metadata={"state": row.state})
        if etag is not None and etag != str(row.version):
            raise ServiceError(Reason.STALE_ETAG, "the session has changed since it was read; read it again")
        return row


async def _refuse_copy(session: AsyncSession, row: ElicitedSession, request: elicitation_pb2.AddBeliefRequest) -> None:
    """Refuse a distribution in the place of a prior that the session was opened with: it would have seen no data."""
    if row.adopted_update_pk is None or not request.statement.HasField("distribution"):
        return
    adopted = await by_pk(session, RecommendedUpdate, row.adopted_update_pk)
    update = from_json(adopted.result or {}, prior_update_pb2.PriorUpdate())
    if any(belief.estimand == request.estimand for belief in update.beliefs):
        raise invalid_field(
            "statement.distribution",
            f"the session was opened from update {adopted.pk}, which has a prior of this quantity: state "
            "`updated_prior`, which knows the data that it has seen, or the client's own words",
        )
