"""The induced reference prior against laws that are known: their density, and the Bayes factors that rest on it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from engine.conflict.analysis import BeliefConflict, analyse_belief
from engine.conflict.curve import EvidenceCurve, jackknife_error
from engine.conflict.induced import PRIOR_DRAWS, induced_prior, smoothed
from engine.distributions.distribution import POSITIVE, UNIT_INTERVAL, Beta, Distribution, LogNormal, Normal
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.fit import Seed
from tests.engine.models.test_additive_mmm import small_model

Array = NDArray[np.float64]

LOGIT_GRID = np.linspace(-40.0, 40.0, 4001)


def draws_of(law: Distribution, seed: int) -> Array:
    return law.sample(np.random.default_rng(seed), PRIOR_DRAWS)


@pytest.mark.parametrize("law", [Beta(1.0, 3.0), Beta(2.0, 3.0), LogNormal(0.2, 0.9), Beta(0.3, 0.3)])
def test_the_log_density_is_the_law_s_within_the_stated_error(law: Distribution) -> None:
    # over the 0.5–99.5 % range: methods/conflict.md §4.2 and §4.3
    u = law.support.to_unconstrained(law.ppf(np.linspace(0.005, 0.995, 199)))
    squares = []
    for seed in range(4):
        inside = np.clip(draws_of(law, seed), 1e-300, np.inf if law.support == POSITIVE else np.nextafter(1.0, 0.0))
        found = smoothed(inside, law.support)
        error = found.law.unconstrained_logpdf(u) - law.unconstrained_logpdf(u)
        stated = jackknife_error(np.stack([one.unconstrained_logpdf(u) for one in found.replicates]))
        assert np.max(np.abs(error)) < 0.08
        assert np.max(stated) < 0.06
        squares.append((error / stated) ** 2)
    # The root mean square of errors in stated errors is 1 if they are right; 16 groups make it uncertain by a fifth.
    assert 0.3 < np.sqrt(np.mean(squares)) < 1.8


@pytest.mark.parametrize("law", [Beta(1.0, 3.0), LogNormal(0.0, 0.7), Normal(3.0, 2.0)])
def test_far_out_the_density_falls_as_the_law_s_does_and_ends_nowhere(law: Distribution) -> None:
    found = smoothed(draws_of(law, 7), law.support).law
    for tail in (law.ppf, law.isf):
        u = law.support.to_unconstrained(tail([1e-3, 1e-4, 1e-5, 1e-6]))
        density = found.unconstrained_logpdf(u)
        assert np.all(np.diff(density) < -0.5)
        # A thousand times rarer than the last draws used, and still within a factor of five.
        assert np.all(np.abs(density - law.unconstrained_logpdf(u)) < np.log(5.0))
    assert np.all(np.isfinite(found.unconstrained_logpdf(np.array([-200.0, 200.0]))))
    # the support gate's range (methods/conflict.md §4.3)
    np.testing.assert_allclose(law.cdf(found.ppf([0.001, 0.999])), [0.001, 0.999], atol=2e-4)


def binomial(successes: int, trials: int) -> tuple[EvidenceCurve, Beta]:
    """The exact curve of a share under Beta(1, 3), and its reference posterior."""
    failures = trials - successes
    log_l = successes * special.log_expit(LOGIT_GRID) + failures * special.log_expit(-LOGIT_GRID)
    exact = EvidenceCurve.exact(LOGIT_GRID, log_l, Beta(1.0, 3.0), 24.0)
    return exact, Beta(1.0 + successes, 3.0 + failures)


@pytest.mark.parametrize("successes", [15, 30])
def test_bayes_factors_agree_with_the_exact_ones_within_a_few_stated_errors(successes: int) -> None:
    exact, posterior = binomial(successes, 60)
    for seed, belief in enumerate([Beta(3.0, 9.0), Beta(20.0, 20.0), Beta(30.0, 70.0)]):
        draws = posterior.sample(np.random.default_rng(100 + seed), (16, 400))
        reference = smoothed(draws_of(Beta(1.0, 3.0), seed), UNIT_INTERVAL)
        found = analyse_belief(belief, EvidenceCurve.from_draws(draws, reference, 24.0), draws=draws)
        truth = analyse_belief(belief, exact)
        for name in ("recentred", "widened", "reference"):
            figure, expected = getattr(found, name), getattr(truth, name)
            assert 0.0 < figure.mcse < 0.15
            assert abs(figure.log_bf - expected.log_bf) < 4.0 * figure.mcse + 0.01, (name, belief)


def test_the_error_of_the_prior_s_density_enters_the_curve_s_band() -> None:
    # The posterior draws are nearly all there is, so that what is left of the band is the prior's; it has few draws.
    _, posterior = binomial(30, 60)
    draws = posterior.sample(np.random.default_rng(3), (16, 20_000))
    prior = Beta(1.0, 3.0).sample(np.random.default_rng(4), 16_000)
    known = EvidenceCurve.from_draws(draws, Beta(1.0, 3.0), 24.0, n_effective=320_000.0, r_hat=1.0)
    estimated = EvidenceCurve.from_draws(draws, smoothed(prior, UNIT_INTERVAL), 24.0, n_effective=320_000.0, r_hat=1.0)

    def reference_factor(curve: EvidenceCurve) -> tuple[float, float]:
        found: BeliefConflict = analyse_belief(Beta(20.0, 20.0), curve)
        return found.reference.log_bf, found.reference.mcse

    (_, small), (_, large) = reference_factor(known), reference_factor(estimated)
    replicates = smoothed(prior, UNIT_INTERVAL).replicates
    own = jackknife_error(np.array([one.unconstrained_logpdf(0.0) for one in replicates]))
    assert large > 2.0 * small
    assert large == pytest.approx(float(np.hypot(small, own)), rel=0.5)


def test_as_many_replicates_are_needed_as_there_are_groups_of_draws() -> None:
    reference = smoothed(draws_of(Beta(1.0, 3.0), 0), UNIT_INTERVAL, groups=16)
    draws = Beta(5.0, 9.0).sample(np.random.default_rng(0), (5, 400))  # 5 chains make 20 groups
    with pytest.raises(InvalidInput, match="20 replicates"):
        EvidenceCurve.from_draws(draws, reference, 24.0)


def test_the_prior_of_a_sampled_quantity_comes_out_of_its_draws() -> None:
    # small_model samples search as a share under Beta(2, 8)
    found = induced_prior(small_model(), "share_of_outcome[search]", UNIT_INTERVAL, Seed.of(5))
    q = np.array([0.005, 0.05, 0.5, 0.95, 0.995])
    np.testing.assert_allclose(Beta(2.0, 8.0).cdf(found.law.ppf(q)), q, atol=0.004)
    again = induced_prior(small_model(), "share_of_outcome[search]", UNIT_INTERVAL, Seed.of(5))
    assert again.law == found.law


def test_the_shares_of_media_of_two_channels_have_mirrored_priors() -> None:
    # They sum to 1, so that the logit of the one is minus that of the other.
    one, other = (
        induced_prior(small_model(), f"share_of_media[{name}]", UNIT_INTERVAL, Seed.of(5)).law
        for name in ("tv", "search")
    )
    q = np.array([0.01, 0.5, 0.99])
    np.testing.assert_allclose(one.ppf(q), 1.0 - other.ppf(1.0 - q), atol=2e-3)


def test_a_quantity_that_leaves_its_support_is_refused() -> None:
    signed = small_model().with_priors({"roi[tv]": Normal(0.0, 1.0)})
    with pytest.raises(UnsupportedQuantity, match="not always inside"):
        induced_prior(signed, "total_media_share_of_outcome", POSITIVE, Seed.of(1))
    with pytest.raises(InvalidInput, match="strictly inside"):
        smoothed(np.linspace(0.0, 1.0, 20_000), UNIT_INTERVAL)
    with pytest.raises(InvalidInput, match="vary"):
        smoothed(np.full(20_000, 0.5), UNIT_INTERVAL)
