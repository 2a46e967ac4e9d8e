"""Bridge sampling against R's bridgesampling, exact integrals and the t test of BayesFactor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from engine.conflict.bridge_sampling import BridgeEstimate, bridge_estimate, combined, log_marginal_likelihood
from engine.errors import InvalidInput

# bridgesampling, tests/testthat/test-iterative-scheme-mcse.R (methods/conflict.md §14 id 5)
Q11, Q12 = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.02, 0.09, 0.1, 0.15])
Q21, Q22 = np.array([0.05, 0.18, 0.22, 0.28]), np.array([0.01, 0.07, 0.11, 0.12])

# Cushny & Peebles 1905 by way of R's `sleep`: hours of extra sleep, second drug minus first, t = 4.062128
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
SCALE = 1.0 / math.sqrt(2.0)
LOG_NULL = -20.809266  # methods/conflict.md §14 id 6


def test_the_iteration_and_its_error_are_those_of_bridgesampling() -> None:
    found = bridge_estimate(Q11, Q12, Q21, Q22)
    assert found.converged
    assert found.log_marginal == pytest.approx(0.1324897961820, abs=1e-12)
    assert found.mcse == pytest.approx(0.0235323328471, abs=1e-12)


def test_the_error_falls_with_the_root_of_the_number_of_draws() -> None:
    # Four copies of the draws: a variance over n - 1 goes from S/3 to 4S/15, and that of the mean to a fifth.
    four = bridge_estimate(*(np.tile(values, 4) for values in (Q11, Q12, Q21, Q22)))
    assert four.mcse == pytest.approx(bridge_estimate(Q11, Q12, Q21, Q22).mcse / math.sqrt(5.0), rel=1e-3)


def test_a_constant_moves_the_estimate_and_not_its_error() -> None:
    found, moved = bridge_estimate(Q11, Q12, Q21, Q22), bridge_estimate(Q11 - 900.0, Q12, Q21 - 900.0, Q22)
    assert moved.log_marginal == pytest.approx(found.log_marginal - 900.0, abs=1e-9)
    assert moved.mcse == pytest.approx(found.mcse, rel=1e-9)


def test_the_normal_integral_in_two_dimensions() -> None:
    # methods/conflict.md §14 id 4, bridgesampling test-bridge_sampler.R
    draws = np.random.default_rng(1).standard_normal((8, 500, 2))
    found = log_marginal_likelihood(lambda z: -0.5 * (z**2).sum(axis=1), draws, np.random.default_rng(2))
    assert found.dropped == 0
    assert found.log_marginal == pytest.approx(1.837877, abs=4.0 * found.mcse)
    assert found.mcse < 0.01


def heavy(z: np.ndarray) -> np.ndarray:
    """Log of a product of two t laws with 5 df, without their constants."""
    return np.asarray(-3.0 * np.log1p(z**2 / 5.0).sum(axis=1))


def test_errors_of_correlated_chains_cover_a_heavy_tailed_truth() -> None:
    # ∫ (1 + z²/5)^-3 dz = sqrt(5 π) Γ(2.5)/Γ(3)
    truth = 2.0 * (0.5 * math.log(5.0 * math.pi) + special.gammaln(2.5) - special.gammaln(3.0))
    scores = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        # Chains that stay where they are with probability 2/3: the effective number is a fifth.
        fresh = rng.standard_t(5.0, (8, 300, 2))
        moves = np.where(rng.random((8, 300)) < 1.0 / 3.0, np.arange(300), 0)
        draws = np.take_along_axis(fresh, np.maximum.accumulate(moves, axis=1)[..., None], axis=1)
        found = log_marginal_likelihood(heavy, draws, rng)
        scores.append((found.log_marginal - truth) / found.mcse)
    assert np.mean(np.abs(scores) <= 3.0) >= 0.95
    # The range of the repetitions comes on top, so that scores are below 1; at 60 the root mean square is off by .4.
    assert 0.3 < np.sqrt(np.mean(np.square(scores))) < 1.4


def test_repetitions_that_did_not_converge_are_dropped_and_told() -> None:
    good, other = BridgeEstimate(1.0, 0.1, 5, True), BridgeEstimate(1.2, 0.2, 5, True)
    found = combined([good, BridgeEstimate(9.0, 0.1, 1000, False), other])
    assert found.dropped == 1
    assert found.log_marginal == pytest.approx(1.1)
    assert found.mcse == pytest.approx(math.hypot(0.2, 0.1))
    assert combined([good, BridgeEstimate(9.0, 0.1, 1000, False)]).mcse == math.inf
    assert math.isnan(combined([BridgeEstimate(9.0, 0.1, 1000, False)]).log_marginal)


def test_an_iteration_that_is_cut_short_has_not_converged() -> None:
    assert not bridge_estimate(Q11, Q12, Q21, Q22, max_iterations=1).converged


def test_proposals_without_posterior_mass_give_no_estimate() -> None:
    found = bridge_estimate(Q11, Q12, np.full(4, -math.inf), Q22)
    assert not found.converged
    assert found.mcse == math.inf


def test_unfit_draws_are_refused() -> None:
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((4, 100, 2))
    with pytest.raises(InvalidInput, match="at least 2"):
        log_marginal_likelihood(heavy, draws, rng, repetitions=1)
    with pytest.raises(InvalidInput, match="finite"):
        log_marginal_likelihood(heavy, draws[:, :2], rng)
    with pytest.raises(InvalidInput, match="every direction"):
        log_marginal_likelihood(heavy, np.repeat(draws[..., :1], 2, axis=2), rng)
    with pytest.raises(InvalidInput, match="not a number"):
        log_marginal_likelihood(lambda z: np.full(len(z), math.nan), draws, rng)


def alternative(z: np.ndarray) -> np.ndarray:
    """Log joint density [N] of the sleep data and (delta, log sigma) with the Jeffreys–Zellner–Siow prior.

    x ~ N(sigma delta, sigma²), delta ~ Cauchy(0, r), sigma² ∝ 1/sigma²: constant 2 in log sigma.
    """
    delta, log_sigma = z[:, :1], z[:, 1:]
    log_likelihood = stats.norm.logpdf(SLEEP / np.exp(log_sigma), delta, 1.0) - log_sigma
    return np.asarray(log_likelihood.sum(axis=1) + stats.cauchy.logpdf(delta[:, 0], scale=SCALE) + math.log(2.0))


def chains(rng: np.random.Generator, number: int, kept: int) -> np.ndarray:
    """Draws [number, kept, 2] by random-walk Metropolis, every twentieth step."""
    z = np.array([1.0, 0.2]) + 0.2 * rng.standard_normal((number, 2))
    value, out = alternative(z), []
    for step in range(20 * (kept + 50)):
        proposal = z + np.array([0.55, 0.35]) * rng.standard_normal((number, 2))
        found = alternative(proposal)
        accept = np.log(rng.random(number)) < found - value
        z, value = np.where(accept[:, None], proposal, z), np.where(accept, found, value)
        if step % 20 == 0 and step >= 1000:
            out.append(z)
    return np.stack(out, axis=1)


def test_the_null_of_the_t_test_has_its_closed_form() -> None:
    # ∫ N(x; 0, s²) ds²/s² = Γ(n/2) (π Σx²)^(-n/2)
    n = SLEEP.size
    log_null = float(special.gammaln(n / 2.0)) - 0.5 * n * math.log(math.pi * float((SLEEP**2).sum()))
    assert stats.ttest_1samp(SLEEP, 0.0).statistic == pytest.approx(4.062128, abs=5e-7)
    assert log_null == pytest.approx(LOG_NULL, abs=5e-7)


def test_the_jzs_bayes_factor_of_the_sleep_data_by_bridge_and_by_quadrature() -> None:
    # methods/conflict.md §14 id 6: BF10 17.25888 and one-sided 34.41694, as the BayesFactor package has them
    def joint(log_sigma: float, delta: float) -> float:
        return math.exp(float(alternative(np.array([[delta, log_sigma]]))[0]) - LOG_NULL)

    below, above = (integrate.dblquad(joint, *ends, -2.0, 3.0, epsrel=1e-7)[0] for ends in ((-1.5, 0.0), (0.0, 4.0)))
    assert below + above == pytest.approx(17.25888, abs=2e-5)
    assert 2.0 * above == pytest.approx(34.41694, abs=4e-5)
    rng = np.random.default_rng(3)
    draws = chains(rng, 16, 250)
    found = log_marginal_likelihood(alternative, draws, rng)
    assert found.mcse < 0.03
    assert found.log_marginal - LOG_NULL == pytest.approx(math.log(17.25888), abs=4.0 * found.mcse)
    # The share of draws above zero turns the two-sided factor into the one-sided one (Morey & Wagenmakers 2014).
    positive = float((draws[..., 0] > 0.0).mean())
    assert 2.0 * positive * math.exp(found.log_marginal - LOG_NULL) == pytest.approx(34.41694, rel=4.0 * found.mcse)
