"""Fits and evidence curves: computed once per model, window and priors, stored, and read ever after."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from engine.arrays import Floats
from engine.conflict.curve import CurveKind, EvidenceCurve, jackknife_groups
from engine.conflict.induced import InducedPrior, induced_prior
from engine.distributions.distribution import Distribution
from engine.distributions.support import REAL_LINE, Support
from engine.errors import UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import BatchFit, Seed
from engine.models.protocol import Attributes, HasWindow, Model, OwnInference, Summary
from engine.models.table import WindowReport
from engine.rules.calendar import DAYS_PER_MONTH
from persistence.tables import ClientPrior, Fit, FitDraws, RegisteredModel, StoredCurve
from server.contract.period import Period
from server.contract.version import SERVER_VERSION
from server.contract.wire import date_range, from_json, label, quantity_name, timestamp, to_json, value_of
from server.records.certificates import fit_key
from server.records.lookups import dataset_of
from server.worker.context import WorkerContext
from server.worker.conversion import from_law, to_law
from server.worker.fitting.compiler import compile_clock
from server.worker.fitting.prepared import natural_support


@dataclass(frozen=True)
class StoredFit:
    """A prepared model with its stored fit."""

    row: Fit
    model: Model
    draws: Mapping[str, Floats]
    """Posterior draws by quantity, each of shape [chains, draws]."""
    compile_seconds: float = 0.0
    """Seconds of computing it that went into compiling; 0 when it was read from the store."""
    reused: bool = True
    """Whether it was in the store already."""
    _derived: dict[str, Floats] = field(default_factory=dict, init=False, repr=False, compare=False)

    def draws_of(self, quantity: str) -> Floats:
        """Posterior draws [chains, draws] of a quantity; of one that no fit returns, computed from its parameters."""
        if quantity in self.draws:
            return self.draws[quantity]
        if quantity not in self._derived:
            self._derived[quantity] = derived_draws(self.model, self.draws, quantity)
        return self._derived[quantity]

    @property
    def parameters(self) -> dict[str, Floats]:
        """Posterior draws [chains * draws] of the model's parameters."""
        return {name: np.ravel(self.draws[name]) for name in self.model.parameter_names}

    @property
    def seed(self) -> Seed:
        """The fit's seed, which is its key: the same question gets the same digits wherever and whenever computed."""
        return seed_of(self.row.fit_key)

    @property
    def diagnostics(self) -> common_pb2.FitDiagnostics:
        """Diagnostics of the fit."""
        return from_json(self.row.diagnostics, common_pb2.FitDiagnostics())

    @property
    def provenance(self) -> common_pb2.Provenance:
        """What the fit was computed from, and how long that compiled."""
        return from_json(self.row.provenance, common_pb2.Provenance(compile_seconds=self.compile_seconds or None))

    @property
    def months(self) -> float:
        """Months of data behind the fit."""
        return float(self.row.facts["months"])


def derived_draws(model: Model, draws: Mapping[str, Floats], quantity: str) -> Floats:
    """Draws [chains, draws] of a quantity that no fit returns, from those of the parameters."""
    parameters = {name: np.ravel(draws[name]) for name in model.parameter_names}
    return model.derive(quantity, parameters).reshape(draws[model.parameter_names[0]].shape)


