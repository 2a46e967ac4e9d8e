"""Settings of the batched sampler, with one preset for single fits and one for simulations."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.rules.sbc_presets import CHUNK

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
    chunk: int = CHUNK
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
