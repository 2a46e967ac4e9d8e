"""Prior updates: the worked TV numbers and the invariants of every strategy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, special

from engine.conflict.curve import EvidenceCurve
from engine.conflict.divergence import prior_worth
from engine.conflict.overlay import Overlay
from engine.conflict.p_value import node_split
from engine.distributions.distribution import (
    Beta,
    Distribution,
    Gamma,
    Gridded,
    LogNormal,
    Mixture,
    Normal,
    StudentT,
    TruncatedNormal,
    Uniform,
)
from engine.distributions.support import REAL_LINE
from engine.errors import InvalidInput
from engine.updates.update import Action, Strategy, UpdateRule, _mix, update

TV = Normal(0.5, 0.1)


def curve(estimate: float = 0.25, s: float = 0.05) -> EvidenceCurve:
    return EvidenceCurve.normal(estimate, s, Uniform(-4.0, 5.0), 24.0, support=REAL_LINE)


def weighted(strength: float, gate: bool = True) -> UpdateRule:
    return UpdateRule(Strategy.EVIDENCE_WEIGHTED, min_evidence_strength=strength, gate=gate)


def by_quadrature(law: Distribution) -> Mixture:
    return Mixture((1.0,), (law,))


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_tv_evidence_weighted(prior: Distribution) -> None:
    # methods/conflict.md §12: T = 10
    result = update(prior, curve(), weighted(10.0))
    assert result.weight == pytest.approx(0.54919, abs=5e-6)
    assert result.distribution.mean == pytest.approx(0.36270, abs=5e-6)
    assert result.distribution.sd == pytest.approx(0.15960, abs=1e-5)
    assert (result.action, result.changed) == (Action.UPDATE, True)
    assert isinstance(result.distribution, Mixture)


def test_tv_evidence_weighted_at_even_odds() -> None:
    # methods/conflict.md §12: odds 1:1
    result = update(TV, curve(), weighted(1.0))
    assert result.weight == pytest.approx(0.92414, abs=5e-6)
    assert result.distribution.mean == pytest.approx(0.26896, abs=5e-6)
    assert result.distribution.sd == pytest.approx(0.11992, abs=5e-6)


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_tv_full_bayesian(prior: Distribution) -> None:
    law = update(prior, curve(), UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    assert (law.mean, law.sd) == pytest.approx((0.3, 0.04472), abs=5e-6)


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_tv_conservative(prior: Distribution) -> None:
    result = update(prior, curve(), UpdateRule(Strategy.CONSERVATIVE))
    assert (result.distribution.mean, result.distribution.sd) == pytest.approx((0.5, 0.24495), abs=5e-6)
    assert result.action is Action.WIDEN


def test_below_the_required_strength_the_object_itself_comes_back() -> None:
    result = update(TV, curve(), weighted(12.19))
    assert result.distribution is TV
    assert (result.action, result.changed) == (Action.KEEP, False)


def test_the_weight_rises_with_the_evidence_and_jumps_to_half_at_the_gate() -> None:
    v = math.hypot(0.1, 0.05)
    at_gate = 0.5 - v * math.sqrt(2.0 * math.log(10.0)) - 1e-9
    estimates = [at_gate, 0.25, 0.2, 0.1, -0.5]
    weights = [update(TV, curve(e), weighted(10.0)).weight for e in estimates]
    assert weights[0] == pytest.approx(0.5, abs=1e-6)
    assert weights == sorted(weights)


def test_overwhelming_evidence_leaves_the_recentred_client() -> None:
    result = update(TV, curve(-1.5), weighted(10.0))
    assert result.distribution.mean == pytest.approx(-1.5, abs=1e-6)
    assert result.distribution.sd == pytest.approx(0.1, abs=1e-6)


def test_a_demand_beyond_the_evidence_keeps_the_client() -> None:
    assert update(TV, curve(), weighted(1e9)).distribution is TV


@pytest.mark.parametrize("estimate", [0.2, 0.1, 0.0])
def test_the_mean_lies_between_belief_and_estimate_and_conflict_widens(estimate: float) -> None:
    law = update(TV, curve(estimate), weighted(10.0)).distribution
    assert estimate <= law.mean <= 0.5
    assert law.sd >= 0.1


def test_a_mixture_stays_flat_when_updated() -> None:
    prior = Mixture((0.5, 0.5), (Normal(0.5, 0.05), Normal(0.55, 0.1)))
    law = update(prior, curve(), weighted(2.0)).distribution
    assert isinstance(law, Mixture)
    assert len(law.components) == 4
    assert all(isinstance(c, Normal) for c in law.components)


def test_a_mixture_of_more_components_than_are_kept_becomes_a_density_of_the_same_law() -> None:
    prior = Mixture((0.2,) * 5, tuple(Normal(0.48 + 0.01 * i, 0.1) for i in range(5)))
    law = update(prior, curve(), weighted(2.0)).distribution
    assert isinstance(law, Gridded)
    weight = update(prior, curve(), weighted(2.0)).weight
    assert weight is not None
    assert prior.mean - law.mean == pytest.approx(weight * (prior.mean - 0.25), rel=1e-6)


def test_without_the_gate_the_weight_does_not_jump() -> None:
    v = math.hypot(0.1, 0.05)
    for z in (0.0, 0.5, 2.0, 2.2, 3.0):
        result = update(TV, curve(0.5 - z * v), weighted(10.0, gate=False))
        assert result.weight == pytest.approx(1.0 / (1.0 + 10.0 * math.exp(-0.5 * z * z)), rel=1e-9)


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
@pytest.mark.parametrize(
    ("power", "mean", "sd"), [(0.25, 0.375, 0.07071), (0.5, 0.33333, 0.05774), (1.0, 0.3, 0.04472)]
)
def test_tv_power_prior(prior: Distribution, power: float, mean: float, sd: float) -> None:
    # methods/conflict.md §12
    result = update(prior, curve(), UpdateRule(Strategy.POWER_PRIOR, power=power))
    assert (result.distribution.mean, result.distribution.sd) == pytest.approx((mean, sd), abs=5e-6)
    assert result.action is Action.UPDATE


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_tv_adaptive_power_prior(prior: Distribution) -> None:
    # methods/conflict.md §12: E b .4144, mode .1667; .5856 for an estimate of .45
    apart = update(prior, curve(), UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR))
    assert (apart.expected_power, apart.power_mode) == pytest.approx((0.4144, 0.1667), abs=5e-5)
    near = update(prior, curve(0.45), UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR))
    assert near.expected_power == pytest.approx(0.5856, abs=5e-5)
    assert near.power_mode == 1.0
    assert any("teaches little about the power" in reason for reason in near.reasons)


def test_the_adaptive_posterior_is_the_mixture_over_the_power() -> None:
    # By hand: of N(mu, tau/√b), b weighed by N(estimate; mu, √(tau²/b + s²)).
    def moment(order: int, b: float) -> float:
        v2 = 0.01 / b + 0.0025
        precision = b / 0.01 + 1.0 / 0.0025
        mean = (0.5 * b / 0.01 + 0.25 / 0.0025) / precision
        weight = math.exp(-0.5 * 0.0625 / v2) / math.sqrt(v2)
        return weight * (1.0, mean, mean**2 + 1.0 / precision)[order]

    total, first, second = (integrate.quad(lambda b, k=k: moment(k, b), 0.0, 1.0, epsabs=1e-12)[0] for k in range(3))
    law = update(TV, curve(), UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR)).distribution
    assert law.mean == pytest.approx(first / total, abs=1e-7)
    assert law.sd == pytest.approx(math.sqrt(second / total - (first / total) ** 2), abs=1e-7)


def test_the_power_of_a_beta_belief_is_learned_on_the_logit_scale_with_its_normaliser() -> None:
    # There Beta(a, b) to the power k is Beta(ka, kb), so that everything is known; 15 of 20 against Beta(4, 12).
    grid = np.linspace(-40.0, 40.0, 4001)
    log_l = 15.0 * special.log_expit(grid) + 5.0 * special.log_expit(-grid)
    binomial = EvidenceCurve.exact(grid, log_l, Uniform(0.0, 1.0), 24.0)

    def evidence(k: float) -> float:
        return math.exp(special.betaln(4.0 * k + 15.0, 12.0 * k + 5.0) - special.betaln(4.0 * k, 12.0 * k) + 12.0)

    def mean(k: float) -> float:
        return (4.0 * k + 15.0) / (16.0 * k + 20.0)

    total = integrate.quad(evidence, 0.0, 1.0)[0]
    result = update(Beta(4.0, 12.0), binomial, UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR))
    assert result.expected_power == pytest.approx(integrate.quad(lambda k: k * evidence(k), 0, 1)[0] / total, abs=1e-6)
    found = integrate.quad(lambda k: mean(k) * evidence(k), 0.0, 1.0)[0] / total
    assert result.distribution.mean == pytest.approx(found, abs=1e-6)


def test_a_heavy_tailed_belief_has_no_power_below_which_it_has_no_mass() -> None:
    # Student's t with 4 df to the power b falls like |v|^(-5b): proper from b = .2 on, so E b is above that.
    result = update(StudentT(4.0, 0.5, 0.1), curve(-1.5), UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR))
    assert result.expected_power is not None
    assert result.expected_power > 0.2
    assert math.isfinite(result.distribution.sd)


@pytest.mark.parametrize("prior", [TV, by_quadrature(TV)], ids=["closed form", "curve integral"])
def test_the_robust_mixture_weighs_belief_and_unit_information_by_the_data(prior: Distribution) -> None:
    # vague: N(.5, .05 √24); the reference's mean is .5
    result = update(prior, curve(), UpdateRule(Strategy.ROBUST_MIXTURE, robust_weight=0.3))
    law = result.distribution
    assert isinstance(law, Mixture)
    vague = law.components[1]
    assert isinstance(vague, Normal)
    assert (vague.mean, vague.sd) == pytest.approx((0.5, 0.05 * math.sqrt(24.0)), abs=1e-9)
    client = 0.7 * math.exp(Normal(0.5, math.hypot(0.1, 0.05)).logpdf(0.25))
    other = 0.3 * math.exp(Normal(0.5, math.hypot(vague.sd, 0.05)).logpdf(0.25))
    assert law.weights[0] == pytest.approx(client / (client + other), rel=1e-6)
    assert result.action is Action.ROBUSTIFY


def test_a_robust_mixture_without_a_vague_part_is_the_belief_and_without_the_belief_the_vague_part() -> None:
    assert update(TV, curve(), UpdateRule(Strategy.ROBUST_MIXTURE, robust_weight=0.0)).distribution is TV
    law = update(TV, curve(), UpdateRule(Strategy.ROBUST_MIXTURE, robust_weight=1.0)).distribution
    assert law == Normal(0.5, 0.05 * math.sqrt(24.0))


def test_a_share_is_made_robust_on_its_own_scale() -> None:
    grid = np.linspace(-40.0, 40.0, 4001)
    log_l = 15.0 * special.log_expit(grid) + 5.0 * special.log_expit(-grid)
    binomial = EvidenceCurve.exact(grid, log_l, Uniform(0.0, 1.0), 24.0)
    law = update(Beta(4.0, 12.0), binomial, UpdateRule(Strategy.ROBUST_MIXTURE)).distribution
    assert isinstance(law, Mixture)
    centre, spread = law.components[1].unconstrained_moments()
    data_side = np.exp(log_l - log_l.max())
    mean = float(np.average(grid, weights=data_side))
    s = math.sqrt(float(np.average((grid - mean) ** 2, weights=data_side)))
    assert (centre, spread) == pytest.approx((0.0, s * math.sqrt(24.0)), abs=1e-3)


def test_the_least_widening_for_a_p_value() -> None:
    # methods/conflict.md §12: tau* .11735 for p = .05, by formula and by search
    for prior in (TV, by_quadrature(TV)):
        result = update(prior, curve(), UpdateRule(Strategy.CONSERVATIVE, p_value=0.05))
        assert result.distribution.sd == pytest.approx(0.11735, abs=5e-6)
        assert node_split(Overlay(result.distribution, curve())).value == pytest.approx(0.05, abs=1e-6)
        assert update(prior, curve(), UpdateRule(Strategy.CONSERVATIVE, p_value=0.02)).distribution is prior


def test_full_bayesian_tends_to_the_prior_and_to_the_data() -> None:
    vague = update(TV, curve(0.25, 1e3), UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    sharp = update(TV, curve(0.25, 1e-6), UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    assert (vague.mean, vague.sd) == pytest.approx((0.5, 0.1), abs=1e-6)
    assert (sharp.mean, sharp.sd) == pytest.approx((0.25, 0.0), abs=2e-6)


def test_full_bayesian_warns_beyond_two_standard_deviations() -> None:
    assert any(
        "2 standard deviations" in r for r in update(TV, curve(0.25), UpdateRule(Strategy.FULL_BAYESIAN)).reasons
    )
    assert len(update(TV, curve(0.45), UpdateRule(Strategy.FULL_BAYESIAN)).reasons) == 1


def test_a_posterior_is_said_to_be_where_neither_is_only_where_it_is() -> None:
    # Data of 10 % ± 5 % against 50 % ± 10 %: 18 % ± 4.5 % in full, 30 % ± 7.1 % at a quarter of the weight.
    for rule in (UpdateRule(Strategy.FULL_BAYESIAN), UpdateRule(Strategy.POWER_PRIOR, power=0.25)):
        far = update(TV, curve(0.1), rule)
        assert far.reasons[1].endswith("what they give together lies where neither of them is")
        # At 25 % ± 5 % they are 2.2 standard deviations apart: that is no more than a warning.
        near = update(TV, curve(0.25), rule)
        assert near.reasons[1] == "belief and data are more than 2 standard deviations apart"
    # A heavy-tailed belief gives way: the posterior sits on the data.
    heavy = update(StudentT(4.0, 0.5, 0.03), curve(0.0), UpdateRule(Strategy.FULL_BAYESIAN))
    assert heavy.distribution.mean == pytest.approx(0.026, abs=1e-3)
    assert heavy.reasons[1] == "belief and data are more than 2 standard deviations apart"


@pytest.mark.parametrize(
    ("belief", "reference", "at"),
    [
        (LogNormal(math.log(2.0), 0.3), LogNormal(0.0, 3.0), math.log(0.5)),
        (Beta(45.0, 255.0), Beta(1.0, 3.0), math.log(0.02 / 0.98)),
        (TruncatedNormal(0.15, 0.02, 0.0, 1.0), Beta(1.0, 3.0), math.log(0.02 / 0.98)),
    ],
    ids=["above 0", "share", "share, truncated normal"],
)
def test_a_widened_belief_whose_mean_moves_away_from_the_data_is_told_with_its_median(
    belief: Distribution, reference: Distribution, at: float
) -> None:
    away = EvidenceCurve.normal(at, 0.1, reference, 24.0)
    found = update(belief, away, UpdateRule(Strategy.CONSERVATIVE))
    assert found.action is Action.WIDEN
    assert found.distribution.mean > belief.mean > away.data_side.mean
    assert float(found.distribution.ppf(0.5)) == pytest.approx(float(belief.ppf(0.5)), rel=1e-6)
    assert "the median stays at" in found.reasons[-1]
    assert "away from the" in found.reasons[-1]
    # With data on the other side the same widening moves the mean towards them: nothing to explain.
    towards = EvidenceCurve.normal(-at if belief.support.upper == math.inf else 1.0, 0.1, reference, 24.0)
    assert "away from" not in update(belief, towards, UpdateRule(Strategy.CONSERVATIVE)).reasons[-1]


def test_data_that_bound_the_quantity_on_one_side_only_widen_no_belief() -> None:
    # A weak channel: 2 % ± 2 %, with a likelihood that stays high down to nothing. ML-II would widen without end, and
    # the mean of the belief go from 5 % to 50 %.
    u = np.linspace(-30.0, 8.0, 4001)
    one_sided = EvidenceCurve.exact(
        u, -0.5 * ((0.005 - special.expit(u)) / 0.012) ** 2, Beta(1.0, 3.0), 24.0, quantity="share"
    )
    assert one_sided.reference_kept[0] > 0.0
    belief = Beta(2.6, 49.4)
    found = update(belief, one_sided, UpdateRule(Strategy.CONSERVATIVE))
    assert found.distribution is belief
    assert "do not bound the quantity" in found.reasons[0]


@pytest.mark.parametrize("strategy", Strategy)
def test_a_mean_never_moves_away_from_the_data_without_a_word(strategy: Strategy) -> None:
    rng = np.random.default_rng(4)
    told = 0
    for _ in range(40):
        belief = LogNormal(float(rng.normal(0.0, 1.0)), float(rng.uniform(0.1, 1.0)))
        data = EvidenceCurve.normal(
            float(rng.normal(0.0, 1.5)), float(rng.uniform(0.1, 0.8)), LogNormal(0.0, 3.0), 24.0
        )
        found = update(belief, data, UpdateRule(strategy, gate=False))
        target = data.data_side.mean
        if abs(found.distribution.mean - target) > abs(belief.mean - target) + 0.01 * belief.sd:
            assert any("away from the" in reason for reason in found.reasons)
            told += 1
        else:
            assert not any("away from the" in reason for reason in found.reasons)
    if strategy is Strategy.CONSERVATIVE:
        assert told


@pytest.mark.parametrize("prior", [Beta(0.5, 3.0), Gamma(0.5, 2.0), TruncatedNormal(0.0, 0.1, 0.0, 1.0)], ids=str)
def test_a_belief_that_rises_at_its_end_stays_itself_in_a_robust_mixture(prior: Distribution) -> None:
    summary = EvidenceCurve.normal(0.25, 0.05, Normal(0.3, 3.0), 24.0, support=REAL_LINE)
    law = update(prior, summary, UpdateRule(Strategy.ROBUST_MIXTURE)).distribution
    assert isinstance(law, Mixture)
    assert law.components[0] == prior
    assert law.support == REAL_LINE

    # And so on with the next data: each component has its own posterior.
    after = update(law, summary, UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    total, first = 0.0, 0.0
    for x in (np.linspace(-0.5, -1e-12, 20001), np.geomspace(1e-14, 1.0 - 1e-9, 200001)):
        density = np.exp(law.logpdf(x) - 0.5 * ((x - 0.25) / 0.05) ** 2)
        total, first = total + integrate.trapezoid(density, x), first + integrate.trapezoid(x * density, x)
    assert after.mean == pytest.approx(first / total, abs=1e-5)
    worth = prior_worth(Overlay(law, summary))
    assert worth.by_moments
    assert worth.months == pytest.approx(24.0 * (0.05 / law.sd) ** 2, rel=1e-3)


def test_a_robust_mixture_needs_data_that_say_something() -> None:
    rng = np.random.default_rng(1)
    reference = Beta(2.0, 4.0)
    silent = EvidenceCurve.from_draws(rng.beta(2.0, 4.0, (4, 1000)), reference, 24.0, n_effective=4000.0, r_hat=1.0)
    belief = Beta(6.0, 6.0)
    result = update(belief, silent, UpdateRule(Strategy.ROBUST_MIXTURE))
    assert result.distribution is belief
    assert "do not bound the quantity" in result.reasons[0]


def test_a_widened_mixture_is_said_to_have_several_modes() -> None:
    pair = Mixture((0.5, 0.5), (Normal(0.4, 0.03), Normal(0.6, 0.03)))
    result = update(pair, curve(0.0), UpdateRule(Strategy.CONSERVATIVE))
    assert isinstance(result.distribution, Mixture)
    assert "2 modes" in result.reasons[1]
    assert len(update(TV, curve(0.0), UpdateRule(Strategy.CONSERVATIVE)).reasons) == 1


def test_full_bayesian_of_a_beta_share_is_the_conjugate_posterior() -> None:
    grid = np.linspace(-40.0, 40.0, 4001)
    log_l = 15.0 * special.log_expit(grid) + 5.0 * special.log_expit(-grid)
    binomial = EvidenceCurve.exact(grid, log_l, Uniform(0.0, 1.0), 24.0)
    law = update(Beta(4.0, 6.0), binomial, UpdateRule(Strategy.FULL_BAYESIAN)).distribution
    q = [1e-4, 0.05, 0.5, 0.95, 0.9999]
    np.testing.assert_allclose(law.ppf(q), Beta(19.0, 11.0).ppf(q), rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda law: law, by_quadrature], ids=["closed form", "curve integral"])
@pytest.mark.parametrize("z", [0.0, 0.9, 0.99, 1.02, 1.5, 3.0])
def test_conservative_changes_exactly_beyond_one_standard_deviation(z: float, wrap) -> None:
    prior = wrap(TV)
    result = update(prior, curve(0.5 - z * math.hypot(0.1, 0.05)), UpdateRule(Strategy.CONSERVATIVE))
    assert result.changed is (z > 1.0)
    assert (result.distribution is prior) is (z <= 1.0)
    assert result.distribution.sd >= 0.1 - 1e-12
    assert result.distribution.mean == pytest.approx(0.5, abs=1e-9)


def test_conservative_keeps_the_median_of_a_skewed_belief() -> None:
    prior = LogNormal(math.log(3.0), 0.25)
    roi = EvidenceCurve.normal(math.log(1.5), 0.2, LogNormal(0.5, 2.0), 24.0)
    law = update(prior, roi, UpdateRule(Strategy.CONSERVATIVE)).distribution
    assert float(law.ppf(0.5)) == pytest.approx(3.0, rel=1e-9)
    assert isinstance(law, LogNormal)
    assert law.log_sd == pytest.approx(math.sqrt(math.log(2.0) ** 2 - 0.04), rel=1e-9)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_an_unreliable_curve_changes_nothing(strategy: Strategy) -> None:
    narrow = EvidenceCurve.normal(0.1, 0.02, Normal(0.1, 0.13), 24.0)
    result = update(TV, narrow, UpdateRule(strategy))
    assert result.distribution is TV
    assert result.action is Action.KEEP
    assert "outside the range of the reference" in result.reasons[0]


@pytest.mark.parametrize(
    "setting",
    [
        {"min_evidence_strength": 0.5},
        {"power": 1.5},
        {"power": math.nan},
        {"robust_weight": -0.1},
        {"p_value": 0.0},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidInput) as caught:
        UpdateRule(Strategy.EVIDENCE_WEIGHTED, **setting)  # type: ignore[arg-type]
    assert [caught.value.field] == list(setting)


@pytest.mark.parametrize(("ratio", "sd"), [(30.0, 0.249303), (500.0, 0.343741)])
def test_an_adaptive_power_keeps_its_narrow_part_beside_wide_data(ratio: float, sd: float) -> None:
    # ∫ v(b) w(b) db / ∫ w(b) db, v = 1/(b/tau² + 1/s²), w = 1/√(tau²/b + s²), by adaptive quadrature
    wide = EvidenceCurve.normal(0.5, 0.1 * ratio, Normal(0.0, ratio), 24.0)
    law = update(TV, wide, UpdateRule(Strategy.ADAPTIVE_POWER_PRIOR)).distribution
    assert law.sd == pytest.approx(sd, rel=1e-3)
    assert float(law.isf(0.05)) - 0.5 == pytest.approx(0.5 - float(law.ppf(0.05)), rel=1e-4)


def test_updates_of_updates_do_not_double_their_grids() -> None:
    prior: Distribution = Beta(12.0, 12.0)
    for share in (0.25, 0.4, 0.3, 0.5):
        moved = prior.shifted(math.log(share / (1 - share)))
        law = _mix(prior, moved, 0.5)
        assert sum(isinstance(part, Gridded) for part in getattr(law, "components", (law,))) <= 1
        x = np.linspace(0.01, 0.99, 99)
        wanted = 0.5 * prior.cdf(x) + 0.5 * moved.cdf(x)
        np.testing.assert_allclose(law.cdf(x), wanted, atol=1e-5)
        prior = law
