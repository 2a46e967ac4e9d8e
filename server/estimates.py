"""Estimates with standard errors, of experiments and summaries: whether their quantity can have them."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2, model_pb2

from server.errors import invalid_field

FRACTIONS = frozenset(
    {
        common_pb2.QUANTITY_SHARE_OF_OUTCOME,
        common_pb2.QUANTITY_SHARE_OF_MEDIA,
        common_pb2.QUANTITY_SHARE_OF_MODELLED,
        common_pb2.QUANTITY_RETENTION,
    }
)
"""Quantities between 0 and 1; the others are positive, coefficients apart."""
REACH = 4.0
"""So many standard errors noise may carry an estimate beyond where its quantity lives."""
LARGEST_FRACTION = 2.0
"""Noise carries no fraction so far: more is per cent."""


def check_estimate(field: str, one: common_pb2.Experiment | model_pb2.ConjugateNormalSpec) -> None:
    """Refuse an estimate that its quantity cannot have, above all a share given in per cent."""
    if one.estimand.quantity == common_pb2.QUANTITY_COEFFICIENT:
        return
    fraction = one.estimand.quantity in FRACTIONS
    slack = REACH * one.standard_error
    highest = min(1.0 + slack, LARGEST_FRACTION)
    if one.estimate < -slack or (fraction and abs(one.estimate) > highest):
        where = "between 0 and 1; a share of 50 % is 0.5" if fraction else "above 0"
        raise invalid_field(field, f"{one.estimate:g} ± {one.standard_error:g} is too far out for a quantity {where}")
