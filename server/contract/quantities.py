"""What a quantity is: its name for people and its unit."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2

from server.contract.wire import label

WHOLES = (common_pb2.QUANTITY_SHARE_OF_OUTCOME, common_pb2.QUANTITY_SHARE_OF_MEDIA)
"""Shares of channels that sum to at most a whole."""
PERCENTAGES = (
    common_pb2.QUANTITY_SHARE_OF_OUTCOME,
    common_pb2.QUANTITY_SHARE_OF_MEDIA,
    common_pb2.QUANTITY_SHARE_OF_MODELLED,
    common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME,
)


_UNITS: dict[int, str] = {
    common_pb2.QUANTITY_ROI: "per unit of spend",
    common_pb2.QUANTITY_MARGINAL_ROI: "per unit of spend",
    common_pb2.QUANTITY_INCREMENTAL_OUTCOME: "outcome units",
    common_pb2.QUANTITY_HALF_LIFE: "time steps",
    common_pb2.QUANTITY_HALF_SATURATION: "times the mean exposure",
    common_pb2.QUANTITY_RETENTION: "per time step",
    common_pb2.QUANTITY_COEFFICIENT: "KPI units",
}


_NAMES: dict[int, str] = {
    common_pb2.QUANTITY_ROI: "ROI",
    common_pb2.QUANTITY_MARGINAL_ROI: "marginal ROI",
    common_pb2.QUANTITY_HALF_LIFE: "half-life",
    common_pb2.QUANTITY_HALF_SATURATION: "half-saturation",
}


def unit(quantity: int) -> str:
    """Unit of a quantity in words; empty for shares, which are in per cent."""
    return _UNITS.get(quantity, "")


def quantity_words(quantity: int) -> str:
    """Name of a quantity for people."""
    return _NAMES.get(quantity) or label(common_pb2.Quantity, quantity).lower().replace("_", " ")


def estimand(message: common_pb2.Estimand) -> str:
    """Name of an estimand for people."""
    if message.quantity == common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME:
        return "share of outcome of all media"
    return f"{quantity_words(message.quantity)} of {message.channel}"
