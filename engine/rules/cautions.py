"""What to mind about a model before its data have been looked at, as values that the service says in sentences."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class CautionKind(enum.Enum):
    """What there is to mind.

    MEDIA_ABOVE_OUTCOME, MEDIA_NEGLIGIBLE: what all media bring a priori, `value` of the outcome. CONSTANT_EXPOSURE: the
    channel cannot be told from the level of the KPI. SAME_EXPOSURE, COLLINEAR_EXPOSURE: the two channels act alike,
    with correlation `value`. SHORT_CARRY_OVER: the channel's window is `value` periods where eight weeks are usual.
    UNKNOWN_HISTORY: `value` rows rest on exposure that the data do not hold and are used all the same. NO_SPEND:
    nothing was spent on the channel, so that it has no ROI. CONSTANT_CONTROL: the control does not vary.
    LIKE_A_MEDIATOR: media explain `value` of the control's variance, and beside it they do less than half of what they
    do without.
    """

    MEDIA_ABOVE_OUTCOME = "media above outcome"
    MEDIA_NEGLIGIBLE = "media negligible"
    CONSTANT_EXPOSURE = "constant exposure"
    SAME_EXPOSURE = "same exposure"
    COLLINEAR_EXPOSURE = "collinear exposure"
    SHORT_CARRY_OVER = "short carry-over"
    UNKNOWN_HISTORY = "unknown history"
    NO_SPEND = "no spend"
    CONSTANT_CONTROL = "constant control"
    LIKE_A_MEDIATOR = "like a mediator"


@dataclass(frozen=True)
class Caution:
    """Something to mind about the named channels or controls; `periods` is what a row is called where it counts."""

    kind: CautionKind
    names: tuple[str, ...] = ()
    value: float = 0.0
    periods: str = ""
