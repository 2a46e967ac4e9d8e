"""Shares stated together become a Dirichlet distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.elicitation.stated_shares import fit_shares
from engine.errors import InvalidInput


def test_incoherent_shares_of_media_are_scaled_to_sum_to_one() -> None:
    # methods/conflict.md §8: .5, .35, .3 sum to 1.15
    shares = fit_shares([0.5, 0.35, 0.3], [0.1, 0.08, 0.06], rest=False)
    assert shares.means == pytest.approx([0.5 / 1.15, 0.35 / 1.15, 0.3 / 1.15])
    assert math.fsum(shares.means) == pytest.approx(1.0)
    assert len(shares.alpha) == 3


def test_shares_of_outcome_keep_their_means_and_leave_a_rest() -> None:
    shares = fit_shares([0.3, 0.2], [0.05, 0.05], rest=True)
    assert shares.means == pytest.approx([0.3, 0.2])
    assert np.asarray(shares.alpha) / math.fsum(shares.alpha) == pytest.approx([0.3, 0.2, 0.5])
    for law, mean, sd in zip(shares.marginals, shares.means, shares.sds, strict=True):
        assert (law.mean, law.sd) == pytest.approx((mean, sd))
        assert law.alpha + law.beta == pytest.approx(math.fsum(shares.alpha))


@settings(max_examples=60, deadline=None)
@given(st.floats(2.0, 500.0), st.lists(st.floats(0.05, 1.0), min_size=2, max_size=6), st.booleans())
def test_the_sds_of_a_dirichlet_give_it_back(concentration: float, parts: list[float], rest: bool) -> None:
    whole = np.asarray(parts) / sum(parts) * (0.7 if rest else 1.0)
    sds = np.sqrt(whole * (1.0 - whole) / (concentration + 1.0))
    shares = fit_shares(whole.tolist(), sds.tolist(), rest=rest)
    assert math.fsum(shares.alpha) == pytest.approx(concentration, rel=1e-6)
    assert shares.sds == pytest.approx(sds.tolist(), rel=1e-6)


def test_sds_that_no_one_concentration_has_are_met_in_the_mean_of_their_logarithms() -> None:
    means, asked = [0.3, 0.2], [0.05, 0.02]
    found = fit_shares(means, asked, rest=True).sds
    assert float(np.mean(np.log(found))) == pytest.approx(float(np.mean(np.log(asked))))


@pytest.mark.parametrize(
    ("field", "means", "sds", "rest"),
    [
        ("means", [0.6, 0.4], [0.1, 0.1], True),
        ("means", [0.6], [0.1], True),
        ("means", [1.2, 0.1], [0.1, 0.1], False),
        ("sds", [0.6, 0.3], [0.1, 0.0], True),
        ("sds", [0.5, 0.5], [0.6, 0.6], False),
    ],
)
def test_shares_that_cannot_be_are_refused(field: str, means: list[float], sds: list[float], rest: bool) -> None:
    with pytest.raises(InvalidInput) as caught:
        fit_shares(means, sds, rest=rest)
    assert caught.value.field == field
