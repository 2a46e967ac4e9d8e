"""What changed models say of a belief that the data contradict, and what would settle the matter."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from liftos.bayes.v1 import common_pb2, conflict_pb2

from engine.rules.reasons import Remedy
from server.texts.phrases import probable_under, spread, times

_HARDLY_MORE = math.log(1.05)
"""Natural logarithm of the factor below which the data are as probable under two models."""

_CHANGES = {
    conflict_pb2.CAUSE_KIND_OUTLIERS: "With outlying rows counting less",
    conflict_pb2.CAUSE_KIND_ADSTOCK_WINDOW: "With a carry-over window of {subject}",
    conflict_pb2.CAUSE_KIND_SATURATION: "With {subject}",
    conflict_pb2.CAUSE_KIND_CONTROL_DROPPED: "Without the control {subject}",
    conflict_pb2.CAUSE_KIND_COLUMN_ADDED: "With the column {subject} as a control",
    conflict_pb2.CAUSE_KIND_FIRST_YEAR_DROPPED: "Without the first twelve months ({subject})",
    conflict_pb2.CAUSE_KIND_LAST_YEAR_DROPPED: "Without the last twelve months ({subject})",
}


def explain_cause(
    cause: conflict_pb2.Cause, before: common_pb2.Estimate, quantity: int, dates: Sequence[str], *, barely: bool
) -> str:
    """What the data alone would say under a changed model, against `before` under the model as it is.

    `dates` are those of the rows that count least; `barely`: what is left of the evidence is not far from the rule.
    """
    changed = _change(cause)
    if dates:
        changed += f" (least of all {_listed(dates)})"
    said = (
        f"{changed} the data alone would say {spread(cause.data_side, quantity)} under this model "
        f"instead of {spread(before, quantity)}"
    )
    if cause.resolves:
        verdict = "that brings the evidence below the threshold" if barely else "that contradicts the belief no more"
        if cause.only_vaguer:
            verdict += ", but only because fewer rows say less"
    else:
        verdict = "that contradicts the belief all the same"
    return f"{said}; {verdict}{_evidence(cause.log_evidence_gain) if cause.HasField('log_evidence_gain') else ''}."


def _evidence(gain: float) -> str:
    """What the data say of the changed model itself."""
    if abs(gain) < _HARDLY_MORE:
        return ", and the data are as probable under either model"
    return f", and {probable_under(times(abs(gain)), 'it' if gain > 0.0 else 'the model as it is')}"


def explain_remedy(
    remedy: Remedy, first: conflict_pb2.Cause, dates: Sequence[str], channel: str, r_squared: float
) -> str:
    """What would settle a conflict: the first cause, with its dates, or an experiment on a channel, empty for all.

    `r_squared` is the share of the channel's exposure that follows from the rest of the model.
    """
    about = f"channel {channel}" if channel else "the channels"
    experiment = f"An experiment with {about} (geo test or lift test) would settle it"
    match remedy:
        case Remedy.EXPERIMENT_BETWEEN_MODELS:
            return f"{experiment}: the data do not tell which model is right."
        case Remedy.EXPERIMENT_ON_COLLINEAR:
            return f"{experiment}: {100 * r_squared:.0f} % of its exposure follows from the rest of the model."
        case Remedy.EXPERIMENT_ON_DRIVER:
            return f"{experiment}: without one a hidden driver of spend and outcome cannot be excluded."
        case Remedy.EXPERIMENT_BETWEEN_FIRM_SIDES:
            return f"{experiment}: belief and data are both too firm for either to be talked down."
        case Remedy.CHECK_ROWS:
            return f"Check the rows of {_listed(dates)}." if dates else "Check the data for outlying rows."
        case Remedy.GIVE_COLUMN:
            return f"Give the model the column {first.subject} as a control."
        case Remedy.ASK_AGAIN:
            changed = _change(first)
            return f"Ask again {changed[0].lower()}{changed[1:]}, a model that explains the data better."


def changed_models_failed(names: Collection[str]) -> str:
    """That changed models gave no answer, by their names."""
    return f"Changed models that gave no reliable answer, so that they explain nothing: {', '.join(sorted(names))}."


def _change(cause: conflict_pb2.Cause) -> str:
    return _CHANGES[cause.kind].format(subject=cause.subject)


def _listed(dates: Sequence[str]) -> str:
    return ", ".join(sorted(dates))
