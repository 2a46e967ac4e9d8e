"""Tabulates any univariate prior as a map from a standard normal coordinate, so that priors need no JAX code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from engine.distributions.distribution import Distribution, Link
from engine.errors import InvalidInput

_LAST = 8.0  # the table covers |z| <= 8, all but 1e-15 of the mass
_STEPS_PER_UNIT = 64
_NODES = int(2 * _LAST) * _STEPS_PER_UNIT + 1
_RESOLVED = 1e-10  # a point closer than this (relative) to an end of its interval has lost its digits

Floats = NDArray[np.float64]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PriorMap:
    """theta_d = link⁻¹(spline_d(z_d)) for D priors: z ~ N(0, I) gives theta its priors exactly, up to the table.

    `coefficients` [4, D, cells] are piecewise cubics of the unconstrained coordinate, `log_prior` [4, D, cells]
    those of log p(theta); beyond the table both go on linearly. Probabilities are off by up to 2e-4 in the valley
    between well separated components of a mixture, where the table cannot resolve the jump, and far less elsewhere.
    """

    coefficients: Array
    log_prior: Array
    lower: Array
    width: Array
    kind: Array  # 0 identity, 1 log, 2 logit; data, not structure, so that other priors reuse the compiled code

    def parameters(self, z: Array) -> Array:
        """theta [D, lanes] of z [D, lanes]."""
        return self.parameters_and_slopes(z)[0]

    def parameters_and_slopes(self, z: Array) -> tuple[Array, Array]:
        """theta and dtheta/dz, both [D, lanes], of z [D, lanes]."""
        u, slope = _spline(self.coefficients, z)
        kind, width = self.kind[:, None], self.width[:, None]
        # The inner where keeps the branch not taken finite, so that its gradient is too.
        positive = jnp.exp(jnp.where(kind == 1, u, 0.0))
        inside = jax.nn.sigmoid(jnp.where(kind == 2, u, 0.0))
        value = jnp.where(kind == 1, positive, jnp.where(kind == 2, width * inside, u))
        by_u = jnp.where(kind == 1, positive, jnp.where(kind == 2, width * inside * (1.0 - inside), 1.0))
        return self.lower[:, None] + value, slope * by_u

    def log_density(self, z: Array) -> Array:
        """log p(theta) [D, lanes] of the priors in theta's own units, at theta(z)."""
        return _spline(self.log_prior, z)[0]


def _spline(coefficients: Array, z: Array) -> tuple[Array, Array]:
    """Values and slopes [D, lanes] of the piecewise cubics [4, D, cells] at z [D, lanes]."""
    cells = coefficients.shape[-1]
    scaled = (jnp.clip(z, -_LAST, _LAST) + _LAST) * _STEPS_PER_UNIT
    cell = jnp.clip(scaled.astype(jnp.int32), 0, cells - 1)
    inside = scaled - cell
    c0, c1, c2, c3 = (jnp.take_along_axis(coefficients[k], cell, axis=1) for k in range(4))
    value = c0 + inside * (c1 + inside * (c2 + inside * c3))
    slope = c1 + inside * (2.0 * c2 + 3.0 * inside * c3)
    beyond = (z - jnp.clip(z, -_LAST, _LAST)) * _STEPS_PER_UNIT
    return value + beyond * slope, slope * _STEPS_PER_UNIT


def tabulate(priors: Sequence[Distribution]) -> PriorMap:
    """The map of D priors."""
    z = np.linspace(-_LAST, _LAST, _NODES)
    tables = [_table(prior, z) for prior in priors]
    supports = [prior.support for prior in priors]
    kinds = {Link.IDENTITY: 0, Link.LOG: 1, Link.LOGIT: 2}
    lower = [0.0 if s.link is Link.IDENTITY else s.lower for s in supports]
    width = [s.upper - s.lower if s.link is Link.LOGIT else 1.0 for s in supports]
    return PriorMap(
        jnp.asarray(np.stack([table for table, _ in tables], axis=1)),
        jnp.asarray(np.stack([log_prior for _, log_prior in tables], axis=1)),
        jnp.asarray(lower),
        jnp.asarray(width),
        jnp.asarray([kinds[s.link] for s in supports]),
    )


def coordinate(prior: Distribution, theta: Floats) -> Floats:
    """z of theta, the inverse of the map, from whichever tail is accurate."""
    below, above = prior.cdf(theta), prior.sf(theta)
    return np.where(below < above, ndtri(np.minimum(below, 0.5)), -ndtri(np.minimum(above, 0.5)))


def _table(prior: Distribution, z: Floats) -> tuple[Floats, Floats]:
    """Cubic coefficients [4, cells] of u(z) and of log p(theta(z))."""
    with np.errstate(all="ignore"):
        theta = np.where(z < 0.0, prior.ppf(ndtr(np.minimum(z, 0.0))), prior.isf(ndtr(-np.maximum(z, 0.0))))
        u = np.asarray(prior.support.to_unconstrained(theta))
        support = prior.support
        good = np.isfinite(u)
        if support.link is Link.LOGIT:
            width = support.upper - support.lower
            good &= (support.upper - theta) > _RESOLVED * max(width, abs(support.upper))
        if support.lower != 0.0 and support.link is not Link.IDENTITY:
            good &= (theta - support.lower) > _RESOLVED * max(1.0, abs(support.lower))
    middle = z.size // 2
    if not good[middle]:
        raise InvalidInput("prior", "has no finite median")
    bad = np.flatnonzero(~good)
    first = int(bad[bad < middle].max(initial=-1)) + 1
    last = int(bad[bad > middle].min(initial=z.size)) - 1
    if last - first < 2 * _STEPS_PER_UNIT:
        raise InvalidInput("prior", "is not resolved in float64 (too narrow for the interval it lives on)")
    inner = slice(first, last + 1)
    # du/dz = phi(z) / p(u), exact; limited so that the cubic stays monotone (Fritsch & Carlson 1980).
    log_density = np.asarray(prior.unconstrained_logpdf(u[inner]))
    step = 1.0 / _STEPS_PER_UNIT
    secant = np.maximum(np.diff(u[inner]), 0.0)
    limit = 3.0 * np.minimum(np.concatenate([secant[:1], secant]), np.concatenate([secant, secant[-1:]]))
    with np.errstate(over="ignore"):
        slope = np.minimum(step * np.exp(-0.5 * z[inner] ** 2 - 0.5 * np.log(2.0 * np.pi) - log_density), limit)
    u_nodes, u_slopes = _extend(u[inner], slope, first, last, z.size)
    log_prior = log_density - np.asarray(support.log_jacobian(u[inner]))
    log_slopes = np.gradient(log_prior)
    p_nodes, p_slopes = _extend(log_prior, log_slopes, first, last, z.size)
    return _hermite(u_nodes, u_slopes), _hermite(p_nodes, p_slopes)


def _extend(values: Floats, slopes: Floats, first: int, last: int, size: int) -> tuple[Floats, Floats]:
    """Continue node values and slopes linearly from [first, last] to all nodes."""
    index = np.arange(size)
    inside = np.clip(index, first, last) - first
    return values[inside] + slopes[inside] * (index - np.clip(index, first, last)), slopes[inside]


def _hermite(values: Floats, slopes: Floats) -> Floats:
    """Cubic Hermite coefficients [4, cells] in units of one cell."""
    rise, left, right = np.diff(values), slopes[:-1], slopes[1:]
    return np.stack([values[:-1], left, 3.0 * rise - 2.0 * left - right, left + right - 2.0 * rise])
