"""The reference prior of a quantity without one in closed form, from prior draws, with its Monte Carlo error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.conflict.density import LogDensity, fit_log_densities
from engine.distributions.distribution import Gridded, Support
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.fit import Purpose, Seed
from engine.models.protocol import Model

Array = NDArray[np.float64]

PRIOR_DRAWS = 100_000
GROUPS = 16
_POINTS = 1201
_EDGE = 0.0005  # quantile up to which the smoothed density is used: fifty of the draws lie beyond
_WINDOW = 0.01  # quantile from which on the tail beyond the edge is fitted
_REACH = 8.0  # sds beyond the edges that the grid covers
_UNDERSMOOTHING = 10.0  # makes the bias of smoothing small beside the error that the replicates show
_FLATTEST = 0.2  # per sd, the slowest fall of a tail: a law must die out


@dataclass(frozen=True, eq=False)
class InducedPrior:
    """p_ref(psi) as a law on its support, and the laws [R] that leave out one group of the prior draws each.

    The spread of the replicates is the Monte Carlo error of log p_ref: a delete-one-group jackknife.
    """

    law: Gridded
    replicates: tuple[Gridded, ...]


def induced_prior(
    model: Model, quantity: str, support: Support, seed: Seed, *, draws: int = PRIOR_DRAWS, groups: int = GROUPS
) -> InducedPrior:
    """The law of a quantity under the model's priors (methods/conflict.md §4.3), from so many independent prior draws.

    UnsupportedQuantity when the prior puts the quantity outside of `support`.
    """
    values = model.derive(quantity, prior_draws(model, seed, draws))
    if not (np.all(np.isfinite(values)) and np.all((values >= support.lower) & (values <= support.upper))):
        where = f"({support.lower:g}, {support.upper:g})"
        raise UnsupportedQuantity(quantity, f"under the priors of the model it is not always inside {where}")
    # A share that rounds to 1 lies inside nevertheless.
    lower, upper = np.nextafter(support.lower, np.inf), np.nextafter(support.upper, -np.inf)
    return smoothed(np.clip(values, lower, upper), support, groups=groups)


def prior_draws(model: Model, seed: Seed, draws: int) -> dict[str, Array]:
    """Independent draws [draws] of every parameter from its prior, by name.

    Every parameter has a stream of its own, so that the draws of one do not depend on the others.
    """
    return {
        name: prior.sample(seed.generator(index, Purpose.PRIOR), draws)
        for index, (name, prior) in enumerate(model.priors.items())
    }


def smoothed(draws: ArrayLike, support: Support, *, groups: int = GROUPS) -> InducedPrior:
    """The law of independent draws [S] strictly inside a support, smoothed on its unconstrained scale.

    Between the draws' 0.05 % and 99.95 % quantiles: the penalised-likelihood log density (`density.py`). Beyond: a
    line, as in the tails of beta and gamma laws on that scale, whose slope is the density's at the edge. A normal tail
    falls faster; a line is the choice that makes what happens out there look less surprising, not more.
    """
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim != 1 or values.size < 1000 * groups:
        raise InvalidInput("draws", f"must be [S] with at least {1000 * groups} draws")
    if not (np.all(np.isfinite(values)) and np.all(support.contains(values))):
        raise InvalidInput("draws", f"must be finite and strictly inside ({support.lower}, {support.upper})")
    u = support.to_unconstrained(values)
    edges = np.quantile(u, [_EDGE, 1.0 - _EDGE])
    windows = np.quantile(u, [_WINDOW, 1.0 - _WINDOW])
    sd = float(u.std())
    if not sd > 1e-12 * max(1.0, float(np.max(np.abs(u)))):
        raise InvalidInput("draws", "must vary")
    grid = np.linspace(edges[0] - _REACH * sd, edges[1] + _REACH * sd, _POINTS)
    law, *replicates = (
        Gridded(support.lower, support.upper, tuple(grid), tuple(_with_tails(fit, grid, edges, windows, sd)))
        for fit in fit_log_densities(np.array_split(u, groups), 1.0, undersmoothing=_UNDERSMOOTHING)
    )
    return InducedPrior(law, tuple(replicates))


def _with_tails(fit: LogDensity, grid: Array, edges: Array, windows: Array, sd: float) -> Array:
    """Log density on the grid [n]: the fit between the edges, and lines beyond."""
    out = fit(np.clip(grid, *edges))
    for outward, edge, inner in zip((-1.0, 1.0), edges, windows, strict=True):
        # The slope of a parabola through the outer part: the fit's own slope at a point where draws are few is noise.
        at = np.linspace(edge, inner, 25)
        _, slope, _ = np.polyfit(outward * (at - edge), fit(at), 2)
        out = out + np.maximum(outward * (grid - edge), 0.0) * min(slope, -_FLATTEST / sd)
    return out
