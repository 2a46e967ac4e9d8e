"""PriorUpdateService: recommendations and the decisions on them."""

from __future__ import annotations

import datetime
from functools import partial
from typing import Any

import grpc
from liftos.bayes.v1 import prior_update_pb2, prior_update_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.tables import ElicitedSession, Job, RecommendedUpdate
from server.contract.errors import Reason, ServiceError
from server.contract.job_kinds import JobKind
from server.contract.update_settings import check_experiments, check_settings
from server.records.audit_trail import audited
from server.records.lookups import owned
from server.records.prior_updates import conflict_behind, prior_update_message, release_blockers
from server.records.sessions import belief_message, beliefs_of, confirmed_session
from server.rpc.once import seen_before
from server.rpc.pages import page_of
from server.rpc.waiting import Calls

Context = grpc.aio.ServicerContext[Any, Any]


class PriorUpdateServicer(prior_update_pb2_grpc.PriorUpdateServiceServicer):
    """Recommended updates of a client's beliefs."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self.database = database
        self.calls = calls

    async def UpdatePriors(
        self, request: prior_update_pb2.UpdatePriorsRequest, context: Context
    ) -> prior_update_pb2.UpdatePriorsResponse:
        """Have a worker derive the updates from the session's latest analysis."""
        check_settings(request)

        async def prepare(session: AsyncSession, job: Job) -> None:
            elicited = await confirmed_session(session, request.client_id, request.session_id)
            await conflict_behind(session, elicited, request.analysis_id)
            check_experiments(request, [belief_message(row) for row in await beliefs_of(session, elicited.pk)])

        response = await self.calls.run(JobKind.UPDATE_PRIORS, request, context, prepare)
        async with self.database.session() as session:
            row = await owned(session, RecommendedUpdate, request.client_id, response.update.update_id)
            return prior_update_pb2.UpdatePriorsResponse(update=await prior_update_message(session, row))

    async def GetPriorUpdate(
        self, request: prior_update_pb2.GetPriorUpdateRequest, context: Context
    ) -> prior_update_pb2.GetPriorUpdateResponse:
        """Return a recommendation."""
        async with self.database.session() as session:
            row = await owned(session, RecommendedUpdate, request.client_id, request.update_id)
            return prior_update_pb2.GetPriorUpdateResponse(update=await prior_update_message(session, row))

    async def ListPriorUpdates(
        self, request: prior_update_pb2.ListPriorUpdatesRequest, context: Context
    ) -> prior_update_pb2.ListPriorUpdatesResponse:
        """List the recommendations of a client."""
        async with self.database.session() as session:
            filters = []
            if request.session_id:
                elicited = await owned(session, ElicitedSession, request.client_id, request.session_id)
                filters.append(RecommendedUpdate.session_pk == elicited.pk)
            build = partial(prior_update_message, session)
            updates, token = await page_of(session, RecommendedUpdate, request, request.session_id, build, *filters)
            return prior_update_pb2.ListPriorUpdatesResponse(updates=updates, next_page_token=token)

    async def AcceptPriorUpdate(
        self, request: prior_update_pb2.AcceptPriorUpdateRequest, context: Context
    ) -> prior_update_pb2.AcceptPriorUpdateResponse:
        """Accept a recommendation that can be released."""
        update = await self._decide(request, "ACCEPTED")
        return prior_update_pb2.AcceptPriorUpdateResponse(update=update)

    async def RejectPriorUpdate(
        self, request: prior_update_pb2.RejectPriorUpdateRequest, context: Context
    ) -> prior_update_pb2.RejectPriorUpdateResponse:
        """Reject a recommendation."""
        update = await self._decide(request, "REJECTED")
        return prior_update_pb2.RejectPriorUpdateResponse(update=update)

    async def _decide(
        self,
        request: prior_update_pb2.AcceptPriorUpdateRequest | prior_update_pb2.RejectPriorUpdateRequest,
        state: str,
    ) -> prior_update_pb2.PriorUpdate:
        async with self.database.session() as session:
            replay = await seen_before(session, request)
            row = await owned(session, RecommendedUpdate, request.client_id, request.update_id, for_update=True)
            if replay is None:
                if row.state != "PROPOSED":
                    raise ServiceError(
                        Reason.INVALID_STATE,
                        f"the recommendation is {row.state} already",
                        metadata={"state": row.state},
                    )
                if request.etag != str(row.version):
                    raise ServiceError(
                        Reason.STALE_ETAG, "the recommendation has changed since it was read; read it again"
                    )
                if state == "ACCEPTED" and (blockers := await release_blockers(session, row)):
                    raise ServiceError(
                        Reason.INVALID_STATE,
                        "the recommendation cannot be released: " + " ".join(blockers),
                        metadata={"state": row.state},
                    )
                row.state = state
                row.decided_by = request.decided_by
                row.decision_reason = request.reason
                row.decide_time = datetime.datetime.now(datetime.UTC)
                row.version += 1
                session.add(audited(request, request.decided_by, ("prior_update", request.update_id)))
                await session.flush()
            return await prior_update_message(session, row)
