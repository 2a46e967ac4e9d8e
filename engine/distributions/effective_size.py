"""Effective sample size of a prior: how many observations it is worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.distributions.distribution import Distribution, Mixture, Support

Array = NDArray[np.float64]

_STEP = 1e-4


def elir(law: Distribution, unit_variance: Callable[[Array], Array], *, unconstrained: bool = False) -> float:
    """Expected local-information ratio E[-(log p)'' v] of p (Neuenschwander et al. 2020; methods/conflict.md §12).

    `unit_variance` is v, the inverse Fisher information of one observation, as a function of the coordinate: x, or u
    with `unconstrained`. Integration by parts turns the ratio into E[(log p)'² v + (log p)' v'], which needs no second
    derivative; it holds where p v vanishes at the ends, as it does on the unconstrained scale and for Beta priors of a
    rate. The result can be negative for priors that are flatter in the middle than at their ends.
    """
    at, mass, scale = _nodes(law, law.support if unconstrained else None)
    log_density = law.unconstrained_logpdf if unconstrained else law.logpdf
    # A step small against the law's own scale around each node, and never across the end of the support.
    step = _STEP * np.minimum(scale, 1e300)
    upper, lower = at + step, at - step
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (log_density(upper) - log_density(lower)) / (upper - lower)
        change = (unit_variance(upper) - unit_variance(lower)) / (upper - lower)
    fine = np.isfinite(slope)
    return float(mass[fine] @ (slope[fine] ** 2 * unit_variance(at[fine]) + slope[fine] * change[fine]))


def by_moments(law: Distribution, unit_variance: Callable[[Array], Array], *, unconstrained: bool = False) -> float:
    """E[v] over the variance of the prior: what a conjugate prior of the same moments is worth.

    Of a Beta prior of a rate, with v = x (1 - x), the sum of its parameters. Coarser than ELIR for mixtures, whose
    components it does not tell apart, but never negative.
    """
    at, mass, _ = _nodes(law, law.support if unconstrained else None)
    return float(mass @ unit_variance(at)) / float(mass @ (at - float(mass @ at)) ** 2)


def _nodes(law: Distribution, support: Support | None) -> tuple[Array, Array, Array]:
    """Coordinates of the law, their probabilities, and the law's own scale at each, without those no float can hold.

    In x, or on the unconstrained scale of a support that holds the law.

    Normal scores spread the nodes over the law's mass; the trapezoid rule is spectrally accurate in them. A mixture has
    those of its components.
    """
    if isinstance(law, Mixture):
        parts = [_nodes(component, support) for component in law.components]
        mass = np.concatenate([w * part[1] for w, part in zip(law.weights, parts, strict=True)])
        return np.concatenate([part[0] for part in parts]), mass, np.concatenate([part[2] for part in parts])
    scores = np.linspace(-8.0, 8.0, 2001)
    x = np.where(scores < 0.0, law.ppf(special.ndtr(scores)), law.isf(special.ndtr(-scores)))
    at = x if support is None else support.to_unconstrained(x)
    mass = np.exp(-0.5 * scores**2)
    with np.errstate(invalid="ignore"):  # far out x may round to an end of its support
        used = np.isfinite(at) & np.concatenate([[True], np.diff(at) > 0.0])
    at = at[used]
    return at, mass[used] / mass[used].sum(), np.gradient(at) / np.gradient(scores[used])
