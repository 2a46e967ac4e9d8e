"""R² of a channel's exposure on the rest of the model."""

import numpy as np
import pytest

from engine.conflict.collinearity import collinearity, variance_inflation
from engine.distributions.distribution import Beta
from engine.errors import InvalidInput
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, prepare

ROWS = 80


def model(**columns: np.ndarray) -> AdditiveMmm:
    """Channels `a` and `b` without carry-over and controls of every other column; no trend, no seasonality."""
    rng = np.random.default_rng(1)
    dates = np.datetime64("2020-01-06") + 7 * np.arange(ROWS)
    channels = tuple(Channel(name, name, Beta(1.0, 3.0), n_weights=1) for name in ("a", "b"))
    controls = tuple(Control(name, name) for name in columns if name not in ("a", "b"))
    table = Table(dates, {"y": rng.normal(10.0, 1.0, ROWS)} | columns)
    return prepare(table, AdditiveMmmSpec("y", channels, controls, fourier_pairs=0, trend=False))


def exposures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    a = rng.gamma(2.0, 1.0, ROWS)
    return a, 0.5 * a + rng.gamma(2.0, 0.5, ROWS)


def test_of_two_channels_alone_it_is_the_squared_correlation() -> None:
    a, b = exposures()
    expected = np.corrcoef(a, b)[0, 1] ** 2
    assert 0.2 < expected < 0.8
    for channel in ("a", "b"):
        assert collinearity(model(a=a, b=b), channel) == pytest.approx(expected, rel=1e-9)


def test_a_control_that_repeats_the_channel_says_it_all() -> None:
    a, b = exposures()
    found = collinearity(model(a=a, b=b, copy=3.0 - 2.0 * a), "a")
    assert found == pytest.approx(1.0, abs=1e-12)
    assert collinearity(model(a=a, b=b), "a") < found


def test_the_variance_inflation_factor_follows_from_it() -> None:
    assert variance_inflation(0.0) == 1.0
    assert variance_inflation(0.9) == pytest.approx(10.0)
    assert variance_inflation(1.0) == np.inf


def test_an_unknown_channel_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no channel 'c'"):
        collinearity(model(a=exposures()[0], b=exposures()[1]), "c")
