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


def estimand(message: common_pb2.Estimand) -> str:
    """Name of an estimand for people."""
    if message.quantity == common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME:
        return "share of outcome of all media"
    return f"{label(common_pb2.Quantity, message.quantity).lower().replace('_', ' ')} of {message.channel}"
