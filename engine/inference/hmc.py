"""Batched Hamiltonian Monte Carlo: fixed-length jittered leapfrog, whitened per simulation, all chains as lanes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from engine.inference.compilation import jit_wide
from engine.inference.mode import Laplace, multiply
from engine.inference.schedule import BLOCK
from engine.inference.target import Target, log_density_and_gradient

_DIVERGENCE = 1000.0  # energy error that counts as a divergence (the convention of Stan)
_JITTER = 0.3  # relative half-width of the step jitter: a fixed length would be periodic on near-Gaussian targets
_DISPERSION = 2.0  # chains start this many Laplace standard deviations wide, so that R-hat can see non-convergence
_HOPELESS = 0.05  # a chain that accepts less halves its own steps during the warm-up
_REGULARISATION, _OFFSET, _DECAY = 0.05, 10.0, 0.75  # dual averaging constants of Hoffman & Gelman 2014


class Chains(NamedTuple):
    """State of M chains of S simulations: position, gradient [D, M, S], log density [M, S], divergence count [S].

    `caution` [M, S] multiplies a chain's steps during the warm-up: chains share one step size, and one that starts
    where the density is far narrower than at the mode would reject it for ever.
    """

    position: Array
    gradient: Array
    value: Array
    divergences: Array
    caution: Array


class StepSize(NamedTuple):
    """Dual-averaging state per simulation [S]; the chains of a simulation share one step size."""

    log_step: Array
    log_average: Array
    error: Array
    shrink_to: Array
    updates: Array


class Trajectory(NamedTuple):
    """What every transition of a schedule has in common, as scalars: the same compiled code serves all schedules.

    `longest` bounds the step size through the trajectory's length in whitened units; a normal target is decorrelated
    at π/2, and a longer path comes back.
    """

    leapfrog: Array
    longest: Array
    target_accept: Array


def initial_step(like: Array, dimension: int, path: Trajectory) -> StepSize:
    """Start the adaptation at the optimal scaling d^(-1/4), bounded by the longest trajectory; like [S]."""
    zero = jnp.zeros_like(like)
    start = zero + jnp.log(jnp.minimum(dimension**-0.25, path.longest / path.leapfrog)).astype(like.dtype)
    return StepSize(start, start, zero, start + jnp.log(2.0).astype(like.dtype), zero)


def _adapt(step: StepSize, acceptance: Array, path: Trajectory) -> StepSize:
    count = step.updates + 1.0
    error = step.error + (path.target_accept - acceptance - step.error) / (count + _OFFSET)
    log_step = step.shrink_to - jnp.sqrt(count) / _REGULARISATION * error
    log_step = jnp.minimum(log_step, jnp.log(path.longest / path.leapfrog))
    weight = count**-_DECAY
    return StepSize(log_step, weight * log_step + (1.0 - weight) * step.log_average, error, step.shrink_to, count)


def _evaluate(target: Target, y: Array, position: Array) -> tuple[Array, Array]:
    size, chains, simulations = position.shape
    value, gradient = log_density_and_gradient(target, position.reshape(size, chains * simulations), y)
    return value.reshape(chains, simulations), gradient.reshape(position.shape)


def _tile(y: Array, chains: int) -> Array:
    """[T, S] → [T, M·S], chain-major like a reshaped [M, S]."""
    return jnp.tile(y, (1, chains))


def _normals(keys: Array, index: Array | int, shape: tuple[int, ...], like: Array) -> Array:
    """Standard normals [*shape, S]; a simulation's numbers depend on its own key only."""
    draw: Callable[..., Array] = jax.vmap(
        lambda key: jax.random.normal(jax.random.fold_in(key, index), shape, like.dtype)
    )
    return jnp.moveaxis(draw(keys), 0, -1)


@partial(jax.jit, static_argnames="chains")
def start_chains(target: Target, y: Array, laplace: Laplace, keys: Array, chains: int) -> Chains:
    """Over-dispersed starts around the mode, from y and the simulation's key alone."""
    size, simulations = laplace.mode.shape
    noise = _normals(keys, 0, (size, chains), laplace.mode)
    position = laplace.mode[:, None] + _DISPERSION * multiply(laplace.factor, noise)
    value, gradient = _evaluate(target, _tile(y, chains), position)
    return Chains(position, gradient, value, jnp.zeros(simulations, jnp.int32), jnp.ones_like(value))


@jit_wide
def advance(
    target: Target,
    y: Array,
    factor: Array,
    chains: Chains,
    step: StepSize,
    keys: Array,
    first: Array,
    path: Trajectory,
    adapt: Array,
) -> tuple[Chains, StepSize, Array]:
    """Run BLOCK transitions; returns the state, the step size and the positions [BLOCK, D, M, S].

    The momentum is standard normal in the coordinates whitened by `factor` [D, D, S]: any factor leaves the posterior
    invariant exactly, however it was rounded. `first` numbers the transitions for the random keys. With `adapt` false
    the averaged step size is used and frozen.
    """
    size, count, _ = chains.position.shape
    tiled = _tile(y, count)
    transpose = jnp.swapaxes(factor, 0, 1)

    def transition(carry: tuple[Chains, StepSize], index: Array) -> tuple[tuple[Chains, StepSize], Array]:
        state, size_state = carry
        folded = jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)
        momentum = _normals(folded, 1, (size, count), state.position)
        draw: Callable[..., Array] = jax.vmap(
            lambda key: jax.random.uniform(jax.random.fold_in(key, 2), (2, count), state.position.dtype)
        )
        uniform = jnp.moveaxis(draw(folded), 0, -1)
        log_step = jnp.where(adapt, size_state.log_step, size_state.log_average)
        epsilon = jnp.exp(log_step) * (1.0 + _JITTER * (2.0 * uniform[0] - 1.0))
        epsilon = epsilon * jnp.where(adapt, state.caution, 1.0)

        def leap(number: Array, inner: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            position, speed, _, _ = inner
            position = position + epsilon * multiply(factor, speed)
            value, gradient = _evaluate(target, tiled, position)
            # Between two position steps the two half kicks are one.
            kick = jnp.where(number == path.leapfrog - 1, 0.5 * epsilon, epsilon)
            return position, speed + kick * multiply(transpose, gradient), gradient, value

        speed = momentum + 0.5 * epsilon * multiply(transpose, state.gradient)
        position, speed, gradient, value = jax.lax.fori_loop(
            0, path.leapfrog, leap, (state.position, speed, state.gradient, state.value)
        )
        error = (value - 0.5 * jnp.sum(speed**2, 0)) - (state.value - 0.5 * jnp.sum(momentum**2, 0))
        error = jnp.where(jnp.isnan(error), -jnp.inf, error)
        probability = jnp.exp(jnp.minimum(error, 0.0))
        accept = uniform[1] < probability
        diverged = jnp.sum(error < -_DIVERGENCE, axis=0).astype(jnp.int32)
        state = Chains(
            jnp.where(accept, position, state.position),
            jnp.where(accept, gradient, state.gradient),
            jnp.where(accept, value, state.value),
            state.divergences + jnp.where(adapt, 0, diverged),
            jnp.where(probability < _HOPELESS, 0.5 * state.caution, jnp.minimum(2.0 * state.caution, 1.0)),
        )
        adapted = _adapt(size_state, jnp.mean(probability, axis=0), path)
        kept: StepSize = jax.tree.map(lambda new, old: jnp.where(adapt, new, old), adapted, size_state)
        return (state, kept), state.position

    (chains, step), positions = jax.lax.scan(transition, (chains, step), first + jnp.arange(BLOCK))
    return chains, step, positions
