"""What belief and data say together: told where it is a figure of either, and else with the reason why it is none."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2

from engine.rules.compromises import SDS, TAIL, Lies, Place, lies

EXTRAPOLATED = "most of it would lie beyond what the draws of the fit cover, an extrapolation"
_APART = "belief and data lie so far apart that what they give together"


def no_compromise(belief: common_pb2.Estimate, data: common_pb2.Estimate, together: common_pb2.Estimate) -> str:
    """Why what belief and data give together is no figure to tell; empty where it is one."""
    match _lies(belief, data, together):
        case Lies.NEITHER:
            return f"{_APART} lies where neither of them is"
        case Lies.WITH_BELIEF:
            return f"{_APART} is about the belief, where the data are not"
        case Lies.WITH_DATA:
            return ""


def nowhere(belief: common_pb2.Estimate, data: common_pb2.Estimate, made: common_pb2.Estimate) -> bool:
    """Whether what was made of a belief lies where neither belief nor data are."""
    return _lies(belief, data, made) is Lies.NEITHER


def _lies(belief: common_pb2.Estimate, data: common_pb2.Estimate, together: common_pb2.Estimate) -> Lies:
    first, second, made = (_place(side) for side in (belief, data, together))
    if first is None or second is None or made is None:
        return Lies.WITH_DATA
    return lies(first, second, made)


def _place(side: common_pb2.Estimate) -> Place | None:
    """Where a side lies, by its central interval or, without one, as if it were normal; None where it has neither."""
    for interval in side.intervals:
        if abs(interval.level - (1.0 - 2.0 * TAIL)) < 1e-9:
            return Place(interval.lower, side.median, interval.upper)
    if not (side.HasField("mean") and side.HasField("sd")):
        return None
    return Place(side.mean - SDS * side.sd, side.mean, side.mean + SDS * side.sd)
