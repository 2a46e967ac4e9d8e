"""Fits many data sets in fixed-size chunks and re-runs the ones that did not converge on a longer schedule."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.errors import InvalidInput
from engine.inference import diagnostics
from engine.inference.hmc import Trajectory, advance, initial_step, start_chains
from engine.inference.mode import Laplace, averaged_factor, find_mode
from engine.inference.precision import require_float64
from engine.inference.settings import BLOCK, FitSettings, Schedule
from engine.inference.target import Target, cast
from engine.models.protocol import BatchFit, FitDiagnostics, Floats, Integers, Purpose, Seed


class _Chunk(NamedTuple):
    """What one compiled schedule returns: values [draws, Q, M, S], the rest [S]."""

    values: Array
    r_hat: Array
    ess_bulk: Array
    ess_tail: Array
    nonfinite: Array
    divergences: Array


def fit_batch(target: Target, y: Floats, seed: Seed, simulations: Integers, settings: FitSettings) -> BatchFit:
    """Posterior draws for y [T, S] in the target's units.

    Chains start around the mode found from y; nothing in here ever sees a true parameter. Which simulations are run
    again is decided from their draws only, so the truth stays independent of the decision given y
    (Modrák et al. 2023). After the last schedule the fit is returned with ok = false.
    """
    require_float64()
    y = np.asarray(y, dtype=np.float64)
    ids = np.asarray(simulations, dtype=np.int64)
    if y.ndim != 2 or ids.shape != (y.shape[1],):
        raise InvalidInput("y", "must be [T, S] with one simulation id per column")
    if not np.all(np.isfinite(y)):
        raise InvalidInput("y", "must be finite")
    names = target.quantity_names
    values = np.empty((len(names), ids.size, settings.chains, settings.draws))
    found = FitDiagnostics.empty(ids.size)
    todo = np.arange(ids.size)
    for level, schedule in enumerate(settings.schedules):
        if todo.size == 0:
            break
        _run(target, y, seed, ids, todo, settings, schedule, level, values, found)
        todo = np.flatnonzero(~found.ok)
    return BatchFit(dict(zip(names, values, strict=True)), found)


def _run(
    target: Target,
    y: Floats,
    seed: Seed,
    ids: Integers,
    todo: Integers,
    settings: FitSettings,
    schedule: Schedule,
    level: int,
    values: Floats,
    found: FitDiagnostics,
) -> None:
    """Run one schedule for the columns `todo`, chunk by chunk, and write values [Q, S, M, draws] and diagnostics."""

    def run(first: int) -> None:
        # A short chunk is padded with its last column, so that there is one shape to compile.
        padded = np.minimum(np.arange(first, first + schedule.chunk), todo.size - 1)
        chunk = _run_chunk(target, y[:, todo[padded]], seed, ids[todo[padded]], settings, schedule, level)
        columns = todo[first : first + schedule.chunk]
        drawn = np.asarray(chunk.values)[..., : columns.size]
        values[:, columns] = np.transpose(drawn, (1, 3, 2, 0))
        for name in ("r_hat", "ess_bulk", "ess_tail", "nonfinite", "divergences"):
            getattr(found, name)[columns] = np.asarray(getattr(chunk, name))[: columns.size]
        found.escalations[columns] = level
        ess = np.minimum(found.ess_bulk[columns], found.ess_tail[columns])
        good = (found.r_hat[columns] <= settings.r_hat_limit) & (ess >= settings.ess_limit)
        found.ok[columns] = good & (found.divergences[columns] == 0) & ~found.nonfinite[columns]

    for first in range(0, todo.size, schedule.chunk):
        run(first)


def _run_chunk(
    target: Target,
    y: Floats,
    seed: Seed,
    ids: Integers,
    settings: FitSettings,
    schedule: Schedule,
    level: int,
) -> _Chunk:
    """One schedule for the simulations of y [T, chunk]."""
    start_keys = _level_keys(seed.keys(ids, Purpose.INIT), level)
    keys = _level_keys(seed.keys(ids, Purpose.MCMC), level)
    # The search and the preconditioner stay in float64: what they cost is small, and a factor that rounded badly
    # would cost many draws. The draws themselves are exact for any factor.
    exact = find_mode(target, jnp.asarray(y))
    sampled, data = cast(target, schedule.dtype), jnp.asarray(y, schedule.dtype)
    laplace = Laplace(*(part.astype(schedule.dtype) for part in exact))
    path = Trajectory(
        jnp.asarray(schedule.steps(target.dimension)),
        jnp.asarray(schedule.trajectory, schedule.dtype),
        jnp.asarray(schedule.target_accept, schedule.dtype),
    )
    factor = laplace.factor
    chains = start_chains(sampled, data, laplace, start_keys, settings.chains)
    step = initial_step(data[0], target.dimension, path)
    index = 0
    pilot: list[Array] = []
    for block in range(schedule.warmup // BLOCK):
        if block == schedule.pilot // BLOCK:
            # The first half of the pilot is still on its way from the over-dispersed starts.
            settled = jnp.concatenate(pilot)[schedule.pilot // 2 :].astype(exact.mode.dtype)
            factor = averaged_factor(target, jnp.asarray(y), settled).astype(schedule.dtype)
            step = initial_step(data[0], target.dimension, path)
        chains, step, positions = advance(
            sampled, data, factor, chains, step, keys, jnp.asarray(index), path, jnp.asarray(True)
        )
        pilot.append(positions)
        index += BLOCK
    kept: list[Array] = []
    for _ in range(settings.draws * schedule.thin // BLOCK):
        chains, step, positions = advance(
            sampled, data, factor, chains, step, keys, jnp.asarray(index), path, jnp.asarray(False)
        )
        kept.append(positions)
        index += BLOCK
    positions = jnp.concatenate(kept)[schedule.thin - 1 :: schedule.thin]
    values = draw_quantities(sampled, data, positions, keys)
    return _Chunk(values, *_diagnose(sampled, values), chains.divergences)


def _level_keys(keys: Array, level: int) -> Array:
    return jax.vmap(partial(jax.random.fold_in, data=level))(keys)


@jax.jit
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


def _diagnose(target: Target, values: Array) -> tuple[Array, Array, Array, Array]:
    """Worst R-hat, bulk and tail ESS over the parameters and whether a quantity is not finite, each [S]."""
    judged, nonfinite = _judged(target, values)
    r_hat, bulk, tail = diagnostics.summary(judged)
    return jnp.max(r_hat, axis=0), jnp.min(bulk, axis=0), jnp.min(tail, axis=0), nonfinite


@jax.jit
def _judged(target: Target, values: Array) -> tuple[Array, Array]:
    """The parameters [P, S, M, N] of values [N, Q, M, S], zero where a simulation has values that are not finite."""
    nonfinite = ~jnp.all(jnp.isfinite(values), axis=(0, 1, 2))
    rows = np.asarray([target.quantity_names.index(name) for name in target.parameter_names])
    return jnp.transpose(jnp.where(nonfinite, 0.0, values[:, rows]), (1, 3, 2, 0)), nonfinite
