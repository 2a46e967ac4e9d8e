"""A distribution as the nearest one of a family, with what is lost by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from scipy import optimize, signal, special

from engine.arrays import Floats
from engine.conflict.curve import cells
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
    unconstrained_breaks,
)
from engine.distributions.families import STUDENT_DF, Family
from engine.errors import InvalidInput

MAX_CDF_ERROR = 0.05
_PROMINENT = 0.01
"""A peak of the density counts as a mode if it stands out by this part of its height: less is a ripple."""


@dataclass(frozen=True)
class Projection:
    """The law of a family nearest to another in Kullback-Leibler divergence (methods/conflict.md §12).

    Fields:
        law: the nearest. kl_nats: KL(original ‖ law). max_cdf_error: largest difference of the distribution functions.
        lower_tail_error, upper_tail_error: the law's probability beyond the original's 5 % and 95 % quantiles, minus
        .05. wasserstein_scaled: W1 over the original's standard deviation. modes: of the original's density on its
        unconstrained scale, in the units of the quantity. refusal: why it must not stand in for the original; empty if
        it may.
    """

    law: Distribution
    kl_nats: float
    max_cdf_error: float
    lower_tail_error: float
    upper_tail_error: float
    wasserstein_scaled: float
    modes: tuple[float, ...]
    refusal: str


def project(law: Distribution, family: Family) -> Projection:
    """The member of `family` with the least KL(law ‖ member), and how far it is from the law.

    For the exponential families that is the one with the same expected sufficient statistics. Raises InvalidInput on
    "project_to" where the family lives elsewhere than the law, and where no member is nearest.
    """
    name = family.name.lower().replace("_", "-")
    support = law.support
    if not family.lives_on(support):
        where = f"({support.lower:g}, {support.upper:g})"
        raise InvalidInput("project_to", f"no {name} distribution lives on {where}, as the updated prior does")
    u, log_weights = _nodes([law])
    log_p = law.unconstrained_logpdf(u)
    mass = np.exp(log_p + log_weights)
    nearest = _nearest(law, family, u, mass / mass.sum())
    if nearest is None:
        raise InvalidInput("project_to", f"no {name} distribution is nearest to the updated prior")
    log_q = nearest.unconstrained_logpdf(u)
    kl = max(float(mass[mass > 0.0] @ (log_p - log_q)[mass > 0.0]), 0.0)

    at, log_weights = _nodes([law, nearest])
    x = support.from_unconstrained(at)
    # From the nearer tail: far out, 1 - F has lost its digits while dx grows without bound on a log scale.
    gap = np.abs(np.where(law.cdf(x) < 0.5, law.cdf(x) - nearest.cdf(x), law.sf(x) - nearest.sf(x)))
    dx = np.exp(log_weights + support.log_jacobian(at))
    low, high = float(law.ppf(0.05)), float(law.isf(0.05))
    error, peaks = float(gap.max()), modes(law)
    refusals = []
    if error > MAX_CDF_ERROR:
        refusals.append(f"the distribution functions differ by up to {error:.3f}, more than {MAX_CDF_ERROR:g}")
    if len(peaks) > 1:
        refusals.append(f"the updated prior has {len(peaks)} modes, at {' and '.join(f'{mode:.3g}' for mode in peaks)}")
    return Projection(
        law=nearest,
        kl_nats=kl,
        max_cdf_error=error,
        lower_tail_error=float(nearest.cdf(low)) - 0.05,
        upper_tail_error=float(nearest.sf(high)) - 0.05,
        wasserstein_scaled=float(gap @ dx) / law.sd,
        modes=peaks,
        refusal="; ".join(refusals),
    )


def modes(law: Distribution) -> tuple[float, ...]:
    """The modes of the density of the unconstrained coordinate, in the units of the quantity, ripples left out."""
    breaks = unconstrained_breaks(law, law.support)
    grid = np.linspace(breaks[0], breaks[-1], 4001)
    grid = np.unique(np.concatenate([grid, breaks]))
    density = np.exp(law.unconstrained_logpdf(grid))
    peaks, properties = signal.find_peaks(np.concatenate([[0.0], density, [0.0]]), prominence=0.0)
    peaks = peaks[properties["prominences"] > _PROMINENT * density[peaks - 1]] - 1
    return tuple(float(mode) for mode in law.support.from_unconstrained(grid[peaks]))


def _nodes(laws: list[Distribution]) -> tuple[Floats, Floats]:
    """Quadrature nodes in the unconstrained coordinate that cover the laws, and their log weights."""
    breaks = np.concatenate([unconstrained_breaks(law, law.support) for law in laws])
    return cells(np.unique(np.concatenate([breaks, np.linspace(breaks.min(), breaks.max(), 801)])))


def _nearest(law: Distribution, family: Family, u: Floats, mass: Floats) -> Distribution | None:
    """argmin KL(law ‖ member); `mass` [m] are the law's probabilities at the unconstrained nodes u [m]."""
    support, x = law.support, law.support.from_unconstrained(u)
    mean, sd = law.mean, law.sd
    finite = math.isfinite(mean) and math.isfinite(sd)
    match family:
        case Family.NORMAL:
            return Normal(mean, sd) if finite else None
        case Family.LOG_NORMAL:
            return LogNormal(*law.unconstrained_moments())
        case Family.HALF_NORMAL:
            return HalfNormal(math.hypot(mean, sd)) if finite else None
        case Family.UNIFORM:
            return Uniform(support.lower, support.upper)
        case Family.GAMMA:
            return _gamma(mean, float(mass @ u)) if finite else None
        case Family.BETA:
            return _beta(mean, sd, float(mass @ special.log_expit(u)), float(mass @ special.log_expit(-u)))
        case Family.TRUNCATED_NORMAL:
            if not finite:
                return None
            return _by_search(lambda a, b: TruncatedNormal(a, b, support.lower, support.upper), mean, sd, x, mass)
        case Family.STUDENT_T:
            return _by_search(lambda a, b: StudentT(STUDENT_DF, a, b), mean, sd / math.sqrt(2.0), x, mass)
        case _:
            assert_never(family)


