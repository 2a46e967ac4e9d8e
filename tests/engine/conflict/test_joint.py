"""Joint conflict: chi-square calibration, and conflicts that no single quantity shows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from engine.conflict.curve import EvidenceCurve
from engine.conflict.joint import JointBeliefs, identified_sums, joint_beliefs, joint_conflict
from engine.conflict.severity import calibrated_log_bf, calibrated_log_bf_of_log
from engine.conflict.shares import DirichletShares, coherent_shares, log_ratios
from engine.distributions.distribution import Beta, Distribution, Normal, Uniform
from engine.errors import InvalidInput


def test_one_quantity_gives_the_recentred_factor() -> None:
    # methods/conflict.md §14 id 1
    joint = joint_conflict([Normal(0.5, 0.1)], [0.25], [[0.0025]])
    assert math.sqrt(joint.d2) == pytest.approx(2.236068, abs=5e-7)
    assert joint.p == pytest.approx(0.0253473, abs=5e-8)
    assert math.exp(joint.log_bf_cal) == pytest.approx(12.18249, abs=5e-6)


def test_negative_correlation_hides_a_joint_conflict_from_the_margins() -> None:
    # methods/conflict.md §8: both media a little too high, estimates that can only trade one for the other
    s = 0.1
    cov = s**2 * np.array([[1.0, -0.98], [-0.98, 1.0]])
    beliefs = [Normal(0.5, 0.04), Normal(0.45, 0.04)]
    joint = joint_conflict(beliefs, [0.36, 0.31], cov)
    single = [(0.14 / math.hypot(0.04, s)) ** 2] * 2
    assert all(stats.chi2.sf(d2, 1) > 0.15 for d2 in single)
    assert joint.p < 1e-3
    assert joint.worst_direction == pytest.approx((-math.sqrt(0.5), -math.sqrt(0.5)), rel=1e-9)


def test_right_beliefs_exceed_ten_as_often_jointly_as_singly() -> None:
    # BF_cal has one null rate for every k (methods/conflict.md §3 B: the raw exp(D²/2) has .466 at k = 5)
    rng = np.random.default_rng(3)
    k, n = 5, 3000
    beliefs = [Normal(0.0, 1.0)] * k
    cov = 0.5 * np.eye(k) + 0.5
    chol = np.linalg.cholesky(cov + np.eye(k))
    hits = [joint_conflict(beliefs, chol @ rng.normal(size=k), cov).log_bf_cal >= math.log(10.0) for _ in range(n)]
    assert np.mean(hits) == pytest.approx(0.0319, abs=4.0 * math.sqrt(0.0319 / n))


def test_a_hopeless_belief_has_a_finite_factor() -> None:
    joint = joint_conflict([Normal(0.0, 0.01)], [10.0], [[0.0001]])
    assert math.isfinite(joint.log_bf_cal)
    assert joint.p == 0.0


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("data_mean", ([], [], np.zeros((0, 0)))),
        ("data_mean", ([Normal(0.0, 1.0)], [math.nan], [[1.0]])),
        ("data_cov", ([Normal(0.0, 1.0)] * 2, [0.0, 0.0], [[1.0, 0.5], [0.2, 1.0]])),
        ("data_cov", ([Normal(0.0, 1.0)] * 2, [0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])),
    ],
)
def test_bad_input_is_refused_by_name(field: str, arguments: tuple) -> None:
    with pytest.raises(InvalidInput) as caught:
        joint_conflict(*arguments)
    assert caught.value.field == field


FLAT = Normal(0.5, 100.0)


def together(
    priors: list[Distribution], draws: np.ndarray, reference: Distribution = FLAT, whole: tuple[int, ...] = ()
):
    curves = [EvidenceCurve.from_draws(row.reshape(16, -1), reference, 24.0) for row in draws]
    return joint_beliefs(priors, curves, draws, whole)


def test_a_joint_conflict_names_its_direction_and_what_is_left_without_each_belief() -> None:
    rng = np.random.default_rng(8)
    cov = 0.01 * np.array([[1.0, -0.98, 0.0], [-0.98, 1.0, 0.0], [0.0, 0.0, 1.0]])
    draws = rng.multivariate_normal([0.36, 0.31, 0.2], cov, 6400).T
    found = together([Normal(0.5, 0.04), Normal(0.45, 0.04), Normal(0.2, 0.05)], draws)
    assert found.conflict.df == 3
    assert found.conflict.p < 2e-3
    first, second, third = found.conflict.worst_direction
    assert first == pytest.approx(second, abs=0.03)
    assert first < -0.6
    assert abs(third) < 0.1
    without = [one.d2 for one in found.without if one is not None]
    assert without[2] > 0.9 * found.conflict.d2
    assert max(without[:2]) < 0.2 * found.conflict.d2


def test_the_joint_answer_does_not_depend_on_the_order_of_the_beliefs() -> None:
    rng = np.random.default_rng(9)
    draws = rng.dirichlet([6.0, 3.0, 2.0], 6400).T
    priors: list[Distribution] = [Beta(12.0, 12.0), Beta(8.0, 16.0), Beta(4.0, 20.0)]
    order = [2, 0, 1]
    for whole in ((), (0, 1, 2)):
        one = together(priors, draws, Uniform(0.0, 1.0), whole)
        other = together([priors[i] for i in order], draws[order], Uniform(0.0, 1.0), whole)
        assert one.conflict.d2 == pytest.approx(other.conflict.d2, rel=1e-9)
        assert np.array(one.conflict.worst_direction)[order] == pytest.approx(other.conflict.worst_direction, abs=1e-9)
        assert [one.without[i].d2 for i in order] == pytest.approx([w.d2 for w in other.without], rel=1e-9)  # type: ignore[union-attr]


def test_shares_of_a_whole_are_compared_by_log_ratios_with_one_degree_of_freedom_fewer() -> None:
    draws = np.random.default_rng(10).dirichlet([6.0, 3.0, 2.0], 6400).T
    found = together([Beta(6.0, 5.0), Beta(3.0, 8.0), Beta(2.0, 9.0)], draws, Uniform(0.0, 1.0), (0, 1, 2))
    assert found.conflict.df == 2
    assert found.incoherence_z == pytest.approx(0.0, abs=1e-9)
    assert all(one is not None and one.df == 2 for one in found.without)


def test_stated_shares_are_made_to_sum_to_one_by_conditioning() -> None:
    # methods/conflict.md §8
    found = coherent_shares([Normal(0.5, 0.1), Normal(0.35, 0.08), Normal(0.3, 0.06)])
    assert found.means == pytest.approx([0.425, 0.302, 0.273], abs=1e-12)
    assert found.moved == pytest.approx([-0.075, -0.048, -0.027], abs=1e-12)
    assert found.incoherence_z == pytest.approx(1.06, abs=5e-3)


def test_shares_that_leave_no_room_for_each_other_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no room"):
        coherent_shares([Normal(0.9, 0.01), Normal(0.8, 0.01), Normal(0.1, 0.3)])


def test_silent_quantities_keep_their_reference_in_the_joint_data_side() -> None:
    # a posterior that is its prior says nothing: without the reference it would be improper
    rng = np.random.default_rng(11)
    draws = np.stack([rng.normal(0.25, 0.05, 6400), rng.normal(0.5, 0.2, 6400)])
    curves = [
        EvidenceCurve.from_draws(draws[0].reshape(16, -1), FLAT, 24.0),
        EvidenceCurve.from_draws(draws[1].reshape(16, -1), Normal(0.5, 0.2), 24.0),
    ]
    found = joint_beliefs([Normal(0.25, 0.1), Normal(0.5, 0.1)], curves, draws)
    assert found.effective_draws > 6000
    assert found.conflict.d2 < 1.0


def test_a_correlation_of_the_beliefs_enters_their_covariance() -> None:
    draws = np.random.default_rng(12).multivariate_normal([0.36, 0.31], 0.01 * np.eye(2), 6400).T
    curves = [EvidenceCurve.from_draws(row.reshape(16, -1), FLAT, 24.0) for row in draws]
    priors = [Normal(0.5, 0.1), Normal(0.45, 0.1)]
    data = np.cov(draws)
    d = draws.mean(axis=1) - [0.5, 0.45]
    for r in (0.0, 0.8, -0.8):
        found = joint_beliefs(priors, curves, draws, correlation=[[1.0, r], [r, 1.0]])
        by_hand = d @ np.linalg.solve(0.01 * np.array([[1.0, r], [r, 1.0]]) + data, d)
        assert found.conflict.d2 == pytest.approx(by_hand, rel=1e-3)
    with pytest.raises(InvalidInput, match="correlation"):
        joint_beliefs(priors, curves, draws, correlation=[[1.0, 2.0], [2.0, 1.0]])


@pytest.mark.parametrize("alpha", [(5.0, 3.0, 2.0), (0.8, 4.0, 9.0, 1.5)])
def test_shares_stated_together_are_drawn_from_their_dirichlet_law(alpha: tuple[float, ...]) -> None:
    # moments of log-ratios are digamma and trigamma differences (Aitchison 1986)
    parts = np.asarray(alpha)
    found = log_ratios(DirichletShares(tuple(range(len(alpha))), alpha).sample(np.random.default_rng(13), 400_000))
    mean = special.digamma(parts[:-1]) - special.digamma(parts[-1])
    np.testing.assert_allclose(found.mean(axis=1), mean, atol=0.02)
    cov = np.diag(special.polygamma(1, parts[:-1])) + special.polygamma(1, parts[-1])
    np.testing.assert_allclose(np.cov(found), cov, rtol=0.03)


def test_shares_that_were_stated_together_and_agree_with_the_data_are_no_conflict() -> None:
    alpha = (6.0, 3.0, 2.0)
    draws = np.random.default_rng(14).dirichlet([60.0, 30.0, 20.0], 6400).T
    whole = DirichletShares((0, 1, 2), alpha)
    found = _with_groups([Beta(6.0, 5.0), Beta(3.0, 8.0), Beta(2.0, 9.0)], draws, [whole], (0, 1, 2))
    assert found.conflict.df == 2
    assert found.conflict.d2 < 0.5
    assert [one.df for one in found.without if one is not None] == [1, 1, 1]


def test_shares_with_a_rest_have_a_ratio_each_and_the_order_does_not_matter() -> None:
    # The rest is the baseline: shares of outcome of two channels and 70 % of nothing; radio is far too high.
    draws = np.random.default_rng(15).dirichlet([80.0, 20.0, 300.0], 6400).T[:2]
    priors: list[Distribution] = [Beta(4.0, 16.0), Beta(8.0, 12.0)]
    found = _with_groups(priors, draws, [DirichletShares((0, 1), (4.0, 8.0, 8.0))])
    assert found.conflict.df == 2
    turned = _with_groups(priors[::-1], draws[::-1], [DirichletShares((1, 0), (4.0, 8.0, 8.0))])
    assert turned.conflict.d2 == pytest.approx(found.conflict.d2, rel=1e-9)
    assert turned.conflict.worst_direction[::-1] == pytest.approx(found.conflict.worst_direction, abs=1e-9)
    assert found.conflict.worst_direction[1] < -0.9


def _with_groups(
    priors: list[Distribution], draws: np.ndarray, groups: list[DirichletShares], whole: tuple[int, ...] = ()
):
    curves = [EvidenceCurve.from_draws(row.reshape(16, -1), Uniform(0.0, 1.0), 24.0) for row in draws]
    return joint_beliefs(priors, curves, draws, whole, groups=groups)


def test_the_logits_of_two_shares_that_sum_to_one_are_each_others_opposite() -> None:
    assert DirichletShares((0, 1), (3.0, 2.0)).logit_correlation()[0, 1] == pytest.approx(-1.0, abs=1e-9)
    with_rest = DirichletShares((0, 1), (3.0, 2.0, 5.0)).logit_correlation()
    assert -1.0 < with_rest[0, 1] < 0.0


@pytest.mark.parametrize("alpha", [(1.0,), (1.0, 2.0, 3.0, 4.0), (1.0, 0.0), (1.0, math.nan)])
def test_parameters_that_no_dirichlet_law_has_are_refused(alpha: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput) as caught:
        DirichletShares((0, 1), alpha)
    assert caught.value.field == "alpha"


def posterior_curves(alpha: np.ndarray, counts: np.ndarray, seed: int) -> tuple[list[EvidenceCurve], np.ndarray]:
    """Curves and draws [k, n] of all but the last share, from counts under a flat Dirichlet reference."""
    draws = np.random.default_rng(seed).dirichlet(1.0 + counts, 2000).T[:-1]
    flat = Beta(1.0, alpha.size - 1.0)
    made = [
        EvidenceCurve.from_draws(row.reshape(4, 500), flat, 24.0, n_effective=2000.0, r_hat=1.0, with_error=False)
        for row in draws
    ]
    return made, draws


def test_without_one_of_its_shares_a_group_still_agrees_with_data_that_agree() -> None:
    # The share that is left out belongs to the rest: Dirichlet laws aggregate.
    alpha = np.array([20.0, 12.0, 8.0])
    group = DirichletShares((0, 1), tuple(alpha))
    left = group.without(1)
    assert left == DirichletShares((0,), (20.0, 20.0))
    assert left.without(0) is None
    curves, draws = posterior_curves(alpha, 10.0 * alpha, 5)
    found = joint_beliefs([Beta(a, 40.0 - a) for a in alpha[:2]], curves, draws, groups=[group])
    assert found.conflict.d2 < 0.1
    assert all(one is not None and one.df == 1 and one.d2 < 0.1 for one in found.without)


def test_without_one_of_its_shares_a_right_group_has_a_uniform_p_value() -> None:
    rng, alpha = np.random.default_rng(11), np.array([20.0, 12.0, 8.0])
    group = DirichletShares((0, 1), tuple(alpha))
    p_values = []
    for seed in range(40):
        curves, draws = posterior_curves(alpha, rng.multinomial(80, rng.dirichlet(alpha)), seed)
        found = joint_beliefs([Beta(a, 40.0 - a) for a in alpha[:2]], curves, draws, groups=[group])
        p_values.append([one.p for one in found.without if one is not None])
    assert np.shape(p_values) == (40, 2)
    for column in np.transpose(p_values):
        assert stats.kstest(column, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    "alpha", [(600.0, 1e-3, 1e-3), (23.5, 0.24), (0.2, 0.2), (1e-3, 1e-3, 1e-3), (135.5, 1.4, 1.4)], ids=str
)
def test_the_correlation_of_logits_is_one_whatever_share_dominates(alpha: tuple[float, ...]) -> None:
    matrix = DirichletShares(tuple(range(len(alpha))), alpha).logit_correlation()
    assert np.all(np.isfinite(matrix))
    assert np.linalg.eigvalsh(matrix)[0] > -1e-9
    assert np.diag(matrix) == pytest.approx(np.ones(len(alpha)))
    if len(alpha) == 2:
        assert matrix[0, 1] == -1.0


def ridge(along: float, across: float) -> np.ndarray:
    """Covariance [2, 2] of two quantities of which the data know the sum better than the parts."""
    return 0.5 * (along**2 * np.array([[1.0, -1.0], [-1.0, 1.0]]) + across**2 * np.ones((2, 2)))


def shares_posterior(rng: np.random.Generator, estimate: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Draws [2, 4000] of two shares with this normal likelihood under Beta(1, 3) reference priors, from a grid."""
    cells = (np.arange(250) + 0.5) / 250.0
    at = np.stack(np.meshgrid(cells, cells, indexing="ij")).reshape(2, -1)
    off = at - estimate[:, None]
    log_density = -0.5 * np.sum(off * np.linalg.solve(cov, off), axis=0) + 2.0 * np.log1p(-at).sum(axis=0)
    mass = np.exp(log_density - log_density.max()) * (at.sum(axis=0) < 1.0)
    chosen = rng.choice(at.shape[1], 4000, p=mass / mass.sum())
    return at[:, chosen] + rng.uniform(-0.5, 0.5, (2, 4000)) / 250.0


