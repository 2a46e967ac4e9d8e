"""A distribution as one of a family, and what is lost."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import (
    REAL_LINE,
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
from engine.distributions.families import Family
from engine.errors import InvalidInput
from engine.updates.projection import modes, project
from engine.updates.update import Strategy, UpdateRule, update

EXAMPLES = settings(max_examples=15, deadline=None, derandomize=True, database=None)


def test_the_updated_tv_belief_stays_a_mixture_although_a_normal_is_near() -> None:
    # methods/conflict.md §12: KS .0437, KL .0292, modes .261 and .479
    curve = EvidenceCurve.normal(0.25, 0.05, Uniform(-4.0, 5.0), 24.0, support=REAL_LINE)
    found = project(update(Normal(0.5, 0.1), curve, UpdateRule(Strategy.EVIDENCE_WEIGHTED)).distribution, Family.NORMAL)
    assert isinstance(found.law, Normal)
    assert (found.law.mean, found.law.sd) == pytest.approx((0.36270, 0.15960), abs=5e-6)
    assert found.max_cdf_error == pytest.approx(0.0437, abs=5e-5)
    assert found.kl_nats == pytest.approx(0.0292, abs=5e-5)
    assert found.modes == pytest.approx((0.261, 0.479), abs=1e-3)
    assert "2 modes" in found.refusal


OWN: list[tuple[Distribution, Family]] = [
    (Normal(0.5, 0.1), Family.NORMAL),
    (LogNormal(0.2, 0.5), Family.LOG_NORMAL),
    (Gamma(3.0, 2.0), Family.GAMMA),
    (Beta(3.0, 4.0), Family.BETA),
    (Beta(0.5, 2.0), Family.BETA),
    (HalfNormal(2.0), Family.HALF_NORMAL),
    (TruncatedNormal(0.1, 0.3, 0.0, 1.0), Family.TRUNCATED_NORMAL),
    (StudentT(4.0, 1.0, 2.0), Family.STUDENT_T),
    (Uniform(0.0, 2.0), Family.UNIFORM),
]


@pytest.mark.parametrize(("law", "family"), OWN, ids=lambda value: getattr(value, "name", type(value).__name__))
def test_a_law_of_the_family_is_its_own_projection(law: Distribution, family: Family) -> None:
    found = project(law, family)
    assert found.kl_nats == pytest.approx(0.0, abs=1e-9)
    assert found.max_cdf_error < 1e-5
    assert found.refusal == ""
    np.testing.assert_allclose(found.law.ppf([0.05, 0.5, 0.95]), law.ppf([0.05, 0.5, 0.95]), rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "law"),
    [
        (Family.GAMMA, LogNormal(0.0, 0.4)),
        (Family.LOG_NORMAL, Gamma(3.0, 2.0)),
        (Family.HALF_NORMAL, Gamma(1.0, 1.0)),
        (Family.BETA, TruncatedNormal(0.3, 0.2, 0.0, 1.0)),
        (Family.TRUNCATED_NORMAL, Beta(3.0, 4.0)),
        (Family.NORMAL, StudentT(5.0, 0.0, 1.0)),
        (Family.STUDENT_T, Normal(0.0, 1.0)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_no_neighbour_in_the_family_has_a_smaller_divergence(family: Family, law: Distribution) -> None:
    found = project(law, family)
    ends = law.ppf(1e-12), law.isf(1e-12)

    def divergence(other: Distribution) -> float:
        return float(
            integrate.quad(
                lambda x: math.exp(law.logpdf(x)) * float(law.logpdf(x) - other.logpdf(x)), *ends, limit=200
            )[0]
        )

    least = divergence(found.law)
    assert found.kl_nats == pytest.approx(least, abs=1e-6)
    moving = {field.name for field in dataclasses.fields(found.law)} - {"lower", "upper", "df"}  # type: ignore[arg-type]
    for name in moving:
        for step in (-0.02, 0.02):
            other = dataclasses.replace(found.law, **{name: getattr(found.law, name) + step})  # type: ignore[type-var]
            assert divergence(other) > least + 1e-6, name


@EXAMPLES
@given(weight=st.floats(0.05, 0.95), apart=st.floats(0.0, 6.0))
def test_two_modes_are_never_one_normal(weight: float, apart: float) -> None:
    mixture = Mixture((1.0 - weight, weight), (Normal(0.0, 1.0), Normal(apart, 1.0)))
    found = project(mixture, Family.NORMAL)
    assert (found.law.mean, found.law.sd) == pytest.approx((mixture.mean, mixture.sd), rel=1e-9)
    assert found.kl_nats >= 0.0
    if len(modes(mixture)) > 1 or found.max_cdf_error > 0.05:
        assert found.refusal
    if apart <= 2.0:
        assert len(modes(mixture)) == 1  # methods/conflict.md §12: two equal-sd normals, bimodal only from d > 2 sd on


def test_tail_errors_are_probabilities_beyond_the_5_and_95_per_cent_points() -> None:
    law = LogNormal(0.0, 0.5)
    found = project(law, Family.GAMMA)
    assert found.lower_tail_error == pytest.approx(float(found.law.cdf(law.ppf(0.05))) - 0.05, abs=1e-12)
    assert found.upper_tail_error == pytest.approx(float(found.law.sf(law.ppf(0.95))) - 0.05, abs=1e-9)
    area = integrate.quad(lambda x: abs(float(law.cdf(x) - found.law.cdf(x))), 0.0, 60.0, limit=400)[0]
    assert found.wasserstein_scaled == pytest.approx(area / law.sd, rel=1e-5)


@pytest.mark.parametrize(
    ("law", "family"),
    [
        (Beta(2.0, 3.0), Family.NORMAL),
        (Normal(0.0, 1.0), Family.LOG_NORMAL),
        (LogNormal(0.0, 1.0), Family.BETA),
        (Normal(0.0, 1.0), Family.UNIFORM),
        (Normal(0.0, 1.0), Family.TRUNCATED_NORMAL),
        (Gamma(1.0, 2.0), Family.TRUNCATED_NORMAL),  # falls exponentially: every wider one is nearer
    ],
)
def test_a_family_that_cannot_be_it_is_refused(law: Distribution, family: Family) -> None:
    with pytest.raises(InvalidInput) as caught:
        project(law, family)
    assert caught.value.field == "project_to"
