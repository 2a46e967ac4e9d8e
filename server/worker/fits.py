"""Fits and evidence curves: computed once per model, window and priors, stored, and read ever after."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from engine.models.conjugate_normal import ConjugateNormal
from liftos.bayes.v1 import common_pb2
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.curve import EvidenceCurve
from engine.inference.settings import FitSettings
from engine.models.protocol import Model as EngineModel
from engine.models.protocol import Seed
from persistence import tables
from persistence.tables import ClientPrior, Dataset, Fit, FitDraws, Model
from server.certificates import fit_key
from server.resources import by_pk, date_range
from server.services.conflicts import quantity_name
from server.version import SERVER_VERSION
from server.wire import from_json, label, timestamp, to_json
from server.worker.calls import WorkerContext
from server.worker.convert import from_law

Floats = npt.NDArray[np.float64]
DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True)
class StoredFit:
    """A prepared model with its stored fit."""

    row: Fit
    model: EngineModel
    draws: Mapping[str, Floats]
    """Posterior draws by quantity, each of shape [chains, draws]."""

    @property
    def diagnostics(self) -> common_pb2.FitDiagnostics:
        """Diagnostics of the fit."""
        return from_json(self.row.diagnostics, common_pb2.FitDiagnostics())

    @property
    def provenance(self) -> common_pb2.Provenance:
        """What the fit was computed from."""
        return from_json(self.row.provenance, common_pb2.Provenance())

    @property
    def months(self) -> float:
        """Months of data behind the fit."""
        return float(self.row.facts["months"])


async def stored_fit(
    context: WorkerContext, model_row: Model, months: int, beliefs: Sequence[ClientPrior] = ()
) -> StoredFit:
    """The fit of a model over a window under the priors of the beliefs (none: reference priors); computed at need."""
    async with context.database.session() as session:
        dataset = await by_pk(session, Dataset, model_row.dataset_pk) if model_row.dataset_pk else None
        model = await context.models.prepared(session, model_row, months, beliefs)
        key = fit_key(model_row, dataset, months, beliefs)
        if (found := await _load(session, model_row, key, model)) is not None:
            return found
    # The seed is the key, so that the same question gets the same digits wherever and whenever it is computed.
    seed = Seed.of(int(key[:16], 16))
    fit = await asyncio.to_thread(
        model.fit, model.observed[:, None], seed, np.zeros(1, dtype=np.int64), FitSettings.single()
    )
    diagnostics = common_pb2.FitDiagnostics(
        max_r_hat=float(fit.diagnostics.r_hat[0]),
        min_ess_bulk=float(fit.diagnostics.ess_bulk[0]),
        min_ess_tail=float(fit.diagnostics.ess_tail[0]),
        divergences=int(fit.diagnostics.divergences[0]),
        escalations=int(fit.diagnostics.escalations[0]),
        converged=bool(fit.diagnostics.ok[0]),
        inference="exact" if isinstance(model, ConjugateNormal) else "batched-hmc/1",
    )
    provenance = common_pb2.Provenance(
        model_id=model_row.model_id,
        model_hash=model_row.model_hash,
        dataset_id=dataset.dataset_id if dataset else "",
        dataset_sha256=(dataset.sha256 or "") if dataset else "",
        window=_window(model),
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
                facts={"months": _months(model)},
            )
            .on_conflict_do_nothing()
            .returning(Fit.pk)
        )
        fit_pk = await session.scalar(statement)
        if fit_pk is not None:
            for quantity, draws in fit.draws.items():
                chains, length = draws.shape[1:]
                data = np.ascontiguousarray(draws[0], dtype="<f8").tobytes()
                session.add(FitDraws(fit_pk=fit_pk, quantity=quantity, chains=chains, draws=length, data=data))
            await session.flush()
        # Another worker may have been first; what is stored counts, so that everybody answers from the same draws.
        found = await _load(session, model_row, key, model)
    assert found is not None
    return found


async def _load(session: AsyncSession, model_row: Model, key: str, model: EngineModel) -> StoredFit | None:
    row = (await session.scalars(select(Fit).where(Fit.model_pk == model_row.pk, Fit.fit_key == key))).one_or_none()
    if row is None:
        return None
    stored = await session.scalars(select(FitDraws).where(FitDraws.fit_pk == row.pk))
    draws = {d.quantity: np.frombuffer(d.data, "<f8").reshape(d.chains, d.draws) for d in stored}
    return StoredFit(row, model, draws)


def _window(model: EngineModel) -> common_pb2.DateRange | None:
    dates = getattr(model, "dates", None)
    if dates is None:
        return None
    first, last = (dates[i].astype("datetime64[D]").astype(object) for i in (0, -1))
    return date_range(first, last)


def _months(model: EngineModel) -> float:
    """Length of the window: from the first date to one step after the last; a summary counts one row a month."""
    dates = getattr(model, "dates", None)
    if dates is None or len(dates) < 2:
        return float(model.n_observations)
    steps = np.diff(dates).astype("timedelta64[D]").astype(float)
    return float((steps.sum() + np.median(steps)) / DAYS_PER_MONTH)


async def stored_curve(
    context: WorkerContext, fit: StoredFit, estimand: common_pb2.Estimand
) -> tuple[tables.EvidenceCurve, EvidenceCurve]:
    """The evidence curve of an estimand from a reference fit; estimated at need, then read back from the store."""
    quantity, channel = label(common_pb2.Quantity, estimand.quantity), estimand.channel
    statement = select(tables.EvidenceCurve).where(
        tables.EvidenceCurve.fit_pk == fit.row.pk,
        tables.EvidenceCurve.quantity == quantity,
        tables.EvidenceCurve.channel == channel,
    )
    async with context.database.session() as session:
        row = (await session.scalars(statement)).one_or_none()
    if row is None:
        curve = await asyncio.to_thread(_curve, fit, quantity_name(estimand))
        async with context.database.session() as session:
            await session.execute(
                insert(tables.EvidenceCurve)
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
                    replicates=_bytes(curve.replicates),
                    effective_sample_size=curve.n_effective,
                    months=fit.months,
                )
                .on_conflict_do_nothing()
            )
            row = (await session.scalars(statement)).one()
    return row, curve_of(row, fit.draws.get(quantity_name(estimand)))


def curve_of(row: tables.EvidenceCurve, draws: Floats | None) -> EvidenceCurve:
    """The engine's curve of a stored one, digit for digit."""
    raise NotImplementedError


def _bytes(values: npt.ArrayLike) -> bytes:
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def _curve(fit: StoredFit, name: str) -> EvidenceCurve:
    if isinstance(fit.model, ConjugateNormal):
        spec = fit.model.spec
        return EvidenceCurve.normal(spec.estimate, spec.standard_error, spec.prior, fit.months)
    return EvidenceCurve.from_draws(fit.draws[name], fit.model.prior_of(name), fit.months)