def of_shares(beliefs: list[Distribution], draws: np.ndarray) -> JointBeliefs:
    curves = [
        EvidenceCurve.from_draws(
            row.reshape(8, -1), Beta(1.0, 3.0), 24.0, n_effective=4000.0, r_hat=1.0, with_error=False
        )
        for row in draws
    ]
    return joint_beliefs(beliefs, curves, draws, totals=[[1.0, 1.0]])


WORLDS: dict[str, tuple[list[Distribution], np.ndarray]] = {
    "bulk": ([Beta(30.0, 70.0), Beta(20.0, 80.0)], ridge(0.06, 0.04)),
    "ridge": ([Beta(15.0, 85.0), Beta(15.0, 85.0)], ridge(0.3, 0.05)),
    "ridge into a corner": ([Beta(2.0, 98.0), Beta(28.0, 72.0)], ridge(0.3, 0.02)),
    "corner": ([Beta(1.5, 148.5), Beta(1.5, 98.5)], ridge(0.05, 0.05)),
}


def null_p_values(world: str, n: int, seed: int) -> np.ndarray:
    """p [n] of right beliefs: shares from the beliefs, estimates from these, posteriors from these."""
    beliefs, cov = WORLDS[world]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        truth = np.array([float(law.sample(rng, 1)[0]) for law in beliefs])
        estimate = rng.multivariate_normal(truth, cov)
        found.append(of_shares(beliefs, shares_posterior(rng, estimate, cov)).conflict.p)
    return np.array(found)


