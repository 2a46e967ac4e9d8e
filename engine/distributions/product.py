"""A belief as a factor beside the reference prior: the law proportional to the product of the two densities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.distributions.distribution import (
    Beta,
    Distribution,
    Gridded,
    Normal,
    Support,
    parts_of,
    unconstrained_breaks,
)
from engine.distributions.mesh import mass_points, mesh
from engine.errors import InvalidInput

Array = NDArray[np.float64]

_POINTS, _SEARCH = 1601, 32001


def product(reference: Distribution, belief: Distribution) -> Distribution:
    """The law p ∝ p_ref(psi) q(psi), the marginal prior of psi under EXTRA_FACTOR (methods/conflict.md §3 F).

    Since the nuisances given psi stay those of the reference, putting this law in the place of the marginal is exactly
    p_ref(theta) q(psi). Normal and Beta laws stay in their family; any other product is a density on a grid. Raises
    InvalidInput for a belief that shares no mass with the reference.
    """
    if isinstance(reference, Normal) and isinstance(belief, Normal):
        precision = reference.sd**-2 + belief.sd**-2
        mean = (reference.mean * reference.sd**-2 + belief.mean * belief.sd**-2) / precision
        return Normal(mean, precision**-0.5)
    if isinstance(reference, Beta) and isinstance(belief, Beta):
        alpha, beta = reference.alpha + belief.alpha - 1.0, reference.beta + belief.beta - 1.0
        if not (alpha > 0.0 and beta > 0.0):
            raise InvalidInput("belief", "has no finite product with the reference prior: both rise at the same end")
        return Beta(alpha, beta)
    lower = max(reference.support.lower, belief.support.lower)
    upper = min(reference.support.upper, belief.support.upper)
    if not lower < upper:
        raise InvalidInput("belief", "has no mass in common with the reference prior")
    support = Support(lower, upper)

    def log_density(x: Array) -> Array:
        return reference.logpdf(x) + belief.logpdf(x)

    try:
        return on_grid(log_density, support, (reference, belief))
    except InvalidInput:
        raise InvalidInput("belief", "has no mass in common with the reference prior") from None


def on_grid(log_density: Callable[[Array], Array], support: Support, laws: Sequence[Distribution]) -> Gridded:
    """The law on a support with the log density in x given up to a constant, where any of the laws has mass.

    Raises InvalidInput on "laws" where the density is zero throughout.
    """

    def unconstrained(grid: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = log_density(support.from_unconstrained(grid)) + support.log_jacobian(grid)
        return np.where(np.isfinite(values), values, -np.inf)

    parts = [unconstrained_breaks(part, support) for law in laws for part in parts_of(law)]
    grid = mesh(_SEARCH, [part for part in parts if part.size > 1])
    values = unconstrained(grid)
    if not math.isfinite(float(values.max())):
        raise InvalidInput("laws", "have no mass in common")
    inside = np.flatnonzero(values > values.max() - 60.0)
    # One point more on either side: the law may begin or end between two.
    near = slice(max(inside[0] - 1, 0), inside[-1] + 2)
    own = mass_points(grid[near], values[near])
    grid = mesh(_POINTS, [own, grid[near]])
    values = unconstrained(grid)
    kept = np.isfinite(values)
    return Gridded(support.lower, support.upper, tuple(grid[kept]), tuple(values[kept] - values.max()))
