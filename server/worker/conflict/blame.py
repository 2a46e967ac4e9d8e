"""What else could explain a strong conflict: refits of the model under changes, and what they say of a belief."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from liftos.bayes.v1 import conflict_pb2, dataset_pb2

from engine.conflict.bayes_factor import recentred
from engine.conflict.causes import Cause, Causes, Refit, explain, refit, remedy
from engine.conflict.collinearity import collinearity
from engine.conflict.curve import EvidenceCurve
from engine.conflict.hidden_driver import HiddenDriver, hidden_driver
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.conflict.severity import Severity
from engine.inference.fit import BatchFit
from engine.models.protocol import Changeable, Model, Regresses
from engine.models.table import Window
from persistence.tables import RegisteredModel
from server.contract.period import Period
from server.contract.wire import value_of
from server.texts.changed_models import changed_models_failed, explain_cause, explain_remedy
from server.texts.explanations import explain_conflict
from server.worker.conflict.comparison import Examined
from server.worker.context import WorkerContext
from server.worker.conversion import estimate_of_summary
from server.worker.fitting.fits import StoredFit, curve_of_draws, derived_draws

TRIED_AS_CONTROLS = (dataset_pb2.COLUMN_ROLE_CONTROL, dataset_pb2.COLUMN_ROLE_EXPOSURE, dataset_pb2.COLUMN_ROLE_SPEND)


async def _refits(
    context: WorkerContext, fit: StoredFit, base: Changeable, row: RegisteredModel, period: Period
) -> Sequence[Refit]:
    """The refits behind a stored fit; kept in memory, so that a second belief costs none."""
    key = fit.row.fit_key
    if (kept := context.refits.get(key)) is not None:
        return kept
    async with context.database.session() as session:
        table, columns = await context.models.data_of(session, row, period)
    names = [column.name for column in columns if column.role in TRIED_AS_CONTROLS]

    def compute() -> Sequence[Refit]:
        return refit(base, base.alternatives(table, Window(period.months), names), fit.seed.derived("causes"))

    return context.refits.put(key, await asyncio.to_thread(compute))


def needs_causes(belief: Examined) -> bool:
    """Whether a belief is in a conflict of at least strong severity with the data of a model that can be changed."""
    return belief.figures.conflict and belief.figures.severity in (Severity.STRONG, Severity.VERY_STRONG)


def tell_collinearity(fit: StoredFit, messages: Sequence[conflict_pb2.BeliefConflict]) -> None:
    """Write into every belief about a channel how much of its exposure the rest of the model says already."""
    if not isinstance(fit.model, Regresses):
        return
    for message in messages:
        if message.estimand.channel in fit.model.channel_names:
            message.collinearity = collinearity(fit.model, message.estimand.channel)


async def explain_conflicts(
    context: WorkerContext,
    fit: StoredFit,
    row: RegisteredModel,
    period: Period,
    examined: Sequence[Examined],
    messages: Sequence[conflict_pb2.BeliefConflict],
) -> list[str]:
    """Write causes, attribution and suggestion into the messages of strong conflicts; notes on what gave no answer."""
    todo = [(belief, message) for belief, message in zip(examined, messages, strict=True) if needs_causes(belief)]
    if not todo or not isinstance(fit.model, Changeable):
        return []
    refits = await _refits(context, fit, fit.model, row, period)
    failed: set[str] = set()
    for belief, message in todo:
        driver = _driver(fit.model, belief)
        if driver is not None:
            message.hidden_driver.CopyFrom(_driver_message(driver))
        causes = await asyncio.to_thread(_causes, fit, belief, refits, driver)
        failed |= set(causes.failed)
        message.causes.extend(_message(cause, message) for cause in causes.ranked)
        if causes.blame is not None:
            message.attribution = value_of(conflict_pb2.ConflictAttribution, causes.blame.name)
        r_squared = message.collinearity if message.HasField("collinearity") else None
        if (settled_by := remedy(belief.figures, causes, fit.months, r_squared)) is not None:
            acted_on = causes.first or causes.refuting
            first = conflict_pb2.Cause() if acted_on is None else _message(acted_on, message)
            message.suggestion = explain_remedy(
                settled_by, first, _dates(acted_on), message.estimand.channel, message.collinearity
            )
        message.explanation = explain_conflict(message)
    return [changed_models_failed(failed)] if failed else []


def _driver(model: Model, belief: Examined) -> HiddenDriver | None:
    """What a hidden driver would have to be; None where the belief is about no channel whose regression there is."""
    channel = belief.belief.estimand.channel
    if not isinstance(model, Regresses) or channel not in model.channel_names:
        return None
    return hidden_driver(belief.figures, model.regression(channel))


def _driver_message(driver: HiddenDriver) -> conflict_pb2.HiddenDriver:
    reachable = driver.multiple is not None and math.isfinite(driver.multiple)
    return conflict_pb2.HiddenDriver(
        bias=driver.shift,
        robustness_value=driver.robustness,
        strongest_control=driver.strongest,
        multiple_of_strongest=driver.multiple if reachable else None,
        plausible=driver.plausible,
    )


def _causes(fit: StoredFit, belief: Examined, refits: Sequence[Refit], driver: HiddenDriver | None) -> Causes:
    estimand = belief.belief.estimand

    def curve_of(model: Changeable, changed: BatchFit, quantity: str) -> EvidenceCurve:
        draws = {name: values[0] for name, values in changed.draws.items()}
        own = draws[quantity] if quantity in draws else derived_draws(model, draws, quantity)
        return curve_of_draws(model, own, estimand, fit.months * model.rows_used, fit.seed)

    by_curve = recentred(Ladder.climb(Overlay(belief.prior, belief.curve))).log_bf
    return explain(belief.figures, belief.prior, refits, curve_of, by_curve, driver)


def _dates(cause: Cause | None) -> list[str]:
    return [] if cause is None else [str(date) for date in cause.dates]


def _message(cause: Cause, belief: conflict_pb2.BeliefConflict) -> conflict_pb2.Cause:
    """A cause as a message, with its sentence."""
    message = conflict_pb2.Cause(
        kind=value_of(conflict_pb2.CauseKind, cause.kind.name),
        subject=cause.subject,
        data_side=estimate_of_summary(cause.data_side),
        change=cause.change,
        log_bayes_factor=cause.log_bf,
        resolves=cause.resolves,
        only_vaguer=cause.only_vaguer,
        log_evidence_gain=cause.log_evidence_gain,
    )
    message.explanation = explain_cause(
        message, belief.data_side, belief.estimand.quantity, _dates(cause), barely=cause.barely
    )
    return message
