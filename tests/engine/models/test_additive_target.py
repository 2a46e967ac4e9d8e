"""The compiled target: closed form against autodiff, float32 against float64, and shapes filled up to buckets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.inference.target import cast, differentiated, log_density_and_gradient
from engine.models import additive_mmm, additive_target
from engine.models.additive_mmm import AdditiveMmm
from engine.models.saturation import Saturation
from tests.bench.cases import case
from tests.engine.models.test_additive_mmm import UNEQUAL, linear_model, small_model

enable_float64()

LANES = 16
MODELS = pytest.mark.parametrize(
    "model",
    [small_model(), case(5), linear_model().weighted(UNEQUAL), small_model().with_curve(Saturation.HILL_SLOPE)],
    ids=["mixed", "share", "linear and weighted", "free slopes"],
)


def truths(model: AdditiveMmm) -> tuple[jax.Array, jax.Array]:
    """Coordinates [D, lanes] drawn from the prior and their data [T, lanes]."""
    sample = model.sample_prior(Seed.of(4), np.arange(LANES))
    return jnp.asarray(model.coordinates(sample.parameters)), jnp.asarray(model.target_units(sample.y))


@MODELS
def test_the_closed_form_is_the_derivative_to_rounding(model: AdditiveMmm) -> None:
    z, y = truths(model)
    value, gradient = jax.jit(model.target.value_and_gradient)(z, y)
    expected_value, expected = jax.jit(lambda p: differentiated(model.target, p, y))(z)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    scale = np.abs(expected).max(axis=0)
    np.testing.assert_allclose(gradient / scale, expected / scale, atol=1e-11)


@MODELS
def test_float32_keeps_three_digits_of_the_gradient_and_the_differences_of_the_density(model: AdditiveMmm) -> None:
    z, y = truths(model)
    exact, gradient = jax.jit(log_density_and_gradient)(model.target, z, y)
    rounded, single = jax.jit(log_density_and_gradient)(
        cast(model.target, "float32"), z.astype("float32"), y.astype("float32")
    )
    assert single.dtype == np.float32
    scale = np.abs(gradient).max(axis=0)
    np.testing.assert_allclose(single / scale, gradient / scale, atol=1e-3)
    # What a proposal is accepted by is an error of the energy: it must be small beside 1, not beside the density.
    np.testing.assert_allclose(rounded, exact, atol=0.02)


def test_rows_and_columns_that_fill_a_bucket_up_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    z, y = truths(model)
    assert y.shape[0] > model.n_observations
    assert model.target.block.sd.size > len(model.design.block_names)
    filled = jax.jit(model.target.value_and_gradient)(z, y)
    curvature = jax.jit(model.target.curvature)(z, y)
    monkeypatch.setattr(additive_mmm, "TIME_BUCKET", 1)
    monkeypatch.setattr(additive_target, "BLOCK_BUCKET", 1)
    exact = small_model()
    z, y = truths(exact)
    assert y.shape[0] == exact.n_observations
    assert exact.target.block.sd.size == len(exact.design.block_names)
    for found, expected in zip(filled, jax.jit(exact.target.value_and_gradient)(z, y), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(curvature, jax.jit(exact.target.curvature)(z, y), rtol=1e-8, atol=1e-8)


def test_every_lane_of_a_family_has_the_density_gradient_and_curvature_of_its_own_curve() -> None:
    family = small_model().curves()
    z, y = truths(family.whole)  # type: ignore[arg-type]
    names = list(family.whole.parameter_names)
    count = len(family.names)
    codes = jnp.arange(float(LANES)) % count
    data = jnp.concatenate([y, codes[None]])
    both = jax.jit(lambda target, z, y: (*target.value_and_gradient(z, y), target.curvature(z, y)))
    value, gradient, curvature = both(family.target, z, data)
    for index, member in enumerate(family.members):
        own = np.asarray(codes) == index
        sampled = [name for name in names if name not in member.design.block_names]  # type: ignore[attr-defined]
        places = [place for place, name in enumerate(sampled) if name in member.parameter_names]
        lacking = [place for place in range(len(sampled)) if place not in places]
        expected, slopes, information = both(member.target, z[np.asarray(places)], y)
        np.testing.assert_allclose(value[own], expected[own], rtol=1e-12)
        scale = np.abs(slopes).max()
        np.testing.assert_allclose(gradient[np.asarray(places)][:, own] / scale, slopes[:, own] / scale, atol=1e-12)
        np.testing.assert_array_equal(gradient[np.asarray(lacking, dtype=int)][:, own], 0.0)
        found, allowed = curvature[own][:, places][:, :, places], 1e-9 * float(np.abs(information).max())
        np.testing.assert_allclose(found, information[own], rtol=1e-9, atol=allowed)
        np.testing.assert_array_equal(curvature[own][:, lacking], 0.0)
