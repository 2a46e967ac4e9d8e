"""One suite that every backend passes on a posterior in closed form, and posteriors on which they have to differ."""

import re
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy import stats

from engine.errors import InvalidInput
from engine.inference.assessment import assess_chains, assess_independent
from engine.inference.backend import Backend
from engine.inference.batch import FitSettings
from engine.inference.fit import BatchFit, Seed
from engine.inference.laplace import LaplaceApproximation
from engine.inference.nuts import Nuts
from engine.inference.precision import enable_float64
from engine.inference.svi import FullRankSvi, MeanFieldSvi
from engine.inference.target import observed_curvature

enable_float64()

SEED = Seed.of(5)
IDS = np.array([3, 1, 4, 15, 9, 2**40])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Regression:
    """y = X z + e with unit noise and z ~ N(0, I): the posterior is normal with precision X'X + I."""

    x: Array

    noise_dimension = 1
    traced: ClassVar[list[tuple[int, ...]]] = []  # shapes of z, one for each time JAX traces the likelihood

    @property
    def dimension(self) -> int:
        return self.x.shape[1]

    @property
    def quantity_names(self) -> tuple[str, ...]:
        return (*self.parameter_names, "noise")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"z{i}" for i in range(self.dimension))

    def log_likelihood(self, z: Array, y: Array) -> Array:
        self.traced.append(z.shape)
        return -0.5 * jnp.sum((y - self.x @ z) ** 2, axis=0)

    def curvature(self, z: Array, y: Array) -> Array:
        return observed_curvature(self.log_likelihood, z, y)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        return jnp.concatenate([z, noise])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Banana(Regression):
    """A curved, skewed posterior without a closed form: y = (z0 + z1²) + e, e ~ N(0, .1²)."""

    def log_likelihood(self, z: Array, y: Array) -> Array:
        return -50.0 * jnp.sum((y - (z[0] + z[1] ** 2)) ** 2, axis=0)


