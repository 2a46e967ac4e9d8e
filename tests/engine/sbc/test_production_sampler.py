"""The gate of the production sampler on an additive MMM: convergence after the re-runs, and uniform ranks."""

import numpy as np
import pytest

from engine.inference.precision import enable_float64
from engine.inference.settings import FitSettings
from engine.models.protocol import Seed
from engine.sbc.ledger import concatenate
from engine.sbc.shard import run_shard
from engine.sbc.verdict import Outcome, verdict
from tests.bench.cases import case

enable_float64()


@pytest.mark.slow
def test_2048_simulations_of_15_parameters_converge_and_have_uniform_ranks() -> None:
    model = case(15)
    settings = FitSettings.simulation(len(model.parameter_names))
    shards = np.arange(2048).reshape(-1, 256)
    ledger = concatenate([run_shard(model, Seed.of(31_415), ids, settings) for ids in shards])
    assert np.mean(ledger.accepted) >= 0.99
    assert np.all(ledger.r_hat[ledger.accepted] <= 1.05)
    assert np.mean(ledger.ess >= 100.0) >= 0.95
    found = verdict(ledger, 2048)
    assert found.outcome is Outcome.PASS, found
    # The ranks have teeth: posteriors a tenth too narrow would show.
    narrow = np.clip(np.round(49.5 + (ledger.ranks - 49.5) * 1.1), 0, ledger.n_draws[:, None]).astype(np.int32)
    ledger.ranks[:] = narrow
    assert verdict(ledger, 2048).outcome is Outcome.FAIL
