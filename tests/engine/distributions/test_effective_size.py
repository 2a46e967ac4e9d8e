"""What a prior is worth in observations, against published figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from engine.distributions.distribution import Beta, LogNormal, Mixture, Normal
from engine.distributions.effective_size import by_moments, elir


def bernoulli(rate: np.ndarray) -> np.ndarray:
    return rate * (1.0 - rate)


def test_a_beta_prior_is_worth_the_sum_of_its_parameters() -> None:
    # RBesT; methods/conflict.md §14 id 7
    assert elir(Beta(5.0, 15.0), bernoulli) == pytest.approx(20.0, abs=1e-6)


def test_a_mixture_is_worth_what_rbest_says() -> None:
    # RBesT; methods/conflict.md §14 id 8
    mixture = Mixture((0.2, 0.8), (Beta(1.0, 1.0), Beta(10.0, 2.0)))
    assert elir(mixture, bernoulli) == pytest.approx(7.651520, abs=5e-7)


@pytest.mark.parametrize(("law", "unconstrained"), [(Normal(0.5, 0.1), False), (LogNormal(0.3, 0.1), True)])
def test_a_normal_prior_is_worth_the_ratio_of_variances(law, unconstrained: bool) -> None:
    # methods/conflict.md §12: 24 months with a standard error of .05 against ± .1 are 6 months
    worth = elir(law, lambda u: np.full_like(u, 24.0 * 0.05**2), unconstrained=unconstrained)
    assert worth == pytest.approx(6.0, rel=1e-8)


def test_by_its_moments_a_prior_is_worth_what_a_conjugate_one_of_these_is() -> None:
    # RBesT; methods/conflict.md §14 id 7 and 8: 20 and 3.161033
    assert by_moments(Beta(5.0, 15.0), bernoulli) == pytest.approx(20.0, abs=1e-6)
    mixture = Mixture((0.2, 0.8), (Beta(1.0, 1.0), Beta(10.0, 2.0)))
    assert by_moments(mixture, bernoulli) == pytest.approx(3.161033, abs=1e-6)


def test_a_prior_that_rises_at_its_ends_has_moments_but_no_information_ratio() -> None:
    # methods/conflict.md §12: negative, so moments stand in; Beta(.5, .5) is worth one observation
    assert elir(Beta(0.5, 0.5), bernoulli) < 0.0
    assert by_moments(Beta(0.5, 0.5), bernoulli) == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(
    weight=st.floats(0.1, 0.9),
    first=st.tuples(st.floats(2.0, 12.0), st.floats(2.0, 12.0)),
    second=st.tuples(st.floats(2.0, 12.0), st.floats(2.0, 12.0)),
    trials=st.integers(1, 8),
)
def test_data_to_come_add_just_their_number(
    weight: float, first: tuple[float, float], second: tuple[float, float], trials: int
) -> None:
    # Predictive consistency (Neuenschwander et al. 2020): E[ELIR after n trials] = ELIR + n.
    prior = Mixture((weight, 1.0 - weight), (Beta(*first), Beta(*second)))
    expected, total = 0.0, 0.0
    for k in range(trials + 1):
        chances = [
            w * float(stats.betabinom.pmf(k, trials, c.alpha, c.beta))
            for w, c in zip(prior.weights, (Beta(*first), Beta(*second)), strict=True)
        ]
        after = Mixture(
            tuple(c / sum(chances) for c in chances),
            tuple(Beta(a + k, b + trials - k) for a, b in (first, second)),
        )
        expected += sum(chances) * elir(after, bernoulli)
        total += sum(chances)
    assert total == pytest.approx(1.0, abs=1e-9)
    assert expected == pytest.approx(elir(prior, bernoulli) + trials, rel=1e-5)