def regression(seed: int = 0) -> tuple[Regression, np.ndarray]:
    """Predictors that share most of their variation, so that the posterior is correlated."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, 3)) * [0.1, 0.5, 1.0] + rng.normal(size=(20, 1))
    return Regression(jnp.asarray(x)), x @ rng.normal(size=(3, 6)) + rng.normal(size=(20, 6))


def exact(target: Regression, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(target.x)
    covariance = np.linalg.inv(x.T @ x + np.eye(x.shape[1]))
    return covariance @ x.T @ y, covariance


BACKENDS: list[Backend] = [
    replace(FitSettings.simulation(), draws=500),
    Nuts(warmup=300, draws=500),
    LaplaceApproximation(draws=500),
    FullRankSvi(draws=500),
    MeanFieldSvi(draws=500),
]


@dataclass(frozen=True)
class Fitted:
    backend: Backend
    target: Regression
    y: np.ndarray
    fit: BatchFit

    @property
    def z(self) -> np.ndarray:
        """Draws [D, S, N]."""
        return np.stack([self.fit.draws[name].reshape(IDS.size, -1) for name in self.target.parameter_names])


@pytest.fixture(
    scope="module",
    params=[pytest.param(b, marks=pytest.mark.slow if isinstance(b, Nuts) else (), id=b.name) for b in BACKENDS],
)
def fitted(request: pytest.FixtureRequest) -> Fitted:
    target, y = regression()
    return Fitted(request.param, target, y, request.param.fit(target, y, SEED, IDS))


def test_every_quantity_is_drawn_once_per_simulation_chain_and_draw(fitted: Fitted) -> None:
    backend, fit = fitted.backend, fitted.fit
    assert tuple(fit.draws) == fitted.target.quantity_names
    for values in fit.draws.values():
        assert values.shape == (6, backend.chains, backend.draws)
    assert re.fullmatch(r"[a-z-]+/[0-9]+", backend.name)
    assert fit.diagnostics.r_hat.shape == fit.diagnostics.divergences.shape == (6,)
    assert np.all(fit.diagnostics.ok)
    assert np.all(fit.diagnostics.r_hat < 1.05)
    assert not np.any(fit.diagnostics.nonfinite | (fit.diagnostics.escalations > 0) | (fit.diagnostics.divergences > 0))


def test_a_simulation_does_not_depend_on_its_batch(fitted: Fitted) -> None:
    some = [4, 1]
    alone = fitted.backend.fit(fitted.target, fitted.y[:, some], SEED, IDS[some])
    for name, values in alone.draws.items():
        np.testing.assert_array_equal(values, fitted.fit.draws[name][some])
    for field in ("r_hat", "ess_bulk", "ess_tail"):
        np.testing.assert_array_equal(getattr(alone.diagnostics, field), getattr(fitted.fit.diagnostics, field)[some])


def test_the_same_data_under_another_id_or_seed_give_other_draws(fitted: Fitted) -> None:
    one = fitted.y[:, :1]
    again = fitted.backend.fit(fitted.target, one, Seed.of(6), IDS[:1])
    other = fitted.backend.fit(fitted.target, one, SEED, IDS[1:2])
    for name in fitted.target.quantity_names:
        for changed in (again, other):
            assert not np.any(changed.draws[name] == fitted.fit.draws[name][:1])


def test_draws_move_and_chains_differ(fitted: Fitted) -> None:
    z = fitted.fit.draws["z0"]
    assert np.all(np.ptp(z, axis=(1, 2)) > 0.0)
    assert not np.any(z[:, 0] == z[:, 1])


def test_means_and_standard_deviations_are_near_those_of_the_posterior(fitted: Fitted) -> None:
    mean, covariance = exact(fitted.target, fitted.y)
    deviation = np.sqrt(np.diag(covariance))[:, None]
    error = deviation / np.sqrt(fitted.fit.diagnostics.ess_bulk)
    # The optimiser's last learning rate leaves the location of a variational fit that uncertain.
    slack = 0.02 * deviation if "svi" in fitted.backend.name else 0.0
    np.testing.assert_array_less(np.abs(fitted.z.mean(axis=2) - mean), 4.5 * error + slack)
    if not isinstance(fitted.backend, MeanFieldSvi):
        scale = np.sqrt(np.diag(covariance))
        for simulation in range(6):
            ratio = (np.cov(fitted.z[:, simulation]) - covariance) / np.outer(scale, scale)
            np.testing.assert_allclose(ratio, 0.0, atol=0.15)


def test_noise_of_parameters_integrated_out_is_standard_normal_and_unrelated(fitted: Fitted) -> None:
    noise = fitted.fit.draws["noise"].reshape(6, -1)
    assert np.all(np.abs(noise.mean(axis=1)) < 4.5 / np.sqrt(noise.shape[1]))
    np.testing.assert_allclose(noise.std(axis=1), 1.0, atol=0.1)
    for simulation in range(6):
        correlations = np.corrcoef(np.vstack([noise[simulation], fitted.z[:, simulation]]))[0, 1:]
        assert np.all(np.abs(correlations) < 4.5 / np.sqrt(noise.shape[1]))


def test_another_data_set_or_design_of_the_same_shape_is_not_compiled_again(fitted: Fitted) -> None:
    target, y = regression(seed=1)
    before = len(Regression.traced)
    assert before > 0
    fitted.backend.fit(target, y, Seed.of(7), IDS + 1)
    assert len(Regression.traced) == before


def test_unfit_data_are_refused(fitted: Fitted) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        fitted.backend.fit(fitted.target, np.where(fitted.y > 0, fitted.y, np.nan), SEED, IDS)
    with pytest.raises(InvalidInput, match="one simulation id per column"):
        fitted.backend.fit(fitted.target, fitted.y, SEED, IDS[1:])


def test_no_simulations_give_an_empty_fit(fitted: Fitted) -> None:
    fit = fitted.backend.fit(fitted.target, fitted.y[:, :0], SEED, IDS[:0])
    assert fit.draws["z0"].shape == (0, fitted.backend.chains, fitted.backend.draws)
    assert fit.diagnostics.ok.shape == (0,)


def test_mean_field_variances_are_the_inverse_diagonal_of_the_precision() -> None:
    # The optimum of the mean-field ELBO on a normal posterior: coordinates as if all others were known.
    target, y = regression()
    _, covariance = exact(target, y)
    known = 1.0 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    ratio = known / np.sqrt(np.diag(covariance))
    fit = MeanFieldSvi(draws=500).fit(target, y, SEED, IDS)
    deviations = np.stack([fit.draws[name].std(axis=(1, 2)) for name in target.parameter_names])
    np.testing.assert_allclose(deviations / known[:, None], 1.0, atol=0.08)
    assert ratio.max() < 0.75
    assert np.all(fit.diagnostics.ok)  # nothing in the draws gives the approximation away


def quadrature(y: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Grid, distribution function of z0, its mean and sd under the banana's posterior."""
    grid = np.linspace(-5.0, 5.0, 2001)
    z0, z1 = np.meshgrid(grid, grid, indexing="ij")
    density = np.exp(-50.0 * (y - z0 - z1**2) ** 2 - 0.5 * z0**2 - 0.5 * z1**2)
    marginal = density.sum(axis=1) / density.sum()
    mean = float(marginal @ grid)
    return grid, np.cumsum(marginal), mean, float(np.sqrt(marginal @ grid**2 - mean**2))


