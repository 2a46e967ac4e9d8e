"""Words for rank shapes, on the mock posteriors of the R package SBC (methods/sbc.md §14 id 2)."""

import numpy as np
import pytest
from scipy import stats

from engine.errors import InvalidInput
from engine.sbc.band import p_value_of
from engine.sbc.shape import Shape, shape, tilt


def _pit(sd_factor, bias, n=200):
    return stats.norm.cdf((np.random.default_rng(2).normal(size=n) - bias) / sd_factor)


@pytest.mark.parametrize(
    ("sd_factor", "bias", "expected"),
    [
        (1.0, 0.0, Shape.UNIFORM),
        (1 / 3, 0.0, Shape.OVER_CONFIDENT),
        (2.0, 0.0, Shape.UNDER_CONFIDENT),
        (1.0, 1.0, Shape.BIASED_UP),
        (1.0, -1.0, Shape.BIASED_DOWN),
    ],
)
def test_mock_posteriors_get_their_shape(sd_factor, bias, expected):
    u = _pit(sd_factor, bias)
    assert shape(u, p_value_of(u)) is expected


def test_two_spikes_that_neither_tilt_nor_cup_the_ranks_are_irregular():
    u = np.concatenate([(np.arange(400) + 0.5) / 400, np.full(100, 0.21), np.full(100, 0.79)])
    p = p_value_of(u)
    assert p < 1e-3
    assert shape(u, p) is Shape.IRREGULAR


def test_components_are_standard_normal_under_uniformity():
    rng = np.random.default_rng(6)
    found = np.array([(t.slope, t.cup) for t in map(tilt, rng.uniform(size=(4000, 50)))])
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=0.05)


def test_nothing_has_no_shape():
    with pytest.raises(InvalidInput):
        tilt([])