@pytest.mark.parametrize("world", WORLDS)
def test_right_beliefs_about_shares_are_seldom_called_wrong_together(world: str) -> None:
    # The 99.9 % point of a binomial at .0319 and 30 is 5.
    p = null_p_values(world, 30, 1)
    assert np.sum(p <= 0.0319) <= 5
    assert p.min() > 1e-5
    assert p.max() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_right_beliefs_on_ridges_and_in_corners_are_called_wrong_as_often_as_stated(world: str) -> None:
    p = null_p_values(world, 1000, 2)
    for level in (0.0319, 0.005):
        assert np.mean(p <= level) <= 1.5 * level + 4.0 * math.sqrt(level / 1000.0), level


def test_the_data_on_a_sum_contradict_the_beliefs_as_the_merged_belief() -> None:
    # Two shares of 30 % ± 3 % where the data know that together they are 30 % ± 4 %: alone either could be.
    rng = np.random.default_rng(4)
    draws = shares_posterior(rng, np.array([0.15, 0.15]), ridge(0.5, 0.03))
    found = of_shares([Beta(69.7, 162.633), Beta(69.7, 162.633)], draws)
    total = draws.sum(axis=0)
    z = (0.6 - total.mean()) / math.hypot(total.std(), 0.03 * math.sqrt(2.0))
    assert z > 3.5
    assert found.conflict.log_bf_cal > 0.5 * z**2 - 1.5
    assert all(one is not None and one.p > 0.05 for one in found.without)
    assert found.conflict.worst_direction == pytest.approx((-math.sqrt(0.5), -math.sqrt(0.5)), abs=0.1)
    (identified,) = found.identified_sums
    assert identified.places == (0, 1)
    assert (identified.mean, identified.sd) == pytest.approx((total.mean(), total.std()), rel=1e-3)
    again = of_shares([Beta(69.7, 162.633), Beta(69.7, 162.633)], draws)
    assert again == found


def test_the_sum_of_a_pair_is_found_among_others_and_no_sum_where_none_is_known_better() -> None:
    rng = np.random.default_rng(6)
    draws = np.concatenate([rng.normal(0.2, 0.05, (1, 4000)), rng.multivariate_normal([1, 2], ridge(1.0, 0.1), 4000).T])
    (found,) = identified_sums(draws, np.ones(4000), [1.0, 1.0, 1.0])
    assert (found.places, found.weights) == ((1, 2), (0.0, 1.0, 1.0))
    assert identified_sums(draws, np.ones(4000), [1.0, 1.0, 0.0]) == []
    # In other units one of them is a tenth of what it was, and the sum is that of both in these.
    draws[1] *= 10.0
    (scaled,) = identified_sums(draws, np.ones(4000), [1.0, 0.1, 1.0])
    assert scaled.places == (1, 2)
    assert scaled.sd == pytest.approx(found.sd, rel=1e-9)


@pytest.mark.parametrize("p", [0.9, 0.0319, 1e-9, 1e-200])
def test_the_factor_of_a_logarithm_is_that_of_its_p(p: float) -> None:
    assert calibrated_log_bf_of_log(math.log(p)) == pytest.approx(calibrated_log_bf(p), rel=1e-9)
