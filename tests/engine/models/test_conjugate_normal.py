"""The conjugate summary model against textbook posteriors."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from engine.distributions.distribution import Beta, Distribution, LogNormal, Normal, TruncatedNormal, Uniform
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.conformance import check
from engine.models.conjugate_normal import ConjugateNormal, ConjugateNormalSpec, prepare

enable_float64()

TV = "share_of_outcome[TV]"
SEED = Seed.of(7)
MANY = replace(FitSettings.simulation(), draws=5000)


def model(prior: Distribution) -> ConjugateNormal:
    # Belief 50 ± 10 % against data 25 ± 5 % from 24 months: the worked example (methods/conflict.md §1).
    return prepare(ConjugateNormalSpec(TV, 0.25, 0.05, 24, prior))


def test_observed_values_have_the_mean_and_sd_of_the_summary() -> None:
    observed = model(Normal(0.5, 0.1)).observed
    assert observed.shape == (24,)
    assert observed.mean() == pytest.approx(0.25)
    assert observed.std(ddof=1) == pytest.approx(0.05 * np.sqrt(24))


def test_the_normal_prior_gives_the_precision_weighted_posterior() -> None:
    # precisions 100 and 400: mean (50 + 100) / 500 = .30, sd 500 ** -.5 = .044721
    fitted = model(Normal(0.5, 0.1))
    fit = fitted.fit(fitted.observed[:, None], SEED, np.array([0]), MANY)
    draws = fit.draws[TV].ravel()
    assert stats.kstest(draws, stats.norm(0.30, 500**-0.5).cdf).pvalue > 1e-4
    assert fit.diagnostics.ok[0]


@pytest.mark.parametrize(
    "prior", [Uniform(0.2, 0.3), TruncatedNormal(0.5, 0.1, 0.0, 1.0), Beta(12.0, 12.0), LogNormal(-1.0, 0.5)]
)
def test_other_priors_give_the_posterior_of_quadrature(prior: Distribution) -> None:
    fitted = model(prior)
    draws = fitted.fit(fitted.observed[:, None], SEED, np.array([0]), MANY).draws[TV].ravel()
    grid = np.linspace(1e-6, 0.999999, 400_001)
    density = np.exp(prior.logpdf(grid)) * stats.norm.pdf(grid, 0.25, 0.05)
    below = np.cumsum(density) / density.sum()
    assert stats.kstest(np.interp(draws, grid, below), "uniform").pvalue > 1e-4


def test_a_prior_far_from_the_data_stays_inside_its_support() -> None:
    fitted = model(Uniform(0.9, 1.0))
    draws = fitted.fit(fitted.observed[:, None], SEED, np.array([0]), MANY).draws[TV]
    assert np.all((draws >= 0.9) & (draws <= 1.0))
    assert draws.mean() < 0.91


@pytest.mark.parametrize("prior", [Normal(0.5, 0.1), Uniform(0.0, 1.0), Beta(12.0, 12.0)])
def test_the_family_passes_the_conformance_test(prior: Distribution) -> None:
    report = check(model(prior))
    assert report.ok, report.failures


def test_a_fit_does_not_depend_on_the_batch() -> None:
    fitted, ids = model(Normal(0.5, 0.1)), np.arange(8)
    y = fitted.sample_prior(SEED, ids).y
    together = fitted.fit(y, SEED, ids, FitSettings.simulation()).draws[TV]
    alone = fitted.fit(y[:, 5:], SEED, ids[5:], FitSettings.simulation()).draws[TV]
    np.testing.assert_array_equal(together[5:], alone)


def test_ranks_of_the_truth_are_uniform() -> None:
    fitted, ids = model(Normal(0.5, 0.1)), np.arange(1000)
    sample = fitted.sample_prior(SEED, ids)
    draws = fitted.fit(sample.y, SEED, ids, replace(FitSettings.simulation(), draws=50)).draws
    for name in fitted.quantity_names:
        below = (draws[name].reshape(1000, -1) < sample.quantities[name][:, None]).mean(axis=1)
        assert stats.kstest(below, "uniform").pvalue > 1e-3, name


def test_unknown_quantities_and_bad_numbers_are_refused() -> None:
    with pytest.raises(UnsupportedQuantity):
        model(Normal(0.5, 0.1)).prior_of("roi[TV]")
    with pytest.raises(InvalidInput, match="standard_error"):
        ConjugateNormalSpec(TV, 0.25, 0.0, 24, Normal(0.5, 0.1))
