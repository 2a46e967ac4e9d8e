"""What a prior is worth in observations, against published figures."""

from __future__ import annotations

import numpy as np
import pytest

from engine.priors.distribution import Beta, LogNormal, Mixture, Normal
from engine.priors.effective_size import elir


def bernoulli(rate: np.ndarray) -> np.ndarray:
    return rate * (1.0 - rate)


def test_a_beta_prior_is_worth_the_sum_of_its_parameters() -> None:
    # RBesT; conflict.md §14 id 7
    assert elir(Beta(5.0, 15.0), bernoulli) == pytest.approx(20.0, abs=1e-6)


def test_a_mixture_is_worth_what_rbest_says() -> None:
    # RBesT; conflict.md §14 id 8
    mixture = Mixture((0.2, 0.8), (Beta(1.0, 1.0), Beta(10.0, 2.0)))
    assert elir(mixture, bernoulli) == pytest.approx(7.651520, abs=5e-7)


@pytest.mark.parametrize(("law", "unconstrained"), [(Normal(0.5, 0.1), False), (LogNormal(0.3, 0.1), True)])
def test_a_normal_prior_is_worth_the_ratio_of_variances(law, unconstrained: bool) -> None:
    # conflict.md §12: 24 months with a standard error of .05 against ± .1 are 6 months
    worth = elir(law, lambda u: np.full_like(u, 24.0 * 0.05**2), unconstrained=unconstrained)
    assert worth == pytest.approx(6.0, rel=1e-8)
