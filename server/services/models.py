"""ModelService: registration of immutable models."""

from __future__ import annotations

import datetime
from typing import Any

import grpc
from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2, model_pb2_grpc
from sqlalchemy import select

from persistence.database import Database
from persistence.lookup import get_owned
from persistence.tables import Attribution, Dataset, Model, SbcValidation, Session
from server.errors import ServiceError, already_exists, invalid_field, unimplemented
from server.estimates import check_estimate
from server.idempotency import seen_before
from server.pages import page_of
from server.period import DAYS_PER_MONTH
from server.resources import model_message, owned
from server.services.datasets import sealed_dataset, stored_columns
from server.wire import digest, label, to_json

MAX_PARAMETERS = 50
MAX_GRID = 4096
FAMILIES = {"additive_mmm": "additive_mmm/1", "conjugate_normal": "conjugate_normal/1"}
Context = grpc.aio.ServicerContext[Any, Any]


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Models of a client."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def RegisterModel(
        self, request: model_pb2.RegisterModelRequest, context: Context
    ) -> model_pb2.RegisterModelResponse:
        """Check a specification against itself and its data set's columns, and store it."""
        async with self.database.session() as session:
            replay = await seen_before(session, "RegisterModel", request)
            if replay is None:
                await self._register(session, request)
            row = await owned(session, Model, request.client_id, request.model_id)
            return model_pb2.RegisterModelResponse(model=model_message(row))

    async def _register(self, session: Any, request: model_pb2.RegisterModelRequest) -> None:
        spec = request.spec
        family = str(spec.WhichOneof("family"))
        if family not in FAMILIES:
            raise unimplemented("a custom model family", "spec.custom")
        if await get_owned(session, Model, request.client_id, request.model_id) is not None:
            raise already_exists("model", request.model_id, "model_id")
        dataset: Dataset | None = None
        if family == "additive_mmm":
            if not spec.dataset_id:
                raise invalid_field("spec.dataset_id", "required for additive_mmm")
            dataset = await sealed_dataset(session, request.client_id, spec.dataset_id, "spec.dataset_id")
            parameters, warnings = check_additive(spec.additive_mmm, stored_columns(dataset))
            if dataset.row_count < parameters:
                warnings.append(f"{dataset.row_count} rows for {parameters} parameters: the data will say little.")
        elif family == "conjugate_normal":
            if spec.dataset_id:
                raise invalid_field("spec.dataset_id", "conjugate_normal carries its own summary data")
            check_conjugate(spec.conjugate_normal)
            parameters, warnings = 1, []
        else:
            raise AssertionError(f"a specification of the family {family} is not checked")
        session.add(
            Model(
                client_id=request.client_id,
                model_id=request.model_id,
                family=FAMILIES[family],
                spec=to_json(spec),
                dataset_pk=dataset.pk if dataset else None,
                parameter_count=parameters,
                model_hash=digest(FAMILIES[family], to_json(spec)),
                warnings=warnings,
            )
        )
        await session.flush()

    async def GetModel(self, request: model_pb2.GetModelRequest, context: Context) -> model_pb2.GetModelResponse:
        """Return a model."""
        async with self.database.session() as session:
            row = await owned(session, Model, request.client_id, request.model_id)
            return model_pb2.GetModelResponse(model=model_message(row))

    async def ListModels(self, request: model_pb2.ListModelsRequest, context: Context) -> model_pb2.ListModelsResponse:
        """List the models of a client."""
        async with self.database.session() as session:

            async def build(row: Model) -> model_pb2.Model:
                return model_message(row)

            found, token = await page_of(session, Model, request, "", build)
            return model_pb2.ListModelsResponse(models=found, next_page_token=token)

    async def DeleteModel(
        self, request: model_pb2.DeleteModelRequest, context: Context
    ) -> model_pb2.DeleteModelResponse:
        """Delete a model that nothing refers to."""
        async with self.database.session() as session:
            replay = await seen_before(session, "DeleteModel", request)
            if replay is None:
                row = await owned(session, Model, request.client_id, request.model_id, for_update=True)
                users = (
                    (Session, "an elicitation session"),
                    (SbcValidation, "an SBC run"),
                    (Attribution, "an attribution"),
                )
                for entity, kind in users:
                    used = await session.scalar(select(entity.pk).where(entity.model_pk == row.pk).limit(1))
                    if used is not None:
                        raise ServiceError("IN_USE", f"{kind} refers to the model")
                await session.delete(row)
            return model_pb2.DeleteModelResponse()

    async def ValidateModel(
        self, request: model_pb2.ValidateModelRequest, context: Context
    ) -> model_pb2.ValidateModelResponse:
        """Not there yet."""
        raise unimplemented("the conformance test of a registered model", "model_id")


