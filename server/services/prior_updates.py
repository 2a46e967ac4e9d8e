"""PriorUpdateService: recommendations and the decisions on them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import conflict_pb2, elicitation_pb2, prior_update_pb2, prior_update_pb2_grpc, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.tables import AuditEntry, Conflict, Job, Model, PriorUpdate, Session
from server.calls import Calls
from server.certificates import failed_elsewhere, reference_certificate
from server.errors import ServiceError, invalid_field, invalid_fields
from server.estimates import check_estimate
from server.formats import estimand
from server.idempotency import seen_before
from server.pages import page_of
from server.period import Period
from server.phrases import spread
from server.resources import belief_message, beliefs_of, by_pk, confirmed_session, owned
from server.wire import from_json, label, timestamp, value_of

_OWN_FIELDS = {
    "power": prior_update_pb2.UPDATE_STRATEGY_POWER_PRIOR,
    "robust_weight": prior_update_pb2.UPDATE_STRATEGY_ROBUST_MIXTURE,
    "without_gate": prior_update_pb2.UPDATE_STRATEGY_EVIDENCE_WEIGHTED,
    "conservative_p_value": prior_update_pb2.UPDATE_STRATEGY_CONSERVATIVE,
}
"""Fields of a request that one strategy alone has a use for."""
_CHANGES = frozenset(
    {
        prior_update_pb2.UPDATE_ACTION_UPDATE,
        prior_update_pb2.UPDATE_ACTION_WIDEN,
        prior_update_pb2.UPDATE_ACTION_ROBUSTIFY,
    }
)
"""Actions that recommend another prior, and so rest on the model."""
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


def chosen_strategy(request: prior_update_pb2.UpdatePriorsRequest) -> prior_update_pb2.UpdateStrategy.ValueType:
    """The strategy of a request; EVIDENCE_WEIGHTED unless one is named."""
    return request.update_strategy or prior_update_pb2.UPDATE_STRATEGY_EVIDENCE_WEIGHTED


def check_settings(request: prior_update_pb2.UpdatePriorsRequest) -> None:
    """Refuse settings of another strategy than the one asked for: they would change nothing without a word."""
    given = {descriptor.name for descriptor, _ in request.ListFields()}
    strategy = chosen_strategy(request)
    violations = [
        Violation(name, f"is for {label(prior_update_pb2.UpdateStrategy, own)} alone")
        for name, own in _OWN_FIELDS.items()
        if name in given and strategy != own
    ]
    if violations:
        raise invalid_fields(violations)


def check_experiments(request: prior_update_pb2.UpdatePriorsRequest, beliefs: Sequence[elicitation_pb2.Belief]) -> None:
    """Refuse experiments about nothing that the session has a belief about, or that would count twice."""
    by_quantity = {(one.estimand.quantity, one.estimand.channel): one for one in beliefs}
    seen: set[str] = set()
    for index, one in enumerate(request.experiments):
        path = f"experiments[{index}]"
        if one.experiment_id in seen:
            raise invalid_field(f"{path}.experiment_id", f"{one.experiment_id!r} is in the request twice")
        seen.add(one.experiment_id)
        belief = by_quantity.get((one.estimand.quantity, one.estimand.channel))
        if belief is None:
            raise invalid_field(
                f"{path}.estimand",
                f"no belief of the session is about the {estimand(one.estimand)}; state the experiment for the "
                "quantity of a belief",
            )
        check_estimate(f"{path}.estimate", one)
        if one.window.first_date and one.window.last_date and one.window.first_date > one.window.last_date:
            raise invalid_field(f"{path}.window.last_date", "must not be before first_date")


async def conflict_behind(session: AsyncSession, elicited: Session, analysis_id: str) -> Conflict:
    """The analysis that a session is updated from: the one named, else the latest that is not exploratory.

    ServiceError NOT_FOUND, INVALID_FIELD or INVALID_STATE for one that is none, is another session's or has not
    succeeded; NO_EVIDENCE where there is none to choose.
    """
    if analysis_id:
        named = await owned(session, Conflict, elicited.client_id, analysis_id)
        if named.session_pk != elicited.pk:
            raise invalid_field("analysis_id", f"is not an analysis of session {elicited.session_id!r}")
        state = (await session.get_one(Job, named.job_pk)).state
        if state != "SUCCEEDED":
            raise ServiceError(
                "INVALID_STATE", f"analysis {analysis_id} is {state}; it must have succeeded", metadata={"state": state}
            )
        return named
    statement = (
        select(Conflict)
        .join(Job, Job.pk == Conflict.job_pk)
        .where(Conflict.session_pk == elicited.pk, Job.state == "SUCCEEDED", Conflict.exploratory.is_(False))
        .order_by(Conflict.create_time.desc(), Conflict.pk.desc())
        .limit(1)
    )
    found = (await session.scalars(statement)).one_or_none()
    if found is None:
        raise ServiceError(
            "NO_EVIDENCE",
            f"no conflict analysis of session {elicited.session_id!r} that is not exploratory has succeeded; run "
            "AnalyzeConflict",
        )
    return found


async def release_blockers(session: AsyncSession, row: PriorUpdate) -> list[str]:
    """Why a recommendation cannot be accepted now; read from the store each time: a certificate may come later."""
    update = from_json(row.result or {}, prior_update_pb2.PriorUpdate())
    conflict = await by_pk(session, Conflict, row.conflict_pk)
    # The stored figures alone: the whole message would render its texts for nothing.
    analysis = from_json(conflict.result or {}, conflict_pb2.ConflictAnalysis())
    blockers = []
    if row.exploratory:
        blockers.append(
            "It rests on an exploratory analysis, which counted data twice: it is NOT INFERENTIAL and cannot be "
            "accepted."
        )
    blockers += [
        f"The figures of belief {belief.belief_id!r} are unreliable: check the model."
        for belief in analysis.beliefs
        if belief.status == conflict_pb2.CONFLICT_STATUS_UNRELIABLE
    ]
    if not any(belief.changed for belief in update.beliefs):
        return blockers
    model = await by_pk(session, Model, conflict.model_pk)
    period = Period.of(conflict)
    run = await reference_certificate(session, model, period)
    verdict = run.verdict_kind if run is not None else None
    if verdict == "PASS":
        return blockers
    # A model that is known to be miscalibrated releases nothing, whether or not policy asked for the check.
    if verdict != "FAIL" and (failed := await failed_elsewhere(session, model, period)) is not None:
        over = Period.of(failed)
        blockers.append(
            f"SBC run {failed.pk} of model {model.model_id!r} ended with FAIL, over {over}: these share rows with the "
            "analysis, and no run over its own window has passed."
        )
        return blockers
    decision = update.sbc_decision or analysis.sbc_necessity.decision
    if decision == sbc_pb2.NECESSITY_DECISION_NOT_REQUIRED_BY_POLICY and verdict != "FAIL":
        return blockers
    window = f"over {period}"
    if run is None:
        blockers.append(
            f"Model {model.model_id!r} has not been calibrated {window} yet: run SBC for it and let it pass."
        )
    else:
        blockers.append(f"SBC run {run.pk} of model {model.model_id!r} {window} ended with {verdict}.")
    return blockers


def hold_back(update: prior_update_pb2.PriorUpdate, blockers: Sequence[str]) -> None:
    """Recommend no other prior while something stands against its release: what it rests on comes first."""
    for belief in update.beliefs:
        if blockers and belief.action in _CHANGES:
            belief.action = prior_update_pb2.UPDATE_ACTION_CHECK_MODEL
            belief.reasons.insert(0, f"Nothing is recommended for release yet. {' '.join(blockers)}")


def summary_of(update: prior_update_pb2.PriorUpdate) -> list[str]:
    """What is recommended for each belief and why; rendered from the answer itself, so that words and numbers agree."""
    return [
        f"{_ADVICE[belief.action].format(what=_what(belief))} {belief.reasons[0] if belief.reasons else ''}".rstrip()
        for belief in update.beliefs
    ]


_ADVICE = {
    prior_update_pb2.UPDATE_ACTION_UNSPECIFIED: "{what}.",
    prior_update_pb2.UPDATE_ACTION_KEEP: "Keep the belief about the {what}.",
    prior_update_pb2.UPDATE_ACTION_UPDATE: "Update the belief about the {what}.",
    prior_update_pb2.UPDATE_ACTION_WIDEN: "Widen the belief about the {what}.",
    prior_update_pb2.UPDATE_ACTION_CHECK_MODEL: "Check the model before the belief about the {what} is changed.",
    prior_update_pb2.UPDATE_ACTION_RE_ELICIT: "Ask the client again about the {what}.",
    prior_update_pb2.UPDATE_ACTION_ROBUSTIFY: "Make the belief about the {what} robust.",
    prior_update_pb2.UPDATE_ACTION_RUN_EXPERIMENT: "Run an experiment on the {what}.",
}


def _what(belief: prior_update_pb2.BeliefUpdate) -> str:
    quantity = belief.estimand.quantity
    before, after = (spread(side, quantity) for side in (belief.before_summary, belief.after_summary))
    moved = f"{before}; by the strategy {after}" if belief.changed else before
    return f"{estimand(belief.estimand)} ({moved})"


async def prior_update_message(session: AsyncSession, row: PriorUpdate) -> prior_update_pb2.PriorUpdate:
    """A stored recommendation, whether it can be released now, and what is recommended in that light."""
    update = from_json(row.result or {}, prior_update_pb2.PriorUpdate())
    update.client_id = row.client_id
    update.update_id = str(row.pk)
    update.session_id = (await by_pk(session, Session, row.session_pk)).session_id
    update.state = value_of(prior_update_pb2.UpdateState, row.state)
    update.etag = str(row.version)
    for replaced in update.lineage.replaced:
        replaced.update_id = replaced.update_id or update.update_id  # its own had no name yet when it was written
    update.exploratory = row.exploratory
    update.decided_by = row.decided_by or ""
    update.decision_reason = row.decision_reason or ""
    if row.decide_time is not None:
        update.decide_time.CopyFrom(timestamp(row.decide_time))
    update.create_time.CopyFrom(timestamp(row.create_time))
    blockers = await release_blockers(session, row) if row.state == "PROPOSED" else []
    update.release_blockers.extend(blockers)
    update.releasable = row.state == "PROPOSED" and not blockers
    hold_back(update, blockers)
    notes = list(update.summary)
    del update.summary[:]
    update.summary.extend([*summary_of(update), *notes])
    return update
