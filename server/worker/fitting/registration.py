"""What a newly registered model makes of its data set a priori: its prior predictive, and what to mind about it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import numpy as np
from liftos.bayes.v1 import model_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from engine.arrays import Floats
from engine.conflict.induced import prior_draws
from engine.errors import InvalidInput
from engine.inference.fit import Seed
from engine.models.protocol import Attributes, Cautions, Model, Predicts
from engine.rules.cautions import Caution, CautionKind
from engine.rules.quantity_names import name_of
from persistence.tables import Job, RegisteredModel
from server.contract.period import DEFAULT_MONTHS, Period
from server.contract.wire import to_json
from server.records.lookups import owned
from server.records.messages import model_message
from server.texts.cautions import cannot_be_prepared, explain_caution
from server.worker.context import Commit, WorkerContext
from server.worker.conversion import estimate_of_draws
from server.worker.fitting.fits import window_message

SIMULATIONS = 4_000
OUTCOMES = 200
"""Of the simulations, so many are carried on to a KPI: a quantile of .95 of the outcome comes out to 2 points."""
_NEGLIGIBLE = 0.001


async def register_model(context: WorkerContext, job: Job) -> Commit:
    """Add to the model of a request what it says a priori; the server has checked and stored it."""
    request = model_pb2.RegisterModelRequest.FromString(job.request)
    remarks: list[str] = []
    message: model_pb2.RegisteredPriorPredictive | None = None
    async with context.database.session() as session:
        row = await owned(session, RegisteredModel, request.client_id, request.model_id)
        if row.dataset_pk is not None:
            try:
                model = await context.models.prepared(session, row, Period.whole())
                message, remarks = await asyncio.to_thread(_looked_at, model, Seed.of(int(row.model_hash[:16], 16)))
            except InvalidInput as error:
                remarks = [cannot_be_prepared(error.field, error.message, None)]
            else:
                try:
                    await context.models.prepared(session, row, Period())
                except InvalidInput as error:
                    remarks.append(cannot_be_prepared(error.field, error.message, DEFAULT_MONTHS))

    async def commit(session: AsyncSession) -> model_pb2.RegisterModelResponse:
        stored = await session.get_one(RegisteredModel, row.pk)
        stored.warnings = [*stored.warnings, *(remark for remark in remarks if remark not in stored.warnings)]
        stored.prior_predictive = None if message is None else to_json(message)
        await session.flush()
        return model_pb2.RegisterModelResponse(model=model_message(stored))

    return commit


def _looked_at(model: Model, seed: Seed) -> tuple[model_pb2.RegisteredPriorPredictive | None, list[str]]:
    """The prior predictive of a model that attributes to channels, and remarks."""
    cautions = model.cautions() if isinstance(model, Cautions) else []
    message = None
    if isinstance(model, Attributes):
        message = prior_predictive(model, seed)
        cautions = [*total_cautions(model, seed), *cautions]
    return message, [explain_caution(caution) for caution in cautions]


def prior_predictive(model: Model, seed: Seed) -> model_pb2.RegisteredPriorPredictive:
    """What a model that attributes to channels says of its window a priori."""
    assert isinstance(model, Attributes)
    draws, shares = _prior_shares(model, seed)
    total = np.sum(list(shares.values()), axis=0)
    message = model_pb2.RegisteredPriorPredictive(
        total_media_share=estimate_of_draws(total), observed_outcome=model.total_outcome
    )
    for name, share in shares.items():
        channel = message.channels.add(channel=name, share_of_outcome=estimate_of_draws(share))
        if (spend := model.spend.get(name, math.nan)) > 0.0:
            channel.roi.CopyFrom(estimate_of_draws(share * (model.total_outcome / spend)))
    if isinstance(model, Predicts):
        message.outcome.CopyFrom(estimate_of_draws(_outcome(model, draws, seed)))
    if (window := window_message(model)) is not None:
        message.window.CopyFrom(window)
    return message


def _prior_shares(model: Model, seed: Seed) -> tuple[Mapping[str, Floats], Mapping[str, Floats]]:
    """Draws [SIMULATIONS] of the parameters from their priors, and of each channel's share of the outcome."""
    assert isinstance(model, Attributes)
    draws = prior_draws(model, seed.derived("prior predictive"), SIMULATIONS)
    return draws, {name: model.derive(name_of("share_of_outcome", name), draws) for name in model.channel_names}


def _outcome(model: Model, draws: Mapping[str, Floats], seed: Seed) -> Floats:
    """Outcome of the window in data simulated under the priors [OUTCOMES]."""
    assert isinstance(model, Predicts)
    some = {name: values[:OUTCOMES] for name, values in draws.items()}
    return model.outcome_of(model.simulate(some, seed.derived("prior outcomes"), np.arange(OUTCOMES)))


def total_cautions(model: Model, seed: Seed) -> list[Caution]:
    """What to mind about what all media of a model that attributes to channels bring a priori."""
    return judged_total(np.sum(list(_prior_shares(model, seed)[1].values()), axis=0))


def judged_total(total: Floats) -> list[Caution]:
    """What to mind about draws [S] of the share of all media."""
    mean = float(total.mean())
    if mean > 1.0 or float(np.median(total)) > 1.0:
        return [Caution(CautionKind.MEDIA_ABOVE_OUTCOME, value=mean)]
    return [Caution(CautionKind.MEDIA_NEGLIGIBLE, value=mean)] if mean < _NEGLIGIBLE else []
