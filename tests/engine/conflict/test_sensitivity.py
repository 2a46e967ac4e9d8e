"""Power-scaling: the exact Gaussian derivatives, from exact curves and from draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.conflict.curve import EvidenceCurve
from engine.conflict.overlay import Overlay
from engine.conflict.sensitivity import power_scaling
from engine.distributions.distribution import REAL_LINE, LogNormal, Normal, Uniform

TV = Normal(0.5, 0.1)


def test_the_tv_derivatives_are_those_of_the_reference_table() -> None:
    # methods/conflict.md §14 id 17 and §9
    curve = EvidenceCurve.normal(0.25, 0.05, Uniform(0.0, 1.0), 24.0, support=REAL_LINE)
    found = power_scaling(Overlay(TV, curve))
    assert found is not None
    assert found.prior_mean == pytest.approx(0.0277259, abs=5e-8)
    assert found.prior_sd == pytest.approx(-0.00309985, abs=5e-9)
    assert found.prior.value == pytest.approx(0.61997, abs=5e-6)
    assert found.likelihood.value == pytest.approx(-0.61997, abs=5e-6)


def test_sensitivity_is_not_conflict() -> None:
    # methods/conflict.md §3 H: without any conflict the spread still reacts, and the mean does not
    curve = EvidenceCurve.normal(0.5, 0.05, Uniform(0.0, 1.0), 24.0, support=REAL_LINE)
    found = power_scaling(Overlay(TV, curve))
    assert found is not None
    assert found.prior.value == pytest.approx(0.0, abs=1e-9)
    assert found.prior_sd < 0.0


def test_draws_give_the_derivatives_within_their_error() -> None:
    draws = np.random.default_rng(2).normal(0.25, 0.05, (16, 400))
    found = power_scaling(Overlay(TV, EvidenceCurve.from_draws(draws, Normal(0.5, 100.0), 24.0)))
    assert found is not None
    assert 0.0 < found.prior.mcse < 0.1
    assert abs(found.prior.value - 0.61997) < 4.0 * found.prior.mcse
    assert abs(found.likelihood.value + 0.61997) < 4.0 * found.likelihood.mcse


def test_moments_that_overflow_give_no_sensitivity() -> None:
    curve = EvidenceCurve.normal(math.log(1.5), 60.0, LogNormal(0.0, 80.0), 24.0)
    assert power_scaling(Overlay(LogNormal(0.0, 60.0), curve)) is None
