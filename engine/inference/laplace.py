"""The Laplace approximation as a backend: a normal distribution around the mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from engine.inference.assessment import assess_independent
from engine.inference.backend import draw_each, require_positive
from engine.inference.fit import BatchFit, Floats, Integers, Seed
from engine.inference.mode import Laplace
from engine.inference.target import Target


@dataclass(frozen=True)
class LaplaceApproximation:
    """Independent draws of N(mode, F F'), with F F' the inverse of the target's curvature plus that of the prior.

    Exact for a normal posterior. The draws always count as converged, whatever the posterior looks like
    (`assess_independent`).
    """

    chains: int = 4
    draws: int = 1000

    def __post_init__(self) -> None:
        require_positive(chains=self.chains, draws=self.draws)

    @property
    def name(self) -> str:
        """laplace/1."""
        return "laplace/1"

    def fit(self, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        """Draws [S, chains, draws] for y [T, S]; errors as for `Backend.fit`."""
        draw = partial(_draw, chains=self.chains, draws=self.draws)
        values, _ = draw_each(target, y, seed, simulations, (self.chains, self.draws), draw)
        return assess_independent(target, values)


@partial(jax.jit, static_argnames=("chains", "draws"))
def _draw(
    target: Target, y: Array, laplace: Laplace, start: Array, key: Array, chains: int, draws: int
) -> tuple[Array, Array]:
    del target, y, start  # the approximation holds all that is known of them
    noise = jax.random.normal(key, (draws, laplace.mode.size, chains))
    return laplace.mode[:, None] + laplace.factor @ noise, jnp.zeros((), int)
