"""Settings of the batched sampler, with one preset for single fits and one for simulations."""

from __future__ import annotations

from dataclasses import dataclass, fields

from engine.errors import InvalidInput

BLOCK = 25
"""Transitions per compiled call; schedules are multiples of it, so that every schedule shares one compilation."""


@dataclass(frozen=True)
class FitSettings:
    """How a batch is sampled and when a fit counts as good.

    `warmup` is split into a pilot phase (which re-estimates the preconditioner) and a step-size phase. A simulation
    that misses a threshold is re-run at escalation level e with `escalation_factor`**e times the warm-up, the draws
    (thinned back to `draws`) and `escalation_leapfrog`**e times the leapfrog steps: a schedule that is fixed in
    advance and chosen from draws only (Modrák et al. 2023). `chunk` simulations (`escalation_chunk` in a
    re-run, where few are left) share one compiled call; both are part of the result's identity, because shapes decide
    rounding.
    """

    chains: int = 4
    warmup: int = 100
    draws: int = 150
    leapfrog: int = 10
    target_accept: float = 0.8
    max_escalations: int = 2
    escalation_factor: int = 4
    escalation_leapfrog: float = 1.5
    r_hat_limit: float = 1.05
    ess_limit: float = 100.0
    chunk: int = 64
    escalation_chunk: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= (0 if field.name == "max_escalations" else 1e-9):
                raise InvalidInput(f"settings.{field.name}", "must be positive")
        if self.warmup % (2 * BLOCK) or self.draws % BLOCK:
            raise InvalidInput("settings.warmup", f"warmup is a multiple of {2 * BLOCK}, draws of {BLOCK}")
        if self.chains < 2:
            raise InvalidInput("settings.chains", "at least 2 chains are needed to judge convergence")
        if not 0.0 < self.target_accept < 1.0:
            raise InvalidInput("settings.target_accept", "must lie inside (0, 1)")

    @classmethod
    def single(cls) -> FitSettings:
        """One data set, with the thresholds of Vehtari et al. 2021 (R-hat 1.01, ESS 400).

        Eight chains: R-hat of an exact sampler is about sqrt(1 + chains / ESS), so that more and shorter chains
        would miss 1.01 by noise alone.
        """
        return cls(
            chains=8, warmup=200, draws=750, leapfrog=8, r_hat_limit=1.01, ess_limit=400.0, chunk=1, escalation_chunk=1
        )

    @classmethod
    def simulation(cls) -> FitSettings:
        """Many simulated data sets: short chains, R-hat 1.05 and ESS 100 per simulation."""
        return cls()
