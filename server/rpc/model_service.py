"""ModelService: registration of immutable models."""

from __future__ import annotations

from typing import Any

import grpc
from liftos.bayes.v1 import model_pb2, model_pb2_grpc
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.database import Database
from persistence.lookup import get_owned
from persistence.tables import Dataset, ElicitedSession, Job, RegisteredModel, SbcValidation, StoredAttribution
from server.contract.errors import Reason, ServiceError, already_exists, invalid_field, unimplemented
from server.contract.families.family import checked
from server.contract.families.registry import family_of
from server.contract.job_kinds import JobKind
from server.contract.wire import digest, to_json
from server.records.content import stored_columns
from server.records.lookups import owned, sealed_dataset
from server.records.messages import model_message
from server.rpc.once import seen_before
from server.rpc.pages import page_of
from server.rpc.waiting import Calls

Context = grpc.aio.ServicerContext[Any, Any]


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Models of a client."""

    def __init__(self, database: Database, calls: Calls) -> None:
        self.database = database
        self.calls = calls

    async def RegisterModel(
        self, request: model_pb2.RegisterModelRequest, context: Context
    ) -> model_pb2.RegisterModelResponse:
        """Check a specification against itself and its data set's columns, and store it.

        What the model makes of the data a priori is statistics, which a worker adds.
        """

        async def prepare(session: AsyncSession, job: Job) -> None:
            await self._register(session, request)

        return await self.calls.run(JobKind.REGISTER_MODEL, request, context, prepare)

    async def _register(self, session: AsyncSession, request: model_pb2.RegisterModelRequest) -> None:
        spec = request.spec
        family = family_of(spec)
        if await get_owned(session, RegisteredModel, request.client_id, request.model_id) is not None:
            raise already_exists("model", request.model_id, "model_id")
        dataset: Dataset | None = None
        if family.stated_data(spec) is None:
            if not spec.dataset_id:
                raise invalid_field("spec.dataset_id", f"required for {family.name}")
            dataset = await sealed_dataset(session, request.client_id, spec.dataset_id, "spec.dataset_id")
        elif spec.dataset_id:
            raise invalid_field("spec.dataset_id", f"{family.name} carries its own summary data")
        columns, rows = (stored_columns(dataset), dataset.row_count) if dataset else ([], None)
        check = checked(family, spec, columns, rows)
        session.add(
            RegisteredModel(
                client_id=request.client_id,
                model_id=request.model_id,
                family=family.id,
                spec=to_json(spec),
                dataset_pk=dataset.pk if dataset else None,
                parameter_count=check.parameters,
                model_hash=digest(family.id, to_json(spec)),
                warnings=list(check.warnings),
            )
        )
        await session.flush()

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Context) -> model_pb2.GetModelResponse:
        """Return a model."""
        async with self.database.session() as session:
            row = await owned(session, RegisteredModel, request.client_id, request.model_id)
            return model_pb2.GetModelResponse(model=model_message(row))

    async def ListModels(self, request: model_pb2.ListModelsRequest, context: Context) -> model_pb2.ListModelsResponse:
        """List the models of a client."""
        async with self.database.session() as session:

            async def build(row: RegisteredModel) -> model_pb2.Model:
                return model_message(row)

            models, token = await page_of(session, RegisteredModel, request, "", build)
            return model_pb2.ListModelsResponse(models=models, next_page_token=token)

    async def DeleteModel(
        self, request: model_pb2.DeleteModelRequest, context: Context
    ) -> model_pb2.DeleteModelResponse:
        """Delete a model that nothing refers to."""
        async with self.database.session() as session:
            replay = await seen_before(session, request)
            if replay is None:
                row = await owned(session, RegisteredModel, request.client_id, request.model_id, for_update=True)
                users = (
                    (ElicitedSession, "an elicitation session"),
                    (SbcValidation, "an SBC run"),
                    (StoredAttribution, "an attribution"),
                )
                for entity, kind in users:
                    used = await session.scalar(select(entity.pk).where(entity.model_pk == row.pk).limit(1))
                    if used is not None:
                        raise ServiceError(Reason.IN_USE, f"{kind} refers to the model")
                await session.delete(row)
            return model_pb2.DeleteModelResponse()

    async def ValidateModel(
        self, request: model_pb2.ValidateModelRequest, context: Context
    ) -> model_pb2.ValidateModelResponse:
        """Not there yet."""
        raise unimplemented("the conformance test of a registered model", "model_id")
