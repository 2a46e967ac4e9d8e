"""R-hat and effective sample sizes against numpyro and against chains whose values are known."""

import numpy as np
import pytest
from numpyro import diagnostics as numpyro_diagnostics

from engine.inference.diagnostics import (
    effective_sample_size,
    ess_bulk,
    ess_tail,
    rank_normalise,
    rank_r_hat,
    split_chains,
    split_r_hat,
)
from engine.inference.precision import enable_float64

enable_float64()


def autoregression(rho: float, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape) * np.sqrt(1.0 - rho**2)
    x = np.empty(shape)
    x[..., 0] = noise[..., 0] / np.sqrt(1.0 - rho**2)
    for t in range(1, shape[-1]):
        x[..., t] = rho * x[..., t - 1] + noise[..., t]
    return x


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.9])
def test_split_r_hat_equals_that_of_numpyro(rho: float) -> None:
    x = autoregression(rho, (4, 200))
    assert split_r_hat(x) == pytest.approx(float(numpyro_diagnostics.split_gelman_rubin(x)), rel=1e-12)


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.9])
def test_effective_sample_size_equals_that_of_numpyro(rho: float) -> None:
    x = autoregression(rho, (4, 400))
    assert effective_sample_size(x) == pytest.approx(float(numpyro_diagnostics.effective_sample_size(x)), rel=0.02)


def test_effective_sample_size_of_an_autoregression_is_known() -> None:
    # AR(1): ESS = n (1 - rho) / (1 + rho)
    sizes = ess_bulk(autoregression(0.6, (50, 4, 1000)))
    assert sizes.mean() == pytest.approx(4000 * 0.4 / 1.6, rel=0.05)


def test_independent_draws_have_tail_ess_near_their_number() -> None:
    assert ess_tail(autoregression(0.0, (50, 4, 500))).mean() == pytest.approx(2000, rel=0.08)


def test_a_shifted_chain_and_a_wider_chain_are_both_seen() -> None:
    x = np.random.default_rng(1).standard_normal((3, 4, 500))
    x[1, 0] += 1.0
    x[2, 0] *= 4.0
    r_hat = rank_r_hat(x)
    assert r_hat[0] < 1.01
    assert r_hat[1] > 1.05
    assert r_hat[2] > 1.05  # by the folded draws only: the chain means agree


def test_chains_that_never_move_are_failures() -> None:
    x = np.zeros((4, 100))
    assert rank_r_hat(x) == np.inf
    assert ess_bulk(x) == 0.0
    assert ess_tail(x) == 0.0


def test_diagnostics_work_over_leading_axes() -> None:
    x = autoregression(0.4, (2, 3, 4, 100))
    for function in (rank_r_hat, ess_bulk, ess_tail):
        values = function(x)
        assert values.shape == (2, 3)
        assert values[1, 2] == pytest.approx(float(function(x[1, 2])), rel=1e-12)


def test_rank_normalisation_gives_ties_the_same_score() -> None:
    scores = rank_normalise(np.array([[1.0, 2.0], [2.0, 3.0]]))
    assert scores[0, 1] == scores[1, 0] == pytest.approx(0.0)


def test_splitting_leaves_out_an_odd_last_draw() -> None:
    np.testing.assert_array_equal(split_chains(np.arange(5.0)[None]), [[0.0, 1.0], [2.0, 3.0]])
