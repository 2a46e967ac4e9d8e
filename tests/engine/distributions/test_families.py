"""Entropy, mode and moments of every family against the density itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from engine.distributions.distribution import (
    POSITIVE,
    UNIT_INTERVAL,
    Beta,
    Distribution,
    Gamma,
    HalfNormal,
    LogNormal,
    Mixture,
    Normal,
    StudentT,
    TruncatedNormal,
    Uniform,
)
from engine.distributions.families import RULES, Family, admissible, describe, family_of

LAWS: list[Distribution] = [
    Normal(0.3, 2.0),
    StudentT(4.0, 1.0, 0.5),
    LogNormal(0.4, 0.7),
    Gamma(2.5, 0.8),
    Gamma(0.6, 3.0),
    HalfNormal(1.7),
    Beta(2.0, 5.0),
    Beta(0.6, 0.8),
    TruncatedNormal(0.3, 0.4, 0.0, 1.0),
    TruncatedNormal(-3.0, 1.2, 0.0, np.inf),
    Uniform(1.0, 4.0),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_entropy_is_minus_the_mean_log_density(law: Distribution) -> None:
    scores = np.linspace(-9.0, 9.0, 20001)
    mass = np.exp(-0.5 * scores**2)
    x = np.where(scores < 0.0, law.ppf(special.ndtr(scores)), law.isf(special.ndtr(-scores)))
    family = family_of(law)
    assert family is not None
    density = law.logpdf(x)
    used = np.isfinite(density)
    assert RULES[family].entropy(law) == pytest.approx(-float(mass[used] @ density[used]) / mass.sum(), abs=2e-6)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_mode_is_where_the_density_peaks_if_it_does(law: Distribution) -> None:
    family = family_of(law)
    assert family is not None
    rules = RULES[family]
    x = law.ppf(np.linspace(1e-4, 1.0 - 1e-4, 20001))
    density = law.logpdf(x)
    inner = 0 < int(density.argmax()) < x.size - 1
    assert rules.has_mode(law) == (inner and family is not Family.UNIFORM)
    if rules.has_mode(law):
        assert rules.mode(law) == pytest.approx(float(x[density.argmax()]), abs=2e-3 * law.sd)


def test_families_are_those_that_live_where_the_quantity_does() -> None:
    assert admissible(UNIT_INTERVAL) == (Family.TRUNCATED_NORMAL, Family.BETA, Family.UNIFORM)
    assert Family.HALF_NORMAL in admissible(POSITIVE)
    assert Family.STUDENT_T not in admissible(POSITIVE)


def test_a_mixture_and_other_degrees_of_freedom_are_of_no_family() -> None:
    assert family_of(Mixture((0.5, 0.5), (Normal(0.0, 1.0), Normal(1.0, 1.0)))) is None
    assert family_of(StudentT(5.0, 0.0, 1.0)) is None


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_family_is_described_by_name(law: Distribution) -> None:
    assert describe(law) != "law"
    assert "law with" not in describe(law)
