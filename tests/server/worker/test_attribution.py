"""Figures of an attribution that are made of several draws."""

from __future__ import annotations

import numpy as np

from server.worker.attribution import total_share


def test_the_total_share_is_the_sum_over_the_channels_and_a_single_channel_is_its_own_total() -> None:
    first, second = np.array([[0.1, 0.2]]), np.array([[0.3, 0.05]])
    draws = {"share_of_outcome[tv]": first, "share_of_outcome[radio]": second, "sigma": first}
    assert np.array_equal(total_share(draws, ["tv", "radio"]), first + second)
    assert np.array_equal(total_share(draws, ["tv"]), first)
