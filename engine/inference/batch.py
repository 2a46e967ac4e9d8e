"""Fits many data sets in fixed-size chunks and re-runs the ones that did not converge on a longer schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.errors import InvalidInput
from engine.inference.diagnostics import ess_bulk, ess_tail, rank_r_hat
from engine.inference.hmc import advance, initial_step, pooled_factor, start_chains
from engine.inference.mode import find_mode
from engine.inference.precision import require_float64
from engine.inference.settings import BLOCK, FitSettings
from engine.inference.target import Target
from engine.models.protocol import BatchFit, FitDiagnostics, Flags, Floats, Integers, Purpose, Seed

_ESCALATED_ACCEPT = 0.9  # smaller steps on every re-run: most failures are curved posteriors


def fit_batch(target: Target, y: Floats, seed: Seed, simulations: Integers, settings: FitSettings) -> BatchFit:
    """Posterior draws for y [T, S] in the target's units.

    Chains start around the mode found from y; nothing in here ever sees a true parameter. Which simulations are run
    again is decided from their draws only, so the truth stays independent of the decision given y
    (Modrák et al. 2023). After `max_escalations` the last fit is returned with ok = false.
    """
    require_float64()
    y = np.asarray(y, dtype=np.float64)
    ids = np.asarray(simulations, dtype=np.int64)
    if y.ndim != 2 or ids.shape != (y.shape[1],):
        raise InvalidInput("y", "must be [T, S] with one simulation id per column")
    if not np.all(np.isfinite(y)):
        raise InvalidInput("y", "must be finite")
    values, divergences = _run(target, y, seed, ids, settings, level=0)
    diagnostics = _diagnose(target, values, divergences, settings)
    for level in range(1, settings.max_escalations + 1):
        failed = np.flatnonzero(~diagnostics.ok)
        if failed.size == 0:
            break
        again, again_divergences = _run(target, y[:, failed], seed, ids[failed], settings, level)
        values[:, failed] = again
        diagnostics = _merge(diagnostics, failed, _diagnose(target, again, again_divergences, settings), level)
    return BatchFit(dict(zip(target.quantity_names, values, strict=True)), diagnostics)


def _run(
    target: Target, y: Floats, seed: Seed, ids: Integers, settings: FitSettings, level: int
) -> tuple[Floats, Integers]:
    """Values [Q, S, chains, draws] and divergences [S] of one schedule, chunk by chunk."""
    count = ids.size
    chunks = [
        _run_chunk(target, y, seed, ids, settings, level, first) for first in range(0, count, _chunk(settings, level))
    ]
    if not chunks:
        empty = (len(target.quantity_names), 0, settings.chains, settings.draws)
        return np.empty(empty), np.empty(0, dtype=np.int64)
    values = np.concatenate([np.asarray(chunk) for chunk, _ in chunks], axis=-1)[..., :count]
    divergences = np.concatenate([np.asarray(found) for _, found in chunks])[:count]
    return np.ascontiguousarray(np.transpose(values, (1, 3, 2, 0))), divergences.astype(np.int64)


def _run_chunk(
    target: Target, y: Floats, seed: Seed, ids: Integers, settings: FitSettings, level: int, first: int
) -> tuple[Array, Array]:
    """Quantities [draws, Q, chains, chunk] and divergences [chunk]; a short chunk is padded with its last column."""
    columns = np.minimum(np.arange(first, first + _chunk(settings, level)), ids.size - 1)
    data = jnp.asarray(y[:, columns])
    start_keys = _level_keys(seed.keys(ids[columns], Purpose.INIT), level)
    keys = _level_keys(seed.keys(ids[columns], Purpose.MCMC), level)
    longer = settings.escalation_factor**level
    leapfrog = jnp.asarray(round(settings.leapfrog * settings.escalation_leapfrog**level))
    accept = jnp.asarray(settings.target_accept if level == 0 else max(settings.target_accept, _ESCALATED_ACCEPT))

    laplace = find_mode(target, data)
    factor = laplace.factor
    chains = start_chains(target, data, laplace, start_keys, settings.chains)
    blocks = settings.warmup * longer // BLOCK
    index = 0
    pilot: list[Array] = []
    step = initial_step(columns.size, target.dimension, leapfrog)
    for block in range(blocks):
        if block == blocks // 2:
            # The first quarter of the warm-up is still on its way from the over-dispersed starts.
            factor = pooled_factor(jnp.concatenate(pilot[len(pilot) // 2 :]), laplace)
            step = initial_step(columns.size, target.dimension, leapfrog)
        chains, step, positions = advance(
            target, data, factor, chains, step, keys, jnp.asarray(index), leapfrog, accept, jnp.asarray(True)
        )
        pilot.append(positions)
        index += BLOCK
    kept: list[Array] = []
    for _ in range(settings.draws * longer // BLOCK):
        chains, step, positions = advance(
            target, data, factor, chains, step, keys, jnp.asarray(index), leapfrog, accept, jnp.asarray(False)
        )
        kept.append(positions)
        index += BLOCK
    positions = jnp.concatenate(kept)[longer - 1 :: longer]
    return draw_quantities(target, data, positions, keys), chains.divergences


def _chunk(settings: FitSettings, level: int) -> int:
    return settings.chunk if level == 0 else settings.escalation_chunk


def _level_keys(keys: Array, level: int) -> Array:
    return jax.vmap(partial(jax.random.fold_in, data=level))(keys)


@jax.jit
def draw_quantities(target: Target, y: Array, positions: Array, keys: Array) -> Array:
    """Every quantity [N, Q, M, S] at positions [N, D, M, S]; y is [T, S]."""
    number, size, chains, simulations = positions.shape
    tiled = jnp.tile(y, (1, chains))
    noise_size = target.noise_dimension
    noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, 0xFFFFFFFF))(keys)  # past every transition number

    def values(item: tuple[Array, Array]) -> Array:
        position, index = item
        noise: Callable[..., Array] = jax.vmap(
            lambda key: jax.random.normal(jax.random.fold_in(key, index), (noise_size, chains))
        )
        lanes = jnp.moveaxis(noise(noise_keys), 0, -1).reshape(noise_size, -1)
        quantities = target.quantities(position.reshape(size, -1), tiled, lanes)
        return quantities.reshape(-1, chains, simulations)

    result: Array = jax.lax.map(values, (positions, jnp.arange(number)))
    return result


def _diagnose(target: Target, values: Floats, divergences: Integers, settings: FitSettings) -> FitDiagnostics:
    names = target.quantity_names
    if divergences.size == 0:
        none = np.empty(0)
        return FitDiagnostics(none, none, none, divergences, divergences, none.astype(bool), none.astype(bool))
    nonfinite = ~np.all(np.isfinite(values), axis=(0, 2, 3))
    judged = np.where(nonfinite[:, None, None], 0.0, values[[names.index(name) for name in target.parameter_names]])
    r_hat = rank_r_hat(judged).max(axis=0)
    bulk, tail = ess_bulk(judged).min(axis=0), ess_tail(judged).min(axis=0)
    good = (r_hat <= settings.r_hat_limit) & (np.minimum(bulk, tail) >= settings.ess_limit)
    ok: Flags = good & (divergences == 0) & ~nonfinite
    return FitDiagnostics(r_hat, bulk, tail, divergences, np.zeros(ok.size, dtype=np.int64), ok, nonfinite)


def _merge(old: FitDiagnostics, where: Integers, new: FitDiagnostics, level: int) -> FitDiagnostics:
    merged = {}
    for name in ("r_hat", "ess_bulk", "ess_tail", "divergences", "escalations", "ok", "nonfinite"):
        values = getattr(old, name).copy()
        values[where] = level if name == "escalations" else getattr(new, name)
        merged[name] = values
    return replace(old, **merged)
