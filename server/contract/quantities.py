"""What a quantity is: one row of facts for each that the contract knows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from liftos.bayes.v1 import common_pb2


@dataclass(frozen=True)
class Facts:
    """What is true of a quantity whatever the model; the defaults are those of a positive number of one channel."""

    quantity: common_pb2.Quantity.ValueType
    words: str
    """Name for people."""
    unit: str = ""
    """In words; empty for what is shown in per cent."""
    lower: float = 0.0
    upper: float = math.inf
    """The open interval where it lives by its nature; a coefficient as that of a control, a channel's is positive."""
    per_cent: bool = False
    """Whether people read it in per cent; it is stored as a factor, 0.5 for 50 %."""
    of_all: bool = False
    """Whether it belongs to all channels together, so that its estimand names none."""
    by_spend: bool = False
    """Whether a channel without a spend column has none."""
    against_others: bool = False
    """Whether it says something only of a model with several channels."""
    of_whole: bool = False
    """Whether those of the channels sum to at most one."""
    same_as: str = ""
    """Why it is the same unknown of a channel as the others with these words: two beliefs would count it twice."""
    can_be_prior: bool = True
    """Whether a belief about it can be the prior of a fit: not when it depends on several parameters."""
    attributed: bool = False
    """Whether an attribution reports it of each channel; it does so in the order of the table."""


_BY_A_FACTOR = "share of outcome, ROI and incremental outcome of a channel differ by a known factor only"
_BY_A_FUNCTION = "the half-life of a channel is a known function of its retention"

_ROWS = (
    # A number that is no quantity of a model, such as a predicted outcome.
    Facts(common_pb2.QUANTITY_UNSPECIFIED, "unspecified", lower=-math.inf, can_be_prior=False),
    Facts(
        common_pb2.QUANTITY_SHARE_OF_OUTCOME,
        "share of outcome",
        upper=1.0,
        per_cent=True,
        of_whole=True,
        same_as=_BY_A_FACTOR,
        attributed=True,
    ),
    Facts(
        common_pb2.QUANTITY_INCREMENTAL_OUTCOME,
        "incremental outcome",
        "outcome units",
        same_as=_BY_A_FACTOR,
        attributed=True,
    ),
    Facts(
        common_pb2.QUANTITY_SHARE_OF_MEDIA,
        "share of media",
        upper=1.0,
        per_cent=True,
        against_others=True,
        of_whole=True,
        can_be_prior=False,
        attributed=True,
    ),
    Facts(common_pb2.QUANTITY_ROI, "ROI", "per unit of spend", by_spend=True, same_as=_BY_A_FACTOR, attributed=True),
    Facts(
        common_pb2.QUANTITY_MARGINAL_ROI,
        "marginal ROI",
        "per unit of spend",
        by_spend=True,
        can_be_prior=False,
        attributed=True,
    ),
    Facts(common_pb2.QUANTITY_SHARE_OF_MODELLED, "share of modelled", upper=1.0, per_cent=True),
    Facts(
        common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME,
        "total media share of outcome",
        per_cent=True,
        of_all=True,
        against_others=True,
        can_be_prior=False,
    ),
    Facts(common_pb2.QUANTITY_HALF_LIFE, "half-life", "time steps", same_as=_BY_A_FUNCTION),
    Facts(common_pb2.QUANTITY_RETENTION, "retention", "per time step", upper=1.0, same_as=_BY_A_FUNCTION),
    Facts(common_pb2.QUANTITY_HALF_SATURATION, "half-saturation", "times the mean exposure"),
    Facts(common_pb2.QUANTITY_COEFFICIENT, "coefficient", "KPI units", lower=-math.inf),
)

QUANTITIES: Mapping[int, Facts] = {row.quantity: row for row in _ROWS}

WHOLES = tuple(row.quantity for row in _ROWS if row.of_whole)
"""Shares of channels that sum to at most a whole."""
ATTRIBUTED = tuple(row.quantity for row in _ROWS if row.attributed)
"""What an attribution reports of each channel, in its order."""


def same_unknown(quantity: int) -> frozenset[common_pb2.Quantity.ValueType]:
    """The quantities of a channel that are the same unknown as this one, itself among them."""
    own = QUANTITIES[quantity]
    return frozenset({own.quantity} | {row.quantity for row in _ROWS if own.same_as and row.same_as == own.same_as})


def unit(quantity: int) -> str:
    """Unit of a quantity in words; empty for shares, which are in per cent."""
    return QUANTITIES[quantity].unit


def quantity_words(quantity: int) -> str:
    """Name of a quantity for people."""
    return QUANTITIES[quantity].words


def estimand(message: common_pb2.Estimand) -> str:
    """Name of an estimand for people."""
    if QUANTITIES[message.quantity].of_all:
        return "share of outcome of all media"
    return f"{quantity_words(message.quantity)} of {message.channel}"
