"""Averages over curves of response: weights, mixtures of draws and of evidence curves, against what they must be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from engine.conflict.analysis import ConflictRule, Finding
from engine.conflict.bridge_sampling import BridgedMarginal
from engine.conflict.curve import EvidenceCurve
from engine.conflict.curve_average import CurveAverage, FittedCurve, average_curves, compare, stacking_weights
from engine.distributions.distribution import LogNormal, Normal
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Table, prepare
from engine.models.saturation import Saturation

enable_float64()

SHARE = "share_of_outcome[tv]"


def model(response: Saturation, rows: int = 96) -> AdditiveMmm:
    """Weeks of a KPI that one channel moves strongly, by a known curve at exposures from 0 to 4 half-saturations."""
    rng = np.random.default_rng(5)
    exposure = rng.uniform(0.0, 4.0, rows)
    effect = exposure if response is Saturation.LINEAR else exposure**2.0 / (exposure**2.0 + 2.0**2.0)
    kpi = 10.0 + 6.0 * effect / effect.mean() + rng.normal(0.0, 0.3, rows)
    dates = np.datetime64("2021-01-04") + np.timedelta64(7, "D") * np.arange(rows)
    channel = Channel("tv", "tv", LogNormal(-1.2, 0.5), n_weights=1)
    spec = AdditiveMmmSpec("y", (channel,), fourier_pairs=0, trend=False)
    return prepare(Table(dates, {"tv": exposure, "y": kpi}), spec)


@pytest.fixture(scope="module")
def bent() -> CurveAverage:
    return average_curves(model(Saturation.HILL_SLOPE), Seed.of(1))


def test_data_of_an_s_shaped_response_choose_the_free_slope_by_evidence_and_by_prediction(bent: CurveAverage) -> None:
    names = [curve.name for curve in bent.curves]
    assert names == ["hill", "hill_slope", "logistic", "linear"]
    slope = bent.curves[1]
    assert slope.weight > 0.99
    assert slope.stacking > 0.5  # of 24 rows
    assert slope.log_score == max(curve.log_score for curve in bent.curves)
    assert bent.weights.sum() == pytest.approx(1.0)
    assert bent.held_out == 24
    # The truth, within what the data leave open.
    draws = slope.draws_of("slope[tv]")
    assert abs(draws.mean() - 2.0) < 3.0 * draws.std()


def test_data_of_a_linear_response_reject_curves_that_saturate_early() -> None:
    average = average_curves(model(Saturation.LINEAR), Seed.of(1))
    weight = {curve.name: curve.weight for curve in average.curves}
    assert weight["linear"] == max(weight.values())
    # A half-saturation far beyond the data is a straight line too, and pays for its prior only.
    assert weight["hill"] > 1e-4


def test_the_evidence_of_a_curve_is_the_integral_of_its_posterior(bent: CurveAverage) -> None:
    # Against importance sampling from a wide Student law around the mode, for the curve with the fewest parameters.
    family = model(Saturation.HILL_SLOPE).curves()
    linear = family.members[3]
    draws = bent.curves[3].draws
    z = linear.coordinates({name: np.ravel(draws[name]) for name in linear.parameter_names})
    law = stats.multivariate_t(z.mean(axis=1), 1.5 * np.cov(z), df=5, seed=2)
    sample = law.rvs(40_000)
    y = np.repeat(linear.target_units(linear.observed[:, None]), len(sample), axis=1)
    log_density = np.asarray(linear.target.log_likelihood(sample.T, y)) - 0.5 * (sample**2).sum(axis=1)
    ratio = log_density - law.logpdf(sample)
    # The prior's constant, which the density in the sampled coordinates leaves out; the bridge has one for each of
    # the parameters that the straight line lacks, two more.
    expected = math.log(np.mean(np.exp(ratio - ratio.max()))) + ratio.max() + 2 * 0.5 * math.log(2.0 * math.pi)
    assert bent.curves[3].log_evidence.log_marginal == pytest.approx(expected, abs=0.1)


def test_fits_that_all_miss_their_thresholds_give_no_average() -> None:
    settings = replace(BatchedHmc.family(4), ess_limit=1e9, schedules=BatchedHmc.family(4).schedules[:1])
    with pytest.raises(InvalidInput, match="no fit under any of them"):
        average_curves(model(Saturation.HILL_SLOPE), Seed.of(1), settings)


def test_stacking_weights_are_those_that_predict_best() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0.0, 1.0, (40, 3)) + np.array([0.0, 0.3, -0.5])
    weights = stacking_weights(scores)
    assert weights.sum() == pytest.approx(1.0)

    def value(w: np.ndarray) -> float:
        return float(np.log(np.exp(scores) @ w).sum())

    corners = rng.dirichlet(np.ones(3), 4000)
    assert value(weights) >= max(value(w) for w in corners) - 1e-6
    same = np.repeat(rng.normal(size=(20, 1)), 2, axis=1)
    np.testing.assert_allclose(stacking_weights(same), 0.5)
    np.testing.assert_allclose(stacking_weights(same + np.array([0.0, -1.0])), [1.0, 0.0], atol=1e-4)


def by_hand(weights: tuple[float, ...], means: tuple[float, ...]) -> CurveAverage:
    """An average of normal draws under a model that is never asked, except for its parameters."""
    made = model(Saturation.LINEAR)
    rng = np.random.default_rng(3)
    curves = tuple(
        FittedCurve(
            f"curve {index}",
            made,
            {SHARE: np.exp(rng.normal(mean, 0.1, (8, 500)))},
            BridgedMarginal(0.0, 0.0, ()),
            (),
            weight,
            weight,
            0.0,
        )
        for index, (weight, mean) in enumerate(zip(weights, means, strict=True))
    )
    return CurveAverage(made.curves(), curves, np.zeros(len(weights)), 0)


def test_draws_of_the_average_and_the_variance_between_curves_are_those_of_the_mixture() -> None:
    average = by_hand((0.7, 0.3), (0.0, 1.0))
    logs = np.log(average.draws_of(SHARE, Seed.of(0)))
    assert logs.shape == (8, 500)
    assert logs.mean() == pytest.approx(0.3, abs=0.02)
    assert logs.var() == pytest.approx(0.01 + 0.7 * 0.3, abs=0.01)
    means, variances = (np.exp(np.array([0.0, 1.0]) + s) for s in (0.005, 0.0))
    variances = means**2 * (math.exp(0.01) - 1.0)
    between = 0.7 * 0.3 * (means[1] - means[0]) ** 2
    expected = between / (between + np.array([0.7, 0.3]) @ variances)
    assert average.between(SHARE) == pytest.approx(expected, abs=0.02)
    assert by_hand((1.0, 0.0), (0.0, 1.0)).between(SHARE) == 0.0


def test_the_mixed_curve_s_marginal_likelihood_is_the_mean_of_those_of_its_parts() -> None:
    # m_g / m_ref of a mixture of posteriors under one reference is Σ w (m_g / m_ref)_m.
    reference, belief = Normal(0.0, 2.0), Normal(0.4, 0.3)
    parts = [EvidenceCurve.normal(estimate, error, reference, 24.0) for estimate, error in ((0.0, 0.3), (1.5, 0.6))]
    parts = [replace(part, gaussian=None, n_effective=1000.0) for part in parts]
    weights = np.array([0.8, 0.2])
    rng = np.random.default_rng(0)
    draws = np.concatenate([rng.normal(0.0, 0.3, 800), rng.normal(1.4, 0.57, 200)])
    # Exactly normal curves are evaluated by their formula; a mixture is not.
    mixed = EvidenceCurve.mixed(parts, weights, draws)

    def factor(curve: EvidenceCurve) -> float:
        def integrand(x: float) -> float:
            return math.exp(float(belief.logpdf(x)) + float(curve.log_likelihood_at(x)))

        return float(integrate.quad(integrand, -4.0, 6.0, limit=200)[0])

    def exact(estimate: float, error: float) -> float:
        return float(
            stats.norm.pdf(estimate, 0.4, math.hypot(0.3, error))
            / stats.norm.pdf(estimate, 0.0, math.hypot(2.0, error))
        )

    assert factor(mixed) == pytest.approx(0.8 * exact(0.0, 0.3) + 0.2 * exact(1.5, 0.6), rel=1e-3)


def test_a_belief_that_one_curve_contradicts_and_another_does_not_is_seen_as_both() -> None:
    average = by_hand((0.5, 0.5), (-1.6, -1.2))
    reference = LogNormal(-1.2, 0.5)
    base = EvidenceCurve.from_draws(average.draws_of(SHARE, Seed.of(0)), reference, 24.0, quantity=SHARE)
    found = compare(average, LogNormal(-1.6, 0.1), base, ConflictRule(), Seed.of(0))
    first, second = found.figures
    assert first is not None
    assert second is not None
    assert (first.finding, second.finding) == (Finding.AGREES, Finding.CONFLICT)
    assert found.together.finding is not Finding.CONFLICT
    assert found.between > 0.6
    induced = replace(base, reference=base.reference_posterior)
    with pytest.raises(UnsupportedQuantity, match="no closed form"):
        compare(average, LogNormal(-1.6, 0.1), induced, ConflictRule(), Seed.of(0))