def check_additive(spec: model_pb2.AdditiveMmmSpec, columns: list[dataset_pb2.Column]) -> tuple[int, list[str]]:
    """Check an additive model against the columns it names; return its parameter count and remarks."""
    roles = {column.name: column.role for column in columns}
    names: set[str] = set()
    warnings: list[str] = []

    def want(path: str, column: str, *allowed: dataset_pb2.ColumnRole.ValueType) -> None:
        if column not in roles:
            raise invalid_field(path, f"the data set has no column {column!r}; it has {', '.join(sorted(roles))}")
        if roles[column] not in allowed:
            listed = " or ".join(label(dataset_pb2.ColumnRole, role) for role in allowed)
            raise invalid_field(path, f"column {column!r} must have role {listed}")

    for index, channel in enumerate(spec.channels):
        path = f"spec.additive_mmm.channels[{index}]"
        _unique(names, channel.name, f"{path}.name")
        want(
            f"{path}.exposure_column",
            channel.exposure_column,
            dataset_pb2.COLUMN_ROLE_EXPOSURE,
            dataset_pb2.COLUMN_ROLE_SPEND,
        )
        if channel.spend_column:
            want(f"{path}.spend_column", channel.spend_column, dataset_pb2.COLUMN_ROLE_SPEND)
        elif channel.parameterise_by == model_pb2.PARAMETERISATION_ROI:
            raise invalid_field(f"{path}.spend_column", "required when the channel is parameterised by ROI")
        else:
            warnings.append(f"Channel {channel.name!r} has no spend column, so no ROI is reported for it.")
        if channel.HasField("prior"):
            check_distribution(f"{path}.prior", channel.prior)
        if channel.HasField("retention_prior"):
            check_distribution(f"{path}.retention_prior", channel.retention_prior)
        if channel.HasField("half_saturation_prior"):
            if channel.saturation == model_pb2.SATURATION_LINEAR:
                raise invalid_field(f"{path}.half_saturation_prior", "must be absent: a linear channel has none")
            check_distribution(f"{path}.half_saturation_prior", channel.half_saturation_prior)
    for index, control in enumerate(spec.controls):
        path = f"spec.additive_mmm.controls[{index}]"
        _unique(names, control.name, f"{path}.name")
        want(f"{path}.column", control.column, dataset_pb2.COLUMN_ROLE_CONTROL)
    if dataset_pb2.COLUMN_ROLE_GEO in roles.values() and dataset_pb2.COLUMN_ROLE_POPULATION not in roles.values():
        warnings.append("The panel has no POPULATION column: a geo's mean KPI stands in for its population.")
    linear = sum(channel.saturation == model_pb2.SATURATION_LINEAR for channel in spec.channels)
    count = 3 * len(spec.channels) - linear + len(spec.controls) + 2 * spec.fourier_pairs + 2 + (not spec.no_trend)
    if count > MAX_PARAMETERS:
        raise invalid_field("spec.additive_mmm", f"{count} top-level parameters, at most {MAX_PARAMETERS}")
    return count, warnings


def _unique(names: set[str], name: str, path: str) -> None:
    if name in names:
        raise invalid_field(path, f"{name!r} is used twice")
    names.add(name)


def check_conjugate(spec: model_pb2.ConjugateNormalSpec) -> None:
    """Check a summary-level model: its reference prior is one with an exact posterior."""
    check_estimand("spec.conjugate_normal.estimand", spec.estimand)
    path = "spec.conjugate_normal.reference_prior"
    if spec.reference_prior.WhichOneof("kind") not in {"normal", "uniform"}:
        raise invalid_field(path, "a normal or a uniform distribution")
    check_distribution(path, spec.reference_prior)
    check_estimate("spec.conjugate_normal.estimate", spec)
    if spec.HasField("window"):
        path = "spec.conjugate_normal.window"
        for name in ("first_date", "last_date"):
            if not getattr(spec.window, name):
                raise invalid_field(f"{path}.{name}", "required in a window")
        if spec.window.last_date < spec.window.first_date:
            raise invalid_field(f"{path}.last_date", "must not be before first_date")
        first, last = (datetime.date.fromisoformat(getattr(spec.window, name)) for name in ("first_date", "last_date"))
        months = ((last - first).days + 1) / DAYS_PER_MONTH
        if spec.n_months > months + 1:
            raise invalid_field(path, f"is {months:.1f} months long, too short for n_months, {spec.n_months}")


def check_estimand(path: str, estimand: common_pb2.Estimand) -> None:
    """Check what the options of the contract cannot: every quantity is a channel's, but for the total of all media."""
    total = estimand.quantity == common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME
    if total and estimand.channel:
        raise invalid_field(f"{path}.channel", "must be empty: the total is that of all channels together")
    if not total and not estimand.channel:
        raise invalid_field(f"{path}.channel", "required, but for TOTAL_MEDIA_SHARE_OF_OUTCOME")


def check_distribution(path: str, distribution: common_pb2.Distribution) -> None:
    """Check what the options of the contract cannot: ordered ends, and weights that sum to one."""
    kind = distribution.WhichOneof("kind")
    if kind in {"uniform", "truncated_normal"}:
        ends = getattr(distribution, kind)
        if not ends.lower < ends.upper:
            raise invalid_field(f"{path}.{kind}.upper", "must be above lower")
    if kind == "gridded":
        for name in ("grid", "log_density"):
            if len(getattr(distribution.gridded, name).data) > 8 * MAX_GRID:
                raise invalid_field(f"{path}.gridded.{name}", f"at most {MAX_GRID} points")
    if kind == "mixture":
        total = 0.0
        for index, component in enumerate(distribution.mixture.components):
            inner = f"{path}.mixture.components[{index}].distribution"
            if component.distribution.WhichOneof("kind") == "mixture":
                raise invalid_field(inner, "a component is not itself a mixture")
            check_distribution(inner, component.distribution)
            total += component.weight
        if abs(total - 1) > 1e-6:
            raise invalid_field(f"{path}.mixture.components", f"the weights sum to {total}, not to 1")
