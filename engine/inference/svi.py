"""NumPyro's stochastic variational inference as backends: fast approximations whose failures SBC has to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro.distributions import ImproperUniform, constraints
from numpyro.infer import SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from numpyro.optim import Adam

from engine.inference.assessment import assess_independent
from engine.inference.backend import draw_each, require_positive
from engine.inference.fit import BatchFit, Floats, Integers, Seed
from engine.inference.mode import Laplace
from engine.inference.target import Target, log_density

_FIRST_SCALE = 0.1


@dataclass(frozen=True)
class _Svi:
    """Adam on the reparameterised ELBO with `particles` draws per step, then independent draws of the guide.

    The learning rate falls geometrically from `first_rate` to `last_rate` over `steps`. Every coordinate is in units of
    its Laplace standard deviation, which leaves both families as they are and gives the rates a meaning; the guide
    starts at the mode found from y with a tenth of that. The draws always count as converged, whatever the
    posterior looks like (`assess_independent`).
    """

    chains: int = 4
    draws: int = 1000
    steps: int = 4000
    particles: int = 8
    first_rate: float = 0.03
    last_rate: float = 0.0003

    def __post_init__(self) -> None:
        require_positive(chains=self.chains, draws=self.draws, steps=self.steps, particles=self.particles)
        require_positive(first_rate=self.first_rate, last_rate=self.last_rate)

    def _fit(self, guide: type, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        draw = partial(
            _draw,
            guide=guide,
            chains=self.chains,
            draws=self.draws,
            steps=self.steps,
            particles=self.particles,
            rates=jnp.asarray([self.first_rate, self.last_rate]),
        )
        values, _ = draw_each(target, y, seed, simulations, (self.chains, self.draws), draw)
        return assess_independent(target, values)


@dataclass(frozen=True)
class MeanFieldSvi(_Svi):
    """A normal guide with independent coordinates: variances too small wherever the posterior is correlated in z.

    On a normal posterior with precision P its variances are 1 / P_dd, not (P⁻¹)_dd.
    """

    @property
    def name(self) -> str:
        """svi-mean-field/1."""
        return "svi-mean-field/1"

    def fit(self, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        """Draws [S, chains, draws] for y [T, S]; errors as for `Backend.fit`."""
        return self._fit(AutoNormal, target, y, seed, simulations)


@dataclass(frozen=True)
class FullRankSvi(_Svi):
    """A multivariate normal guide: exact for a normal posterior, up to the noise of the optimisation."""

    @property
    def name(self) -> str:
        """svi-full-rank/1."""
        return "svi-full-rank/1"

    def fit(self, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        """Draws [S, chains, draws] for y [T, S]; errors as for `Backend.fit`."""
        return self._fit(AutoMultivariateNormal, target, y, seed, simulations)


@partial(jax.jit, static_argnames=("guide", "chains", "draws", "steps", "particles"))
def _draw(
    target: Target,
    y: Array,
    laplace: Laplace,
    start: Array,
    key: Array,
    guide: Callable[..., Any],
    chains: int,
    draws: int,
    steps: int,
    particles: int,
    rates: Array,
) -> tuple[Array, Array]:
    scale = jnp.sqrt(jnp.sum(laplace.factor**2, axis=1))

    def model() -> None:
        moved = numpyro.sample("moved", ImproperUniform(constraints.real_vector, (), laplace.mode.shape))
        numpyro.factor("density", log_density(target, (laplace.mode + scale * moved)[:, None], y[:, None])[0])

    family = guide(model, init_loc_fn=init_to_value(values={"moved": jnp.zeros_like(scale)}), init_scale=_FIRST_SCALE)
    optimiser = Adam(lambda step: rates[0] * (rates[1] / rates[0]) ** (step / steps))
    svi = SVI(model, family, optimiser, Trace_ELBO(num_particles=particles))
    # stable_update: a step with a loss that is not finite is left out, as a rejected proposal would be.
    state = jax.lax.fori_loop(0, steps, lambda _, current: svi.stable_update(current)[0], svi.init(start))
    shape = (draws, chains)
    drawn = family.sample_posterior(jax.random.fold_in(key, 1), svi.get_params(state), sample_shape=shape)
    return jnp.swapaxes(laplace.mode + scale * drawn["moved"], 1, 2), jnp.zeros((), int)
