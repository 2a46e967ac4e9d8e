"""Error rates over several beliefs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from engine.conflict.multiplicity import e_bh, holm
from engine.errors import InvalidInput


def test_holm_multiplies_by_the_number_left_and_never_falls() -> None:
    # by hand: .01·4, .03·2 lifted to .06 from .02·3, .03·2, .9
    assert holm([0.9, 0.01, 0.03, 0.02]) == pytest.approx([0.9, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


def test_holm_keeps_the_family_wise_error_under_dependence() -> None:
    # 5000 families of 5 equicorrelated right beliefs: at most 5 % have a rejection
    rng = np.random.default_rng(7)
    z = math.sqrt(0.7) * rng.normal(size=(5000, 1)) + math.sqrt(0.3) * rng.normal(size=(5000, 5))
    rejected = [np.any(holm(p) <= 0.05) for p in 2.0 * stats.norm.sf(np.abs(z))]
    assert np.mean(rejected) < 0.05 + 3.0 * math.sqrt(0.05 * 0.95 / 5000)
    assert np.mean(rejected) > 0.005


def test_e_bh_flags_the_largest_set_whose_smallest_member_is_large_enough() -> None:
    # K = 4, alpha = .1: e_(1) ≥ 40, e_(2) ≥ 20, e_(3) ≥ 13.3
    e = np.log([15.0, 1.0, 21.0, 14.0])
    assert e_bh(e, 0.1).tolist() == [True, False, True, True]
    assert e_bh(np.log([39.0, 1.0, 1.0, 1.0]), 0.1).tolist() == [False] * 4
    assert e_bh(np.log([41.0, 1.0, 1.0, 1.0]), 0.1).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: holm([0.5, 1.5]), "p_values"),
        (lambda: e_bh([0.0, math.nan], 0.1), "log_e_values"),
        (lambda: e_bh([0.0], 1.0), "alpha"),
    ],
)
def test_bad_input_is_refused_by_name(call, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.field == field
