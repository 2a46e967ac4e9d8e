"""AttributionService: what each channel brought, with the checks behind the figures."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
from liftos.bayes.v1 import attribution_pb2, attribution_pb2_grpc
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.tables import Job, RegisteredModel, StoredAttribution
from server.contract.beyond_rules import check_money
from server.contract.errors import Reason, ServiceError, invalid_field
from server.contract.job_kinds import JobKind
from server.contract.period import Period
from server.records.lookups import dataset_of, owned
from server.records.messages import attribution_message
from server.records.rows import check_period
from server.records.sessions import beliefs_of, check_priors, confirmed_session
from server.rpc.pages import page_of
from server.rpc.waiting import Calls

Context = grpc.aio.ServicerContext[Any, Any]


class AttributionServicer(attribution_pb2_grpc.AttributionServiceServicer):
    """Attributions of a client's models."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self.database = database
        self.calls = calls

    async def AnalyzeAttribution(
        self, request: attribution_pb2.AnalyzeAttributionRequest, context: Context
    ) -> attribution_pb2.AnalyzeAttributionResponse:
        """Have a worker compute an attribution."""
        check_money(request)
        if request.start_sbc and not request.include_bayesian_validation:
            raise invalid_field("start_sbc", "the need for a run is part of the validation: ask for it as well")

        async def prepare(session: AsyncSession, job: Job) -> None:
            model = await owned(session, RegisteredModel, request.client_id, request.model_id)
            if model.dataset_pk is None:
                raise invalid_field("model_id", "a summary-level model has no channels to attribute an outcome to")
            elicited = None
            if request.session_id:
                elicited = await confirmed_session(session, request.client_id, request.session_id)
                if elicited.model_pk != model.pk:
                    raise ServiceError(
                        Reason.INVALID_STATE, "the session is about another model", metadata={"state": "CONFIRMED"}
                    )
                check_priors(model, await beliefs_of(session, elicited.pk), "session_id")
            period = Period.asked(request)
            check_period(model, await dataset_of(session, model), period)
            session.add(
                StoredAttribution(
                    client_id=request.client_id,
                    model_pk=model.pk,
                    session_pk=elicited.pk if elicited else None,
                    job_pk=job.pk,
                    data_period_months=period.months,
                    hold_out_months=period.hold_out,
                )
            )

        return await self.calls.run(JobKind.ANALYZE_ATTRIBUTION, request, context, prepare)

    async def GetAttribution(
        self, request: attribution_pb2.GetAttributionRequest, context: Context
    ) -> attribution_pb2.GetAttributionResponse:
        """Return an attribution."""
        async with self.database.session() as session:
            row = await owned(session, StoredAttribution, request.client_id, request.attribution_id)
            return attribution_pb2.GetAttributionResponse(attribution=await attribution_message(session, row))

    async def ListAttributions(
        self, request: attribution_pb2.ListAttributionsRequest, context: Context
    ) -> attribution_pb2.ListAttributionsResponse:
        """List the attributions of a client."""
        async with self.database.session() as session:
            filters = []
            if request.model_id:
                model = await owned(session, RegisteredModel, request.client_id, request.model_id)
                filters.append(StoredAttribution.model_pk == model.pk)
            build = partial(_listed, session)
            attributions, token = await page_of(session, StoredAttribution, request, request.model_id, build, *filters)
            return attribution_pb2.ListAttributionsResponse(attributions=attributions, next_page_token=token)


async def _listed(session: AsyncSession, row: StoredAttribution) -> attribution_pb2.Attribution:
    """An attribution in a list: without its geos, hundreds of which would not fit into a page of attributions."""
    message = await attribution_message(session, row)
    message.ClearField("geos")
    return message
