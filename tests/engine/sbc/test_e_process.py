"""E-process on ranks (methods/sbc.md §11)."""

import numpy as np
import pytest
from scipy import stats

from engine.sbc.e_process import ALTERNATIVES, evidence, log_factors
from engine.sbc.ledger import RankLedger, Status


def _ledger(ranks, draws, ids=None, status=None):
    ranks = np.atleast_2d(np.asarray(ranks, dtype=np.int32))
    n, p = ranks.shape
    return RankLedger(
        simulations=np.arange(n) if ids is None else np.asarray(ids),
        quantities=tuple(f"q{k}" for k in range(p)),
        ranks=ranks,
        n_draws=np.broadcast_to(np.asarray(draws, dtype=np.int32), n).copy(),
        v=np.full((n, p), 0.5),
        ties=np.zeros((n, p)),
        status=np.zeros(n, dtype=np.uint8) if status is None else np.asarray(status, dtype=np.uint8),
        r_hat=np.ones(n),
        ess=np.full(n, 400.0),
        mean=np.zeros((n, p)),
        sd=np.ones((n, p)),
        truth=np.zeros((n, p)),
    )


def test_every_factor_has_mean_one_under_uniform_ranks():
    for draws in (9, 49, 99):
        np.testing.assert_allclose(np.exp(log_factors(draws)).mean(axis=1), 1.0, rtol=1e-10)


def test_beta_half_factors_have_the_values_of_section_11():
    factors = np.exp(log_factors(9, ((0.5, 0.5),))[0])
    # methods/sbc.md §11; C(9,5)B(5.5,4.5)/B(.5,.5) is .6729126
    assert factors[[0, 5]] == pytest.approx([1.854706, 0.672913], abs=5e-7)
    assert factors.mean() == pytest.approx(1.0, abs=1e-12)
    row = ALTERNATIVES.index((0.4, 0.4))
    assert np.exp(log_factors(9)[row]) == pytest.approx(10 * stats.betabinom(9, 0.4, 0.4).pmf(np.arange(10)))


def test_alternatives_are_twelve_and_closed_under_reflection():
    assert len(set(ALTERNATIVES)) == 12
    assert {(b, a) for a, b in ALTERNATIVES} == set(ALTERNATIVES)


def test_running_value_is_the_average_of_products_over_alternatives_with_mixed_draws():
    ranks, draws = [[0], [49], [80]], [99, 49, 90]
    found = evidence(_ledger(ranks, draws), worst_case=False)
    product = np.ones(12)
    for n, ((r,), total) in enumerate(zip(ranks, draws, strict=True)):
        product *= [(total + 1) * stats.betabinom(total, a, b).pmf(r) for a, b in ALTERNATIVES]
        assert found.quantity[n, 0] == pytest.approx(np.log(product.mean()))
    assert found.overall == pytest.approx(found.quantity[:, 0])


def test_overall_value_is_the_average_over_quantities():
    rng = np.random.default_rng(0)
    found = evidence(_ledger(rng.integers(0, 100, size=(50, 4)), 99), worst_case=False)
    np.testing.assert_allclose(np.exp(found.overall), np.exp(found.quantity).mean(axis=1))


def test_only_the_gapless_prefix_counts():
    rng = np.random.default_rng(1)
    ranks = rng.integers(0, 100, size=(6, 2))
    gap = evidence(_ledger(ranks, 99, ids=[0, 1, 2, 4, 5, 6]), worst_case=False)
    assert gap.quantity.shape == (3, 2)
    np.testing.assert_array_equal(gap.quantity, evidence(_ledger(ranks[:3], 99), worst_case=False).quantity)
    nothing = evidence(_ledger(ranks, 99, ids=np.arange(1, 7)), worst_case=False)
    assert nothing.overall_peak == 0.0
    assert nothing.peak.tolist() == [0.0, 0.0]


def test_a_failed_fit_bounds_every_rank_it_could_have_had():
    ranks = np.zeros((12, 1), dtype=int)
    status = np.zeros(12, dtype=int)
    status[[3, 7]] = Status.DIVERGENT
    bound = evidence(_ledger(ranks, 99, status=status), worst_case=True).overall[-1]
    for r in range(0, 100, 9):
        ranks[[3, 7]] = r
        assert bound < evidence(_ledger(ranks, 99), worst_case=False).overall[-1]
    skipped = evidence(_ledger(ranks, 99, status=status), worst_case=False).overall[-1]
    assert skipped == pytest.approx(evidence(_ledger(np.zeros((10, 1)), 99), worst_case=False).overall[-1])


def test_null_crosses_one_over_alpha_at_most_at_rate_alpha_at_any_time():
    rng = np.random.default_rng(2)
    crossed = [
        evidence(_ledger(rng.integers(0, 100, size=(300, 1)), 99), worst_case=False).overall_peak >= np.log(20)
        for _ in range(400)
    ]
    assert np.mean(crossed) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(("factor", "bias", "median"), [(0.8, 0.0, 93), (0.5, 0.0, 11), (1.0, 0.5, 37)])
def test_real_errors_are_found_after_about_the_median_of_section_11(factor, bias, median):
    rng, times = np.random.default_rng(3), []
    for _ in range(100):
        rank = rng.binomial(99, stats.norm.cdf((rng.normal(size=(600, 1)) - bias) / factor))
        found = evidence(_ledger(rank, 99), worst_case=False).overall
        times.append(np.argmax(found >= np.log(20)) + 1 if np.any(found >= np.log(20)) else 10_000)
    assert np.median(times) == pytest.approx(median, rel=0.3)