async def stored_fit(
    context: WorkerContext, model_row: RegisteredModel, period: Period, beliefs: Sequence[ClientPrior] = ()
) -> StoredFit:
    """The fit of a model over a period under the priors of the beliefs (none: reference priors); computed at need."""
    async with context.database.session() as session:
        dataset = await dataset_of(session, model_row)
        model = await context.models.prepared(session, model_row, period, beliefs)
        key = fit_key(model_row, dataset, period, beliefs)
        if (stored := await _load(session, model_row, key, model)) is not None:
            return stored
    fit, compile_seconds = await asyncio.to_thread(single_fit, model, seed_of(key))
    diagnostics = common_pb2.FitDiagnostics(
        max_r_hat=float(fit.diagnostics.r_hat[0]),
        min_ess_bulk=float(fit.diagnostics.ess_bulk[0]),
        min_ess_tail=float(fit.diagnostics.ess_tail[0]),
        divergences=int(fit.diagnostics.divergences[0]),
        escalations=int(fit.diagnostics.escalations[0]),
        converged=bool(fit.diagnostics.ok[0]),
        inference=model.inference if isinstance(model, OwnInference) else BatchedHmc.single().name,
    )
    provenance = common_pb2.Provenance(
        model_id=model_row.model_id,
        model_hash=model_row.model_hash,
        dataset_id=dataset.dataset_id if dataset else "",
        dataset_sha256=(dataset.sha256 or "") if dataset else "",
        window=window_message(model),
        n_observations=model.n_observations,
        engine_version=SERVER_VERSION,
        compute_time=timestamp(datetime.datetime.now(datetime.UTC)),
    )
    async with context.database.session() as session:
        statement = (
            insert(Fit)
            .values(
                client_id=model_row.client_id,
                model_pk=model_row.pk,
                fit_key=key,
                diagnostics=to_json(diagnostics),
                provenance=to_json(provenance),
                facts=_facts(model),
            )
            .on_conflict_do_nothing()
            .returning(Fit.pk)
        )
        fit_pk = await session.scalar(statement)
        if fit_pk is not None:
            for quantity, draws in fit.draws.items():
                chains, length = draws.shape[1:]
                session.add(
                    FitDraws(fit_pk=fit_pk, quantity=quantity, chains=chains, draws=length, data=_bytes(draws[0]))
                )
            await session.flush()
        # Another worker may have been first; what is stored counts, so that everybody answers from the same draws.
        stored = await _load(session, model_row, key, model)
    assert stored is not None
    return replace(stored, compile_seconds=compile_seconds, reused=fit_pk is None)


def seed_of(key: str) -> Seed:
    """The seed of the fit with this key."""
    return Seed.of(int(key[:16], 16))


def single_fit(model: Model, seed: Seed) -> tuple[BatchFit, float]:
    """The fit of the observed data, and the seconds of it that went into compiling."""
    with compile_clock() as clock:
        fit = model.fit(model.observed[:, None], seed, np.zeros(1, dtype=np.int64), BatchedHmc.single())
    return fit, clock.seconds


async def _load(session: AsyncSession, model_row: RegisteredModel, key: str, model: Model) -> StoredFit | None:
    row = (await session.scalars(select(Fit).where(Fit.model_pk == model_row.pk, Fit.fit_key == key))).one_or_none()
    if row is None:
        return None
    stored = await session.scalars(select(FitDraws).where(FitDraws.fit_pk == row.pk))
    draws = {d.quantity: np.frombuffer(d.data, "<f8").reshape(d.chains, d.draws) for d in stored}
    return StoredFit(row, model, draws)


def window_message(model: Model) -> common_pb2.DateRange | None:
    """The days that a model is about, first and last; None where its rows have no dates."""
    if not isinstance(model, HasWindow):
        return None
    first, last = (day.astype("datetime64[D]").item() for day in (model.window.first_date, model.window.last_date))
    return date_range(first, last)


def _facts(model: Model) -> dict[str, Any]:
    """What answers need of the prepared model beside the draws: months of data, and what shares of outcome refer to."""
    facts: dict[str, Any] = {"months": float(model.n_observations)}
    if isinstance(model, HasWindow):
        facts |= _window_facts(model.window)
    if isinstance(model, Attributes):
        facts |= {"total_outcome": model.total_outcome, "spend": dict(model.spend)}
    return facts


def _window_facts(window: WindowReport) -> dict[str, Any]:
    days = (window.last_date - window.first_date).astype("timedelta64[D]").astype(float)
    # The last period lasts as long as the others.
    days *= window.periods / max(window.periods - 1, 1)
    return {
        "months": days / DAYS_PER_MONTH,
        "edge_rows": window.edge_affected_rows,
        "skipped_rows": window.skipped_rows,
        "geos": window.geos,
        "constant_controls": list(window.constant_controls),
    }


