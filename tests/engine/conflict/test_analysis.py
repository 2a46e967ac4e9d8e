"""Conflict figures of one belief: the worked TV example, conjugate references, refusals and null calibration."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import special, stats

from engine.conflict import bayes_factor
from engine.conflict.analysis import BeliefConflict, ConflictRule, Finding, analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Estimator, Ladder
from engine.conflict.overlay import Overlay
from engine.conflict.reliability import Status
from engine.conflict.severity import Severity
from engine.distributions.distribution import (
    Beta,
    Distribution,
    Gamma,
    LogNormal,
    Mixture,
    Normal,
    TruncatedNormal,
    Uniform,
)
from engine.distributions.support import REAL_LINE
from engine.errors import InvalidInput

TV = Normal(0.5, 0.1)
TV_CURVE = EvidenceCurve.normal(0.25, 0.05, Uniform(0.0, 1.0), 24.0, quantity="share:tv", support=REAL_LINE)
LOGIT_GRID = np.linspace(-40.0, 40.0, 4001)


def by_quadrature(law: Distribution) -> Mixture:
    """The same law in a family without a closed form, so that the curve integral answers."""
    return Mixture((1.0,), (law,))


def binomial_curve(successes: int, trials: int) -> EvidenceCurve:
    log_l = successes * special.log_expit(LOGIT_GRID) + (trials - successes) * special.log_expit(-LOGIT_GRID)
    return EvidenceCurve.exact(LOGIT_GRID, log_l, Uniform(0.0, 1.0), 24.0)


@pytest.fixture(params=["closed form", "curve integral"])
def tv(request: pytest.FixtureRequest) -> BeliefConflict:
    return analyse_belief(TV if request.param == "closed form" else by_quadrature(TV), TV_CURVE)


def test_tv_figures_are_those_of_the_reference_table(tv: BeliefConflict) -> None:
    # methods/conflict.md §14 ids 1 and 2
    assert tv.recentred.bf == pytest.approx(12.18249, abs=5e-6)
    assert tv.point_mle.bf == pytest.approx(27.24088, abs=5e-6)
    assert tv.p.value == pytest.approx(0.0253473, abs=5e-8)
    assert tv.kl.value == pytest.approx(3.443147, abs=5e-6)
    assert tv.wasserstein.w1 == pytest.approx(0.25, abs=1e-6)
    assert tv.wasserstein.w2 == pytest.approx(0.2549510, abs=1e-6)
    assert tv.wasserstein.w1_scaled == pytest.approx(2.5, abs=1e-5)
    assert tv.widened.bf == pytest.approx(3.194473, abs=1e-6)
    assert tv.reference.bf == pytest.approx(3.414138, abs=1e-6)
    assert tv.prior_ess_months == pytest.approx(6.0, rel=1e-9)
    assert tv.log_marginal_client == pytest.approx(-math.log(3.414138), abs=1e-6)


def test_tv_is_a_strong_conflict_whose_label_hangs_on_the_tails(tv: BeliefConflict) -> None:
    assert tv.severity is Severity.STRONG
    assert tv.severity_if_heavy_tailed is Severity.MODERATE
    assert (tv.conflict, tv.finding, tv.status) == (True, Finding.CONFLICT, Status.OK)
    assert tv.null_rate == pytest.approx(0.0295, abs=5e-5)  # methods/conflict.md §3 C
    assert tv.confirms is False


def test_tv_laws_are_summarised(tv: BeliefConflict) -> None:
    assert (tv.data_side.mean, tv.data_side.sd) == pytest.approx((0.25, 0.05), rel=1e-9)
    assert (tv.client_posterior.mean, tv.client_posterior.sd) == pytest.approx((0.3, 0.0447214), abs=1e-6)
    assert tv.client.interval(0.95) == pytest.approx((0.304004, 0.695996), abs=1e-6)


def test_information_gain_is_the_normal_kl_of_posterior_and_client(tv: BeliefConflict) -> None:
    # ln(s2/s1) + (s1² + Δ²)/(2 s2²) - ½ with .3 ± .0447 against .5 ± .1 (methods/conflict.md §5)
    expected = math.log(0.1 / math.sqrt(0.002)) + (0.002 + 0.04) / 0.02 - 0.5
    assert tv.information_gain.value == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (Uniform(0.0, 1.0), 3.414138),
        (Normal(0.5, 0.3), 3.194473),
        (Normal(0.5, 0.2), 3.167106),
        (Normal(0.5, math.sqrt(0.06)), 3.304486),
    ],
)
def test_reference_factor_follows_the_named_alternative(reference: Distribution, expected: float) -> None:
    # methods/conflict.md §14 id 2
    curve = EvidenceCurve.normal(0.25, 0.05, reference, 24.0, support=REAL_LINE)
    assert analyse_belief(TV, curve).reference.bf == pytest.approx(expected, abs=1e-6)


def test_both_estimators_agree_to_ten_digits() -> None:
    closed, integral = analyse_belief(TV, TV_CURVE), analyse_belief(by_quadrature(TV), TV_CURVE)
    for name in ("recentred", "widened", "reference", "point_mle"):
        a, b = getattr(closed, name), getattr(integral, name)
        assert (a.estimator, b.estimator) == (Estimator.CLOSED_FORM, Estimator.CURVE_INTEGRAL)
        assert a.log_bf == pytest.approx(b.log_bf, abs=1e-9)


@pytest.mark.parametrize("wrap", [lambda law: law, by_quadrature])
def test_a_lognormal_roi_is_judged_on_the_log_scale(wrap) -> None:
    # methods/conflict.md §14 id 12
    curve = EvidenceCurve.normal(math.log(1.5), 0.2, LogNormal(0.0, 50.0), 24.0)
    result = analyse_belief(wrap(LogNormal(math.log(3.0), 0.25)), curve)
    assert result.recentred.bf == pytest.approx(10.419439, abs=5e-7)
    assert result.p.value == pytest.approx(0.03038554, abs=5e-9)
    assert result.kl.value == pytest.approx(3.886768, abs=1e-4)  # the table's reference is flat, this one ± 50
    assert result.wasserstein.w1 == pytest.approx(1.564928, abs=2e-5)
    assert result.wasserstein.w2 == pytest.approx(1.636078, abs=2e-5)
    assert result.client.sd == pytest.approx(0.786057, abs=5e-7)


def test_binomial_factor_against_the_flat_reference() -> None:
    # methods/conflict.md §14 id 3: Beta(2, 8), 15 of 20
    assert analyse_belief(Beta(2.0, 8.0), binomial_curve(15, 20)).reference.bf == pytest.approx(37.63455, abs=5e-5)


def test_poisson_factor_between_two_gamma_beliefs() -> None:
    # methods/conflict.md §14 id 13: Gamma(20, 4) against Gamma(2, .4), 80 events in 10
    grid = np.linspace(-30.0, 12.0, 8001)
    curve = EvidenceCurve.exact(grid, 80.0 * grid - 10.0 * np.exp(grid), Gamma(2.0, 0.4), 24.0)
    assert analyse_belief(Gamma(20.0, 4.0), curve).reference.bf == pytest.approx(1.808396, abs=1e-6)


def test_a_belief_that_the_data_support_is_no_conflict_and_can_be_confirmed() -> None:
    result = analyse_belief(Normal(0.27, 0.05), TV_CURVE)
    assert (result.conflict, result.finding, result.severity) == (False, Finding.AGREES, Severity.WEAK)
    assert result.confirms
    assert result.reference.bf < 1.0 / 3.0


@pytest.mark.parametrize("tau", [0.02, 0.1, 0.2])
@pytest.mark.parametrize("mu", [0.2, 0.3, 0.5, 0.6])
def test_no_alternative_beats_the_point_at_the_estimate(mu: float, tau: float) -> None:
    # methods/conflict.md §3 A: BF ≤ exp(z²/2) v/s
    v = math.hypot(tau, 0.05)
    bound = 0.5 * ((mu - 0.25) / v) ** 2 + math.log(v / 0.05)
    for prior in (Normal(mu, tau), by_quadrature(Normal(mu, tau))):
        result = analyse_belief(prior, TV_CURVE)
        assert result.point_mle.log_bf == pytest.approx(bound, abs=1e-9)
        for factor in (result.recentred, result.widened, result.reference):
            assert factor.log_bf <= bound + 1e-9
        assert result.recentred.log_bf >= 0.0
        assert result.widened.log_bf > math.log(1.0 / 3.0)


@pytest.mark.parametrize("reference", [Uniform(0.0, 1.0), Beta(2.0, 3.0), LogNormal(0.0, 1.0), Normal(0.0, 1.0)])
def test_a_client_that_is_the_reference_has_factor_one(reference: Distribution) -> None:
    u = reference.support.to_unconstrained(reference.ppf(0.6))
    curve = EvidenceCurve.normal(float(u), 0.2, reference, 24.0)
    assert analyse_belief(reference, curve).reference.log_bf == pytest.approx(0.0, abs=1e-12)


def test_factors_between_experts_are_transitive() -> None:
    curve = binomial_curve(15, 20)
    a, b, c = (bayes_factor.log_marginal(Overlay(p, curve)) for p in (Beta(2, 8), Beta(5, 5), Beta(8, 2)))
    assert (b - a) + (c - b) == pytest.approx(c - a, abs=1e-12)
    # Beta-binomial evidence ratio in closed form
    expected = (
        special.betaln(8 + 15, 2 + 5) - special.betaln(8, 2) - special.betaln(2 + 15, 8 + 5) + special.betaln(2, 8)
    )
    assert c - a == pytest.approx(expected, abs=1e-8)


def test_log_reparametrisation_leaves_every_invariant_figure_unchanged() -> None:
    log_curve = EvidenceCurve.normal(0.4, 0.2, LogNormal(0.0, 2.0), 24.0)
    plain_curve = EvidenceCurve.normal(0.4, 0.2, Normal(0.0, 2.0), 24.0)
    a, b = (
        analyse_belief(by_quadrature(prior), curve)
        for prior, curve in ((LogNormal(1.0, 0.25), log_curve), (Normal(1.0, 0.25), plain_curve))
    )
    for name in ("recentred", "widened", "reference", "point_mle"):
        assert getattr(a, name).log_bf == pytest.approx(getattr(b, name).log_bf, abs=1e-8)
    assert a.kl.value == pytest.approx(b.kl.value, abs=1e-8)
    assert a.p.value == pytest.approx(b.p.value, abs=1e-10)


def test_a_share_belief_in_another_family_gets_another_factor() -> None:
    # methods/conflict.md §8: the family matters
    curve = binomial_curve(19, 76)
    beta = analyse_belief(Beta(12.0, 12.0), curve)
    cut = analyse_belief(TruncatedNormal(0.5, 0.1, 0.0, 1.0), curve)
    plain = analyse_belief(TV, curve)
    assert beta.recentred.bf != pytest.approx(cut.recentred.bf, rel=0.02)
    # a plain normal moves along the share itself, a truncated one along its logit
    assert plain.recentred.bf != pytest.approx(cut.recentred.bf, rel=0.02)
    assert plain.reference.bf == pytest.approx(cut.reference.bf, rel=1e-6)


@pytest.mark.parametrize("reference", [Normal(0.5, 100.0), Uniform(0.0, 1.0)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_curve_from_draws_reproduces_the_exact_figures_within_its_error(seed: int, reference: Distribution) -> None:
    draws = np.random.default_rng(seed).normal(0.25, 0.05, (8, 500))
    exact = analyse_belief(TV, EvidenceCurve.normal(0.25, 0.05, reference, 24.0, support=REAL_LINE))
    found = analyse_belief(TV, EvidenceCurve.from_draws(draws, reference, 24.0), draws=draws)
    assert found.status is Status.OK
    for name in ("recentred", "reference"):
        a, b = getattr(exact, name), getattr(found, name)
        assert 0.0 < b.mcse < 0.06
        assert abs(a.log_bf - b.log_bf) < 4.0 * b.mcse
    assert abs(found.p.value - exact.p.value) < 4.0 * found.p.se
    assert abs(found.kl.value - exact.kl.value) < 4.0 * found.kl.mcse
    assert abs(found.wasserstein.w1 - exact.wasserstein.w1) < 4.0 * found.wasserstein.w1_mcse
    assert found.recentred.khat is not None
    assert found.recentred.khat < 0.5
    assert found.wasserstein.w1_floor < found.wasserstein.w1


def test_stated_errors_match_the_scatter_over_repetitions() -> None:
    rng = np.random.default_rng(11)
    overlays = [
        Overlay(TV, EvidenceCurve.from_draws(rng.normal(0.25, 0.05, (8, 500)), Normal(0.5, 100.0), 24.0))
        for _ in range(25)
    ]
    factors = [bayes_factor.reference(Ladder.climb(overlay)) for overlay in overlays]
    scatter = np.std([f.log_bf for f in factors])
    stated = np.mean([f.mcse for f in factors])
    assert 0.6 < stated / scatter < 1.7


def test_draws_from_another_posterior_make_the_two_estimators_disagree() -> None:
    rng = np.random.default_rng(4)
    curve = EvidenceCurve.from_draws(rng.normal(0.25, 0.05, (8, 500)), Normal(0.5, 100.0), 24.0)
    result = analyse_belief(TV, curve, draws=rng.normal(0.32, 0.05, (8, 500)))
    assert result.status is Status.UNRELIABLE
    assert any("disagree" in reason for reason in result.reasons)


def test_an_unreliable_result_has_no_severity_and_declares_nothing() -> None:
    # half of the belief lies outside what the reference considers possible
    result = analyse_belief(Normal(0.5, 0.1), EvidenceCurve.normal(0.1, 0.02, Normal(0.1, 0.13), 24.0))
    assert result.status is Status.UNRELIABLE
    assert result.finding is Finding.UNRELIABLE
    assert result.severity is None
    assert result.conflict is False
    assert "outside the range of the reference" in result.reasons[0]


@pytest.mark.parametrize(
    ("changes", "word"), [({"n_effective": 399.0}, "effective sample size"), ({"r_hat": 1.02}, "R-hat")]
)
def test_poor_sampling_is_refused(changes: dict, word: str) -> None:
    draws = np.random.default_rng(1).normal(0.25, 0.05, (8, 500))
    curve = dataclasses.replace(EvidenceCurve.from_draws(draws, Normal(0.5, 100.0), 24.0), **changes)
    result = analyse_belief(TV, curve)
    assert result.status is Status.UNRELIABLE
    assert word in result.reasons[0]


def test_a_label_near_its_cut_is_borderline() -> None:
    # z²/2 = ln 10 up to Monte Carlo error
    z = math.sqrt(2.0 * math.log(10.0))
    prior = Normal(0.25 + z * math.hypot(0.1, 0.05), 0.1)
    draws = np.random.default_rng(1).normal(0.25, 0.05, (8, 500))
    result = analyse_belief(prior, EvidenceCurve.from_draws(draws, Normal(0.5, 100.0), 24.0))
    assert result.status is Status.BORDERLINE
    assert result.severity_probability < 0.95
    assert result.severity is not None


def test_silent_data_are_not_agreement() -> None:
    result = analyse_belief(Normal(0.5, 0.1), EvidenceCurve.normal(0.5, 1.0, Normal(0.5, 0.3), 24.0))
    assert result.finding is Finding.DATA_SILENT
    assert result.conflict is False


def test_a_confidence_threshold_turns_the_rule_into_p() -> None:
    strict = analyse_belief(TV, TV_CURVE, ConflictRule(confidence_threshold=0.98))
    loose = analyse_belief(TV, TV_CURVE, ConflictRule(confidence_threshold=0.97))
    assert (strict.conflict, loose.conflict) == (False, True)  # p = .0253
    assert loose.rule.null_rate == pytest.approx(0.03)


def test_a_conflict_threshold_moves_the_flag_but_not_the_label() -> None:
    result = analyse_belief(TV, TV_CURVE, ConflictRule(conflict_threshold=76.0))
    assert (result.conflict, result.severity) == (False, Severity.STRONG)
    assert 1.0 - (1.0 - result.rule.null_rate) ** 10 == pytest.approx(0.032, abs=5e-4)  # methods/conflict.md §3 C


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("confidence_threshold", {"confidence_threshold": 1.0}),
        ("conflict_threshold", {"conflict_threshold": 1.0}),
        ("conflict_threshold", {"conflict_threshold": math.nan}),
    ],
)
def test_a_bad_threshold_is_refused_by_name(field: str, arguments: dict) -> None:
    with pytest.raises(InvalidInput) as caught:
        ConflictRule(**arguments)
    assert caught.value.field == field


def test_a_belief_on_a_disjoint_range_is_refused() -> None:
    curve = EvidenceCurve.normal(0.0, 0.3, Uniform(0.0, 1.0), 24.0)
    with pytest.raises(InvalidInput, match="range"):
        analyse_belief(Uniform(0.5, 2.0), curve)


def test_a_far_tight_client_is_still_integrated() -> None:
    # 50 client sds and 50 data sds apart: the product of the two peaks in between, where neither grid is dense
    prior = Normal(10.0, 0.1)
    curve = EvidenceCurve.normal(0.0, 0.1, Normal(0.0, 1000.0), 24.0)
    a = bayes_factor.log_marginal(Overlay(prior, curve))
    b = bayes_factor.log_marginal(Overlay(by_quadrature(prior), curve))
    assert a == pytest.approx(b, rel=1e-9)


def test_right_beliefs_are_called_wrong_as_often_as_stated() -> None:
    # methods/conflict.md §14 property tests: data from the client's own predictive
    rng = np.random.default_rng(20)
    n, mu, tau, s = 2000, 0.5, 0.1, 0.05
    v = math.hypot(tau, s)
    estimates = rng.normal(mu, v, n)
    reference = Normal(0.5, 10.0)
    recentred, widened, p = np.empty(n), np.empty(n), np.empty(n)
    prior = Normal(mu, tau)
    for i, estimate in enumerate(estimates):
        overlay = Overlay(prior, EvidenceCurve.normal(float(estimate), s, reference, 24.0))
        recentred[i] = bayes_factor.recentred(Ladder.climb(overlay)).bf
        widened[i] = bayes_factor.widened(Ladder.climb(overlay)).bf
        p[i] = 2.0 * stats.norm.sf(overlay.normal_pair.z)
    assert np.mean(recentred >= 10.0) == pytest.approx(0.0319, abs=0.008)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert widened.mean() == pytest.approx(1.0, abs=4.0 * widened.std() / math.sqrt(n))


def test_data_outside_a_narrow_belief_count_in_p_and_distance() -> None:
    # the belief Uniform(.5, .7) excludes everything that the data say, N(.25, .05)
    result = analyse_belief(Uniform(0.5, 0.7), TV_CURVE)
    assert result.kl.value == math.inf
    assert result.p.value < 1e-4
    assert result.wasserstein.w1 == pytest.approx(0.6 - 0.25, abs=1e-4)
    assert result.conflict


def test_a_belief_outside_the_range_of_the_quantity_is_refused() -> None:
    with pytest.raises(InvalidInput, match="outside the range"):
        analyse_belief(Normal(3.0, 0.5), EvidenceCurve.normal(0.0, 0.3, Uniform(0.0, 1.0), 24.0))


def test_a_normal_belief_on_a_share_is_cut_off_with_a_note() -> None:
    result = analyse_belief(Normal(0.1, 0.06), EvidenceCurve.normal(-1.5, 0.3, Uniform(0.0, 1.0), 24.0))
    assert any("cut off" in reason for reason in result.reasons)
    assert math.isfinite(result.recentred.log_bf)


@pytest.mark.parametrize(("lift", "status"), [(1.0, Status.BORDERLINE), (50.0, Status.UNRELIABLE)])
def test_a_label_that_hangs_on_tails_without_draws_is_open_or_refused(lift: float, status: Status) -> None:
    # lift raises the tail twin of L above 0.3, where the client is: strong becomes moderate, then weak
    draws = np.random.default_rng(1).normal(0.25, 0.05, (8, 500))
    curve = EvidenceCurve.from_draws(draws, Normal(0.5, 100.0), 24.0)
    twin = curve.log_likelihood + lift * np.clip((curve.grid - 0.3) / 0.05, 0.0, 1.0)
    twin = np.minimum(twin, curve.log_likelihood.max())
    result = analyse_belief(TV, dataclasses.replace(curve, heavy_tail_log_likelihood=twin))
    assert result.status is status
    assert (result.severity is None) is (status is Status.UNRELIABLE)


def test_figures_of_a_fit_that_must_not_be_relied_on_are_no_findings_however_the_curve_looks() -> None:
    # The worked example is a clear conflict.
    figures = analyse_belief(TV, TV_CURVE, of_fit=("the sampler did not meet its thresholds",))
    assert (figures.status, figures.finding) == (Status.UNRELIABLE, Finding.UNRELIABLE)
    assert "the sampler did not meet its thresholds" in figures.reasons
    assert (figures.conflict, figures.confirms) == (False, False)
    assert figures.severity is None