def _gamma(mean: float, mean_log: float) -> Gamma | None:
    """E x and E log x as asked: log a - digamma(a) = log E x - E log x."""
    gap = math.log(mean) - mean_log
    if not gap > 1e-12:
        return None

    def excess(log_shape: float) -> float:
        return log_shape - float(special.digamma(math.exp(log_shape))) - gap

    shape = math.exp(float(optimize.brentq(excess, -50.0, 50.0, xtol=1e-13)))
    return Gamma(shape, shape / mean)


def _beta(mean: float, sd: float, mean_log: float, mean_log_rest: float) -> Beta | None:
    """E log x and E log(1 - x) as asked, from the law of the same mean and sd."""
    total = max(mean * (1.0 - mean) / sd**2 - 1.0, 1e-3)

    def excess(logs: Floats) -> Floats:
        alpha, beta = np.exp(np.clip(logs, -50.0, 50.0))
        both = special.digamma(alpha + beta)
        return np.array([special.digamma(alpha) - both - mean_log, special.digamma(beta) - both - mean_log_rest])

    root = optimize.root(excess, np.log([mean * total, (1.0 - mean) * total]), tol=1e-12)
    if not root.success and float(np.abs(root.fun).max()) > 1e-8:
        return None
    return Beta(*np.exp(root.x).tolist())


def _by_search(
    make: Callable[[float, float], Distribution], location: float, scale: float, x: Floats, mass: Floats
) -> Distribution | None:
    """The law make(location, scale) of the least -E log density, searched in standard deviations of the original."""
    used = mass > 0.0
    x, mass = x[used], mass[used]

    def member(parameters: Floats) -> Distribution:
        return make(location + scale * float(parameters[0]), scale * math.exp(float(parameters[1])))

    def loss(parameters: Floats) -> float:
        if np.abs(parameters).max() > 60.0:
            return math.inf
        try:
            value = -float(mass @ member(parameters).logpdf(x))
        except InvalidInput:  # so far outside that nothing is left of it
            return math.inf
        return value if math.isfinite(value) else math.inf

    optimum = optimize.minimize(
        loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000}
    )
    # A law that is flat or falls exponentially has no nearest: the wider and the farther away, the better.
    return member(optimum.x) if math.isfinite(optimum.fun) and np.abs(optimum.x).max() < 50.0 else None