async def stored_curve(
    context: WorkerContext, fit: StoredFit, estimand: common_pb2.Estimand
) -> tuple[StoredCurve, EvidenceCurve]:
    """The evidence curve of an estimand from a reference fit; estimated at need, then read back from the store.

    The draws behind it are stored with it where the fit did not return them.
    """
    quantity, channel = label(common_pb2.Quantity, estimand.quantity), estimand.channel
    statement = select(StoredCurve).where(
        StoredCurve.fit_pk == fit.row.pk,
        StoredCurve.quantity == quantity,
        StoredCurve.channel == channel,
    )
    async with context.database.session() as session:
        row = (await session.scalars(statement)).one_or_none()
    if row is None:
        name = quantity_name(estimand)
        curve = await asyncio.to_thread(_curve, fit, estimand)
        async with context.database.session() as session:
            if curve.kind is CurveKind.DRAWS and name not in fit.draws:
                draws = fit.draws_of(name)
                chains, length = draws.shape
                await session.execute(
                    insert(FitDraws)
                    .values(fit_pk=fit.row.pk, quantity=name, chains=chains, draws=length, data=_bytes(draws))
                    .on_conflict_do_nothing()
                )
            await session.execute(
                insert(StoredCurve)
                .values(
                    client_id=fit.row.client_id,
                    fit_pk=fit.row.pk,
                    quantity=quantity,
                    channel=channel,
                    reference=to_json(from_law(curve.reference)),
                    lower=curve.support.lower,
                    upper=curve.support.upper,
                    n_grid=len(curve.grid),
                    n_replicates=len(curve.replicates),
                    grid=_bytes(curve.grid),
                    log_likelihood=_bytes(curve.log_likelihood),
                    heavy_tail_log_likelihood=_bytes(curve.heavy_tail_log_likelihood),
                    replicates=_bytes(curve.replicates),
                    facts=_curve_facts(curve),
                    effective_sample_size=curve.n_effective,
                    months=fit.months,
                )
                .on_conflict_do_nothing()
            )
            row = (await session.scalars(statement)).one()
    return row, curve_of(row)


def curve_of(row: StoredCurve) -> EvidenceCurve:
    """The engine's curve of a stored one, digit for digit."""
    facts = row.facts
    gaussian = facts["gaussian"]
    return EvidenceCurve(
        quantity=quantity_name(
            common_pb2.Estimand(quantity=value_of(common_pb2.Quantity, row.quantity), channel=row.channel)
        ),
        support=Support(row.lower, row.upper),
        reference=to_law(from_json(row.reference, common_pb2.Distribution()), "reference"),
        grid=np.frombuffer(row.grid, "<f8"),
        log_likelihood=np.frombuffer(row.log_likelihood, "<f8"),
        heavy_tail_log_likelihood=np.frombuffer(row.heavy_tail_log_likelihood, "<f8"),
        replicates=np.frombuffer(row.replicates, "<f8").reshape(row.n_replicates, row.n_grid),
        supported=(float(facts["supported"][0]), float(facts["supported"][1])),
        gaussian=(float(gaussian[0]), float(gaussian[1])) if gaussian else None,
        kind=CurveKind[facts["kind"]],
        n_effective=row.effective_sample_size,
        r_hat=float(facts["r_hat"]),
        months=row.months,
    )


def _curve_facts(curve: EvidenceCurve) -> dict[str, Any]:
    return {
        # JSON has no infinity; a string keeps it, and float() reads it back.
        "supported": [repr(end) for end in curve.supported],
        "gaussian": list(curve.gaussian) if curve.gaussian else None,
        "kind": curve.kind.name,
        "r_hat": curve.r_hat,
    }


def _bytes(values: npt.ArrayLike) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def _curve(fit: StoredFit, estimand: common_pb2.Estimand) -> EvidenceCurve:
    """The evidence curve of an estimand from a stored fit."""
    name = quantity_name(estimand)
    model = fit.model
    if isinstance(model, Summary):
        prior = model.prior_of(name)
        return EvidenceCurve.normal(
            model.estimate, model.standard_error, prior, fit.months, quantity=name, support=REAL_LINE
        )
    return curve_of_draws(model, fit.draws_of(name), estimand, fit.months, fit.seed)


def curve_of_draws(
    model: Model,
    draws: Floats,
    estimand: common_pb2.Estimand,
    months: float,
    seed: Seed,
    *,
    with_error: bool = True,
) -> EvidenceCurve:
    """The evidence curve of an estimand from its draws [chains, draws]; a prior without a closed form is estimated.

    Without its error band, of which a yes or no about the curve has no need, it takes some twenty milliseconds.
    """
    name = quantity_name(estimand)
    try:
        reference: Distribution | InducedPrior = model.prior_of(name)
    except UnsupportedQuantity:
        if name not in model.derived_names:
            raise
        own, groups = seed.derived(f"prior of {name}"), len(jackknife_groups(draws)) if with_error else 1
        reference = induced_prior(model, name, natural_support(model, estimand), own, groups=groups)
    return EvidenceCurve.from_draws(draws, reference, months, quantity=name, with_error=with_error)
