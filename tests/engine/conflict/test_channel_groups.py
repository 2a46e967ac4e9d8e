"""Channels that cannot be told apart are named together, and only those."""

from __future__ import annotations

import numpy as np

from engine.conflict.channel_groups import inseparable

RNG = np.random.default_rng(1)


def ridge(n: int = 4000, width: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    total, part = 0.3 + width * RNG.normal(size=n), RNG.uniform(size=n)
    return total * part, total * (1.0 - part)


def test_two_channels_on_a_ridge_are_a_group_and_others_are_not() -> None:
    a, b = ridge()
    assert inseparable({"a": a, "c": 0.1 + 0.01 * RNG.normal(size=4000), "b": b}) == [("a", "b")]


def test_three_channels_that_share_one_sum_are_one_group_where_they_trade_pairwise() -> None:
    a, b = ridge()
    half = RNG.uniform(size=4000)
    first, rest = inseparable({"x": a, "y": b, "p": 0.2 * half, "q": 0.2 - 0.2 * half + 0.005 * RNG.normal(size=4000)})
    assert (first, rest) == (("x", "y"), ("p", "q"))


def test_independent_shares_and_a_single_channel_are_no_group() -> None:
    assert inseparable({"a": RNG.normal(size=500), "b": RNG.normal(size=500)}) == []
    assert inseparable({"a": RNG.normal(size=500)}) == []
    assert inseparable({"a": np.full(500, 0.1), "b": RNG.normal(size=500)}) == []


def test_a_sum_that_is_wide_all_the_same_is_not_what_is_identified() -> None:
    # Correlation -.75, but one is so much wider than the other that the sum is hardly sharper than without the trade.
    a = RNG.normal(size=20_000)
    b = 0.1 * (-0.75 * a + np.sqrt(1.0 - 0.75**2) * RNG.normal(size=20_000))
    assert inseparable({"a": a, "b": b}) == []
