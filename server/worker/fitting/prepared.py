"""Registered models as the engine's prepared models, kept in memory while they are in use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, dataset_pb2, elicitation_pb2, model_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.distributions.distribution import (
    REAL_LINE,
    Distribution,
    Support,
)
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.models.protocol import Attributes, Bounded, CarryOver, Model, Summary
from engine.models.table import Table, Window
from persistence import uploads as datasets
from persistence.tables import ClientPrior, Dataset, RegisteredModel, SbcValidation
from server.contract.families.registry import registered
from server.contract.period import Period
from server.contract.quantities import QUANTITIES
from server.contract.wire import from_json, quantity_name
from server.records import content as table
from server.records.certificates import fit_key
from server.records.content import stored_columns
from server.records.lookups import by_pk, dataset_of
from server.records.sessions import beliefs_of
from server.worker.conversion import belief_law
from server.worker.fitting.families.preparations import preparation_of
from server.worker.fitting.preparation import Data
from server.worker.fitting.recent import Recent

KEPT = 8
"""Prepared models kept in memory; each holds the data of one window."""


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
    named: dict[str, str] = {}
    for row in beliefs:
        belief = from_json(row.belief, elicitation_pb2.Belief())
        name = quantity_name(belief.estimand)
        try:
            laws[name] = belief_law(belief, model.prior_of(name), f"beliefs[{row.belief_id}]")
        except UnsupportedQuantity as error:
            message = f"belief {row.belief_id!r} cannot be the prior of a fit ({error.message})"
            raise UnsupportedQuantity(name, message) from None
        named[name] = row.belief_id
    try:
        return model.with_priors(laws)
    except UnsupportedQuantity as error:
        belief_id = named.get(error.quantity, "")
        raise UnsupportedQuantity(error.quantity, f"belief {belief_id!r}: {error.message}") from None


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
    if facts.against_others and isinstance(model, Attributes) and len(model.channel_names) == 1:
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
    known = model.support_of(quantity_name(estimand)) if isinstance(model, Bounded) else None
    return known or support_of(estimand.quantity)


def belief_support(model: Model, estimand: common_pb2.Estimand) -> Support:
    """Where beliefs about an estimand live: where the quantity does, and for a summary on the real line.

    A summary's likelihood is normal in the quantity itself, so its beliefs stay on that scale.
    """
    return REAL_LINE if isinstance(model, Summary) else natural_support(model, estimand)


def _build(family: str, spec: model_pb2.ModelSpec, dataset: Dataset | None, content: bytes, period: Period) -> Model:
    data = None
    if dataset is not None:
        data = Data(*_table(dataset, content, period), Window(period.months))
    model = preparation_of(family).prepare(spec, data)
    if isinstance(model, CarryOver) is not registered(family).carry_over:
        raise TypeError(f"the two halves of {family} disagree on its carry-over")
    return model


def _table(dataset: Dataset, content: bytes, period: Period) -> tuple[Table, Sequence[dataset_pb2.Column]]:
    columns = stored_columns(dataset)
    decoded = table.decode(columns, dataset.row_count, content)
    data = Table(decoded.dates, decoded.columns, decoded.geos.labels)
    return (data.without_last(period.hold_out) if period.hold_out else data), columns
