"""The families that statements are fitted by: where each may be used, its free parameters, moments, mode, entropy."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, assert_never

import numpy as np
from scipy import optimize, special

from engine.arrays import Floats
from engine.distributions.distribution import (
    Beta,
    Distribution,
    Gamma,
    HalfNormal,
    LogNormal,
    Normal,
    StudentT,
    TruncatedNormal,
    Uniform,
)
from engine.distributions.support import POSITIVE, REAL_LINE, UNIT_INTERVAL, Link, Support
from engine.errors import InvalidInput

_LIMIT = 30.0  # of a parameter's logarithm: beyond e^30 a law is a point or has no shape
_REACH = 60.0  # spreads that a location may lie from the centre of a statement
_OUTSIDE = 30.0  # scales that the location of a truncated normal may lie outside its support
STUDENT_DF = 4.0
_LOG_2PI_E = math.log(2.0 * math.pi) + 1.0


class Family(enum.Enum):
    """A family, with its name for people; STUDENT_T has 4 degrees of freedom."""

    NORMAL = "normal"
    TRUNCATED_NORMAL = "truncated normal"
    HALF_NORMAL = "half-normal"
    LOG_NORMAL = "log-normal"
    GAMMA = "gamma"
    BETA = "beta"
    STUDENT_T = "Student t with 4 degrees of freedom"
    UNIFORM = "uniform"

    def lives_on(self, support: Support) -> bool:
        """Whether laws of the family have this support, or are offered there: a uniform law has one of its own."""
        match self:
            case Family.NORMAL | Family.STUDENT_T:
                return support == REAL_LINE
            case Family.HALF_NORMAL | Family.LOG_NORMAL | Family.GAMMA:
                return support == POSITIVE
            case Family.BETA:
                return support == UNIT_INTERVAL
            case Family.TRUNCATED_NORMAL:
                return support != REAL_LINE
            case Family.UNIFORM:
                return math.isfinite(support.lower) and math.isfinite(support.upper)
            case _:
                assert_never(self)


@dataclass(frozen=True)
class Anchor:
    """Roughly where a statement puts a law on a support, in units of the quantity.

    Parameters are counted from there in spreads and in ratios, so that a fit does not depend on the unit.
    """

    support: Support
    centre: float
    spread: float

    @staticmethod
    def of_unconstrained(support: Support, mean: float, sd: float) -> Anchor:
        """The anchor of a normal law of the unconstrained coordinate."""
        return Anchor(
            support, float(support.from_unconstrained(mean)), sd * math.exp(float(support.log_jacobian(mean)))
        )

    def widened(self, factor: float) -> Anchor:
        """The same with another spread."""
        return Anchor(self.support, self.centre, self.spread * factor)


def _ratio(value: float) -> float:
    return math.exp(min(max(value, -_LIMIT), _LIMIT))


def _stirling(a: float) -> tuple[float, float]:
    """What Stirling's formulas leave of log Γ(a), and take too much of ψ(a): ln Γ = (a - ½) ln a - a + ½ ln 2π + r,
    ψ = ln a - 1/(2a) - s.

    Entropies in these terms keep their digits for narrow laws, where those of Γ and ψ themselves cancel.
    """
    if a > 20.0:
        x = 1.0 / (a * a)
        r = (1.0 / 12.0 - x * (1.0 / 360.0 - x * (1.0 / 1260.0 - x / 1680.0))) / a
        return r, x * (1.0 / 12.0 - x * (1.0 / 120.0 - x * (1.0 / 252.0 - x / 240.0)))
    r = float(special.gammaln(a)) - ((a - 0.5) * math.log(a) - a + 0.5 * math.log(2.0 * math.pi))
    return r, math.log(a) - 0.5 / a - float(special.digamma(a))


class Rules(ABC):
    """What a fit needs to know of a family; `theta` are its unbounded free parameters relative to an anchor."""

    free: ClassVar[int] = 2
    supports: ClassVar[tuple[Support, ...]]

    @abstractmethod
    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        """The law with these parameters; they are clipped to where a law exists."""

    @abstractmethod
    def rough(self, anchor: Anchor) -> Floats:
        """Parameters of a law near the anchor, to start a search from."""

    @abstractmethod
    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        """The law with this mean and standard deviation; InvalidInput on `plus_minus` where the family has none."""

    @abstractmethod
    def entropy(self, law: Distribution) -> float:
        """Differential entropy in nats, in units of the quantity."""

    @abstractmethod
    def mode(self, law: Distribution) -> float:
        """The formula of the mode; `has_mode` says whether the density really peaks there."""

    def has_mode(self, law: Distribution) -> bool:
        """Whether the density has one peak inside the support."""
        return True


class _Normal(Rules):
    supports = (REAL_LINE,)

    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        return Normal(anchor.centre + anchor.spread * float(theta[0]), anchor.spread * _ratio(theta[1]))

    def rough(self, anchor: Anchor) -> Floats:
        return np.zeros(2)

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        return Normal(mean, sd)

    def entropy(self, law: Distribution) -> float:
        return 0.5 * _LOG_2PI_E + math.log(law.sd)

    def mode(self, law: Distribution) -> float:
        return law.mean


class _StudentT(_Normal):
    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        location = anchor.centre + anchor.spread * float(theta[0])
        return StudentT(STUDENT_DF, location, anchor.spread * _ratio(theta[1]))

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        return StudentT(STUDENT_DF, mean, sd * math.sqrt((STUDENT_DF - 2.0) / STUDENT_DF))

    def entropy(self, law: Distribution) -> float:
        assert isinstance(law, StudentT)
        half = 0.5 * (law.df + 1.0)
        shape = half * (special.digamma(half) - special.digamma(0.5 * law.df))
        return float(shape + 0.5 * math.log(law.df) + special.betaln(0.5 * law.df, 0.5)) + math.log(law.scale)


class _TruncatedNormal(Rules):
    supports = (POSITIVE, UNIT_INTERVAL)

    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        location = anchor.centre + anchor.spread * float(np.clip(theta[0], -_REACH, _REACH))
        # Never so narrow that the support is out of its reach.
        outside = max(anchor.support.lower - location, location - anchor.support.upper, 0.0)
        scale = max(anchor.spread * _ratio(theta[1]), outside / _OUTSIDE)
        return TruncatedNormal(location, scale, anchor.support.lower, anchor.support.upper)

    def rough(self, anchor: Anchor) -> Floats:
        return np.zeros(2)

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        anchor = Anchor(support, mean, sd)

        def misfit(theta: Floats) -> list[float]:
            law = self.make(theta, anchor)
            return [(law.mean - mean) / sd, law.sd / sd - 1.0]

        for start in ((0.0, 0.0), (-2.0, 0.7), (2.0, 0.7)):
            root = optimize.root(misfit, start, tol=1e-12)
            if max(abs(value) for value in misfit(root.x)) < 1e-8:
                return self.make(root.x, anchor)
        raise InvalidInput("plus_minus", f"no truncated normal on {_words(support)} has mean {mean:g} and sd {sd:.4g}")

    def entropy(self, law: Distribution) -> float:
        assert isinstance(law, TruncatedNormal)
        a, b = (law.lower - law.location) / law.scale, (law.upper - law.location) / law.scale
        # Mass before truncation, from the tail that has the digits.
        mass = float(special.ndtr(-a) - special.ndtr(-b)) if a > 0.0 else float(special.ndtr(b) - special.ndtr(a))
        ends = sum(sign * z * math.exp(-0.5 * z * z) for sign, z in ((1.0, a), (-1.0, b)) if math.isfinite(z))
        return 0.5 * _LOG_2PI_E + math.log(law.scale * mass) + ends / (2.0 * math.sqrt(2.0 * math.pi) * mass)

    def mode(self, law: Distribution) -> float:
        assert isinstance(law, TruncatedNormal)
        return law.location

    def has_mode(self, law: Distribution) -> bool:
        return bool(law.support.contains(self.mode(law)))


class _HalfNormal(Rules):
    free = 1
    supports = (POSITIVE,)

    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        return HalfNormal(anchor.centre * _ratio(theta[0]))

    def rough(self, anchor: Anchor) -> Floats:
        return np.array([-math.log(special.ndtri(0.75))])

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        law = HalfNormal(mean * math.sqrt(0.5 * math.pi))
        if abs(law.sd / sd - 1.0) > 0.01:
            raise InvalidInput("plus_minus", f"the half-normal with mean {mean:g} has sd {law.sd:.4g}, not {sd:.4g}")
        return law

    def entropy(self, law: Distribution) -> float:
        assert isinstance(law, HalfNormal)
        return 0.5 * _LOG_2PI_E + math.log(law.scale) - math.log(2.0)

    def mode(self, law: Distribution) -> float:
        return 0.0

    def has_mode(self, law: Distribution) -> bool:
        return False


class _LogNormal(Rules):
    supports = (POSITIVE,)

    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        unit = anchor.spread / anchor.centre
        return LogNormal(math.log(anchor.centre) + unit * float(theta[0]), unit * _ratio(theta[1]))

    def rough(self, anchor: Anchor) -> Floats:
        return np.zeros(2)

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        variance = math.log1p((sd / mean) ** 2)
        return LogNormal(math.log(mean) - 0.5 * variance, math.sqrt(variance))

    def entropy(self, law: Distribution) -> float:
        assert isinstance(law, LogNormal)
        return law.log_mean + 0.5 * _LOG_2PI_E + math.log(law.log_sd)

    def mode(self, law: Distribution) -> float:
        assert isinstance(law, LogNormal)
        return math.exp(min(law.log_mean - law.log_sd**2, 700.0))


class _Gamma(Rules):
    supports = (POSITIVE,)

    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        unit = anchor.spread / anchor.centre
        mean, shape = anchor.centre * _ratio(unit * theta[0]), _ratio(theta[1]) / unit**2
        return Gamma(shape, shape / mean)

    def rough(self, anchor: Anchor) -> Floats:
        return np.zeros(2)

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        return Gamma((mean / sd) ** 2, mean / sd**2)

    def entropy(self, law: Distribution) -> float:
        assert isinstance(law, Gamma)
        (r, s), shape = _stirling(law.shape), law.shape
        return 0.5 * (_LOG_2PI_E + math.log(shape)) - 0.5 / shape + r + (shape - 1.0) * s - math.log(law.rate)

    def mode(self, law: Distribution) -> float:
        assert isinstance(law, Gamma)
        return (law.shape - 1.0) / law.rate

    def has_mode(self, law: Distribution) -> bool:
        return self.mode(law) > 0.0


class _Beta(Rules):
    supports = (UNIT_INTERVAL,)

    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        # Of mean m and total t the logit has a variance of nearly 1 / (m (1 - m) t).
        product = anchor.centre * (1.0 - anchor.centre)
        odds = anchor.centre / (1.0 - anchor.centre) * _ratio(anchor.spread / product * theta[0])
        total = product / anchor.spread**2 * _ratio(theta[1])
        return Beta(total * odds / (1.0 + odds), total / (1.0 + odds))

    def rough(self, anchor: Anchor) -> Floats:
        return np.zeros(2)

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        total = mean * (1.0 - mean) / sd**2 - 1.0
        if total <= 0.0:
            raise InvalidInput(
                "plus_minus", f"no law on (0, 1) with mean {mean:g} has a standard deviation of {sd:.4g}"
            )
        return Beta(mean * total, (1.0 - mean) * total)

    def entropy(self, law: Distribution) -> float:
        assert isinstance(law, Beta)
        a, b, total = law.alpha, law.beta, law.alpha + law.beta
        logs = 0.5 * (_LOG_2PI_E + math.log(a) + math.log(b) - 3.0 * math.log(total))
        rest = -0.5 / a - 0.5 / b + 1.0 / total
        for shape, factor, sign in ((a, a - 1.0, 1.0), (b, b - 1.0, 1.0), (total, total - 2.0, -1.0)):
            r, s = _stirling(shape)
            rest += sign * (r + factor * s)
        return logs + rest

    def mode(self, law: Distribution) -> float:
        assert isinstance(law, Beta)
        total = law.alpha + law.beta - 2.0
        return (law.alpha - 1.0) / total if total != 0.0 else math.inf

    def has_mode(self, law: Distribution) -> bool:
        assert isinstance(law, Beta)
        return law.alpha > 1.0 and law.beta > 1.0


class _Uniform(Rules):
    supports = (REAL_LINE, POSITIVE, UNIT_INTERVAL)

    def make(self, theta: Floats, anchor: Anchor) -> Distribution:
        centre, half = anchor.centre + anchor.spread * float(theta[0]), anchor.spread * _ratio(theta[1])
        inside = np.clip([centre - half, centre + half], anchor.support.lower, anchor.support.upper)
        if not inside[0] < inside[1]:
            raise InvalidInput("family", "the uniform law left the support")
        return Uniform(*inside)

    def rough(self, anchor: Anchor) -> Floats:
        return np.array([0.0, math.log(1.7)])

    def from_moments(self, mean: float, sd: float, support: Support) -> Distribution:
        half = math.sqrt(3.0) * sd
        if mean - half < support.lower or mean + half > support.upper:
            raise InvalidInput(
                "plus_minus", f"the uniform law with mean {mean:g} and sd {sd:.4g} leaves {_words(support)}"
            )
        return Uniform(mean - half, mean + half)

    def entropy(self, law: Distribution) -> float:
        assert isinstance(law, Uniform)
        return math.log(law.upper - law.lower)

    def mode(self, law: Distribution) -> float:
        return law.mean

    def has_mode(self, law: Distribution) -> bool:
        return False


RULES: dict[Family, Rules] = {
    Family.NORMAL: _Normal(),
    Family.TRUNCATED_NORMAL: _TruncatedNormal(),
    Family.HALF_NORMAL: _HalfNormal(),
    Family.LOG_NORMAL: _LogNormal(),
    Family.GAMMA: _Gamma(),
    Family.BETA: _Beta(),
    Family.STUDENT_T: _StudentT(),
    Family.UNIFORM: _Uniform(),
}

_DEFAULT = {Link.IDENTITY: Family.NORMAL, Link.LOG: Family.LOG_NORMAL, Link.LOGIT: Family.BETA}
_OF_LAW: dict[type[Distribution], Family] = {
    Normal: Family.NORMAL,
    TruncatedNormal: Family.TRUNCATED_NORMAL,
    HalfNormal: Family.HALF_NORMAL,
    LogNormal: Family.LOG_NORMAL,
    Gamma: Family.GAMMA,
    Beta: Family.BETA,
    Uniform: Family.UNIFORM,
}


def admissible(support: Support) -> tuple[Family, ...]:
    """The families that a statement about a quantity on this support may be fitted by, in a fixed order."""
    _check_support(support)
    return tuple(family for family, rules in RULES.items() if support in rules.supports)


def chosen(family: Family | None, support: Support) -> Family:
    """The family, by default that of the support: normal, log-normal or beta.

    Raises InvalidInput on "family" where it does not live on the support.
    """
    _check_support(support)
    if family is None:
        return _DEFAULT[support.link]
    if support not in RULES[family].supports:
        names = ", ".join(other.value for other in admissible(support))
        raise InvalidInput("family", f"{family.value} does not live on {_words(support)}; take one of {names}")
    return family


def family_of(law: Distribution) -> Family | None:
    """The family of a law; None for a mixture, a law on a grid, or a Student t of other degrees of freedom."""
    if isinstance(law, StudentT):
        return Family.STUDENT_T if law.df == STUDENT_DF else None
    return _OF_LAW.get(type(law))


def describe(law: Distribution) -> str:
    """Family and parameters in words."""
    match law:
        case Beta(alpha, beta):
            return f"Beta({alpha:.4g}, {beta:.4g})"
        case LogNormal(log_mean, log_sd):
            return f"log-normal (log mean {log_mean:.4g}, log sd {log_sd:.4g})"
        case Gamma(shape, rate):
            return f"gamma (shape {shape:.4g}, rate {rate:.4g})"
        case HalfNormal(scale):
            return f"half-normal (scale {scale:.4g})"
        case StudentT(df, location, scale):
            return f"Student t with {df:g} degrees of freedom (location {location:.4g}, scale {scale:.4g})"
        case TruncatedNormal(location, scale, lower, upper):
            return f"normal (location {location:.4g}, scale {scale:.4g}) truncated to ({lower:g}, {upper:g})"
        case Uniform(lower, upper):
            return f"uniform on ({lower:.4g}, {upper:.4g})"
        case _:
            return f"{'normal' if isinstance(law, Normal) else 'law'} with mean {law.mean:.4g} and sd {law.sd:.4g}"


def fit_cdf(x: Floats, asked: Floats, family: Family, anchors: Sequence[Anchor]) -> Distribution:
    """The law whose distribution function at x [n] is nearest to `asked` [n] in squares, from each anchor in turn."""
    rules = RULES[family]
    best: tuple[float, Distribution] | None = None
    for anchor in anchors:

        def residual(theta: Floats, anchor: Anchor = anchor) -> Floats:
            try:
                return rules.make(theta, anchor).cdf(x) - asked
            except InvalidInput:
                return np.ones_like(asked)

        optimum = optimize.least_squares(residual, rules.rough(anchor), xtol=1e-15, ftol=1e-15, gtol=1e-15)
        if best is None or optimum.cost < best[0]:
            try:
                best = float(optimum.cost), rules.make(optimum.x, anchor)
            except InvalidInput:
                continue
        if best[0] < 1e-20:
            break
    if best is None:
        raise InvalidInput("family", f"no {family.value} law was found")
    return best[1]


def _check_support(support: Support) -> None:
    if support not in (REAL_LINE, POSITIVE, UNIT_INTERVAL):
        raise InvalidInput("support", "must be the real line, (0, inf) or (0, 1)")


def _words(support: Support) -> str:
    return "the real line" if support == REAL_LINE else f"({support.lower:g}, {support.upper:g})"
