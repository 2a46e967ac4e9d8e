"""Numbers and names of quantities as people read them; used by the stored sentences and by the report alike."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2

from server.wire import label


def number(value: float) -> str:
    """Four significant digits, without an exponent where a person would not use one."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def shown(value: float, quantity: int) -> str:
    """A value of a quantity: shares in per cent, everything else as a number."""
    if quantity in (
        common_pb2.QUANTITY_SHARE_OF_OUTCOME,
        common_pb2.QUANTITY_SHARE_OF_MEDIA,
        common_pb2.QUANTITY_SHARE_OF_MODELLED,
        common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME,
    ):
        return f"{100 * value:.1f} %"
    return number(value)


def spread(message: common_pb2.Estimate, quantity: int) -> str:
    """Centre and standard deviation of an estimate; the median alone where there is no finite one."""
    centre = message.mean if message.HasField("mean") else message.median
    if not message.HasField("sd"):
        return shown(centre, quantity)
    return f"{shown(centre, quantity)} ± {shown(message.sd, quantity)}"


def estimand(message: common_pb2.Estimand) -> str:
    """Name of an estimand for people."""
    if message.quantity == common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME:
        return "share of outcome of all media"
    return f"{label(common_pb2.Quantity, message.quantity).lower().replace('_', ' ')} of {message.channel}"