@pytest.mark.slow
def test_nuts_agrees_with_quadrature_on_a_curved_posterior_and_laplace_does_not() -> None:
    target, y = Banana(jnp.zeros((1, 2))), np.array([[1.0, 0.2]])
    ids = np.arange(2)
    nuts = Nuts(warmup=500, draws=2000).fit(target, y, SEED, ids)
    laplace = LaplaceApproximation(draws=2000).fit(target, y, SEED, ids)
    for simulation in range(2):
        grid, distribution, mean, sd = quadrature(y[0, simulation])
        draws = nuts.draws["z0"][simulation].ravel()
        ess = min(nuts.diagnostics.ess_bulk[simulation], nuts.diagnostics.ess_tail[simulation])
        thinned = draws[:: int(np.ceil(draws.size / ess))]
        assert stats.kstest(np.interp(thinned, grid, distribution), "uniform").pvalue > 1e-3
        assert abs(draws.mean() - mean) < 4.5 * sd / np.sqrt(ess)
        assert draws.std() == pytest.approx(sd, rel=0.08)
        wrong = np.interp(laplace.draws["z0"][simulation].ravel(), grid, distribution)
        assert stats.kstest(wrong, "uniform").statistic > 0.15
    assert np.all(laplace.diagnostics.ok)


def test_limits_divergences_and_values_that_are_not_finite_decide_whether_chains_are_ok() -> None:
    target = Regression(jnp.zeros((1, 1)))
    values = np.random.default_rng(0).normal(size=(2, 4, 4, 200))
    values[0, 1, 0] += 3.0
    values[1, 3, 2, 5] = np.inf
    divergences = np.array([0, 0, 1, 0])
    diagnostics = assess_chains(target, values, divergences, 1.05, 100.0).diagnostics
    np.testing.assert_array_equal(diagnostics.ok, [True, False, False, False])
    np.testing.assert_array_equal(diagnostics.nonfinite, [False, False, False, True])
    assert diagnostics.r_hat[1] > 1.05
    assert not np.any(assess_chains(target, values, divergences, 1.05, 1e9).diagnostics.ok)
    # Independent draws have no chains that could disagree: only finiteness is left to judge.
    np.testing.assert_array_equal(assess_independent(target, values).diagnostics.ok, [True, True, True, False])
    assert np.all(assess_independent(target, values).diagnostics.ess_bulk == 800.0)


@pytest.mark.parametrize("changes", [{"chains": 1}, {"warmup": 0}, {"target_accept": 1.0}, {"ess_limit": float("nan")}])
def test_unusable_settings_of_nuts_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        replace(Nuts(), **changes)


@pytest.mark.parametrize("changes", [{"draws": 0}, {"steps": 0}, {"last_rate": float("nan")}])
def test_unusable_settings_of_a_variational_fit_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        replace(FullRankSvi(), **changes)
