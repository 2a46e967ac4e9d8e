"""Every quantity of a target at every kept draw, on the device."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from engine.inference.compilation import jit_wide
from engine.inference.target import Target


@jit_wide
def draw_quantities(target: Target, y: Array, positions: Array, keys: Array) -> Array:
    """Every quantity [N, Q, M, S] at positions [N, D, M, S]; y is [T, S]."""
    number, size, chains, simulations = positions.shape
    tiled = jnp.tile(y, (1, chains))
    noise_size = target.noise_dimension
    noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, 0xFFFFFFFF))(keys)  # past every transition number

    def values(position: Array, item: tuple[Array, Array]) -> tuple[Array, Array]:
        following, index = item
        noise: Callable[..., Array] = jax.vmap(
            lambda key: jax.random.normal(jax.random.fold_in(key, index), (noise_size, chains), positions.dtype)
        )
        lanes = jnp.moveaxis(noise(noise_keys), 0, -1).reshape(noise_size, chains * simulations)
        quantities = target.quantities(position.reshape(size, -1), tiled, lanes)
        return following, quantities.reshape(-1, chains, simulations)

    # A position comes in as the carry: one that were sliced out of the array would be fused into everything computed
    # from it, and XLA on CPU would compute the coordinates again for every time step (seven times as slow).
    rows = (jnp.roll(positions, -1, axis=0), jnp.arange(number))
    result: Array = jax.lax.scan(values, positions[0], rows)[1]
    return result
