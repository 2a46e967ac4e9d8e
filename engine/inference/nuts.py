"""NumPyro's No-U-Turn sampler as a backend: the yardstick for the batched sampler, and the slow way to be sure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.infer.hmc import hmc

from engine.errors import InvalidInput
from engine.inference.assessment import assess_chains
from engine.inference.backend import draw_each, require_positive
from engine.inference.fit import BatchFit, Floats, Integers, Seed
from engine.inference.mode import Laplace
from engine.inference.target import Target, log_density

_DISPERSION = 2.0  # Laplace standard deviations, as in the batched sampler, so that R-hat can see non-convergence


@dataclass(frozen=True)
class Nuts:
    """NUTS (Hoffman & Gelman 2014) on the log density in z, one simulation after another.

    `warmup` adapts the step size to `target_accept` and the mass matrix (full with `dense_mass`) in Stan's windows.
    Coordinates are whitened by the Laplace approximation first: the adaptation is regularised in absolute units, which
    would swamp a parameter that the data know a thousand times better than its prior does. Chains start over-dispersed
    around the mode found from y. `r_hat_limit` and `ess_limit` are those of Vehtari et al. 2021; nothing is run again.
    """

    chains: int = 4
    warmup: int = 1000
    draws: int = 1000
    target_accept: float = 0.9
    max_tree_depth: int = 10
    dense_mass: bool = True
    r_hat_limit: float = 1.01
    ess_limit: float = 400.0

    def __post_init__(self) -> None:
        require_positive(warmup=self.warmup, draws=self.draws, max_tree_depth=self.max_tree_depth)
        require_positive(r_hat_limit=self.r_hat_limit, ess_limit=self.ess_limit)
        if self.chains < 2:
            raise InvalidInput("settings.chains", "at least 2 chains are needed to judge convergence")
        if not 0.0 < self.target_accept < 1.0:
            raise InvalidInput("settings.target_accept", "must lie inside (0, 1)")

    @property
    def name(self) -> str:
        """nuts/1."""
        return "nuts/1"

    def fit(self, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        """Draws [S, chains, draws] for y [T, S]; errors as for `Backend.fit`."""
        draw = partial(
            _draw,
            chains=self.chains,
            warmup=self.warmup,
            draws=self.draws,
            target_accept=self.target_accept,
            max_tree_depth=self.max_tree_depth,
            dense_mass=self.dense_mass,
        )
        values, divergences = draw_each(target, y, seed, simulations, (self.chains, self.draws), draw)
        return assess_chains(target, values, divergences, self.r_hat_limit, self.ess_limit)


# The data and the target are arguments, so that one compilation serves every simulation and every prior of one shape.
@partial(jax.jit, static_argnames=("chains", "warmup", "draws", "max_tree_depth", "dense_mass"))
def _draw(
    target: Target,
    y: Array,
    laplace: Laplace,
    start: Array,
    key: Array,
    chains: int,
    warmup: int,
    draws: int,
    target_accept: float,
    max_tree_depth: int,
    dense_mass: bool,
) -> tuple[Array, Array]:
    def position(white: Array) -> Array:
        return laplace.mode + laplace.factor @ white

    def potential(white: Array) -> Array:
        return -log_density(target, position(white)[:, None], y[:, None])[0]

    def chain(first: Array, chain_key: Array) -> tuple[Array, Array]:
        begin, advance = hmc(potential, algo="NUTS")
        state = begin(
            first,
            warmup,
            dense_mass=dense_mass,
            target_accept_prob=target_accept,
            max_tree_depth=max_tree_depth,
            rng_key=chain_key,
        )

        def keep(current: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
            following = advance(current)
            return following, (following.z, following.diverging)

        # One loop over warm-up and draws: two would compile the tree building twice.
        _, (drawn, diverging) = jax.lax.scan(keep, state, None, length=warmup + draws)
        return drawn[warmup:], jnp.sum(diverging[warmup:])

    # Where the density is not finite at an over-dispersed start, the chain starts at the mode instead.
    starts = _DISPERSION * jax.random.normal(start, (chains, laplace.mode.size))
    starts = jnp.where(jnp.isfinite(jax.vmap(potential)(starts))[:, None], starts, 0.0)
    drawn, divergences = jax.vmap(chain)(starts, jax.random.split(jax.random.fold_in(key, 1), chains))
    return jnp.transpose(jax.vmap(jax.vmap(position))(drawn), (1, 2, 0)), jnp.sum(divergences)
