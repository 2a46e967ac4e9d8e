"""PriorUpdateService: recommendations and the decisions on them."""

from __future__ import annotations

import datetime
from functools import partial
from typing import Any

import grpc
from liftos.bayes.v1 import prior_update_pb2, prior_update_pb2_grpc, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.tables import AuditEntry, Conflict, Job, Model, PriorUpdate, Session
from server.calls import Calls
from server.certificates import reference_certificate
from server.errors import ServiceError, unimplemented
from server.idempotency import seen_before
from server.pages import page_of
from server.period import Period
from server.resources import by_pk, confirmed_session, conflict_message, owned
from server.wire import from_json, label, timestamp, value_of

_IMPLEMENTED = frozenset(
    {
        prior_update_pb2.UPDATE_STRATEGY_UNSPECIFIED,
        prior_update_pb2.UPDATE_STRATEGY_EVIDENCE_WEIGHTED,
        prior_update_pb2.UPDATE_STRATEGY_FULL_BAYESIAN,
        prior_update_pb2.UPDATE_STRATEGY_CONSERVATIVE,
    }
)
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
        if request.update_strategy not in _IMPLEMENTED:
            strategy = label(prior_update_pb2.UpdateStrategy, request.update_strategy)
            raise unimplemented(f"update strategy {strategy}", "update_strategy")

        async def prepare(session: AsyncSession, job: Job) -> None:
            elicited = await confirmed_session(session, request.client_id, request.session_id)
            await latest_conflict(session, elicited)

        response = await self.calls.run(
            "UPDATE_PRIORS", request, context, prior_update_pb2.UpdatePriorsResponse, prepare
        )
        async with self.database.session() as session:
            row = await owned(session, PriorUpdate, request.client_id, response.update.update_id)
            return prior_update_pb2.UpdatePriorsResponse(update=await prior_update_message(session, row))

    async def GetPriorUpdate(
        self, request: prior_update_pb2.GetPriorUpdateRequest, context: Context
    ) -> prior_update_pb2.GetPriorUpdateResponse:
        """Return a recommendation."""
        async with self.database.session() as session:
            row = await owned(session, PriorUpdate, request.client_id, request.update_id)
            return prior_update_pb2.GetPriorUpdateResponse(update=await prior_update_message(session, row))

    async def ListPriorUpdates(
        self, request: prior_update_pb2.ListPriorUpdatesRequest, context: Context
    ) -> prior_update_pb2.ListPriorUpdatesResponse:
        """List the recommendations of a client."""
        async with self.database.session() as session:
            filters = []
            if request.session_id:
                elicited = await owned(session, Session, request.client_id, request.session_id)
                filters.append(PriorUpdate.session_pk == elicited.pk)
            build = partial(prior_update_message, session)
            found, token = await page_of(session, PriorUpdate, request, request.session_id, build, *filters)
            return prior_update_pb2.ListPriorUpdatesResponse(updates=found, next_page_token=token)

    async def AcceptPriorUpdate(
        self, request: prior_update_pb2.AcceptPriorUpdateRequest, context: Context
    ) -> prior_update_pb2.AcceptPriorUpdateResponse:
        """Accept a recommendation that can be released."""
        update = await self._decide("AcceptPriorUpdate", request, "ACCEPTED")
        return prior_update_pb2.AcceptPriorUpdateResponse(update=update)

    async def RejectPriorUpdate(
        self, request: prior_update_pb2.RejectPriorUpdateRequest, context: Context
    ) -> prior_update_pb2.RejectPriorUpdateResponse:
        """Reject a recommendation."""
        update = await self._decide("RejectPriorUpdate", request, "REJECTED")
        return prior_update_pb2.RejectPriorUpdateResponse(update=update)

    async def _decide(
        self,
        method: str,
        request: prior_update_pb2.AcceptPriorUpdateRequest | prior_update_pb2.RejectPriorUpdateRequest,
        state: str,
    ) -> prior_update_pb2.PriorUpdate:
        async with self.database.session() as session:
            replay = await seen_before(session, method, request)
            row = await owned(session, PriorUpdate, request.client_id, request.update_id, for_update=True)
            if replay is None:
                if row.state != "PROPOSED":
                    raise ServiceError(
                        "INVALID_STATE", f"the recommendation is {row.state} already", metadata={"state": row.state}
                    )
                if request.etag != str(row.version):
                    raise ServiceError("STALE_ETAG", "the recommendation has changed since it was read; read it again")
                if state == "ACCEPTED" and (blockers := await release_blockers(session, row)):
                    raise ServiceError(
                        "INVALID_STATE",
                        "the recommendation cannot be released: " + " ".join(blockers),
                        metadata={"state": row.state},
                    )
                row.state = state
                row.decided_by = request.decided_by
                row.decision_reason = request.reason
                row.decide_time = datetime.datetime.now(datetime.UTC)
                row.version += 1
                session.add(
                    AuditEntry(
                        client_id=request.client_id,
                        actor=request.decided_by,
                        action=method,
                        resource_type="prior_update",
                        resource_id=request.update_id,
                        detail={"reason": request.reason},
                    )
                )
                await session.flush()
            return await prior_update_message(session, row)


