"""Fits many data sets in fixed-size chunks and re-runs the ones that did not converge on a longer schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.arrays import Floats, Integers
from engine.errors import InvalidInput
from engine.inference.assessment import assess, named, passes
from engine.inference.backend import checked
from engine.inference.drawn_quantities import draw_quantities
from engine.inference.fit import BatchFit, FitDiagnostics, Purpose, Seed
from engine.inference.hmc import Trajectory, advance, initial_step, start_chains
from engine.inference.mode import Laplace, averaged_factor, find_mode
from engine.inference.nuts import Nuts
from engine.inference.schedule import BLOCK, Schedule
from engine.inference.target import Target, cast

_MODE_EVALUATIONS, _MODE_TOLERANCE = 15, 1e-4  # here the mode is only where chains start, not an answer
_PILOT_SAMPLE = 12


class _Chunk(NamedTuple):
    """What one compiled schedule returns: values [draws, Q, M, S], the rest [S]."""

    values: Array
    r_hat: Array
    ess_bulk: Array
    ess_tail: Array
    nonfinite: Array
    divergences: Array


def fit_batch(target: Target, y: Floats, seed: Seed, simulations: Integers, settings: BatchedHmc) -> BatchFit:
    """Posterior draws for y [T, S] in the target's units.

    Chains start around the mode found from y; nothing in here ever sees a true parameter. Which simulations are run
    again is decided from their draws only, so the truth stays independent of the decision given y
    (Modrák et al. 2023). What fails NUTS too is returned with ok = false. Errors as for `Backend.fit`.
    """
    y, ids = checked(y, simulations)
    values = np.empty((len(target.quantity_names), ids.size, settings.chains, settings.draws))
    diagnostics = FitDiagnostics.empty(ids.size)
    todo = np.arange(ids.size)
    for level, schedule in enumerate(settings.schedules):
        if todo.size == 0:
            break
        _run(target, y, seed, ids, todo, settings, schedule, level, values, diagnostics)
        todo = np.flatnonzero(~diagnostics.ok)
    if todo.size and settings.last is not None:
        last = settings.last.fit(target, y[:, todo], seed, ids[todo])
        for row, name in enumerate(target.quantity_names):
            if name:
                values[row, todo] = last.draws[name]
        for name in ("r_hat", "ess_bulk", "ess_tail", "divergences", "ok", "nonfinite"):
            getattr(diagnostics, name)[todo] = getattr(last.diagnostics, name)
        diagnostics.escalations[todo] = len(settings.schedules)
    return BatchFit(named(target, values), diagnostics)


def _run(
    target: Target,
    y: Floats,
    seed: Seed,
    ids: Integers,
    todo: Integers,
    settings: BatchedHmc,
    schedule: Schedule,
    level: int,
    values: Floats,
    diagnostics: FitDiagnostics,
) -> None:
    """Run one schedule for the columns `todo`, chunk by chunk, and write values [Q, S, M, draws] and diagnostics."""
    for first in range(0, todo.size, schedule.chunk):
        # A short chunk is padded with its last column, so that there is one shape to compile.
        padded = np.minimum(np.arange(first, first + schedule.chunk), todo.size - 1)
        chunk = _run_chunk(target, y[:, todo[padded]], seed, ids[todo[padded]], settings, schedule, level)
        columns = todo[first : first + schedule.chunk]
        drawn = np.asarray(chunk.values)[..., : columns.size]
        values[:, columns] = np.transpose(drawn, (1, 3, 2, 0))
        for name in ("r_hat", "ess_bulk", "ess_tail", "nonfinite", "divergences"):
            getattr(diagnostics, name)[columns] = np.asarray(getattr(chunk, name))[: columns.size]
        diagnostics.escalations[columns] = level
    diagnostics.ok[todo] = passes(diagnostics, settings.r_hat_limit, settings.ess_limit)[todo]


def _run_chunk(
    target: Target,
    y: Floats,
    seed: Seed,
    ids: Integers,
    settings: BatchedHmc,
    schedule: Schedule,
    level: int,
) -> _Chunk:
    """One schedule for the simulations of y [T, chunk]."""
    start_keys = _level_keys(seed.keys(ids, Purpose.INIT), level)
    keys = _level_keys(seed.keys(ids, Purpose.MCMC), level)
    # The search and the preconditioner stay in float64: what they cost is small, and a factor that rounded badly
    # would cost many draws. The draws themselves are exact for any factor.
    exact = find_mode(target, jnp.asarray(y), _MODE_EVALUATIONS, _MODE_TOLERANCE)
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
            # The first half of the pilot is still on its way from the over-dispersed starts. The same number of
            # positions whatever the schedule, so that all schedules share the compiled program.
            settled = np.linspace(schedule.pilot // 2, schedule.pilot - 1, _PILOT_SAMPLE).astype(int)
            positions = jnp.concatenate(pilot)[settled].astype(exact.mode.dtype)
            factor = averaged_factor(target, jnp.asarray(y), positions).astype(schedule.dtype)
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
    return _Chunk(values, *assess(sampled, values), chains.divergences)


def _level_keys(keys: Array, level: int) -> Array:
    return jax.vmap(partial(jax.random.fold_in, data=level))(keys)


@dataclass(frozen=True)
class BatchedHmc:
    """The inference of production: batched HMC with its schedules, and when a fit counts as good.

    Every simulation runs on the first schedule; those that miss a threshold run again on the next, and by `last` when
    they have missed it on all: an escalation that is fixed in advance and chosen from draws only (Modrák et al. 2023).
    Every schedule returns `draws` draws of each of `chains` chains. It is the `Backend` whose fits are certified.
    """

    chains: int
    draws: int
    schedules: tuple[Schedule, ...]
    r_hat_limit: float
    ess_limit: float
    last: Nuts | None = None

    @property
    def name(self) -> str:
        """batched-hmc/2."""
        return "batched-hmc/2"

    def fit(self, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        """Draws [S, chains, draws] for y [T, S]; see `engine.inference.batch.fit_batch`."""
        return fit_batch(target, y, seed, simulations, self)

    def __post_init__(self) -> None:
        if self.draws < BLOCK or self.draws % BLOCK:
            raise InvalidInput("settings.draws", f"must be a positive multiple of {BLOCK}")
        if self.chains < 2:
            raise InvalidInput("settings.chains", "at least 2 chains are needed to judge convergence")
        if not self.schedules:
            raise InvalidInput("settings.schedules", "must hold at least one schedule")
        if not (self.r_hat_limit > 1.0 and self.ess_limit > 0.0):
            raise InvalidInput("settings.r_hat_limit", "R-hat limits lie above 1, ESS limits above 0")

    @classmethod
    def single(cls) -> BatchedHmc:
        """One data set, with the thresholds of Vehtari et al. 2021 (R-hat 1.01, ESS 400).

        Sixteen chains, because they cost no more than four: fewer do not fill the CPU's vectors. Not more, because
        R-hat of an exact sampler is about sqrt(1 + chains / ESS) and would miss 1.01 by noise alone.
        """
        first = Schedule(warmup=200, pilot=100, leapfrog=4, chunk=1)
        longer = replace(first, warmup=400, pilot=200, leapfrog=6, thin=2, target_accept=0.9)
        longest = replace(longer, warmup=800, pilot=400, leapfrog=8, thin=8, target_accept=0.95)
        return cls._with_nuts(16, 400, (first, longer, longest), r_hat_limit=1.01, ess_limit=400.0)

    @classmethod
    def family(cls, members: int) -> BatchedHmc:
        """One data set under several models at once, in one chunk on the schedules of `single`.

        Eight chains each, and the thresholds of half as many draws: an average has the draws of all of them.
        """
        single = cls.single()
        schedules = tuple(replace(schedule, chunk=members) for schedule in single.schedules)
        return replace(single, chains=8, schedules=schedules, last=None, r_hat_limit=1.02, ess_limit=200.0)

    @classmethod
    def simulation(cls, parameters: int = 15) -> BatchedHmc:
        """Many simulated data sets: short chains, R-hat 1.05 and ESS 100 for every one of the parameters.

        The smallest of many effective sizes is smaller, so that more parameters need more draws.
        """
        first = Schedule(warmup=50, pilot=25, leapfrog=4, dtype="float32")
        # Few are run again, and a chunk of 16 has little room for padding; of 8, XLA would no longer fill its vectors.
        longer = replace(first, warmup=100, pilot=50, leapfrog=5, thin=2, chunk=16)
        # Most of what is left is curved: small steps.
        longest = replace(longer, warmup=200, pilot=100, leapfrog=6, thin=6, target_accept=0.95)
        draws = 125 if parameters <= 20 else 175
        return cls._with_nuts(4, draws, (first, longer, longest), r_hat_limit=1.05, ess_limit=100.0)

    @classmethod
    def _with_nuts(
        cls, chains: int, draws: int, schedules: tuple[Schedule, ...], r_hat_limit: float, ess_limit: float
    ) -> BatchedHmc:
        nuts = Nuts(chains, draws=draws, target_accept=0.98, r_hat_limit=r_hat_limit, ess_limit=ess_limit)
        return cls(chains, draws, schedules, r_hat_limit, ess_limit, nuts)
