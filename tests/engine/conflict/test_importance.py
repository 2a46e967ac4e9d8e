"""The importance estimate and the k-hat that says when it lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from engine.conflict.curve import EvidenceCurve
from engine.conflict.importance import MAX_KHAT, importance_mean, pareto_khat
from engine.conflict.marginal import LogMarginal, by_importance
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Normal
from engine.errors import InvalidInput

WIDE = Normal(0.5, 100.0)


def mean_over(draws: np.ndarray, prior: Normal) -> LogMarginal:
    return by_importance(Overlay(prior, EvidenceCurve.from_draws(draws, WIDE, 24.0)), draws)


def log_marginal(prior: Normal) -> float:
    v = math.hypot(prior.sd, 0.05)
    return float(stats.norm.logpdf(0.25, prior.mean, v) - stats.norm.logpdf(0.25, WIDE.mean, math.hypot(100.0, 0.05)))


def test_the_tv_mean_is_right_within_its_error() -> None:
    # methods/conflict.md §4.2: relative standard error 1.84 % at 4000 draws
    draws = np.random.default_rng(1).normal(0.25, 0.05, (8, 500))
    estimate = mean_over(draws, Normal(0.5, 0.1))
    assert estimate.khat < 0.5
    assert estimate.mcse == pytest.approx(0.0184, rel=0.5)
    assert estimate.value == pytest.approx(log_marginal(Normal(0.5, 0.1)), abs=4.0 * estimate.mcse)


def test_khat_refuses_a_tight_far_client() -> None:
    # methods/conflict.md §3 G
    draws = np.random.default_rng(1).normal(0.25, 0.05, (8, 500))
    prior = Normal(0.5, 0.02)
    estimate = mean_over(draws, prior)
    assert estimate.khat > MAX_KHAT
    assert estimate.value < log_marginal(prior) - 0.5


@pytest.mark.parametrize("k", [0.2, 0.5, 1.0])
def test_khat_finds_the_shape_of_pareto_ratios(k: float) -> None:
    ratios = stats.genpareto.rvs(k, size=100_000, random_state=np.random.default_rng(5))
    assert pareto_khat(np.log(ratios)) == pytest.approx(k, abs=0.12)


def test_constant_ratios_have_no_tail() -> None:
    assert pareto_khat(np.zeros(1000)) == -math.inf


def test_a_client_that_no_draw_reaches_is_inadmissible() -> None:
    draws = np.random.default_rng(1).normal(0.25, 0.05, (8, 500))
    assert mean_over(draws, Normal(1e3, 1e-3)).khat == math.inf


def test_flat_draws_are_refused() -> None:
    with pytest.raises(InvalidInput):
        importance_mean(np.zeros((1, 50)))
