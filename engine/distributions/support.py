"""Intervals on which quantities live, each with the unconstrained scale that it implies."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from engine.arrays import Flags, Floats, as_floats
from engine.errors import InvalidInput


class Link(enum.Enum):
    """The map from a support to the real line."""

    IDENTITY = "identity"
    LOG = "log"
    LOGIT = "logit"


@dataclass(frozen=True)
class Support:
    """The open interval (lower, upper); the real line, a half-line bounded below, or a bounded interval."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if math.isnan(self.lower) or self.lower == math.inf:
            raise InvalidInput("lower", "must be a number or minus infinity")
        if math.isnan(self.upper) or not self.upper > self.lower:
            raise InvalidInput("upper", f"must be above the lower end {self.lower}")
        if self.lower == -math.inf and self.upper != math.inf:
            raise InvalidInput("lower", "a support bounded only from above is not offered; mirror the quantity")

    @property
    def link(self) -> Link:
        """IDENTITY on the real line, LOG on a half-line, LOGIT on a bounded interval."""
        if self.lower == -math.inf:
            return Link.IDENTITY
        return Link.LOG if self.upper == math.inf else Link.LOGIT

    def contains(self, x: ArrayLike) -> Flags:
        """Whether each x lies strictly inside."""
        x = as_floats(x)
        return (x > self.lower) & (x < self.upper)

    def holds(self, other: Support) -> bool:
        """Whether another support lies in this one."""
        return self.lower <= other.lower and other.upper <= self.upper

    def to_unconstrained(self, x: ArrayLike) -> Floats:
        """u(x) = x, log(x - lower) or logit((x - lower)/(upper - lower)); the ends go to minus and plus infinity."""
        x = as_floats(x)
        match self.link:
            case Link.IDENTITY:
                return x
            case Link.LOG:
                with np.errstate(divide="ignore", invalid="ignore"):
                    return as_floats(np.log(x - self.lower))
            case Link.LOGIT:
                return as_floats(special.logit((x - self.lower) / (self.upper - self.lower)))
            case _:
                assert_never(self.link)

    def from_unconstrained(self, u: ArrayLike) -> Floats:
        """x(u), the inverse of `to_unconstrained`."""
        u = as_floats(u)
        match self.link:
            case Link.IDENTITY:
                return u
            case Link.LOG:
                with np.errstate(over="ignore"):
                    return as_floats(self.lower + np.exp(u))
            case Link.LOGIT:
                return as_floats(self.lower + (self.upper - self.lower) * special.expit(u))
            case _:
                assert_never(self.link)

    def log_jacobian(self, u: ArrayLike) -> Floats:
        """log |dx/du| at u."""
        u = as_floats(u)
        match self.link:
            case Link.IDENTITY:
                return np.zeros_like(u)
            case Link.LOG:
                return u
            case Link.LOGIT:
                return as_floats(math.log(self.upper - self.lower) + special.log_expit(u) + special.log_expit(-u))
            case _:
                assert_never(self.link)


REAL_LINE = Support(-math.inf, math.inf)
POSITIVE = Support(0.0, math.inf)
UNIT_INTERVAL = Support(0.0, 1.0)
