"""Every form of saturation has all its parts, and they are of one curve."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.inference.precision import enable_float64
from engine.models.saturation import FORMS, Saturation
from tests.oracle import CURVES

enable_float64()

EXPOSURE = np.array([[0.0], [1e-9], [0.03], [0.5], [1.0], [2.7], [40.0]]) * np.ones(3)
HALF_SATURATION = np.array([0.2, 1.0, 3.0])
SLOPE = np.array([0.6, 1.0, 2.5])


def unit(form: Saturation) -> np.ndarray:
    """What exposure is divided by before it enters the curve [3]."""
    return HALF_SATURATION if FORMS[form].has_half_saturation else np.ones(3)


def test_every_form_has_a_row_and_a_curve_written_out_for_the_tests() -> None:
    assert set(FORMS) == set(Saturation)
    assert set(CURVES) == set(Saturation)


@pytest.mark.parametrize("form", list(Saturation))
def test_the_numpy_and_the_jax_curve_are_the_one_written_out(form: Saturation) -> None:
    relative = jnp.asarray(EXPOSURE / unit(form))
    expected = CURVES[form](relative, jnp.asarray(SLOPE))
    np.testing.assert_allclose(FORMS[form].value(EXPOSURE, HALF_SATURATION, SLOPE), expected, rtol=1e-12, atol=1e-16)
    np.testing.assert_allclose(FORMS[form].relative(relative, jnp.asarray(SLOPE)), expected, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("form", list(Saturation))
def test_one_half_saturation_does_as_many_of_them(form: Saturation) -> None:
    every = FORMS[form].value(EXPOSURE, HALF_SATURATION, SLOPE)
    for index, (half, slope) in enumerate(zip(HALF_SATURATION.tolist(), SLOPE.tolist(), strict=True)):
        one = FORMS[form].value(EXPOSURE[:, index], half, slope)
        np.testing.assert_allclose(one, every[:, index], rtol=1e-15)


@pytest.mark.parametrize("form", list(Saturation))
@pytest.mark.parametrize("slope", SLOPE.tolist())
def test_the_derivatives_are_those_of_the_curve(form: Saturation, slope: float) -> None:
    row, relative, slopes = FORMS[form], jnp.asarray(EXPOSURE[1:, 0]), jnp.full(len(EXPOSURE) - 1, slope)
    value = row.relative(relative, slopes)
    for own, argument in ((row.derivative, 0), (row.by_slope, 1)):
        expected = jax.vmap(jax.grad(row.relative, argument))(relative, slopes)
        np.testing.assert_allclose(own(relative, value, slopes), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("form", list(Saturation))
def test_without_exposure_everything_is_a_number(form: Saturation) -> None:
    row, nothing, slopes = FORMS[form], jnp.zeros(3), jnp.asarray(SLOPE)
    value = row.relative(nothing, slopes)
    np.testing.assert_array_equal(value, 0.0)
    assert np.all(np.isfinite(row.derivative(nothing, value, slopes)))
    np.testing.assert_array_equal(row.by_slope(nothing, value, slopes), 0.0)
    np.testing.assert_array_equal(row.rise(np.zeros(3), HALF_SATURATION, SLOPE, 1.01), 0.0)


@pytest.mark.parametrize("form", list(Saturation))
@pytest.mark.parametrize("factor", [1.01, 2.0])
def test_the_rise_is_the_difference_of_two_values_and_stays_above_zero(form: Saturation, factor: float) -> None:
    row = FORMS[form]
    difference = row.value(factor * EXPOSURE, HALF_SATURATION, SLOPE) - row.value(EXPOSURE, HALF_SATURATION, SLOPE)
    rise = row.rise(EXPOSURE, HALF_SATURATION, SLOPE, factor)
    np.testing.assert_allclose(rise, difference, rtol=1e-8, atol=1e-14)
    assert np.all(rise[EXPOSURE > 0.0] > 0.0)


@pytest.mark.parametrize("form", list(Saturation))
def test_a_form_with_half_saturation_is_at_half_its_maximum_there_and_another_does_not_look_at_it(
    form: Saturation,
) -> None:
    row = FORMS[form]
    if row.has_half_saturation:
        np.testing.assert_allclose(row.value(HALF_SATURATION, HALF_SATURATION, SLOPE), 0.5, rtol=1e-14)
        np.testing.assert_allclose(row.value(np.array([1e6]), 1e-6, 1.0), 1.0, rtol=1e-9)
    else:
        np.testing.assert_array_equal(row.value(EXPOSURE, HALF_SATURATION, SLOPE), row.value(EXPOSURE, 7.0, 2.0))
