"""z-score and contraction (methods/sbc.md §8)."""

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.sbc.contraction import contraction, summarise, z_score
from engine.sbc.ledger import RankLedger, Status


def test_ten_unit_noise_observations_contract_a_unit_prior_by_ten_elevenths():
    assert contraction(np.sqrt(1 / 11), 1.0) == pytest.approx(0.90909, abs=5e-6)
    assert contraction(1.0, 1.0) == 0.0
    with pytest.raises(InvalidInput):
        contraction(1.0, 0.0)


def test_z_score_is_nan_where_the_posterior_has_no_spread():
    found = z_score([1.0, 1.0], [0.0, 0.0], [0.5, 0.0])
    assert found[0] == 2.0
    assert np.isnan(found[1])


def test_summary_uses_accepted_simulations_with_finite_moments_only():
    rng, n = np.random.default_rng(0), 2000
    mean = rng.normal(size=n) * np.sqrt(10 / 11)
    truth = mean + rng.normal(size=n) * np.sqrt(1 / 11)
    mean[0] = np.nan
    truth[1] = 1e6
    status = np.zeros(n, dtype=np.uint8)
    status[1] = Status.NOT_CONVERGED
    ledger = RankLedger(
        simulations=np.arange(n),
        quantities=("mu",),
        ranks=np.zeros((n, 1), dtype=np.int32),
        n_draws=np.full(n, 99, dtype=np.int32),
        v=np.zeros((n, 1)),
        ties=np.zeros((n, 1)),
        status=status,
        r_hat=np.ones(n),
        ess=np.full(n, 400.0),
        mean=mean[:, None],
        sd=np.full((n, 1), np.sqrt(1 / 11)),
        truth=truth[:, None],
    )
    (found,) = summarise(ledger, {"mu": 1.0})
    assert found.simulations == n - 2
    assert found.contraction == pytest.approx(10 / 11)
    assert found.z_mean == pytest.approx(0.0, abs=0.1)
    assert found.z_sd == pytest.approx(1.0, abs=0.06)
    with pytest.raises(InvalidInput):
        summarise(ledger, {"nu": 1.0})
