"""SBC of the summary-level conjugate model, whose posterior is exact, and of copies of it with a broken posterior."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from engine.distributions.distribution import Normal
from engine.inference.batch import BatchedHmc
from engine.inference.fit import BatchFit, Seed
from engine.models.conjugate_normal import ConjugateNormalSpec, prepare
from engine.sbc.shard import run_shard
from engine.sbc.verdict import Outcome, Reason, verdict

QUANTITY = "share_of_outcome[TV]"
SPEC = ConjugateNormalSpec(QUANTITY, 0.25, 0.05, 24, Normal(0.5, 0.1))
MODEL = prepare(SPEC)
SETTINGS = BatchedHmc.simulation()


@dataclass(frozen=True)
class Rescaled:
    """The conjugate model with posterior draws stretched about their mean by `factor`: a wrong inference."""

    factor: float

    def __getattr__(self, name: str) -> Any:
        return getattr(MODEL, name)

    def fit(self, y: Any, seed: Any, simulations: Any, settings: Any) -> BatchFit:
        exact = MODEL.fit(y, seed, simulations, settings)
        draws = dict(exact.draws)
        centre = draws[QUANTITY].mean(axis=(1, 2), keepdims=True)
        draws[QUANTITY] = centre + self.factor * (draws[QUANTITY] - centre)
        return dataclasses.replace(exact, draws=draws)


def outcome(model: Any, seed: int, simulations: int) -> Any:
    return verdict(run_shard(model, Seed.of(seed), np.arange(simulations), SETTINGS), simulations)


# The family-wise level is .05. 19 or more of 200 runs have probability .005, 8 or more of 60 .010 (binomial). The level
# itself is tested by synthetic ledgers in test_verdict and test_error_rates, and what makes these ledgers is tested
# here: an error of it that failed a quarter of the runs would be found by the 60 with probability .99.
@pytest.mark.parametrize(("repetitions", "most"), [(60, 7), pytest.param(200, 18, marks=pytest.mark.slow)])
def test_the_exact_posterior_fails_at_no_more_than_the_nominal_rate_over_repeated_seeds(
    repetitions: int, most: int
) -> None:
    runs = [outcome(MODEL, seed, 100) for seed in range(repetitions)]
    failed = sum(run.outcome is Outcome.FAIL for run in runs)
    assert failed <= most
    assert sum(run.outcome is Outcome.PASS for run in runs) == len(runs) - failed


def test_the_exact_posterior_passes_at_full_size() -> None:
    assert outcome(MODEL, 1, 1000).outcome is Outcome.PASS


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_posterior_of_the_wrong_width_fails(factor: float) -> None:
    # methods/sbc.md §11: sd ×.8 is found with power .99 at 500 simulations of one quantity; 1000 leave room for three.
    found = outcome(Rescaled(factor), 1, 1000)
    assert found.outcome is Outcome.FAIL
    assert found.failing == (QUANTITY,)


def test_a_posterior_half_as_wide_is_announced_early() -> None:
    ledger = run_shard(Rescaled(0.5), Seed.of(1), np.arange(60), SETTINGS)
    found = verdict(ledger, 1000)
    assert found.outcome is Outcome.FAIL
    assert found.reasons == (Reason.SEQUENTIAL_EVIDENCE,)
