"""Damped Gauss-Newton to the posterior mode, for all simulations of a batch at once."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import solve_triangular

from engine.inference.target import Target, log_density, log_density_and_gradient

_LONGEST_STEP = 2.0  # in prior standard deviations: keeps a step inside the region where the quadratic means anything


class Laplace(NamedTuple):
    """Mode [D, S] and a factor [D, D, S] with factor @ factor.T = the inverse curvature there."""

    mode: Array
    factor: Array


def _precision(target: Target, z: Array, y: Array) -> Array:
    return target.curvature(z, y) + jnp.eye(z.shape[0], dtype=z.dtype)


@partial(jax.jit, static_argnames="iterations")
def find_mode(target: Target, y: Array, iterations: int = 20) -> Laplace:
    """Levenberg-Marquardt from the prior median z = 0 with y [T, S]; never looks at a true parameter."""
    size, lanes = target.dimension, y.shape[-1]

    def step(_: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        z, value, damping = carry
        _, gradient = log_density_and_gradient(target, z, y)
        precision = _precision(target, z, y)
        diagonal = jnp.diagonal(precision, axis1=1, axis2=2) * damping[:, None]
        damped = precision + diagonal[:, :, None] * jnp.eye(size, dtype=z.dtype)
        factor = jnp.linalg.cholesky(damped)
        half = solve_triangular(factor, gradient.T[:, :, None], lower=True)
        move = solve_triangular(factor, half, lower=True, trans=1)[:, :, 0].T
        move = move * jnp.minimum(1.0, _LONGEST_STEP / jnp.maximum(jnp.max(jnp.abs(move), axis=0), 1e-300))
        proposal = z + move
        proposed = log_density(target, proposal, y)
        better = proposed > value
        return (
            jnp.where(better, proposal, z),
            jnp.where(better, proposed, value),
            jnp.where(better, damping * 0.2, jnp.minimum(damping * 6.0 + 1e-3, 1e4)),
        )

    start = jnp.zeros((size, lanes), y.dtype)
    z, _, _ = jax.lax.fori_loop(
        0, iterations, step, (start, log_density(target, start, y), jnp.full((lanes,), 0.1, y.dtype))
    )
    return Laplace(z, covariance_factor(jnp.linalg.inv(_precision(target, z, y))))


def covariance_factor(covariance: Array) -> Array:
    """Lower Cholesky factors [D, D, S] of covariances [S, D, D]."""
    return jnp.moveaxis(jnp.linalg.cholesky(covariance), 0, -1)