async def latest_conflict(session: AsyncSession, elicited: Session) -> Conflict:
    """The newest successful analysis of a session; ServiceError NO_EVIDENCE if there is none."""
    statement = (
        select(Conflict)
        .join(Job, Job.pk == Conflict.job_pk)
        .where(Conflict.session_pk == elicited.pk, Job.state == "SUCCEEDED")
        .order_by(Conflict.create_time.desc(), Conflict.pk.desc())
        .limit(1)
    )
    found = (await session.scalars(statement)).one_or_none()
    if found is None:
        raise ServiceError(
            "NO_EVIDENCE", f"no conflict analysis of session {elicited.session_id!r} has succeeded; run AnalyzeConflict"
        )
    return found


async def release_blockers(session: AsyncSession, row: PriorUpdate) -> list[str]:
    """Why a recommendation cannot be accepted now; read from the store each time: a certificate may come later."""
    update = from_json(row.result or {}, prior_update_pb2.PriorUpdate())
    blockers = [
        f"The figures of belief {belief.belief_id!r} are unreliable: check the model."
        for belief in update.beliefs
        if belief.action == prior_update_pb2.UPDATE_ACTION_CHECK_MODEL
    ]
    if row.exploratory:
        blockers.append("It rests on an exploratory analysis, which counts data twice: it can never be accepted.")
    if not any(belief.changed for belief in update.beliefs):
        return blockers
    conflict = await by_pk(session, Conflict, row.conflict_pk)
    analysis = await conflict_message(session, conflict)
    model = await by_pk(session, Model, conflict.model_pk)
    period = Period.of(conflict)
    run = await reference_certificate(session, model, period)
    verdict = run.verdict_kind if run is not None else None
    optional = analysis.sbc_necessity.decision == sbc_pb2.NECESSITY_DECISION_NOT_REQUIRED_BY_POLICY
    # A model that is known to be miscalibrated releases nothing, whether or not policy asked for the check.
    if verdict == "PASS" or (optional and verdict != "FAIL"):
        return blockers
    window = f"over {period}"
    if run is None:
        blockers.append(
            f"Model {model.model_id!r} has not been calibrated {window} yet: run SBC for it and let it pass."
        )
    else:
        blockers.append(f"SBC run {run.pk} of model {model.model_id!r} {window} ended with {verdict}.")
    return blockers


async def prior_update_message(session: AsyncSession, row: PriorUpdate) -> prior_update_pb2.PriorUpdate:
    """A stored recommendation and whether it can be released now."""
    update = from_json(row.result or {}, prior_update_pb2.PriorUpdate())
    update.client_id = row.client_id
    update.update_id = str(row.pk)
    update.session_id = (await by_pk(session, Session, row.session_pk)).session_id
    update.state = value_of(prior_update_pb2.UpdateState, row.state)
    update.etag = str(row.version)
    for replaced in update.lineage.replaced:
        replaced.update_id = replaced.update_id or update.update_id  # its own had no name yet when it was written
    update.decided_by = row.decided_by or ""
    update.decision_reason = row.decision_reason or ""
    if row.decide_time is not None:
        update.decide_time.CopyFrom(timestamp(row.decide_time))
    update.create_time.CopyFrom(timestamp(row.create_time))
    blockers = await release_blockers(session, row) if row.state == "PROPOSED" else []
    update.release_blockers.extend(blockers)
    update.releasable = row.state == "PROPOSED" and not blockers
    return update
