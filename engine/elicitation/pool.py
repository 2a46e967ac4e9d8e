"""Beliefs of several experts as one, and how far they are apart before that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.distributions.distribution import Beta, Distribution, Gamma, LogNormal, Mixture, Normal, TruncatedNormal
from engine.distributions.product import on_grid
from engine.errors import InvalidInput

Array = NDArray[np.float64]

MAX_COMPONENTS = 8

_SCORES = np.linspace(-9.0, 9.0, 3601)
_MASS = np.exp(-0.5 * _SCORES**2) / np.exp(-0.5 * _SCORES**2).sum()


def linear_pool(laws: Sequence[Distribution], weights: Sequence[float]) -> Distribution:
    """Σ w_k p_k with the weights scaled to sum to one: a mixture, which keeps the disagreement (Stone 1961).

    Mixtures among the laws are flattened and equal components merged; the order of the laws changes nothing. Raises
    InvalidInput on "weights" and "members"; more than 8 components are refused, since merging them would drop what a
    mixture is kept for.
    """
    shares = _checked(laws, weights)
    parts: dict[Distribution, float] = {}
    for law, share in zip(laws, shares, strict=True):
        inner = zip(law.weights, law.components, strict=True) if isinstance(law, Mixture) else [(1.0, law)]
        for weight, component in inner:
            parts[component] = parts.get(component, 0.0) + share * weight
    if len(parts) == 1:
        return next(iter(parts))
    if len(parts) > MAX_COMPONENTS:
        raise InvalidInput(
            "members", f"make a mixture of {len(parts)} components, at most {MAX_COMPONENTS}; pool fewer at a time"
        )
    ordered = sorted(parts.items(), key=lambda part: repr(part[0]))
    total = math.fsum(parts.values())
    return Mixture(tuple(weight / total for _, weight in ordered), tuple(law for law, _ in ordered))


def log_pool(laws: Sequence[Distribution], weights: Sequence[float]) -> Distribution:
    """The law ∝ Π p_k^w_k with the weights scaled to sum to one (Genest & Zidek 1986).

    It is externally Bayesian: pooling commutes with learning from a likelihood. It is sharper than the linear pool and
    overconfident where the experts share what they know. Normal, log-normal, gamma, beta and equally truncated normal
    laws stay in their family; anything else is a density on a grid. Errors as for `linear_pool`.
    """
    shares = _checked(laws, weights)
    if len(set(laws)) == 1:
        return laws[0]
    kinds = {type(law) for law in laws}
    if kinds == {Normal}:
        return Normal(*_precision_weighted([(law.mean, law.sd) for law in laws], shares))
    if kinds == {LogNormal}:
        return LogNormal(*_precision_weighted([law.unconstrained_moments() for law in laws], shares))
    if kinds == {TruncatedNormal} and len({law.support for law in laws}) == 1:
        pairs = [(law.location, law.scale) for law in laws if isinstance(law, TruncatedNormal)]
        return TruncatedNormal(*_precision_weighted(pairs, shares), laws[0].support.lower, laws[0].support.upper)
    if kinds == {Beta}:
        return Beta(*_average([(law.alpha, law.beta) for law in laws if isinstance(law, Beta)], shares))
    if kinds == {Gamma}:
        return Gamma(*_average([(law.shape, law.rate) for law in laws if isinstance(law, Gamma)], shares))

    # Summed in an order of their own, so that the order of the laws does not move the last digit.
    pairs_by_name = sorted(zip(laws, shares, strict=True), key=lambda pair: (repr(pair[0]), pair[1]))

    def log_density(x: Array) -> Array:
        return np.asarray(sum(share * law.logpdf(x) for law, share in pairs_by_name))

    try:
        return on_grid(log_density, laws[0].support, laws)
    except InvalidInput:
        raise InvalidInput("members", "have no mass in common, so no logarithmic pool") from None


def _checked(laws: Sequence[Distribution], weights: Sequence[float]) -> list[float]:
    if not laws:
        raise InvalidInput("members", "must hold at least one law")
    if len(weights) != len(laws) or not all(math.isfinite(w) and w > 0.0 for w in weights):
        raise InvalidInput("weights", "must be finite and above 0, one per member")
    for index, law in enumerate(laws):
        if law.support != laws[0].support:
            first, other = laws[0].support, law.support
            raise InvalidInput(
                f"members[{index}]",
                f"lives on ({other.lower:g}, {other.upper:g}), the first on ({first.lower:g}, {first.upper:g}); "
                "beliefs are pooled on one support",
            )
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _precision_weighted(pairs: Sequence[tuple[float, float]], shares: Sequence[float]) -> tuple[float, float]:
    """Mean and sd of the product of normal densities to these powers."""
    precisions = [share * sd**-2 for (_, sd), share in zip(pairs, shares, strict=True)]
    total = math.fsum(precisions)
    mean = math.fsum(p * mean for p, (mean, _) in zip(precisions, pairs, strict=True)) / total
    return mean, total**-0.5


def _average(pairs: Sequence[tuple[float, float]], shares: Sequence[float]) -> tuple[float, float]:
    first, second = (math.fsum(s * p[i] for s, p in zip(shares, pairs, strict=True)) for i in (0, 1))
    return first, second


@dataclass(frozen=True)
class Disagreement:
    """How far two laws are apart: W1 over the root mean square of their sds, and Jensen–Shannon in nats (≤ ln 2)."""

    wasserstein_scaled: float
    jensen_shannon: float


def disagreement(first: Distribution, second: Distribution) -> Disagreement:
    """Distances of two laws on one support (methods/conflict.md §13); both symmetric in them.

    W1 = ∫ |Q_1 - Q_2| dq. The Jensen–Shannon divergence is (KL(p‖m) + KL(q‖m)) / 2 with m their mean (Lin 1991).
    """
    x, y = _quantiles(first), _quantiles(second)
    w1 = float(_MASS @ np.abs(x - y)) / math.sqrt(0.5 * (_spread(first) ** 2 + _spread(second) ** 2))
    js = 0.5 * (_to_mean(first, second, x) + _to_mean(second, first, y))
    return Disagreement(w1, float(np.clip(js, 0.0, math.log(2.0))))


def _spread(law: Distribution) -> float:
    """The standard deviation; half the central 68 % where it does not exist."""
    if math.isfinite(law.sd):
        return law.sd
    tail = float(special.ndtr(-1.0))
    return 0.5 * float(law.isf(tail) - law.ppf(tail))


def _quantiles(law: Distribution) -> Array:
    """Quantiles at normal scores, at which the trapezoid rule is spectrally accurate."""
    return np.where(_SCORES < 0.0, law.ppf(special.ndtr(_SCORES)), law.isf(special.ndtr(-_SCORES)))


def _to_mean(law: Distribution, other: Distribution, x: Array) -> float:
    """KL(law ‖ (law + other)/2) in nats by the quantiles x of law; its integrand lies below ln 2."""
    with np.errstate(invalid="ignore"):
        gap = other.logpdf(x) - law.logpdf(x)
    # A quantile may round to an end of the support, where neither has a density.
    used = ~np.isnan(gap)
    return float(_MASS[used] @ (math.log(2.0) - np.logaddexp(0.0, gap[used]))) / float(_MASS[used].sum())
