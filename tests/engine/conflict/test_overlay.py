"""The client's law over the curve: moved, widened, truncated, tempered and mixed, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from engine.conflict.analysis import analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Beta, Distribution, Gridded, LogNormal, Mixture, Normal, Uniform
from engine.errors import InvalidInput

ESTIMATE, S = 0.25, 0.05
REFERENCE = Normal(0.5, 1.0)
CURVE = EvidenceCurve.normal(ESTIMATE, S, REFERENCE, 24.0)


def log_ratio(mean: float, sd: float) -> float:
    """ln m / m_ref of the normal law, in closed form."""
    client, reference = (stats.norm.logpdf(ESTIMATE, m, math.hypot(sd, S)) for m, sd in ((mean, sd), (0.5, 1.0)))
    return float(client - reference)


def by_quadrature(law: Distribution) -> Overlay:
    """An overlay that does not know that its law is normal."""
    return Overlay(Gridded.of(law), CURVE)


@pytest.mark.parametrize(("shift", "factor"), [(0.0, 1.0), (-0.4, 1.0), (0.3, 3.0), (-0.35, 0.2)])
def test_a_moved_and_widened_client_has_the_marginal_likelihood_of_the_law_that_it_becomes(
    shift: float, factor: float
) -> None:
    client = Normal(0.5, 0.1)
    expected = log_ratio(client.mean + shift, factor * client.sd)
    for over in (Overlay(client, CURVE), by_quadrature(client)):
        assert over.log_marginals_of(shift, factor)[0] == pytest.approx(expected, abs=1e-6)
        assert over.log_marginal_of(shift, factor) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("power", [1.0, 0.3])
def test_a_tempered_posterior_adds_so_much_of_the_data_s_precision(power: float) -> None:
    client = Normal(0.5, 0.1)
    precision = client.sd**-2 + power * S**-2
    mean = (client.mean * client.sd**-2 + ESTIMATE * power * S**-2) / precision
    assert by_quadrature(client).normal_pair is None
    for over in (Overlay(client, CURVE), by_quadrature(client)):
        law = over.posterior(power)
        assert (law.mean, law.sd) == pytest.approx((mean, precision**-0.5), rel=1e-4)


@pytest.mark.parametrize("narrow", [0.05, 0.002])
def test_the_posterior_of_a_mixture_weighs_its_components_by_how_well_they_predicted(narrow: float) -> None:
    components = (Normal(0.3, narrow), Normal(0.4, 0.1))
    law = Overlay(Mixture((0.2, 0.8), components), CURVE).client_posterior
    logs = [math.log(w) + log_ratio(c.mean, c.sd) for w, c in zip((0.2, 0.8), components, strict=True)]
    weights = special.softmax(logs)
    precision = np.array([c.sd**-2 + S**-2 for c in components])
    means = np.array([c.mean * c.sd**-2 + ESTIMATE * S**-2 for c in components]) / precision
    mean = weights @ means
    assert law.mean == pytest.approx(mean, abs=1e-5)
    assert law.sd == pytest.approx(math.sqrt(weights @ (1.0 / precision + means**2) - mean**2), rel=1e-3)


def test_a_client_wider_than_the_quantity_is_cut_off_there_and_keeps_a_mass_of_one() -> None:
    client = Normal(0.1, 0.1)
    over = Overlay(client, EvidenceCurve.normal(-1.0, 0.2, Beta(1.0, 3.0), 24.0))
    assert over.log_kept_mass == pytest.approx(math.log(stats.norm.cdf(9.0) - stats.norm.cdf(-1.0)))
    assert special.logsumexp(over.log_prior + over.log_weights) == pytest.approx(0.0, abs=1e-6)
    assert np.all((over.x >= 0.0) & (over.x <= 1.0))


def test_a_client_that_lives_elsewhere_is_refused() -> None:
    share = EvidenceCurve.normal(-1.0, 0.2, Beta(1.0, 3.0), 24.0)
    with pytest.raises(InvalidInput, match="most of its mass outside"):
        Overlay(Normal(-0.1, 0.05), share)
    with pytest.raises(InvalidInput, match="neither contains"):
        Overlay(Uniform(0.5, 2.0), share)


def test_ratios_at_draws_are_those_of_the_densities_and_nothing_outside_of_the_client_s_support() -> None:
    client = LogNormal(-1.0, 0.5)
    x = np.array([-0.1, 0.2, 0.7])
    found = Overlay(client, CURVE).log_ratios(x)
    assert found[0] == -np.inf
    assert found[1:] == pytest.approx(client.logpdf(x[1:]) - REFERENCE.logpdf(x[1:]), abs=1e-9)


def test_a_client_moved_out_of_the_narrower_support_is_no_law_and_a_search_passes_it_by() -> None:
    # A positive belief under a share that ends at 1: moved by 20 on the logarithm nothing of it is left below 1.
    rng = np.random.default_rng(4)
    draws = rng.beta(60.0, 40.0, (16, 400))
    curve = EvidenceCurve.from_draws(draws, Beta(1.0, 3.0), 24.0)
    overlay = Overlay(LogNormal(math.log(0.005), 0.3), curve)
    assert overlay.log_marginal_of(20.0, 1.0) == -math.inf
    assert math.isfinite(overlay.log_marginal_of(4.0, 1.0))
    figures = analyse_belief(LogNormal(math.log(0.005), 0.3), curve, draws=draws)
    assert math.isfinite(figures.recentred.log_bf)
