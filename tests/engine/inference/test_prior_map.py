"""The table from a standard normal coordinate to each prior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from engine.distributions.distribution import (
    Beta,
    Distribution,
    Gamma,
    Gridded,
    HalfNormal,
    LogNormal,
    Mixture,
    Normal,
    StudentT,
    TruncatedNormal,
    Uniform,
)
from engine.errors import InvalidInput
from engine.inference.precision import enable_float64
from engine.inference.prior_map import coordinate, tabulate

enable_float64()

PRIORS: list[Distribution] = [
    Normal(1.0, 2.0),
    LogNormal(-1.0, 0.7),
    Beta(1.0, 3.0),
    Beta(12.0, 12.0),
    HalfNormal(1.0),
    Gamma(2.0, 3.0),
    StudentT(3.0, 0.0, 1.0),
    TruncatedNormal(0.5, 0.3, 0.0, 1.0),
    Uniform(2.0, 5.0),
    Mixture((0.3, 0.7), (Beta(3.0, 20.0), Beta(20.0, 10.0))),
    Gridded.of(Beta(2.0, 5.0)).scaled(2.0),
]


def _slack(prior: Distribution) -> float:
    # The jump between the components of the mixture spans two cells of the table; see PriorMap.
    return 2e-4 if isinstance(prior, Mixture) else 0.0


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_a_standard_normal_coordinate_gives_the_prior(prior: Distribution) -> None:
    z = np.linspace(-5.0, 5.0, 1237)
    theta = np.asarray(tabulate([prior]).parameters(jnp.asarray(z[None])))[0]
    np.testing.assert_allclose(prior.cdf(theta[z < 0]), ndtr(z[z < 0]), rtol=2e-5, atol=_slack(prior))
    np.testing.assert_allclose(prior.sf(theta[z > 0]), ndtr(-z[z > 0]), rtol=2e-5, atol=_slack(prior))
    assert np.all(np.diff(theta) > 0.0)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: type(prior).__name__)
def test_the_tabulated_log_prior_is_the_density_in_its_own_units(prior: Distribution) -> None:
    z = jnp.linspace(-4.0, 4.0, 301)[None]
    table = tabulate([prior])
    expected = prior.logpdf(np.asarray(table.parameters(z))[0])
    np.testing.assert_allclose(np.asarray(table.log_density(z))[0], expected, atol=2e-4 + 1e3 * _slack(prior))


def test_the_coordinate_is_the_inverse_of_the_map() -> None:
    z = np.linspace(-5.0, 5.0, 41)
    for prior in PRIORS:
        theta = np.asarray(tabulate([prior]).parameters(jnp.asarray(z[None])))[0]
        np.testing.assert_allclose(coordinate(prior, theta), z, atol=1e-5)


def test_priors_of_every_link_stand_side_by_side_and_stay_finite_far_out() -> None:
    z = jnp.asarray(np.tile([-30.0, -9.0, 0.0, 9.0, 30.0], (len(PRIORS), 1)))
    table = tabulate(PRIORS)
    slopes = jax.grad(lambda position: jnp.sum(table.parameters(position)))(z)
    assert np.all(np.isfinite(table.parameters(z)))
    assert np.all(np.isfinite(slopes))


def test_a_prior_too_narrow_for_its_interval_is_refused() -> None:
    with pytest.raises(InvalidInput):
        tabulate([Uniform(1e15, 1e15 + 1.0)])
