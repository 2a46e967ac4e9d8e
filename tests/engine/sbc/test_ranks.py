"""Ranks, ties and thinning."""

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.sbc.ranks import kept_draws, ranks, thinned


def rank_often(truth, draws, times, seed):
    """Ranks [times] of one truth among the same draws, each with its own random number, and the share of ties."""
    uniform = np.random.default_rng(seed).random(times)
    rank, ties = ranks(np.full(times, truth), np.broadcast_to(draws, (times, len(draws))), uniform)
    assert np.all(ties == ties[0])
    return rank, ties[0]


def test_tied_ranks_are_spread_evenly_over_their_three_places():
    draws = np.array([1, 2, 3, 4, 5, 1, 2, 3, 4, 5], dtype=float)  # methods/sbc.md §3: r in {4, 5, 6}, 1/3 each
    found, ties = rank_often(3.0, draws, 3000, seed=0)
    values, times = np.unique(found, return_counts=True)
    assert values.tolist() == [4, 5, 6]
    np.testing.assert_allclose(times / 3000, 1 / 3, atol=0.03)
    assert ties == 0.2


def test_nan_draws_and_nan_truth_tie_with_everything():
    found, _ = rank_often(0.0, np.array([-1.0, np.nan, np.nan, 1.0]), 200, seed=1)
    assert set(found) == {1, 2, 3}
    lost, ties = rank_often(np.nan, np.arange(4.0), 300, seed=1)
    assert set(lost) == {0, 1, 2, 3, 4}
    assert ties == 1.0


def test_infinite_values_are_ordinary_numbers_to_a_rank():
    uniform = np.array([0.9, 0.0])
    draws = np.array([[-np.inf, -np.inf, np.inf], [-np.inf, 1.0, 1.0]])
    rank, ties = ranks(np.array([0.0, -np.inf]), draws, uniform)
    assert rank.tolist() == [2, 0]
    np.testing.assert_allclose(ties, [0.0, 1 / 3])


def test_exchangeable_truth_has_uniform_ranks_with_the_variance_of_section_3():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(20_000, 100))
    found, _ = ranks(x[:, 0], x[:, 1:], rng.random(20_000))
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
    assert outer[0] == pytest.approx(0.184, abs=0.02)  # methods/sbc.md §3
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
