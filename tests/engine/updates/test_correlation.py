"""Correlation of updated beliefs: what the data couple (methods/conflict.md §12)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.updates.correlation import BeliefUncertainty, is_independent, posterior_correlation

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def correlation_of(cov: np.ndarray) -> np.ndarray:
    sd = np.sqrt(np.diag(cov))
    return cov / np.outer(sd, sd)


def random_cov(seed: int, k: int) -> np.ndarray:
    factors = np.random.default_rng(seed).normal(size=(k, k))
    return factors @ factors.T + 0.1 * np.eye(k)


@EXAMPLES
@given(seed=st.integers(0, 10_000), k=st.integers(2, 6), power=st.floats(0.01, 1.0))
def test_the_precisions_of_beliefs_data_and_experiments_add(seed: int, k: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    sd, data_cov, between = rng.uniform(0.1, 2.0, k), random_cov(seed, k), correlation_of(random_cov(seed + 1, k))
    belief_power, experiments = rng.uniform(0.1, 1.0, k), rng.uniform(0.0, 3.0, k) * (rng.random(k) < 0.5)
    scale = np.sqrt(belief_power)
    prior_precision = np.outer(scale, scale) * np.linalg.inv(between * np.outer(sd, sd))
    precision = prior_precision + power * (np.linalg.inv(data_cov) + np.diag(experiments))
    found = posterior_correlation(
        BeliefUncertainty.of(sd, between),
        data_cov,
        likelihood_power=power,
        belief_power=belief_power,
        experiment_precision=experiments,
    )
    np.testing.assert_allclose(found, correlation_of(np.linalg.inv(precision)), atol=1e-7)


def test_collinear_channels_become_negatively_correlated_once_updated() -> None:
    # Estimates that can only trade one for the other; by hand with tau = s: P = I + R⁻¹, corr = r / (2 - r²) · …
    r = -0.9
    found = posterior_correlation(BeliefUncertainty.of([1.0, 1.0]), [[1.0, r], [r, 1.0]])
    assert found[0, 1] == pytest.approx(r / (2.0 - r * r), rel=1e-12)


def test_data_without_weight_leave_the_correlation_of_the_beliefs() -> None:
    client = BeliefUncertainty.of([0.1, 0.2], [[1.0, 0.4], [0.4, 1.0]])
    assert posterior_correlation(client, random_cov(1, 2), likelihood_power=0.0) == pytest.approx(client.correlation)


def test_uncoupled_data_leave_independent_beliefs_independent() -> None:
    assert is_independent(posterior_correlation(BeliefUncertainty.of([0.1, 0.2]), np.diag([0.3, 0.5])))
    assert not is_independent(posterior_correlation(BeliefUncertainty.of([1.0, 1.0]), [[1.0, 0.1], [0.1, 1.0]]))


def test_shares_of_a_whole_need_no_precision_of_their_own() -> None:
    # Two shares that sum to one: the logits of the data side are u and -u, a singular covariance.
    found = posterior_correlation(BeliefUncertainty.of([0.5, 0.5]), [[0.2, -0.2], [-0.2, 0.2]])
    assert found[0, 1] == pytest.approx(-1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("field", "sd", "correlation"),
    [
        ("sd", [0.1, 0.0], None),
        ("sd", [0.1, math.nan], None),
        ("correlation", [0.1, 0.1], [[1.0, 0.2], [0.3, 1.0]]),
        ("correlation", [0.1, 0.1], [[1.0, 1.5], [1.5, 1.0]]),
        ("correlation", [0.1, 0.1], [[2.0, 0.0], [0.0, 1.0]]),
    ],
)
def test_what_is_no_correlation_is_refused_by_name(field: str, sd: list[float], correlation: list | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        BeliefUncertainty.of(sd, correlation)
    assert caught.value.field == field
