"""The gate of the production sampler on an additive MMM: convergence after the re-runs, and uniform ranks."""

import numpy as np
import pytest

from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.nuts import Nuts
from engine.inference.precision import enable_float64
from engine.inference.svi import MeanFieldSvi
from engine.sbc.ledger import concatenate
from engine.sbc.shard import run_shard
from engine.sbc.verdict import Outcome, verdict
from tests.bench.cases import case

enable_float64()


@pytest.mark.slow
def test_nuts_passes_on_the_mmm_and_mean_field_inference_does_not() -> None:
    """200 simulations of 15 parameters, one after another."""
    model, ids = case(15), np.arange(200)
    outcomes = {}
    for inference in (Nuts(4, warmup=500, draws=250, r_hat_limit=1.05, ess_limit=100.0), MeanFieldSvi(4, 125)):
        found = verdict(run_shard(model, Seed.of(27_182), ids, inference), 200)
        outcomes[inference.name] = found.outcome
        print(inference.name, found.sentence)
    assert outcomes == {"nuts/1": Outcome.PASS, "svi-mean-field/1": Outcome.FAIL}


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
