"""Registered models as the engine's prepared models, kept in memory while they are in use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from liftos.bayes.v1 import common_pb2, dataset_pb2, elicitation_pb2, model_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.distributions.distribution import (
    POSITIVE,
    REAL_LINE,
    Beta,
    Distribution,
    HalfNormal,
    LogNormal,
    Normal,
    Support,
)
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.models import additive_spec, conjugate_normal
from engine.models.additive_spec import Parameterisation
from engine.models.protocol import Model
from engine.models.registry import prepare_function
from engine.models.saturation import Saturation
from engine.models.table import Table, Window
from persistence import uploads as datasets
from persistence.tables import ClientPrior, Dataset, RegisteredModel, SbcValidation
from server.contract.period import Period
from server.contract.quantities import QUANTITIES
from server.contract.wire import from_json, label, quantity_name
from server.records import content as table
from server.records.certificates import fit_key
from server.records.content import stored_columns
from server.records.lookups import by_pk, dataset_of
from server.records.sessions import beliefs_of
from server.worker.conversion import belief_law, to_law
from server.worker.fitting.recent import Recent

KEPT = 8
"""Prepared models kept in memory; each holds the data of one window."""

# Documented in model.proto: what an absent prior means.
DEFAULT_SHARE_PRIOR = Beta(1.0, 3.0)
DEFAULT_PRIORS: dict[Parameterisation, Distribution] = {
    Parameterisation.SHARE_OF_OUTCOME: DEFAULT_SHARE_PRIOR,
    Parameterisation.ROI: LogNormal(0.2, 0.9),
}
DEFAULT_WEIGHTS = 8
# The engine has each of these under the name that the contract gives it.
PARAMETERISATIONS = {
    number: Parameterisation[label(model_pb2.Parameterisation, number or model_pb2.PARAMETERISATION_SHARE_OF_OUTCOME)]
    for number in model_pb2.Parameterisation.values()
}
SATURATIONS = {
    number: Saturation[label(model_pb2.Saturation, number or model_pb2.SATURATION_HILL)]
    for number in model_pb2.Saturation.values()
}


class ModelStore:
    """Prepared models by the key of what they depend on."""

    def __init__(self) -> None:
        self._kept: Recent[Model] = Recent(KEPT)

    async def prepared(
        self, session: AsyncSession, row: RegisteredModel, period: Period, beliefs: Sequence[ClientPrior] = ()
    ) -> Model:
        """The model over a period, under its reference priors with those of the beliefs put in their place.

        Raises InvalidInput with the path of the field to blame, and UnsupportedQuantity with the belief that cannot
        be put in the place of a prior: it is about a quantity that depends on several parameters.
        """
        dataset = await dataset_of(session, row)
        key = fit_key(row, dataset, period, beliefs)
        if (kept := self._kept.get(key)) is not None:
            return kept
        spec = from_json(row.spec, model_pb2.ModelSpec())
        content = await datasets.read_content(session, dataset) if dataset else b""
        model = await asyncio.to_thread(_build, row.family, spec, dataset, content, period)
        if beliefs:
            model = _believed(model, beliefs)
        return self._kept.put(key, model)

    async def data_of(
        self, session: AsyncSession, row: RegisteredModel, period: Period
    ) -> tuple[Table, Sequence[dataset_pb2.Column]]:
        """The data set of a model that has one, without what the period holds out, and its columns."""
        dataset = await dataset_of(session, row)
        if dataset is None:
            raise InvalidInput("model_id", "the model has no data set")
        content = await datasets.read_content(session, dataset)
        return await asyncio.to_thread(_table, dataset, content, period)

    async def of_run(self, session: AsyncSession, run: SbcValidation) -> Model:
        """The model that a calibration run is about."""
        row = await by_pk(session, RegisteredModel, run.model_pk)
        beliefs = await beliefs_of(session, run.session_pk) if run.session_pk else ()
        return await self.prepared(session, row, Period.of(run), beliefs)


def _believed(model: Model, beliefs: Sequence[ClientPrior]) -> Model:
    """The model with the beliefs as priors."""
    laws: dict[str, Distribution] = {}
    for row in beliefs:
        belief = from_json(row.belief, elicitation_pb2.Belief())
        name = quantity_name(belief.estimand)
        try:
            laws[name] = belief_law(belief, model.prior_of(name), f"beliefs[{row.belief_id}]")
        except UnsupportedQuantity as error:
            message = f"belief {row.belief_id!r} cannot be the prior of a fit ({error.message})"
            raise UnsupportedQuantity(name, message) from None
        if name.startswith("coefficient[") and not isinstance(laws[name], Normal):
            message = "as the prior of a fit the coefficient of a control has to be Normal"
            raise UnsupportedQuantity(name, f"belief {row.belief_id!r}: {message}")
    return model.with_priors(laws)


def check_known(model: Model, estimand: common_pb2.Estimand, field: str) -> None:
    """Refuse an estimand that the model does not have, or about which no belief can be held yet."""
    name, quantity, owner = quantity_name(estimand), estimand.quantity, estimand.channel
    facts = QUANTITIES[quantity]
    if not facts.of_all:
        coefficient = quantity == common_pb2.QUANTITY_COEFFICIENT
        known = _channels(model) | (_owners(model.derived_names) if coefficient else set())
        if owner not in known:
            what = "channel or control" if coefficient else "channel"
            raise InvalidInput(f"{field}.channel", f"the model has no {what} {owner!r}")
    if facts.by_spend and name not in model.quantity_names and f"roi[{owner}]" not in model.quantity_names:
        raise InvalidInput(f"{field}.quantity", f"channel {owner!r} has no spend column, so no ROI")
    if name not in model.quantity_names and quantity == common_pb2.QUANTITY_HALF_SATURATION:
        raise InvalidInput(f"{field}.quantity", f"channel {owner!r} has no half-saturation in this model")
    mmm = not isinstance(model, conjugate_normal.ConjugateNormal)
    if mmm and facts.against_others and len(_channels(model)) == 1:
        raise InvalidInput(
            f"{field}.quantity", "the model has one channel: it is all media, and the total is its share of outcome"
        )
    if name in model.derived_names:
        return
    try:
        model.prior_of(name)
    except UnsupportedQuantity as error:
        raise UnsupportedQuantity(
            name, f"beliefs about this quantity are not implemented yet ({error.message})"
        ) from None


def _channels(model: Model) -> set[str]:
    return _owners(model.estimand_names)


def _owners(names: Sequence[str]) -> set[str]:
    """What the names have in brackets."""
    return {name.partition("[")[2].removesuffix("]") for name in names if "[" in name}


def support_of(quantity: int) -> Support:
    """Where a quantity lives by its nature; a coefficient as that of a control."""
    facts = QUANTITIES[quantity]
    return Support(facts.lower, facts.upper)


def natural_support(model: Model, estimand: common_pb2.Estimand) -> Support:
    """Where an estimand of the model lives by its nature."""
    summary = isinstance(model, conjugate_normal.ConjugateNormal)
    if estimand.quantity == common_pb2.QUANTITY_COEFFICIENT and not summary and estimand.channel in _channels(model):
        return POSITIVE
    return support_of(estimand.quantity)


def belief_support(model: Model, estimand: common_pb2.Estimand) -> Support:
    """Where beliefs about an estimand live: where the quantity does, and for a summary on the real line.

    A summary's likelihood is normal in the quantity itself, so its beliefs stay on that scale.
    """
    summary = isinstance(model, conjugate_normal.ConjugateNormal)
    return REAL_LINE if summary else natural_support(model, estimand)


def _build(family: str, spec: model_pb2.ModelSpec, dataset: Dataset | None, content: bytes, period: Period) -> Model:
    prepare = prepare_function(family)
    match spec.WhichOneof("family"):
        case "conjugate_normal":
            return prepare(_conjugate(spec.conjugate_normal))
        case "additive_mmm":
            assert dataset is not None
            data, columns = _table(dataset, content, period)
            return prepare(data, _additive(spec.additive_mmm, columns), Window(period.months))
        case other:
            raise AssertionError(f"a model of the family {other} is not built")


def _table(dataset: Dataset, content: bytes, period: Period) -> tuple[Table, Sequence[dataset_pb2.Column]]:
    columns = stored_columns(dataset)
    decoded = table.decode(columns, dataset.row_count, content)
    data = Table(decoded.dates, decoded.columns, decoded.geos.labels)
    return (data.without_last(period.hold_out) if period.hold_out else data), columns


def _conjugate(spec: model_pb2.ConjugateNormalSpec) -> conjugate_normal.ConjugateNormalSpec:
    return conjugate_normal.ConjugateNormalSpec(
        quantity=quantity_name(spec.estimand),
        estimate=spec.estimate,
        standard_error=spec.standard_error,
        n_observations=spec.n_months,
        prior=to_law(spec.reference_prior, "spec.conjugate_normal.reference_prior"),
    )


def _additive(spec: model_pb2.AdditiveMmmSpec, columns: Sequence[dataset_pb2.Column]) -> additive_spec.AdditiveMmmSpec:
    def named(role: dataset_pb2.ColumnRole.ValueType) -> str | None:
        return next((column.name for column in columns if column.role == role), None)

    baseline = additive_spec.BaselinePriors()
    if spec.HasField("sigma_prior_scale"):
        baseline = additive_spec.BaselinePriors(sigma=HalfNormal(spec.sigma_prior_scale))
    return additive_spec.AdditiveMmmSpec(
        kpi=str(named(dataset_pb2.COLUMN_ROLE_KPI)),
        channels=tuple(_channel(index, channel) for index, channel in enumerate(spec.channels)),
        controls=tuple(
            additive_spec.Control(
                control.name, control.column, Normal(0.0, control.prior_sd if control.HasField("prior_sd") else 1.0)
            )
            for control in spec.controls
        ),
        fourier_pairs=spec.fourier_pairs,
        trend=not spec.no_trend,
        revenue_per_kpi=named(dataset_pb2.COLUMN_ROLE_REVENUE_PER_KPI),
        population=named(dataset_pb2.COLUMN_ROLE_POPULATION),
        baseline=baseline,
    )


def _channel(index: int, channel: model_pb2.Channel) -> additive_spec.Channel:
    path = f"spec.additive_mmm.channels[{index}]"
    sampled = PARAMETERISATIONS[channel.parameterise_by]
    priors: dict[str, Any] = {}
    for name in ("retention_prior", "half_saturation_prior"):
        if channel.HasField(name):
            priors[name] = to_law(getattr(channel, name), f"{path}.{name}")
    return additive_spec.Channel(
        name=channel.name,
        exposure=channel.exposure_column,
        spend=channel.spend_column or None,
        prior=to_law(channel.prior, f"{path}.prior") if channel.HasField("prior") else DEFAULT_PRIORS[sampled],
        parameterise_by=sampled,
        n_weights=channel.n_weights or DEFAULT_WEIGHTS,
        saturation=SATURATIONS[channel.saturation],
        **priors,
    )
