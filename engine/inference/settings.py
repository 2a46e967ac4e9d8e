"""Settings of the batched sampler, with one preset for single fits and one for simulations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.errors import InvalidInput
from engine.inference.nuts import Nuts
from engine.inference.target import Target
from engine.models.protocol import BatchFit, Floats, Integers, Seed

BLOCK = 25
"""Transitions per compiled call; schedules are multiples of it, so that every schedule shares one compilation."""


@dataclass(frozen=True)
class Schedule:
    """One run of the sampler over a chunk of simulations.

    `warmup` transitions, of which the first `pilot` re-estimate the preconditioner and the rest adapt the step size;
    then `thin` transitions per kept draw. A transition is `leapfrog` steps at ten dimensions, more by the fourth root
    of the dimension (Beskos et al. 2013), with the step size adapted to `target_accept`, but never a path longer than
    `trajectory` whitened units. `chunk` simulations share one compiled call in `dtype`; both are part of the result's
    identity, because shapes decide rounding.
    """

    warmup: int
    pilot: int
    leapfrog: int
    thin: int = 1
    trajectory: float = 2.0
    target_accept: float = 0.8
    chunk: int = 64
    dtype: str = "float64"

    def steps(self, dimension: int) -> int:
        """Leapfrog steps of a transition at a dimension."""
        return max(1, round(self.leapfrog * math.sqrt(math.sqrt(dimension / 10.0))))

    def __post_init__(self) -> None:
        if self.warmup % BLOCK or self.pilot % BLOCK or not 0 < self.pilot < self.warmup:
            raise InvalidInput("schedule.warmup", f"warmup and pilot are multiples of {BLOCK}, the pilot the shorter")
        if min(self.leapfrog, self.thin, self.chunk) < 1 or not self.trajectory > 0.0:
            raise InvalidInput("schedule.leapfrog", "leapfrog, thin, chunk and trajectory must be positive")
        if not 0.0 < self.target_accept < 1.0:
            raise InvalidInput("schedule.target_accept", "must lie inside (0, 1)")
        if self.dtype not in ("float32", "float64"):
            raise InvalidInput("schedule.dtype", "must be float32 or float64")


@dataclass(frozen=True)
class FitSettings:
    """How a batch is sampled and when a fit counts as good.

    Every simulation runs on the first schedule; those that miss a threshold run again on the next, and by `last` when
    they have missed it on all: an escalation that is fixed in advance and chosen from draws only (Modrák et al. 2023).
    Every schedule returns `draws` draws of each of `chains` chains. The settings are a `Backend`: the one whose fits
    are certified, because it is the one that production uses.
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
        from engine.inference.batch import fit_batch  # it takes these settings

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
    def single(cls) -> FitSettings:
        """One data set, with the thresholds of Vehtari et al. 2021 (R-hat 1.01, ESS 400).

        Sixteen chains, because they cost no more than four: fewer do not fill the CPU's vectors. Not more, because
        R-hat of an exact sampler is about sqrt(1 + chains / ESS) and would miss 1.01 by noise alone.
        """
        first = Schedule(warmup=200, pilot=100, leapfrog=4, chunk=1)
        longer = replace(first, warmup=400, pilot=200, leapfrog=6, thin=2, target_accept=0.9)
        longest = replace(longer, warmup=800, pilot=400, leapfrog=8, thin=8, target_accept=0.95)
        return cls._with_nuts(16, 400, (first, longer, longest), r_hat_limit=1.01, ess_limit=400.0)

    @classmethod
    def simulation(cls, parameters: int = 15) -> FitSettings:
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
    ) -> FitSettings:
        nuts = Nuts(chains, draws=draws, target_accept=0.98, r_hat_limit=r_hat_limit, ess_limit=ess_limit)
        return cls(chains, draws, schedules, r_hat_limit, ess_limit, nuts)
