"""Checks of a request beyond the rules of its fields, which stand in the contract and are for `liftos.bayes.rules`."""

from __future__ import annotations

import math
from typing import Any, Protocol

from liftos.bayes.v1 import common_pb2

from server.contract.errors import invalid_field
from server.contract.quantities import QUANTITIES

REACH = 4.0
"""So many standard errors noise may carry an estimate beyond where its quantity lives."""
LARGEST_FRACTION = 2.0
"""Noise carries no fraction so far: more is per cent."""


class Estimated(Protocol):
    """A message with an estimate and its standard error."""

    @property
    def estimand(self) -> common_pb2.Estimand:
        """What it is an estimate of."""
        ...

    @property
    def estimate(self) -> float:
        """The estimate."""
        ...

    @property
    def standard_error(self) -> float:
        """Its standard error."""
        ...


def check_estimate(field: str, estimated: Estimated) -> None:
    """Refuse an estimate that its quantity cannot have, above all a share given in per cent."""
    facts = QUANTITIES[estimated.estimand.quantity]
    if math.isinf(facts.lower):
        return
    fraction = facts.upper == 1.0
    slack = REACH * estimated.standard_error
    highest = min(1.0 + slack, LARGEST_FRACTION)
    if estimated.estimate < -slack or (fraction and abs(estimated.estimate) > highest):
        where = "between 0 and 1; a share of 50 % is 0.5" if fraction else "above 0"
        raise invalid_field(
            field, f"{estimated.estimate:g} ± {estimated.standard_error:g} is too far out for a quantity {where}"
        )


MAX_GRID = 4096


def check_estimand(path: str, estimand: common_pb2.Estimand) -> None:
    """Check what the options of the contract cannot: every quantity is a channel's, but for the total of all media."""
    total = QUANTITIES[estimand.quantity].of_all
    if total and estimand.channel:
        raise invalid_field(f"{path}.channel", "must be empty: the total is that of all channels together")
    if not total and not estimand.channel:
        raise invalid_field(f"{path}.channel", "required, but for TOTAL_MEDIA_SHARE_OF_OUTCOME")


def check_distribution(path: str, distribution: common_pb2.Distribution) -> None:
    """Check what the options of the contract cannot: ordered ends, and weights that sum to one."""
    kind = distribution.WhichOneof("kind")
    if kind in {"uniform", "truncated_normal"}:
        ends = getattr(distribution, kind)
        if not ends.lower < ends.upper:
            raise invalid_field(f"{path}.{kind}.upper", "must be above lower")
    if kind == "gridded":
        for name in ("grid", "log_density"):
            if len(getattr(distribution.gridded, name).data) > 8 * MAX_GRID:
                raise invalid_field(f"{path}.gridded.{name}", f"at most {MAX_GRID} points")
    if kind == "mixture":
        total = 0.0
        for index, component in enumerate(distribution.mixture.components):
            inner = f"{path}.mixture.components[{index}].distribution"
            if component.distribution.WhichOneof("kind") == "mixture":
                raise invalid_field(inner, "a component is not itself a mixture")
            check_distribution(inner, component.distribution)
            total += component.weight
        if abs(total - 1) > 1e-6:
            raise invalid_field(f"{path}.mixture.components", f"the weights sum to {total}, not to 1")


def check_money(request: Any) -> None:
    """Refuse currencies other than US dollars: the policy's threshold is in dollars and no rate is supplied."""
    if request.HasField("business_impact") and request.business_impact.currency != "USD":
        raise invalid_field("business_impact.currency", "only USD: the policy's threshold is in US dollars")
