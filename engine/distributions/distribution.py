"""Univariate proper distributions on an interval, each with the unconstrained scale that its support implies."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, assert_never

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats
from scipy.interpolate import CubicSpline

from engine.arrays import Flags, Floats, as_floats
from engine.distributions.mesh import mesh
from engine.distributions.support import POSITIVE, REAL_LINE, UNIT_INTERVAL, Link, Support
from engine.errors import InvalidInput

Size = int | tuple[int, ...]

_LARGEST_LOG = math.log(np.finfo(np.float64).max)
_FARTHEST = 700.0
"""On a log or logit scale there is hardly a float beyond."""
_BREAK_SCORES = np.linspace(-7.0, 7.0, 281)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_LAGUERRE_NODES, _LAGUERRE_WEIGHTS = np.polynomial.laguerre.laggauss(48)


class Distribution(ABC):
    """A proper univariate law; functions take arrays of any shape and return float64 arrays of that shape."""

    # `mean` and `sd` are declared to the type checker only: at run time a property here would shadow the fields of
    # the same name in `Normal`.
    if TYPE_CHECKING:

        @property
        def mean(self) -> float:
            """Mean in the units of x."""

        @property
        def sd(self) -> float:
            """Standard deviation in the units of x."""

    @property
    @abstractmethod
    def support(self) -> Support:
        """The open interval that carries the mass."""

    @abstractmethod
    def logpdf(self, x: ArrayLike) -> Floats:
        """Log density in x; minus infinity outside the support."""

    @abstractmethod
    def cdf(self, x: ArrayLike) -> Floats:
        """P(X <= x)."""

    @abstractmethod
    def sf(self, x: ArrayLike) -> Floats:
        """P(X > x), accurate in the upper tail."""

    @abstractmethod
    def ppf(self, q: ArrayLike) -> Floats:
        """The quantile function."""

    @abstractmethod
    def isf(self, q: ArrayLike) -> Floats:
        """The x with P(X > x) = q, accurate in the upper tail."""

    @abstractmethod
    def scaled(self, factor: float) -> Distribution:
        """The law of factor * X, factor > 0."""

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        """Independent draws of the given shape, by inversion unless the family has something faster."""
        return self.ppf(rng.random(size))

    def interval(self, level: float) -> tuple[float, float]:
        """The central interval that holds `level` of the mass."""
        if not 0.0 < level < 1.0:
            raise InvalidInput("level", "must lie strictly between 0 and 1")
        tail = 0.5 * (1.0 - level)
        return float(self.ppf(tail)), float(self.isf(tail))

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        """Log density of the unconstrained coordinate u: logpdf(x(u)) + log |dx/du|."""
        return self.logpdf(self.support.from_unconstrained(u)) + self.support.log_jacobian(u)

    def shifted(self, delta: float) -> Distribution:
        """The law whose unconstrained coordinate is larger by `delta`."""
        _finite("delta", delta)
        if self.support.link is Link.LOG and self.support.lower == 0.0:
            return self.scaled(math.exp(delta))
        return Gridded.of(self).shifted(delta)

    def widened(self, factor: float) -> Distribution:
        """The law whose unconstrained coordinate lies `factor` times as far from its median: m + factor (u - m)."""
        return Gridded.of(self).widened(factor)

    def unconstrained_moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the unconstrained coordinate."""
        return Gridded.of(self).unconstrained_moments()


