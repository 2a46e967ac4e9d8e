"""Rules of a verdict: how the error probability is spent and which evidence a PASS needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.sbc.band import CUTS


@dataclass(frozen=True)
class VerdictRules:
    """Declared before a run and stored with its verdict.

    alpha: probability that a correct model is failed, over all quantities and looks together
    alpha_sequential: the part of it spent on the e-process, which may be looked at after every simulation
    alpha_extension: the part of it kept back for band tests at larger numbers, should the run be extended: the first
        extension gets half of it, the next half of the rest, and so on. The band test at the number that was planned
        first gets what is left.
    alpha_shared: the part of it spent on the test for random numbers that truths and noise share, which is made once,
        of the simulations that were planned first. It is small because the test needs no more: what is shared
        correlates perfectly, or nearly so
    failure_cap: largest share of failed fits with which a PASS can be given
    minimum_draws: simulations with fewer kept draws count as imprecise
    imprecise_cap: largest share of imprecise simulations with which a PASS can be given
    tie_cap: largest mean share of draws tied with the truth for a continuous quantity; more means stuck chains
    minimum_simulations: planned simulations below which no PASS is given
    cuts: cells of the band test
    discrete: quantities whose ties are expected
    data_dependent: a PASS needs at least one of these, because parameter ranks alone cannot see an inference that
        ignores the data (Modrák et al. 2023)
    """

    alpha: float = 0.05
    alpha_sequential: float = 0.01
    alpha_extension: float = 0.009
    alpha_shared: float = 0.001
    failure_cap: float = 0.01
    minimum_draws: int = 49
    imprecise_cap: float = 0.1
    tie_cap: float = 0.01
    minimum_simulations: int = 100
    cuts: int = CUTS
    discrete: frozenset[str] = frozenset()
    data_dependent: frozenset[str] = frozenset({"log_likelihood"})

    def __post_init__(self) -> None:
        """Refuse levels that are no probabilities and a sequential level that leaves nothing for the band test."""
        if not 0 < self.alpha < 1:
            raise InvalidInput("alpha", f"must lie strictly between 0 and 1, got {self.alpha}")
        if not 0 < self.alpha_sequential < self.alpha:
            raise InvalidInput("alpha_sequential", "must be positive and smaller than alpha")
        if not 0 < self.alpha_shared < self.alpha - self.alpha_sequential:
            raise InvalidInput("alpha_shared", "must be positive and leave something for the band tests")
        if not 0 < self.alpha_extension < self.alpha - self.alpha_sequential - self.alpha_shared:
            raise InvalidInput("alpha_extension", "must be positive and leave something for the first band test")

    @classmethod
    def of(cls, alpha: float, runs: int = 1) -> VerdictRules:
        """Return the rules of one of `runs` runs that share the error probability alpha."""
        each = alpha / runs
        return cls(alpha=each, alpha_sequential=0.2 * each, alpha_extension=0.18 * each, alpha_shared=0.02 * each)

    @property
    def alpha_fixed(self) -> float:
        """Return the level of the band test at the number of simulations that was planned first."""
        return self.level(0)

    def level(self, extensions: int) -> float:
        """Return the level of the band test after so many extensions; all of them together spend what there is."""
        if extensions:
            return self.alpha_extension / 2.0**extensions
        return self.alpha - self.alpha_sequential - self.alpha_extension - self.alpha_shared

    @property
    def log_threshold(self) -> float:
        """Return the log e-value at which the e-process averaged over quantities fails a run."""
        return -math.log(self.alpha_sequential)

    def log_quantity_threshold(self, quantities: int) -> float:
        """Return the log e-value at which one of `quantities` quantities is named as failing, log(P / alpha_e)."""
        return self.log_threshold + math.log(quantities)


RULES = VerdictRules()
