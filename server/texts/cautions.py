"""What to mind about a registered model, in sentences."""

from __future__ import annotations

from typing import assert_never

from engine.rules.cautions import Caution, CautionKind


def explain_caution(caution: Caution) -> str:
    """What there is to mind, and what to do about it."""
    named = " and ".join(repr(name) for name in caution.names)
    match caution.kind:
        case CautionKind.MEDIA_ABOVE_OUTCOME:
            return (
                f"By the priors all channels together bring {_part(caution.value)} of the outcome before any data are "
                "looked at, more than there is: the priors will decide. Check the units, or leave the priors out, and "
                "the defaults are taken."
            )
        case CautionKind.MEDIA_NEGLIGIBLE:
            return (
                f"By the priors all channels together bring {_part(caution.value)} of the outcome before any data are "
                "looked at, next to nothing: the priors will decide. Check the units."
            )
        case CautionKind.CONSTANT_EXPOSURE:
            return (
                f"The exposure of channel {named} does not vary: it cannot be told from the level of the KPI, and its "
                "share is what the prior says."
            )
        case CautionKind.SAME_EXPOSURE:
            return (
                f"The channels {named} have the same exposure: the data say what they bring together and nothing of "
                "how it is divided between them."
            )
        case CautionKind.COLLINEAR_EXPOSURE:
            return (
                f"The channels {named} run together (correlation {caution.value:.3f}): the data say what they bring "
                "together and hardly how it is divided between them."
            )
        case CautionKind.SHORT_CARRY_OVER:
            return (
                f"The carry-over of channel {named} ends after {caution.value:.0f} {caution.periods}: what an exposure "
                "does later is taken for nothing. Eight weeks are usual."
            )
        case CautionKind.UNKNOWN_HISTORY:
            return (
                f"The carry-over is so long that {caution.value:.0f} rows rest on exposure before the data begin, for "
                "which the average of the first rows stands in. Rows of exposure before the window would tell."
            )
        case CautionKind.NO_SPEND:
            return f"Nothing was spent on channel {named} in the window: there is no ROI of it."
        case CautionKind.CONSTANT_CONTROL:
            return f"The control {named} does not vary: it explains nothing."
        case CautionKind.LIKE_A_MEDIATOR:
            return (
                f"Media explain {100 * caution.value:.0f} % of the control {named}, and beside it they do less than "
                "half of what they do without. Is it an effect of the media, such as visits or searches? Then leave it "
                "out, for it takes their effect away. If it drives the spend, keep it."
            )
        case other:
            assert_never(other)


def cannot_be_prepared(field: str, message: str, months: int | None) -> str:
    """That a window of the data set, or the whole of it, cannot be fitted as the specification stands, and why."""
    window = "The data set" if months is None else f"The last {months} months of the data, the window by default,"
    return f"{window} cannot be fitted as it is: {field} {message}."


def _part(share: float) -> str:
    """A share of the outcome, as a percentage or, beyond tenfold, as a multiple."""
    if share > 10.0:
        return f"{share:,.0f} times the whole"
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{share:.2g}"