def _finite(field: str, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidInput(field, "must be finite")
    return float(value)


def _positive(field: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0.0):
        raise InvalidInput(field, "must be finite and above 0")
    return float(value)


def _factor(factor: float) -> float:
    return _positive("factor", factor)


def _exp(value: float) -> float:
    """e to a power; infinite beyond the float range."""
    return math.exp(value) if value < _LARGEST_LOG else math.inf


def _set(instance: Distribution, **values: object) -> None:
    """Store checked parameters as plain floats, so that equal laws compare equal whatever number type came in."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


@dataclass(frozen=True)
class Normal(Distribution):
    """The normal law on the real line."""

    mean: float
    sd: float

    def __post_init__(self) -> None:
        _set(self, mean=_finite("mean", self.mean), sd=_positive("sd", self.sd))

    @property
    def support(self) -> Support:
        return REAL_LINE

    def logpdf(self, x: ArrayLike) -> Floats:
        z = (as_floats(x) - self.mean) / self.sd
        return -0.5 * z * z - (_HALF_LOG_2PI + math.log(self.sd))

    def cdf(self, x: ArrayLike) -> Floats:
        return as_floats(special.ndtr((as_floats(x) - self.mean) / self.sd))

    def sf(self, x: ArrayLike) -> Floats:
        return as_floats(special.ndtr((self.mean - as_floats(x)) / self.sd))

    def ppf(self, q: ArrayLike) -> Floats:
        return as_floats(self.mean + self.sd * special.ndtri(as_floats(q)))

    def isf(self, q: ArrayLike) -> Floats:
        return as_floats(self.mean - self.sd * special.ndtri(as_floats(q)))

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        return rng.normal(self.mean, self.sd, size)

    def scaled(self, factor: float) -> Normal:
        factor = _factor(factor)
        return Normal(self.mean * factor, self.sd * factor)

    def shifted(self, delta: float) -> Normal:
        return Normal(self.mean + _finite("delta", delta), self.sd)

    def widened(self, factor: float) -> Normal:
        return Normal(self.mean, self.sd * _factor(factor))

    def unconstrained_moments(self) -> tuple[float, float]:
        return self.mean, self.sd


@dataclass(frozen=True)
class LogNormal(Distribution):
    """The law of exp(N(log_mean, log_sd)) on the positive half-line."""

    log_mean: float
    log_sd: float

    def __post_init__(self) -> None:
        _set(self, log_mean=_finite("log_mean", self.log_mean), log_sd=_positive("log_sd", self.log_sd))

    @property
    def _log(self) -> Normal:
        return Normal(self.log_mean, self.log_sd)

    @property
    def support(self) -> Support:
        return POSITIVE

    @property
    def mean(self) -> float:
        return _exp(self.log_mean + 0.5 * self.log_sd * self.log_sd)

    @property
    def sd(self) -> float:
        variance = self.log_sd * self.log_sd
        # Half of log expm1 of the variance: of a tiny one it is that of the variance, of a large one half of it.
        half = math.log(self.log_sd) if variance < 1e-20 else 0.5 * variance
        if 1e-20 <= variance < 700.0:
            half = 0.5 * math.log(math.expm1(variance))
        return _exp(self.log_mean + 0.5 * variance + half)

    def logpdf(self, x: ArrayLike) -> Floats:
        x = as_floats(x)
        inside = x > 0.0
        u = np.log(np.where(inside, x, 1.0))
        return np.where(inside, self._log.logpdf(u) - u, -np.inf)

    def cdf(self, x: ArrayLike) -> Floats:
        return self._log.cdf(POSITIVE.to_unconstrained(np.maximum(as_floats(x), 0.0)))

    def sf(self, x: ArrayLike) -> Floats:
        return self._log.sf(POSITIVE.to_unconstrained(np.maximum(as_floats(x), 0.0)))

    def ppf(self, q: ArrayLike) -> Floats:
        return POSITIVE.from_unconstrained(self._log.ppf(q))

    def isf(self, q: ArrayLike) -> Floats:
        return POSITIVE.from_unconstrained(self._log.isf(q))

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        return rng.lognormal(self.log_mean, self.log_sd, size)

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        return self._log.logpdf(u)

    def scaled(self, factor: float) -> LogNormal:
        return LogNormal(self.log_mean + math.log(_factor(factor)), self.log_sd)

    def shifted(self, delta: float) -> LogNormal:
        return LogNormal(self.log_mean + _finite("delta", delta), self.log_sd)

    def widened(self, factor: float) -> LogNormal:
        return LogNormal(self.log_mean, self.log_sd * _factor(factor))

    def unconstrained_moments(self) -> tuple[float, float]:
        return self.log_mean, self.log_sd


@dataclass(frozen=True)
class Beta(Distribution):
    """The beta law on (0, 1)."""

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        _set(self, alpha=_positive("alpha", self.alpha), beta=_positive("beta", self.beta))

    @property
    def support(self) -> Support:
        return UNIT_INTERVAL

    @property
    def mean(self) -> float:
        return self.alpha / (self.alpha + self.beta)

    @property
    def sd(self) -> float:
        total = self.alpha + self.beta
        return math.sqrt(self.alpha * self.beta / (total + 1.0)) / total

    def logpdf(self, x: ArrayLike) -> Floats:
        x = as_floats(x)
        inside = (x > 0.0) & (x < 1.0)
        y = np.where(inside, x, 0.5)
        value = (
            (self.alpha - 1.0) * np.log(y) + (self.beta - 1.0) * np.log1p(-y) - special.betaln(self.alpha, self.beta)
        )
        return np.where(inside, value, -np.inf)

    def cdf(self, x: ArrayLike) -> Floats:
        return as_floats(special.betainc(self.alpha, self.beta, np.clip(as_floats(x), 0.0, 1.0)))

    def sf(self, x: ArrayLike) -> Floats:
        return as_floats(special.betaincc(self.alpha, self.beta, np.clip(as_floats(x), 0.0, 1.0)))

    def ppf(self, q: ArrayLike) -> Floats:
        return as_floats(special.betaincinv(self.alpha, self.beta, as_floats(q)))

    def isf(self, q: ArrayLike) -> Floats:
        return as_floats(special.betainccinv(self.alpha, self.beta, as_floats(q)))

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        return rng.beta(self.alpha, self.beta, size)

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        u = as_floats(u)
        constant = special.betaln(self.alpha, self.beta)
        return as_floats(self.alpha * special.log_expit(u) + self.beta * special.log_expit(-u) - constant)

    def scaled(self, factor: float) -> Distribution:
        return Gridded.of(self).scaled(factor)


@dataclass(frozen=True)
class TruncatedNormal(Distribution):
    """N(location, scale) given that it falls in (lower, upper); location and scale are those before truncation."""

    location: float
    scale: float
    lower: float
    upper: float

    def __post_init__(self) -> None:
        _set(self, location=_finite("location", self.location), scale=_positive("scale", self.scale))
        _set(self, lower=float(self.lower), upper=float(self.upper))
        Support(self.lower, self.upper)
        if max(self.lower - self.location, self.location - self.upper) > 1000.0 * self.scale:
            raise InvalidInput("location", "lies more than 1000 scales outside (lower, upper)")

    @cached_property
    def _law(self) -> stats.distributions.rv_frozen:
        a, b = (self.lower - self.location) / self.scale, (self.upper - self.location) / self.scale
        return stats.truncnorm(a, b, loc=self.location, scale=self.scale)

    @cached_property
    def _log_mass(self) -> float:
        return float(self._log_mass_between(self.lower, self.upper))

    def _log_mass_between(self, lower: ArrayLike, upper: ArrayLike) -> Floats:
        """Log probability of (lower, upper) before truncation, from the tail in which it has its digits."""
        a, b = (as_floats(lower) - self.location) / self.scale, (as_floats(upper) - self.location) / self.scale
        right = a > 0.0
        a, b = np.where(right, -b, a), np.where(right, -a, b)
        near, far = special.log_ndtr(b), special.log_ndtr(a)
        with np.errstate(divide="ignore", invalid="ignore"):
            one_side = near + np.log1p(-np.exp(far - near))
            both = np.log1p(-special.ndtr(a) - special.ndtr(-b))
        return as_floats(np.where(a >= b, -np.inf, np.where(b <= 0.0, one_side, both)))

    @property
    def support(self) -> Support:
        return Support(self.lower, self.upper)

    @cached_property
    def mean(self) -> float:
        return float(self._law.mean())

    @cached_property
    def sd(self) -> float:
        return float(self._law.std())

    def logpdf(self, x: ArrayLike) -> Floats:
        x = as_floats(x)
        z = (x - self.location) / self.scale
        value = -0.5 * z * z - (_HALF_LOG_2PI + math.log(self.scale) + self._log_mass)
        return np.where(self.support.contains(x), value, -np.inf)

    def cdf(self, x: ArrayLike) -> Floats:
        x = np.clip(as_floats(x), self.lower, self.upper)
        return as_floats(np.exp(np.minimum(self._log_mass_between(self.lower, x) - self._log_mass, 0.0)))

    def sf(self, x: ArrayLike) -> Floats:
        x = np.clip(as_floats(x), self.lower, self.upper)
        return as_floats(np.exp(np.minimum(self._log_mass_between(x, self.upper) - self._log_mass, 0.0)))

    def ppf(self, q: ArrayLike) -> Floats:
        return as_floats(self._law.ppf(as_floats(q)))

    def isf(self, q: ArrayLike) -> Floats:
        return as_floats(self._law.isf(as_floats(q)))

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        # x(u) may round to an end of the support; the density there is still the limit from inside.
        with np.errstate(over="ignore"):
            z = (self.support.from_unconstrained(u) - self.location) / self.scale
            value = -0.5 * z * z - (_HALF_LOG_2PI + math.log(self.scale) + self._log_mass)
        return value + self.support.log_jacobian(u)

    def scaled(self, factor: float) -> TruncatedNormal:
        f = _factor(factor)
        return TruncatedNormal(self.location * f, self.scale * f, self.lower * f, self.upper * f)

    def shifted(self, delta: float) -> Distribution:
        if self.support.link is Link.IDENTITY:
            return TruncatedNormal(self.location + _finite("delta", delta), self.scale, self.lower, self.upper)
        return super().shifted(delta)


@dataclass(frozen=True)
class HalfNormal(Distribution):
    """The law of |N(0, scale)| on the positive half-line."""

    scale: float

    def __post_init__(self) -> None:
        _set(self, scale=_positive("scale", self.scale))

    @property
    def support(self) -> Support:
        return POSITIVE

    @property
    def mean(self) -> float:
        return self.scale * math.sqrt(2.0 / math.pi)

    @property
    def sd(self) -> float:
        return self.scale * math.sqrt(1.0 - 2.0 / math.pi)

    def logpdf(self, x: ArrayLike) -> Floats:
        x = as_floats(x)
        return np.where(x > 0.0, math.log(2.0) + Normal(0.0, self.scale).logpdf(x), -np.inf)

    def cdf(self, x: ArrayLike) -> Floats:
        return as_floats(special.erf(np.maximum(as_floats(x), 0.0) / (self.scale * math.sqrt(2.0))))

    def sf(self, x: ArrayLike) -> Floats:
        return as_floats(special.erfc(np.maximum(as_floats(x), 0.0) / (self.scale * math.sqrt(2.0))))

    def ppf(self, q: ArrayLike) -> Floats:
        return as_floats(self.scale * math.sqrt(2.0) * special.erfinv(as_floats(q)))

    def isf(self, q: ArrayLike) -> Floats:
        return as_floats(self.scale * math.sqrt(2.0) * special.erfcinv(as_floats(q)))

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        return np.abs(rng.normal(0.0, self.scale, size))

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        u = as_floats(u)
        with np.errstate(over="ignore"):
            return math.log(2.0) + Normal(0.0, self.scale).logpdf(np.exp(u)) + u

    def scaled(self, factor: float) -> HalfNormal:
        return HalfNormal(self.scale * _factor(factor))


@dataclass(frozen=True)
class Gamma(Distribution):
    """The gamma law with mean shape / rate on the positive half-line."""

    shape: float
    rate: float

    def __post_init__(self) -> None:
        _set(self, shape=_positive("shape", self.shape), rate=_positive("rate", self.rate))

    @property
    def support(self) -> Support:
        return POSITIVE

    @property
    def mean(self) -> float:
        return self.shape / self.rate

    @property
    def sd(self) -> float:
        return math.sqrt(self.shape) / self.rate

    def logpdf(self, x: ArrayLike) -> Floats:
        x = as_floats(x)
        inside = x > 0.0
        u = np.log(np.where(inside, x, 1.0))
        return np.where(inside, self.unconstrained_logpdf(u) - u, -np.inf)

    def cdf(self, x: ArrayLike) -> Floats:
        return as_floats(special.gammainc(self.shape, self.rate * np.maximum(as_floats(x), 0.0)))

    def sf(self, x: ArrayLike) -> Floats:
        return as_floats(special.gammaincc(self.shape, self.rate * np.maximum(as_floats(x), 0.0)))

    def ppf(self, q: ArrayLike) -> Floats:
        return as_floats(special.gammaincinv(self.shape, as_floats(q)) / self.rate)

    def isf(self, q: ArrayLike) -> Floats:
        return as_floats(special.gammainccinv(self.shape, as_floats(q)) / self.rate)

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        return rng.gamma(self.shape, 1.0 / self.rate, size)

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        v = as_floats(u) + math.log(self.rate)
        with np.errstate(over="ignore"):
            return as_floats(self.shape * v - np.exp(v) - special.gammaln(self.shape))

    def scaled(self, factor: float) -> Gamma:
        return Gamma(self.shape, self.rate / _factor(factor))


@dataclass(frozen=True)
class StudentT(Distribution):
    """The location-scale Student law on the real line; df > 2, so that it has a standard deviation."""

    df: float
    location: float
    scale: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.df) and self.df > 2.0):
            raise InvalidInput("df", "must be finite and above 2")
        _set(self, df=float(self.df), location=_finite("location", self.location), scale=_positive("scale", self.scale))

    @property
    def support(self) -> Support:
        return REAL_LINE

    @property
    def mean(self) -> float:
        return self.location

    @property
    def sd(self) -> float:
        return self.scale * math.sqrt(self.df / (self.df - 2.0))

    def logpdf(self, x: ArrayLike) -> Floats:
        z = (as_floats(x) - self.location) / self.scale
        half = 0.5 * self.df
        constant = special.gammaln(half + 0.5) - special.gammaln(half) - 0.5 * math.log(self.df * math.pi)
        return as_floats(constant - math.log(self.scale) - (half + 0.5) * np.log1p(z * z / self.df))

    def cdf(self, x: ArrayLike) -> Floats:
        return as_floats(special.stdtr(self.df, (as_floats(x) - self.location) / self.scale))

    def sf(self, x: ArrayLike) -> Floats:
        return as_floats(special.stdtr(self.df, (self.location - as_floats(x)) / self.scale))

    def ppf(self, q: ArrayLike) -> Floats:
        return as_floats(self.location + self.scale * special.stdtrit(self.df, as_floats(q)))

    def isf(self, q: ArrayLike) -> Floats:
        return as_floats(self.location - self.scale * special.stdtrit(self.df, as_floats(q)))

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        return as_floats(self.location + self.scale * rng.standard_t(self.df, size))

    def scaled(self, factor: float) -> StudentT:
        factor = _factor(factor)
        return StudentT(self.df, self.location * factor, self.scale * factor)

    def shifted(self, delta: float) -> StudentT:
        return StudentT(self.df, self.location + _finite("delta", delta), self.scale)

    def widened(self, factor: float) -> StudentT:
        return StudentT(self.df, self.location, self.scale * _factor(factor))

    def unconstrained_moments(self) -> tuple[float, float]:
        return self.mean, self.sd


@dataclass(frozen=True)
class Uniform(Distribution):
    """The flat law on (lower, upper)."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        _set(self, lower=_finite("lower", self.lower), upper=_finite("upper", self.upper))
        if not self.upper > self.lower:
            raise InvalidInput("upper", f"must be above the lower end {self.lower}")

    @property
    def support(self) -> Support:
        return Support(self.lower, self.upper)

    @property
    def mean(self) -> float:
        return 0.5 * (self.lower + self.upper)

    @property
    def sd(self) -> float:
        return (self.upper - self.lower) / math.sqrt(12.0)

    def logpdf(self, x: ArrayLike) -> Floats:
        return np.where(self.support.contains(x), -math.log(self.upper - self.lower), -np.inf)

    def cdf(self, x: ArrayLike) -> Floats:
        return np.clip((as_floats(x) - self.lower) / (self.upper - self.lower), 0.0, 1.0)

    def sf(self, x: ArrayLike) -> Floats:
        return np.clip((self.upper - as_floats(x)) / (self.upper - self.lower), 0.0, 1.0)

    def ppf(self, q: ArrayLike) -> Floats:
        return as_floats(self.lower + (self.upper - self.lower) * as_floats(q))

    def isf(self, q: ArrayLike) -> Floats:
        return as_floats(self.upper - (self.upper - self.lower) * as_floats(q))

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        return rng.uniform(self.lower, self.upper, size)

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        return self.support.log_jacobian(u) - math.log(self.upper - self.lower)

    def scaled(self, factor: float) -> Uniform:
        factor = _factor(factor)
        return Uniform(self.lower * factor, self.upper * factor)


@dataclass(frozen=True)
class Mixture(Distribution):
    """Σ weights[k] · components[k]; the weights sum to 1, and the support of one component holds all the others'.

    Usually they share one. A narrower one is what a belief above 0 beside a vague law on the real line is.
    """

    weights: tuple[float, ...]
    components: tuple[Distribution, ...]

    def __post_init__(self) -> None:
        _set(self, weights=tuple(float(w) for w in self.weights), components=tuple(self.components))
        if not self.components:
            raise InvalidInput("components", "must hold at least one distribution")
        if len(self.weights) != len(self.components):
            raise InvalidInput("weights", f"must be as many as the components, {len(self.components)}")
        if not all(math.isfinite(w) and w > 0.0 for w in self.weights):
            raise InvalidInput("weights", "must each be finite and above 0")
        if abs(math.fsum(self.weights) - 1.0) > 1e-9:
            raise InvalidInput("weights", "must sum to 1")
        if self.support not in {c.support for c in self.components}:
            raise InvalidInput("components", "must lie in the support of one of them")

    @property
    def support(self) -> Support:
        supports = [c.support for c in self.components]
        return Support(min(support.lower for support in supports), max(support.upper for support in supports))

    @cached_property
    def is_mixed(self) -> bool:
        """Whether some component has a narrower support than the mixture."""
        return any(c.support != self.support for c in self.components)

    @property
    def mean(self) -> float:
        return math.fsum(w * c.mean for w, c in zip(self.weights, self.components, strict=True))

    @property
    def sd(self) -> float:
        mean = self.mean
        parts = zip(self.weights, self.components, strict=True)
        return math.sqrt(math.fsum(w * (c.sd**2 + (c.mean - mean) ** 2) for w, c in parts))

    def _log_mix(self, values: list[Floats]) -> Floats:
        logs = np.stack(values, axis=-1)
        return as_floats(special.logsumexp(logs + np.log(self.weights), axis=-1))

    def _mix(self, values: list[Floats]) -> Floats:
        return as_floats(np.stack(values, axis=-1) @ np.asarray(self.weights))

    def logpdf(self, x: ArrayLike) -> Floats:
        return self._log_mix([c.logpdf(x) for c in self.components])

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        return self._log_mix([_logpdf_on(self.support, c, as_floats(u)) for c in self.components])

    def cdf(self, x: ArrayLike) -> Floats:
        return self._mix([c.cdf(x) for c in self.components])

    def sf(self, x: ArrayLike) -> Floats:
        return self._mix([c.sf(x) for c in self.components])

    def ppf(self, q: ArrayLike) -> Floats:
        q = as_floats(q)
        return self._bisect(np.stack([c.ppf(q) for c in self.components]), lambda x: self.cdf(x) < q)

    def isf(self, q: ArrayLike) -> Floats:
        q = as_floats(q)
        return self._bisect(np.stack([c.isf(q) for c in self.components]), lambda x: self.sf(x) > q)

    @staticmethod
    def _bisect(corners: Floats, is_below: Callable[[Floats], Flags]) -> Floats:
        # The mixture's quantile lies between the smallest and the largest quantile of its components.
        low, high = corners.min(axis=0), corners.max(axis=0)
        settled = low >= high
        for _ in range(80):
            with np.errstate(invalid="ignore"):
                middle = 0.5 * (low + high)
            below = is_below(middle)
            low = np.where(below & ~settled, middle, low)
            high = np.where(below | settled, high, middle)
        with np.errstate(invalid="ignore"):
            return as_floats(np.where(settled, low, 0.5 * (low + high)))

    def sample(self, rng: np.random.Generator, size: Size) -> Floats:
        which = rng.choice(len(self.weights), size=size, p=np.asarray(self.weights) / math.fsum(self.weights))
        draws = np.stack([c.sample(rng, size) for c in self.components])
        return as_floats(np.take_along_axis(draws, np.asarray(which)[None], axis=0)[0])

    def scaled(self, factor: float) -> Mixture:
        return Mixture(self.weights, tuple(c.scaled(factor) for c in self.components))

    def shifted(self, delta: float) -> Distribution:
        return self._moved(1.0, _finite("delta", delta))

    def widened(self, factor: float) -> Distribution:
        median = float(self.support.to_unconstrained(self.ppf(0.5)))
        return self._moved(_factor(factor), (1.0 - factor) * median)

    def _moved(self, factor: float, delta: float) -> Distribution:
        """The law with u → factor u + delta, component by component: so they keep their families."""
        if not self.is_mixed:
            return Mixture(self.weights, tuple(_moved(c, factor, delta) for c in self.components))
        if self.support.link is Link.IDENTITY:
            return Mixture(self.weights, tuple(_transformed(c, factor, delta) for c in self.components))
        return _transformed(Gridded.of(self), factor, delta)

    def unconstrained_moments(self) -> tuple[float, float]:
        if self.is_mixed:
            return (self.mean, self.sd) if self.support.link is Link.IDENTITY else super().unconstrained_moments()
        means, sds = np.transpose([c.unconstrained_moments() for c in self.components])
        mean = float(np.dot(self.weights, means))
        return mean, math.sqrt(float(np.dot(self.weights, sds**2 + (means - mean) ** 2)))


def _logpdf_on(support: Support, law: Distribution, u: Floats) -> Floats:
    """Log density of a law that lives in a support, of that support's unconstrained coordinate."""
    if law.support == support:
        return law.unconstrained_logpdf(u)
    return law.logpdf(support.from_unconstrained(u)) + support.log_jacobian(u)


def _moved(law: Distribution, factor: float, delta: float) -> Distribution:
    """The law whose unconstrained coordinate is factor u + delta."""
    if factor == 1.0:
        return law.shifted(delta)
    median = float(law.support.to_unconstrained(law.ppf(0.5)))
    return law.widened(factor).shifted(delta + (factor - 1.0) * median)


def _transformed(law: Distribution, factor: float, delta: float) -> Distribution:
    """The law of factor X + delta, its support with it."""
    if law.support == REAL_LINE:
        return _moved(law, factor, delta)
    scaled = Gridded.of(law).scaled(factor)
    return Gridded(scaled.lower + delta, scaled.upper + delta, scaled.grid, scaled.log_density)


def parts_of(law: Distribution) -> list[Distribution]:
    """The components of a mixture, with mixtures in it flattened; any other law alone."""
    if isinstance(law, Mixture):
        return [part for component in law.components for part in parts_of(component)]
    return [law]


def quantile_breaks(law: Distribution) -> Floats:
    """Quantiles of the law at normal scores -7 … 7 (281 of them), in x; of every component of a mixture.

    Increasing, and dense where the law has its mass.
    """
    low, high = _BREAK_SCORES[_BREAK_SCORES <= 0.0], _BREAK_SCORES[_BREAK_SCORES > 0.0]
    parts = parts_of(law)
    quantiles = [part.ppf(special.ndtr(low)) for part in parts] + [part.isf(special.ndtr(-high)) for part in parts]
    return np.unique(np.concatenate(quantiles)) if len(parts) > 1 else np.concatenate(quantiles)


def unconstrained_breaks(law: Distribution, support: Support) -> Floats:
    """`quantile_breaks` of the law inside a support, on the support's unconstrained scale; increasing and finite."""
    x = quantile_breaks(law)
    u = support.to_unconstrained(np.clip(x, support.lower, support.upper))
    if support.link is not Link.IDENTITY:
        u = np.clip(u, -_FARTHEST, _FARTHEST)
    return np.unique(u[np.isfinite(u)])


@dataclass(frozen=True)
class Gridded(Distribution):
    """A law on (lower, upper) given by the log density of its unconstrained coordinate u on a grid.

    Between grid points the log density is a cubic spline; beyond an end it goes on with the spline's slope there
    (an exponential tail in u, which is exact for beta, gamma and uniform laws) when it falls outwards, and the law
    stops at the end otherwise. `log_density` needs no normalisation: construction normalises it.
    """

    lower: float
    upper: float
    grid: tuple[float, ...]
    log_density: tuple[float, ...]

    def __post_init__(self) -> None:
        _set(self, lower=float(self.lower), upper=float(self.upper))
        Support(self.lower, self.upper)
        grid, log_density = as_floats(self.grid), as_floats(self.log_density)
        if grid.ndim != 1 or grid.size < 4:
            raise InvalidInput("grid", "must hold at least 4 points")
        if log_density.shape != grid.shape:
            raise InvalidInput("log_density", f"must be as long as the grid, {grid.size}")
        if not (np.all(np.isfinite(grid)) and np.all(np.diff(grid) > 0.0)):
            raise InvalidInput("grid", "must be finite and strictly increasing")
        if not np.all(np.isfinite(log_density)):
            raise InvalidInput("log_density", "must be finite")
        _set(self, grid=tuple(grid.tolist()), log_density=tuple(log_density.tolist()))
        # Stored normalised once: doing it again moves the last digit, and a stored law must come back identical.
        log_mass = self._log_total
        if abs(log_mass) > 1e-12:
            _set(self, log_density=tuple((log_density - log_mass).tolist()))
            for name in ("_spline", "_peak", "_pieces", "_tails", "_log_total"):
                self.__dict__.pop(name, None)

    @staticmethod
    def of(law: Distribution, points: int = 1601) -> Gridded:
        """The same law on a grid to its 1e-12 tails, dense where a component is narrow; the law itself when gridded."""
        if isinstance(law, Gridded):
            return law
        grid = mesh(points, [unconstrained_breaks(part, law.support) for part in parts_of(law)])
        values = law.unconstrained_logpdf(grid)
        kept = np.isfinite(values)
        return Gridded(law.support.lower, law.support.upper, tuple(grid[kept]), tuple(values[kept]))

    # All integrals are relative to the largest density, so that an unnormalised log density cannot overflow.

    @cached_property
    def _spline(self) -> CubicSpline:
        return CubicSpline(as_floats(self.grid), as_floats(self.log_density))

    @cached_property
    def _peak(self) -> float:
        return max(self.log_density)

    def _density(self, u: Floats) -> Floats:
        return as_floats(np.exp(self._spline(u) - self._peak))

    def _partial(self, start: Floats, stop: Floats) -> Floats:
        """Integral of the density from start to stop, both in one grid cell, by 5-point Gauss–Legendre."""
        half = 0.5 * (stop - start)
        nodes = start[..., None] + half[..., None] * (1.0 + _NODES)
        return half * (self._density(nodes) @ _WEIGHTS)

    @cached_property
    def _pieces(self) -> Floats:
        grid = as_floats(self.grid)
        return self._partial(grid[:-1], grid[1:])

    @cached_property
    def _tails(self) -> tuple[float, float, float, float]:
        """(lower decay rate, lower mass, upper decay rate, upper mass); rate 0 marks a law that stops at that end."""
        grid = as_floats(self.grid)
        down, up = float(self._spline(grid[0], 1)), -float(self._spline(grid[-1], 1))
        left, right = self._density(grid[[0, -1]])
        return (
            max(down, 0.0),
            float(left) / down if down > 0.0 else 0.0,
            max(up, 0.0),
            float(right) / up if up > 0.0 else 0.0,
        )

    @cached_property
    def _log_total(self) -> float:
        return self._peak + math.log(math.fsum(self._pieces) + self._tails[1] + self._tails[3])

    @cached_property
    def _total(self) -> float:
        return math.exp(self._log_total - self._peak)

    @cached_property
    def _below(self) -> Floats:
        """Mass below each grid point, relative to the total."""
        return as_floats(np.concatenate([[0.0], np.cumsum(self._pieces)]) + self._tails[1]) / self._total

    @cached_property
    def _above(self) -> Floats:
        """Mass above each grid point, relative to the total."""
        return as_floats(np.concatenate([np.cumsum(self._pieces[::-1])[::-1], [0.0]]) + self._tails[3]) / self._total

    @property
    def support(self) -> Support:
        return Support(self.lower, self.upper)

    @cached_property
    def _quadrature(self) -> tuple[Floats, Floats]:
        """Nodes u and their probabilities: 5-point Gauss–Legendre per cell, Gauss–Laguerre in the two tails."""
        grid = as_floats(self.grid)
        half = 0.5 * np.diff(grid)
        u = (grid[:-1, None] + half[:, None] * (1.0 + _NODES)).ravel()
        mass = (half[:, None] * _WEIGHTS).ravel() * self._density(u)
        down, left, up, right = self._tails
        for end, sign, rate, weight in ((grid[0], -1.0, down, left), (grid[-1], 1.0, up, right)):
            if weight > 0.0:
                u = np.concatenate([u, end + sign * _LAGUERRE_NODES / rate])
                mass = np.concatenate([mass, weight * _LAGUERRE_WEIGHTS])
        keep = mass > 0.0
        return u[keep], mass[keep] / self._total

    @cached_property
    def _moments(self) -> tuple[float, float]:
        _, _, rate, weight = self._tails
        if self.support.link is Link.LOG and weight > 0.0 and rate <= 2.0:
            # x = exp(u) has no variance (no mean for a rate up to 1) under an exponential upper tail this slow.
            return math.inf, math.inf
        u, mass = self._quadrature
        x = self.support.from_unconstrained(u)
        mean = float(mass @ x)
        return mean, math.sqrt(float(mass @ (x - mean) ** 2))

    def unconstrained_moments(self) -> tuple[float, float]:
        u, mass = self._quadrature
        mean = float(mass @ u)
        return mean, math.sqrt(float(mass @ (u - mean) ** 2))

    @property
    def mean(self) -> float:
        return self._moments[0]

    @property
    def sd(self) -> float:
        return self._moments[1]

    def unconstrained_logpdf(self, u: ArrayLike) -> Floats:
        u = as_floats(u)
        first, last = self.grid[0], self.grid[-1]
        down, _, up, _ = self._tails
        value = self._spline(np.clip(u, first, last)) - self._log_total
        with np.errstate(invalid="ignore"):
            value = np.where(u < first, value - (down * (first - u) if down > 0.0 else np.inf), value)
            value = np.where(u > last, value - (up * (u - last) if up > 0.0 else np.inf), value)
        return as_floats(value)

    def logpdf(self, x: ArrayLike) -> Floats:
        x = as_floats(x)
        inside = self.support.contains(x)
        middle = float(self.support.from_unconstrained(self.grid[0]))
        u = self.support.to_unconstrained(np.where(inside, x, middle))
        return np.where(inside, self.unconstrained_logpdf(u) - self.support.log_jacobian(u), -np.inf)

    def _coordinate(self, x: ArrayLike) -> Floats:
        return self.support.to_unconstrained(np.clip(as_floats(x), self.lower, self.upper))

    def cdf(self, x: ArrayLike) -> Floats:
        u = self._coordinate(x)
        grid = as_floats(self.grid)
        down, left, up, right = self._tails
        inner = np.clip(u, grid[0], grid[-1])
        cell = np.clip(np.searchsorted(grid, inner, side="right") - 1, 0, grid.size - 2)
        value = self._below[cell] + self._partial(grid[cell], inner) / self._total
        below = np.exp(np.minimum(down * (u - grid[0]), 0.0)) * left / self._total
        above = 1.0 - np.exp(np.minimum(-up * (u - grid[-1]), 0.0)) * right / self._total
        return as_floats(np.where(u < grid[0], below, np.where(u > grid[-1], above, value)))

    def sf(self, x: ArrayLike) -> Floats:
        u = self._coordinate(x)
        grid = as_floats(self.grid)
        down, left, up, right = self._tails
        inner = np.clip(u, grid[0], grid[-1])
        cell = np.clip(np.searchsorted(grid, inner, side="right") - 1, 0, grid.size - 2)
        value = self._above[cell + 1] + self._partial(inner, grid[cell + 1]) / self._total
        below = 1.0 - np.exp(np.minimum(down * (u - grid[0]), 0.0)) * left / self._total
        above = np.exp(np.minimum(-up * (u - grid[-1]), 0.0)) * right / self._total
        return as_floats(np.where(u < grid[0], below, np.where(u > grid[-1], above, value)))

    def ppf(self, q: ArrayLike) -> Floats:
        q = as_floats(q)
        grid = as_floats(self.grid)
        down, left, _, _ = self._tails
        cell = np.clip(np.searchsorted(self._below, q, side="right") - 1, 0, grid.size - 2)
        low, high = grid[cell], grid[cell + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            under = self._below[cell] + self._partial(grid[cell], middle) / self._total < q
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        u = 0.5 * (low + high)
        if down > 0.0:
            with np.errstate(divide="ignore"):
                u = np.where(q < self._below[0], grid[0] + np.log(np.maximum(q, 0.0) * self._total / left) / down, u)
        beyond = 1.0 - q < self._above[-1]
        u = np.where(beyond, self._upper_tail(1.0 - q), u) if np.any(beyond) else u
        return self.support.from_unconstrained(u)

    def _upper_tail(self, q: Floats) -> Floats:
        _, _, up, right = self._tails
        with np.errstate(divide="ignore"):
            return as_floats(self.grid[-1] - np.log(np.maximum(q, 0.0) * self._total / right) / up)

    def isf(self, q: ArrayLike) -> Floats:
        q = as_floats(q)
        grid = as_floats(self.grid)
        cell = np.clip(grid.size - 1 - np.searchsorted(self._above[::-1], q, side="right"), 0, grid.size - 2)
        low, high = grid[cell], grid[cell + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            over = self._above[cell + 1] + self._partial(middle, grid[cell + 1]) / self._total > q
            low, high = np.where(over, middle, low), np.where(over, high, middle)
        u = 0.5 * (low + high)
        if self._tails[2] > 0.0:
            u = np.where(q < self._above[-1], self._upper_tail(q), u)
        down, left, _, _ = self._tails
        if down > 0.0 and np.any(1.0 - q < self._below[0]):
            with np.errstate(divide="ignore"):
                lower = grid[0] + np.log(np.maximum(1.0 - q, 0.0) * self._total / left) / down
            u = np.where(1.0 - q < self._below[0], lower, u)
        return self.support.from_unconstrained(u)

    def scaled(self, factor: float) -> Gridded:
        factor = _factor(factor)
        grid = as_floats(self.grid)
        match self.support.link:
            case Link.IDENTITY:
                grid = grid * factor
            case Link.LOG:
                grid = grid + math.log(factor)
            case Link.LOGIT:
                pass  # the interval is scaled, and a place in it stays what it is
            case _:
                assert_never(self.support.link)
        return Gridded(self.lower * factor, self.upper * factor, tuple(grid), self.log_density)

    def shifted(self, delta: float) -> Gridded:
        grid = as_floats(self.grid) + _finite("delta", delta)
        return Gridded(self.lower, self.upper, tuple(grid), self.log_density)

    def widened(self, factor: float) -> Gridded:
        median = float(self.support.to_unconstrained(self.ppf(0.5)))
        grid = median + _factor(factor) * (as_floats(self.grid) - median)
        return Gridded(self.lower, self.upper, tuple(grid), self.log_density)
