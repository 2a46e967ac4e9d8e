"""The tilted target: the table of the log ratio, its derivatives, and what it shares with its base."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.distributions.distribution import Beta, Distribution, Gamma, LogNormal, Normal, StudentT, Uniform
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.inference.target import differentiated
from engine.inference.tilted import LogRatio, laddered, tilt
from tests.engine.bent import RATIO, SHARE, bent
from tests.engine.models.test_additive_mmm import small_model

enable_float64()

LANES = 8


@pytest.mark.parametrize(
    ("client", "reference"),
    [
        (Normal(0.6, 0.02), Normal(0.5, 1.0)),
        (StudentT(4.0, 0.6, 0.02), Normal(0.5, 1.0)),
        (Gamma(20.0, 4.0), LogNormal(0.0, 1.0)),
        (Beta(40.0, 60.0), Beta(1.0, 3.0)),
        (Beta(2.0, 3.0), Uniform(0.0, 1.0)),
    ],
    ids=["normal", "student", "gamma", "beta", "flat"],
)
def test_the_table_is_the_log_ratio_of_the_priors(client: Distribution, reference: Distribution) -> None:
    u = reference.support.to_unconstrained(client.ppf(np.linspace(1e-4, 1.0 - 1e-4, 301)))
    covered = (float(u[0]) - 1.0, float(u[-1]) + 1.0)
    exact = client.unconstrained_logpdf(u) - reference.unconstrained_logpdf(u)
    np.testing.assert_allclose(LogRatio.of(client, reference, covered)(u), exact, atol=1e-5)


def test_a_wider_client_is_truncated_and_renormalised() -> None:
    # methods/conflict.md §8: N(.05, .1) keeps Φ(9.5) - Φ(-.5) = .691462 of its mass on (0, 1)
    client, reference = Normal(0.05, 0.1), Beta(1.0, 3.0)
    psi = np.array([0.01, 0.1, 0.4])
    ratio = LogRatio.of(client, reference, (-6.0, 2.0))(reference.support.to_unconstrained(psi))
    np.testing.assert_allclose(ratio, client.logpdf(psi) - np.log(0.691462) - reference.logpdf(psi), atol=1e-5)


def test_beyond_the_table_the_ratio_goes_on_linearly() -> None:
    ratio = LogRatio.of(Normal(0.5, 0.1), Normal(0.5, 1.0), (0.0, 1.0))
    end = float(ratio.start + ratio.step * ratio.coefficients.shape[-1])
    inside, edge, beyond, far = ratio.read(jnp.asarray([end - 1e-6, end, end + 1.0, end + 2.0])).value
    assert far - beyond == pytest.approx(float(beyond - edge), rel=1e-9)
    assert beyond - edge == pytest.approx(float(edge - inside) * 1e6, rel=1e-4)


@pytest.mark.parametrize(
    ("client", "reaches"), [(Beta(40.0, 60.0), 0.9), (Beta(80.0, 53.0), 0.95), (Beta(3.0, 3.0), 0.98)]
)
def test_a_client_that_dies_out_inside_the_range_goes_on_beyond_its_end(client: Distribution, reaches: float) -> None:
    # A belief about a share, below 1, under the log-normal reference of a share that has no upper end.
    reference = LogNormal(-2.0, 1.0)
    ratio = LogRatio.of(client, reference, (-6.0, 1.5))
    psi = np.linspace(0.02, reaches, 200)
    exact = client.logpdf(psi) - reference.logpdf(psi)
    np.testing.assert_allclose(ratio(np.log(psi)), exact, atol=1e-4)
    beyond = ratio(np.array([0.0, 0.2, 1.5]))
    assert np.all(np.isfinite(beyond))
    assert np.all(np.diff([exact[-1], *beyond]) < 0.0)


def test_a_client_that_ends_in_a_wall_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"ends in a wall at 0\.2"):
        LogRatio.of(Uniform(0.2, 0.4), Beta(1.0, 3.0), (-3.0, 0.0))
    with pytest.raises(InvalidInput, match="ends in a wall at 1,"):
        LogRatio.of(Beta(2.0, 1.0), LogNormal(-2.0, 1.0), (-6.0, 1.5))


def test_a_client_mostly_outside_the_range_is_refused() -> None:
    with pytest.raises(InvalidInput, match="most of its mass outside"):
        LogRatio.of(Normal(-0.2, 0.1), Beta(1.0, 3.0), (-3.0, 0.0))


def test_a_quantity_that_is_no_function_of_what_is_sampled_is_refused() -> None:
    with pytest.raises(UnsupportedQuantity, match="those are share, ratio"):
        tilt(bent().target, "intercept", Normal(0.0, 1.0), Normal(0.0, 2.0), (-1.0, 1.0))


def positions(powers: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """z [2, lanes] over the prior, and the bent data with the powers below."""
    z = np.random.default_rng(3).normal(size=(2, powers.size))
    return jnp.asarray(z), jnp.asarray(laddered(bent().y, powers))


@pytest.mark.parametrize(("quantity", "client"), [(SHARE, Normal(0.9, 0.1)), (RATIO, Gamma(20.0, 4.0))])
def test_value_and_gradient_are_the_base_and_the_power_times_the_log_ratio(quantity: str, client: Distribution) -> None:
    z, y = positions(np.linspace(0.0, 1.0, LANES))
    case = bent()
    target = case.tilted(client, quantity)
    value, gradient = jax.jit(target.value_and_gradient)(z, y)
    expected, slope = differentiated(target, z, y)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10)
    base, base_slope = differentiated(case.target, z, y[:-1])
    assert value[0] == pytest.approx(float(base[0]), rel=1e-14)
    np.testing.assert_allclose(gradient[:, 0], base_slope[:, 0], rtol=1e-12)
    ratio = target.log_ratio(np.asarray(target.coordinate(z)))
    np.testing.assert_allclose(value, base + y[-1] * ratio, rtol=1e-12)


def test_the_curvature_of_a_normal_tilt_is_its_precision() -> None:
    # r = log N(u; .9, .1) - log N(u; .5, 1) has -r'' = 1/.1² - 1/1² = 99, and u moves with z0 alone
    z, y = positions(np.full(LANES, 0.5))
    z = 0.1 * z  # inside the table
    case = bent()
    more = case.tilted(Normal(0.9, 0.1)).curvature(z, y) - case.target.curvature(z, y[:-1])
    np.testing.assert_allclose(more[:, 0, 0], 0.5 * 99.0, rtol=1e-3)
    np.testing.assert_allclose(more[:, 1], 0.0, atol=1e-12)


def test_another_belief_and_another_quantity_have_the_same_program() -> None:
    case = bent()
    first, second = case.tilted(Normal(0.9, 0.1)), case.tilted(Gamma(20.0, 4.0), RATIO)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(first)] == [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(second)
    ]


def test_the_smooth_quantities_of_the_mmm_are_those_that_it_draws() -> None:
    model = small_model()
    target = model.target
    sample = model.sample_prior(Seed.of(4), np.arange(LANES))
    z, y = jnp.asarray(model.coordinates(sample.parameters)), jnp.asarray(model.target_units(sample.y))
    drawn_rows = jax.jit(target.quantities)(z, y, jnp.zeros((target.noise_dimension, LANES)))
    drawn = dict(zip(target.quantity_names, drawn_rows, strict=True))
    smooth = dict(zip(target.smooth_names, jax.jit(target.smooth)(z), strict=True))
    assert {"share_of_media[tv]", "total_media_share_of_outcome", "roi[tv]", "sigma"} <= set(smooth)
    assert not {"intercept", "control[price]", "log_prior"} & set(smooth)
    for name, values in smooth.items():
        np.testing.assert_array_equal(values, drawn[name])
        if name in sample.quantities:
            np.testing.assert_allclose(values, sample.quantities[name], rtol=1e-6)
