"""What belief and data say together: told where it is a figure of either, and else with the reason why it is none."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2

from engine.rules.compromises import TAIL, Place, lies_between

_SDS = 1.2815515655446004
NEITHER = "belief and data lie so far apart that what they give together lies where neither of them is"
EXTRAPOLATED = "most of it would lie beyond what the draws of the fit cover, an extrapolation"


def nowhere(belief: common_pb2.Estimate, data: common_pb2.Estimate, together: common_pb2.Estimate) -> bool:
    """Whether what belief and data give together lies where neither is, so that it is no figure to tell."""
    places = [_place(side) for side in (belief, data, together)]
    if any(place is None for place in places):
        return False
    return lies_between(*places)  # type: ignore[arg-type]


def _place(side: common_pb2.Estimate) -> Place | None:
    """Where a side lies, by its central interval or, without one, as if it were normal; None where it has neither."""
    for interval in side.intervals:
        if abs(interval.level - (1.0 - 2.0 * TAIL)) < 1e-9:
            return Place(interval.lower, side.median, interval.upper)
    if not (side.HasField("mean") and side.HasField("sd")):
        return None
    return Place(side.mean - _SDS * side.sd, side.mean, side.mean + _SDS * side.sd)
