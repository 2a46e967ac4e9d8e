"""Ranks, ties and thinning."""

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.sbc.ranks import kept_draws, rank, ranks, thinned


def test_tied_ranks_are_spread_evenly_over_their_three_places():
    draws = np.array([1, 2, 3, 4, 5, 1, 2, 3, 4, 5], dtype=float)  # sbc.md §3: r in {4, 5, 6}, 1/3 each
    rng = np.random.default_rng(0)
    found = [rank(3.0, draws, rng) for _ in range(3000)]
    values, times = np.unique([r.rank for r in found], return_counts=True)
    assert values.tolist() == [4, 5, 6]
    np.testing.assert_allclose(times / 3000, 1 / 3, atol=0.03)
    assert found[0].ties == 0.2
    assert found[0].draws == 10


def test_nan_draws_and_nan_truth_tie_with_everything():
    rng = np.random.default_rng(1)
    found = {rank(0.0, np.array([-1.0, np.nan, np.nan, 1.0]), rng).rank for _ in range(200)}
    assert found == {1, 2, 3}
    lost = [rank(np.nan, np.arange(4.0), rng) for _ in range(300)]
    assert {r.rank for r in lost} == {0, 1, 2, 3, 4}
    assert lost[0].ties == 1.0


def test_infinite_values_are_ordinary_numbers_to_a_rank():
    rng = np.random.default_rng(2)
    assert rank(0.0, np.array([-np.inf, -np.inf, np.inf]), rng).rank == 2
    assert rank(-np.inf, np.array([-np.inf, 1.0]), rng).ties == 0.5


def test_exchangeable_truth_has_uniform_ranks_with_the_variance_of_section_3():
    rng = np.random.default_rng(3)
    found = np.array([rank(x[0], x[1:], rng).rank for x in rng.normal(size=(20_000, 100))])
    assert found.var() == pytest.approx(833.25, rel=0.03)  # L(L + 2)/12 at L = 99


def test_autocorrelated_draws_fake_over_confidence_unless_thinned():
    rng, n, total, phi = np.random.default_rng(4), 4000, 1980, 0.9
    noise = rng.normal(size=(n, total)) * np.sqrt(1 - phi**2)
    noise[:, 0] /= np.sqrt(1 - phi**2)
    chain = np.empty_like(noise)
    chain[:, 0] = noise[:, 0]
    for t in range(1, total):
        chain[:, t] = phi * chain[:, t - 1] + noise[:, t]
    truth = rng.normal(size=n)
    outer = []
    for draws in (chain[:, :99], chain[:, thinned(total, 99)]):
        r = (draws < truth[:, None]).sum(axis=1)
        outer.append(np.mean((r < 5) | (r > 94)))
    assert outer[0] == pytest.approx(0.184, abs=0.02)  # sbc.md §3
    assert outer[1] == pytest.approx(0.1, abs=0.02)


def test_kept_draws_follow_the_effective_sample_size():
    assert kept_draws(250.0, 400, 99) == 99
    assert kept_draws(57.9, 400, 99) == 57
    assert kept_draws(0.3, 400, 99) == 1
    assert kept_draws(np.inf, 60, 99) == 60
    assert kept_draws(np.nan, 400, 99) == 99
    with pytest.raises(InvalidInput):
        kept_draws(10.0, 0, 99)


@pytest.mark.parametrize(("available", "kept"), [(400, 99), (99, 99), (100, 99), (7, 3), (5, 1)])
def test_thinning_is_even_and_never_repeats_a_draw(available, kept):
    at = thinned(available, kept)
    assert len(np.unique(at)) == kept
    assert at[0] >= 0
    assert at[-1] < available
    assert np.ptp(np.diff(at)) <= 1 if kept > 1 else True


def test_a_rank_does_not_depend_on_the_other_quantities_or_their_order():
    rng = np.random.default_rng(5)
    truth = dict.fromkeys("abc", 0.0)
    draws = {name: np.round(rng.normal(size=99)) for name in "abc"}
    every = ranks(truth, draws, np.random.default_rng(9))
    turned = ranks(dict.fromkeys("cba", 0.0), draws, np.random.default_rng(9))
    alone = ranks({"b": 0.0}, draws, np.random.default_rng(9))
    assert every == turned
    assert alone["b"] == every["b"]
    assert every["a"].v != every["b"].v
    assert ranks(truth, draws, np.random.default_rng(10)) != every
