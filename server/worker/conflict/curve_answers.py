"""What a belief looks like under every curve of response: fitted on request, and told beside its own figures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from liftos.bayes.v1 import conflict_pb2, model_pb2

from engine.conflict.analysis import BeliefConflict, ConflictRule
from engine.conflict.curve_average import CurveComparison, average_curves, compare
from engine.conflict.reliability import Status
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.models.protocol import Curved
from server.contract.wire import value_of
from server.texts.analysis_notes import NO_CURVES, curves_not_compared, curves_not_fitted
from server.texts.curves import explain_curves
from server.worker.conflict.comparison import Examined
from server.worker.conversion import estimate_of_law
from server.worker.fitting.fits import StoredFit


async def tell_curves(
    fit: StoredFit,
    examined: Sequence[Examined],
    messages: Sequence[conflict_pb2.BeliefConflict],
    rule: ConflictRule,
) -> list[str]:
    """Set what every curve says of each belief; return remarks on what could not be compared."""
    if not isinstance(fit.model, Curved):
        return [NO_CURVES]
    seed, notes = fit.seed.derived("curves"), []
    try:
        average = await asyncio.to_thread(average_curves, fit.model, seed)
    except InvalidInput as error:
        return [curves_not_fitted(error.message)]
    for compared, message in zip(examined, messages, strict=True):
        try:
            comparison = await asyncio.to_thread(compare, average, compared.prior, compared.curve, rule, seed)
        except UnsupportedQuantity as error:
            notes.append(curves_not_compared(message.belief_id, error.message))
            continue
        message.curves.CopyFrom(comparison_message(comparison))
        message.curves.explanation = explain_curves(message)
    return notes


def comparison_message(comparison: CurveComparison) -> conflict_pb2.CurveComparison:
    """A comparison as a message, still without its words."""
    average, together = comparison.average, comparison.together
    message = conflict_pb2.CurveComparison(
        data_side=estimate_of_law(together.data_side),
        finding=value_of(conflict_pb2.Finding, together.finding.name),
        log_bayes_factor=_log_factor(together),
        between_curves=comparison.between,
        held_out_rows=average.held_out,
    )
    for curve, error, figures in zip(average.curves, average.error, comparison.figures, strict=True):
        answer = message.curves.add(
            saturation=value_of(model_pb2.Saturation, curve.name.upper()),
            weight=curve.weight,
            weight_mcse=float(error),
            log_evidence=curve.log_evidence.log_marginal,
            log_evidence_mcse=curve.log_evidence.mcse,
            reason="; ".join(curve.reasons),
        )
        if np.isfinite(curve.stacking):
            answer.stacking_weight, answer.log_score = curve.stacking, curve.log_score
        if figures is not None:
            answer.data_side.CopyFrom(estimate_of_law(figures.data_side))
            answer.finding = value_of(conflict_pb2.Finding, figures.finding.name)
            if (factor := _log_factor(figures)) is not None:
                answer.log_bayes_factor = factor
    return message


def _log_factor(figures: BeliefConflict) -> float | None:
    return None if figures.status is Status.UNRELIABLE else figures.recentred.log_bf
