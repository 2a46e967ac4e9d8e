"""A belief as a factor beside the reference prior."""

from __future__ import annotations

import numpy as np
import pytest

from engine.conflict.analysis import analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import REAL_LINE, Beta, Gamma, LogNormal, Mixture, Normal, Uniform
from engine.distributions.product import product
from engine.errors import InvalidInput

TV = Normal(0.5, 0.1)


def test_replacement_and_factor_give_different_bayes_factors() -> None:
    # methods/conflict.md §3 F: p_ref = Beta(2, 4), data .25 ± .05: 7.01 and 4.31
    reference = Beta(2.0, 4.0)
    curve = EvidenceCurve.normal(0.25, 0.05, reference, 24.0, support=REAL_LINE)
    assert analyse_belief(TV, curve).reference.bf == pytest.approx(7.01, abs=5e-3)
    assert analyse_belief(product(reference, TV), curve).reference.bf == pytest.approx(4.31, abs=5e-3)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Normal(0.0, 3.0), Normal(1.0, 4.0), Normal(0.36, 2.4)),
        (Beta(2.0, 4.0), Beta(3.0, 5.0), Beta(4.0, 8.0)),
    ],
)
def test_conjugate_families_are_kept(first, second, expected) -> None:
    assert product(first, second) == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Beta(2.0, 4.0), Mixture((1.0,), (Beta(3.0, 5.0),))),
        (LogNormal(0.2, 0.9), Gamma(4.0, 2.0)),
        (Uniform(0.0, 1.0), Normal(0.4, 0.1)),
    ],
)
def test_the_density_is_the_normalised_product(first, second) -> None:
    law = product(first, second)
    x = law.ppf(np.array([0.02, 0.3, 0.5, 0.8, 0.99]))
    log_ratio = law.logpdf(x) - first.logpdf(x) - second.logpdf(x)
    assert np.ptp(log_ratio) < 1e-6
    fine = np.linspace(float(law.ppf(1e-9)), float(law.isf(1e-9)), 200_001)
    assert np.trapezoid(np.exp(law.logpdf(fine)), fine) == pytest.approx(1.0, abs=1e-5)


def test_laws_without_common_mass_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no mass in common"):
        product(Uniform(0.0, 1.0), Uniform(2.0, 3.0))
