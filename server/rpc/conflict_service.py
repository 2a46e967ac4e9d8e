"""ConflictService: analyses, their list, and the stored evidence curves."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
import numpy as np
from liftos.bayes.v1 import common_pb2, conflict_pb2, conflict_pb2_grpc
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.tables import Conflict, ConflictOutcome, ElicitedSession, FitDraws, Job, RegisteredModel, StoredCurve
from server.contract.beyond_rules import check_money
from server.contract.errors import Reason, ServiceError, invalid_field, not_found
from server.contract.job_kinds import JobKind
from server.contract.period import Period
from server.contract.wire import from_json, label, quantity_name, to_array, to_json, value_of
from server.records.audit_trail import audited
from server.records.lookups import by_pk, dataset_of, owned
from server.records.messages import conflict_message
from server.records.outcomes import outcome_message, report_message, resolved_beliefs, side_of
from server.records.rows import check_period
from server.records.sessions import beliefs_of, confirmed_session
from server.rpc.once import created, seen_before
from server.rpc.pages import page_of
from server.rpc.waiting import Calls

Context = grpc.aio.ServicerContext[Any, Any]


class ConflictServicer(conflict_pb2_grpc.ConflictServiceServicer):
    """Conflict of beliefs with data."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self.database = database
        self.calls = calls

    async def AnalyzeConflict(
        self, request: conflict_pb2.AnalyzeConflictRequest, context: Context
    ) -> conflict_pb2.AnalyzeConflictResponse:
        """Have a worker analyse a confirmed session."""
        check_money(request)
        period = Period.asked(request)

        async def prepare(session: AsyncSession, job: Job) -> None:
            elicited = await confirmed_session(session, request.client_id, request.session_id)
            if request.expert_session_id:
                expert = await confirmed_session(session, request.client_id, request.expert_session_id)
                if expert.model_pk != elicited.model_pk:
                    raise invalid_field("expert_session_id", "must be a session about the same model")
            model = await by_pk(session, RegisteredModel, elicited.model_pk)
            check_period(model, await dataset_of(session, model), period)
            session.add(
                Conflict(
                    client_id=request.client_id,
                    session_pk=elicited.pk,
                    model_pk=elicited.model_pk,
                    job_pk=job.pk,
                    data_period_months=period.months,
                    hold_out_months=period.hold_out,
                    confidence_threshold=(
                        request.confidence_threshold if request.HasField("confidence_threshold") else None
                    ),
                    business_impact_minor=(
                        request.business_impact.minor_units if request.HasField("business_impact") else None
                    ),
                )
            )

        return await self.calls.run(JobKind.ANALYZE_CONFLICT, request, context, prepare)

    async def GetConflict(
        self, request: conflict_pb2.GetConflictRequest, context: Context
    ) -> conflict_pb2.GetConflictResponse:
        """Return an analysis."""
        async with self.database.session() as session:
            row = await owned(session, Conflict, request.client_id, request.analysis_id)
            return conflict_pb2.GetConflictResponse(analysis=await conflict_message(session, row))

    async def ListConflicts(
        self, request: conflict_pb2.ListConflictsRequest, context: Context
    ) -> conflict_pb2.ListConflictsResponse:
        """List the analyses of a client."""
        async with self.database.session() as session:
            filters = []
            if request.session_id:
                elicited = await owned(session, ElicitedSession, request.client_id, request.session_id)
                filters.append(Conflict.session_pk == elicited.pk)
            build = partial(conflict_message, session)
            analyses, token = await page_of(session, Conflict, request, request.session_id, build, *filters)
            return conflict_pb2.ListConflictsResponse(analyses=analyses, next_page_token=token)

    async def RecordConflictOutcome(
        self, request: conflict_pb2.RecordConflictOutcomeRequest, context: Context
    ) -> conflict_pb2.RecordConflictOutcomeResponse:
        """Add an outcome; earlier ones of the belief stay."""
        async with self.database.session() as session:
            replay = await seen_before(session, request)
            if replay is not None and replay.resource_id is not None:
                first = await owned(session, ConflictOutcome, request.client_id, replay.resource_id)
                return conflict_pb2.RecordConflictOutcomeResponse(outcome=await outcome_message(session, first))
            conflict = await owned(session, Conflict, request.client_id, request.analysis_id)
            analysis = await conflict_message(session, conflict)
            if analysis.state != common_pb2.JOB_STATE_SUCCEEDED:
                state = label(common_pb2.JobState, analysis.state)
                raise ServiceError(Reason.INVALID_STATE, f"the analysis is {state}", metadata={"state": state})
            belief = next((belief for belief in analysis.beliefs if belief.belief_id == request.belief_id), None)
            if belief is None:
                raise not_found("belief", request.belief_id, "belief_id")
            prior = next(
                row for row in await beliefs_of(session, conflict.session_pk) if row.belief_id == request.belief_id
            )
            severity = label(conflict_pb2.Severity, belief.severity)
            row = ConflictOutcome(
                client_id=request.client_id,
                conflict_pk=conflict.pk,
                prior_pk=prior.pk,
                side=label(conflict_pb2.OutcomeSide, side_of(request, belief)),
                experiment=to_json(request.experiment) if request.HasField("experiment") else None,
                reason=request.reason,
                recorded_by=request.recorded_by,
                severity=None if severity == "UNSPECIFIED" else severity,
                conflict=belief.conflict,
            )
            session.add(row)
            await session.flush()
            session.add(
                audited(
                    request,
                    request.recorded_by,
                    ("conflict_outcome", str(row.pk)),
                    belief_id=request.belief_id,
                    side=row.side,
                )
            )
            await created(session, request, row)
            return conflict_pb2.RecordConflictOutcomeResponse(outcome=await outcome_message(session, row))

    async def ListConflictOutcomes(
        self, request: conflict_pb2.ListConflictOutcomesRequest, context: Context
    ) -> conflict_pb2.ListConflictOutcomesResponse:
        """List the recorded outcomes of a client."""
        async with self.database.session() as session:
            filters = []
            if request.analysis_id:
                conflict = await owned(session, Conflict, request.client_id, request.analysis_id)
                filters.append(ConflictOutcome.conflict_pk == conflict.pk)
            build = partial(outcome_message, session)
            outcomes, token = await page_of(session, ConflictOutcome, request, request.analysis_id, build, *filters)
            return conflict_pb2.ListConflictOutcomesResponse(outcomes=outcomes, next_page_token=token)

    async def GetOutcomeReport(
        self, request: conflict_pb2.GetOutcomeReportRequest, context: Context
    ) -> conflict_pb2.GetOutcomeReportResponse:
        """Count the outcomes of a client by severity."""
        async with self.database.session() as session:
            return report_message(await resolved_beliefs(session, request.client_id))

    async def GetEvidenceCurve(
        self, request: conflict_pb2.GetEvidenceCurveRequest, context: Context
    ) -> conflict_pb2.GetEvidenceCurveResponse:
        """Return a stored curve with the draws behind it."""
        async with self.database.session() as session:
            row = await owned(session, StoredCurve, request.client_id, request.curve_id)
            estimand = common_pb2.Estimand(quantity=value_of(common_pb2.Quantity, row.quantity), channel=row.channel)
            draws = (
                await session.scalars(
                    select(FitDraws).where(FitDraws.fit_pk == row.fit_pk, FitDraws.quantity == quantity_name(estimand))
                )
            ).one_or_none()
            curve = conflict_pb2.EvidenceCurve(
                curve_id=str(row.pk),
                estimand=estimand,
                reference=from_json(row.reference, common_pb2.Distribution()),
                lower=row.lower,
                upper=row.upper,
                grid=to_array(np.frombuffer(row.grid, "<f8")),
                log_likelihood=to_array(np.frombuffer(row.log_likelihood, "<f8")),
                replicates=to_array(np.frombuffer(row.replicates, "<f8").reshape(row.n_replicates, row.n_grid)),
                effective_sample_size=row.effective_sample_size,
                months=row.months,
                heavy_tail_log_likelihood=to_array(np.frombuffer(row.heavy_tail_log_likelihood, "<f8")),
                supported_lower=float(row.facts["supported"][0]),
                supported_upper=float(row.facts["supported"][1]),
                r_hat=row.facts["r_hat"],
            )
            if draws is not None:
                shaped = np.frombuffer(draws.data, "<f8").reshape(draws.chains, draws.draws)
                curve.draws.CopyFrom(to_array(shaped))
            return conflict_pb2.GetEvidenceCurveResponse(curve=curve)
