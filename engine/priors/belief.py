"""Stated beliefs turned into distributions: "mean ± x" and stated quantiles."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from engine.errors import InvalidInput
from engine.priors.distribution import (
    POSITIVE,
    REAL_LINE,
    UNIT_INTERVAL,
    Beta,
    Distribution,
    LogNormal,
    Normal,
    Support,
)

WARN_ERROR = 0.02
REJECT_ERROR = 0.05


class Meaning(enum.Enum):
    """What the number after "±" is; there is no default because the answers differ by a severity band."""

    SD = "sd"
    INTERVAL_HALF_WIDTH = "interval_half_width"


@dataclass(frozen=True)
class Compiled:
    """A belief as a distribution, with one sentence that says how the words were read."""

    distribution: Distribution
    note: str


@dataclass(frozen=True)
class FittedQuantiles:
    """A distribution fitted to stated quantiles.

    `asked[i]` is the stated probability and `fitted[i]` the distribution's probability at the i-th stated value;
    `note` is set when the largest difference exceeds 0.02.
    """

    distribution: Distribution
    asked: tuple[float, ...]
    fitted: tuple[float, ...]
    max_error: float
    note: str | None


def _check_support(support: Support) -> None:
    if support not in (REAL_LINE, POSITIVE, UNIT_INTERVAL):
        raise InvalidInput("support", "must be the real line, (0, inf) or (0, 1)")


def compile_mean_plus_minus(
    mean: float, plus_minus: float, meaning: Meaning, level: float | None, support: Support
) -> Compiled:
    """Moment-matched law of "mean ± plus_minus": Beta on (0, 1), LogNormal on (0, inf), Normal on the real line.

    `level` is the interval's level in (0, 1) for INTERVAL_HALF_WIDTH and must be absent for SD; the half-width is
    divided by the normal quantile of (1 + level)/2. Raises InvalidInput on "mean", "plus_minus", "level", "support".
    """
    _check_support(support)
    if not math.isfinite(mean) or not bool(support.contains(mean)):
        raise InvalidInput("mean", f"must be finite and strictly inside ({support.lower}, {support.upper})")
    if not (math.isfinite(plus_minus) and plus_minus > 0.0):
        raise InvalidInput("plus_minus", "must be finite and above 0")
    if meaning is Meaning.SD:
        if level is not None:
            raise InvalidInput("level", "has no meaning for a standard deviation")
        sd, reading = plus_minus, f"± {plus_minus:g} read as one standard deviation"
    else:
        if level is None or not 0.0 < level < 1.0:
            raise InvalidInput("level", "must lie strictly between 0 and 1 for the half-width of an interval")
        sd = plus_minus / float(special.ndtri(0.5 * (1.0 + level)))
        reading = f"± {plus_minus:g} read as half the width of a {100 * level:g} % interval, so sd {sd:.4g}"
    law = _from_moments(mean, sd, support)
    note = f"{reading}; {_describe(law)}"
    if level is not None and not isinstance(law, Normal):
        inside = float(law.cdf(mean + plus_minus) - law.cdf(mean - plus_minus))
        note += f", which puts {100 * inside:.1f} % inside the stated interval"
    return Compiled(law, note)


def _from_moments(mean: float, sd: float, support: Support) -> Distribution:
    if support == REAL_LINE:
        return Normal(mean, sd)
    if support == POSITIVE:
        variance = math.log1p((sd / mean) ** 2)
        return LogNormal(math.log(mean) - 0.5 * variance, math.sqrt(variance))
    total = mean * (1.0 - mean) / sd**2 - 1.0
    if total <= 0.0:
        raise InvalidInput("plus_minus", f"no law on (0, 1) with mean {mean:g} has a standard deviation of {sd:.4g}")
    return Beta(mean * total, (1.0 - mean) * total)


def _describe(law: Distribution) -> str:
    match law:
        case Beta(alpha, beta):
            return f"Beta({alpha:.4g}, {beta:.4g}) with the same mean and sd"
        case LogNormal(log_mean, log_sd):
            return f"log-normal (log mean {log_mean:.4g}, log sd {log_sd:.4g}) with the same mean and sd"
        case _:
            return f"normal with mean {law.mean:.4g} and sd {law.sd:.4g}"


def fit_quantiles(probabilities: Sequence[float], values: Sequence[float], support: Support) -> FittedQuantiles:
    """Least-squares fit of the CDF at the stated points: Normal, LogNormal or Beta by the support.

    Exact for two quantiles; with more, every residual is returned. Raises InvalidInput when fewer than two
    quantiles are stated, when they do not increase, and when some probability is missed by more than 0.05.
    """
    _check_support(support)
    asked, x = np.asarray(probabilities, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if asked.ndim != 1 or asked.size < 2:
        raise InvalidInput("probabilities", "must hold at least two quantiles")
    if x.shape != asked.shape:
        raise InvalidInput("values", f"must be as many as the probabilities, {asked.size}")
    if not (np.all((asked > 0.0) & (asked < 1.0)) and np.all(np.diff(asked) > 0.0)):
        raise InvalidInput("probabilities", "must increase strictly and lie strictly between 0 and 1")
    if not (np.all(np.isfinite(x)) and np.all(np.diff(x) > 0.0)):
        raise InvalidInput("values", "must be finite and increase strictly with the probabilities")
    if not np.all(support.contains(x)):
        raise InvalidInput("values", f"must lie strictly inside ({support.lower}, {support.upper})")

    # Regressing the unconstrained values on normal scores gives the normal and log-normal answer for two quantiles.
    sd, mean = np.polyfit(special.ndtri(asked), support.to_unconstrained(x), 1)
    make: Callable[[float, float], Distribution]
    if support == UNIT_INTERVAL:
        # logit-normal moments to a beta by the usual approximation var(logit) = 1/alpha + 1/beta
        centre = float(special.expit(mean))
        total = 1.0 / (sd**2 * centre * (1.0 - centre))
        start = np.log([centre * total, (1.0 - centre) * total])

        def make(a: float, b: float) -> Distribution:
            return Beta(math.exp(a), math.exp(b))
    else:
        family = Normal if support == REAL_LINE else LogNormal
        start = np.array([0.0, 0.0])

        def make(a: float, b: float) -> Distribution:
            return family(mean + sd * a, sd * math.exp(b))

    def residual(parameters: np.ndarray) -> np.ndarray:
        a, b = np.clip(parameters, -30.0, 30.0)
        return make(float(a), float(b)).cdf(x) - asked

    solution = optimize.least_squares(residual, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    law = make(*(float(v) for v in np.clip(solution.x, -30.0, 30.0)))
    fitted = law.cdf(x)
    worst = int(np.argmax(np.abs(fitted - asked)))
    error = float(abs(fitted[worst] - asked[worst]))
    if error > REJECT_ERROR:
        raise InvalidInput(
            "values",
            f"no {type(law).__name__} comes near: at {x[worst]:g} the stated probability is {asked[worst]:g} "
            f"and the best fit gives {fitted[worst]:.3f}",
        )
    note = (
        f"at {x[worst]:g} the stated probability is {asked[worst]:g}, the fitted one {fitted[worst]:.3f}"
        if error > WARN_ERROR
        else None
    )
    return FittedQuantiles(law, tuple(asked.tolist()), tuple(fitted.tolist()), error, note)
