"""The sampler on targets whose posterior is known, its escalation, and its precision guard."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy import stats

from engine.errors import InvalidInput
from engine.inference.batch import FitSettings, fit_batch
from engine.inference.fit import Seed
from engine.inference.mode import find_mode
from engine.inference.nuts import Nuts
from engine.inference.precision import enable_float64
from engine.inference.schedule import BLOCK, Schedule
from engine.inference.target import Labels, observed_curvature

enable_float64()

SEED = Seed.of(99)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Regression:
    """y = X z + e with unit noise and z ~ N(0, I): the posterior is normal with precision X'X + I."""

    x: Array

    @property
    def dimension(self) -> int:
        return self.x.shape[1]

    noise_dimension = 1

    @property
    def quantity_names(self) -> tuple[str, ...]:
        return (*self.parameter_names, "noise")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"z{i}" for i in range(self.dimension))

    def log_likelihood(self, z: Array, y: Array) -> Array:
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


def regression() -> tuple[Regression, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4)) @ np.diag([0.05, 0.3, 1.0, 4.0])
    return Regression(jnp.asarray(x)), x @ rng.normal(size=(4, 6)) + rng.normal(size=(20, 6))


def short(
    draws: int = 50, warmup: int = 50, leapfrog: int = 6, chunk: int = 6, thins: tuple[int, ...] = (1,), **limits: float
) -> FitSettings:
    """One schedule for each thinning, without NUTS at the end."""
    schedules = tuple(Schedule(warmup * thin, warmup * thin // 2, leapfrog, thin, chunk=chunk) for thin in thins)
    return FitSettings(4, draws, schedules, **({"r_hat_limit": 1.05, "ess_limit": 100.0} | limits))


def test_the_mode_of_a_linear_model_is_its_posterior_mean() -> None:
    target, y = regression()
    x = np.asarray(target.x)
    laplace = find_mode(target, jnp.asarray(y))
    covariance = np.linalg.inv(x.T @ x + np.eye(4))
    np.testing.assert_allclose(laplace.mode, covariance @ x.T @ y, atol=1e-6)
    np.testing.assert_allclose(laplace.factor[..., 0] @ laplace.factor[..., 0].T, covariance, atol=1e-9)


def test_draws_have_the_mean_and_covariance_of_the_exact_posterior() -> None:
    target, y = regression()
    x = np.asarray(target.x)
    settings = short(draws=1000, warmup=100)
    fit = fit_batch(target, y, SEED, np.arange(6), settings)
    assert np.all(fit.diagnostics.ok)
    covariance = np.linalg.inv(x.T @ x + np.eye(4))
    mean = covariance @ x.T @ y
    draws = np.stack([fit.draws[f"z{i}"].reshape(6, -1) for i in range(4)])
    error = np.sqrt(np.diag(covariance))[:, None] / np.sqrt(fit.diagnostics.ess_bulk)
    np.testing.assert_array_less(np.abs(draws.mean(axis=2) - mean), 4.5 * error)
    for simulation in range(6):
        scale = np.sqrt(np.diag(covariance))
        ratio = (np.cov(draws[:, simulation]) - covariance) / np.outer(scale, scale)
        np.testing.assert_allclose(ratio, 0.0, atol=0.12)


@pytest.mark.slow
def test_a_curved_posterior_agrees_with_quadrature() -> None:
    target, y = Banana(jnp.zeros((1, 2))), np.array([[1.0, 0.2]])
    settings = short(draws=2000, warmup=200, leapfrog=15, chunk=2)
    fit = fit_batch(target, y, SEED, np.arange(2), settings)
    grid = np.linspace(-5.0, 5.0, 2001)
    z0, z1 = np.meshgrid(grid, grid, indexing="ij")
    for simulation in range(2):
        density = np.exp(-50.0 * (y[0, simulation] - z0 - z1**2) ** 2 - 0.5 * z0**2 - 0.5 * z1**2)
        marginal = density.sum(axis=1) / density.sum()
        draws = fit.draws["z0"][simulation].ravel()
        thinned = draws[:: int(np.ceil(draws.size / fit.diagnostics.ess_bulk[simulation]))]
        assert stats.kstest(np.interp(thinned, grid, np.cumsum(marginal)), "uniform").pvalue > 1e-3


def test_failures_are_run_again_longer_and_never_dropped() -> None:
    target, y = regression()
    impossible = fit_batch(target, y, SEED, np.arange(6), short(thins=(1, 4, 16), ess_limit=1e9))
    assert not np.any(impossible.diagnostics.ok)
    assert np.all(impossible.diagnostics.escalations == 2)
    assert impossible.draws["z0"].shape == (6, 4, 50)
    # Thinned draws of a run 16 times as long are closer to independent than those of the first run.
    first = fit_batch(target, y, SEED, np.arange(6), short(ess_limit=1e9))
    assert np.median(impossible.diagnostics.ess_tail) > 0.8 * np.median(first.diagnostics.ess_tail)
    assert np.all(first.diagnostics.escalations == 0)


@pytest.mark.slow
def test_what_fails_every_schedule_is_fitted_by_nuts() -> None:
    target, y = regression()
    settings = replace(
        short(thins=(1, 1), ess_limit=1e9), last=Nuts(4, warmup=200, draws=50, r_hat_limit=2.0, ess_limit=1.0)
    )
    fit = fit_batch(target, y, SEED, np.arange(6), settings)
    assert np.all(fit.diagnostics.ok)
    assert np.all(fit.diagnostics.escalations == 2)
    alone = settings.last.fit(target, y, SEED, np.arange(6))
    np.testing.assert_array_equal(fit.draws["z0"], alone.draws["z0"])


def test_only_failures_are_run_again() -> None:
    target, y = regression()
    first = fit_batch(target, y, SEED, np.arange(6), short())
    limit = float(np.median(np.minimum(first.diagnostics.ess_bulk, first.diagnostics.ess_tail)))
    both = fit_batch(target, y, SEED, np.arange(6), short(thins=(1, 4), ess_limit=limit, r_hat_limit=10.0))
    again = both.diagnostics.escalations == 1
    assert again.sum() == 3
    np.testing.assert_array_equal(both.draws["z0"][~again], first.draws["z0"][~again])
    assert not np.any(both.draws["z0"][again] == first.draws["z0"][again])


def test_unfit_data_are_refused() -> None:
    target, y = regression()
    with pytest.raises(InvalidInput, match="finite"):
        fit_batch(target, np.where(y > 0, y, np.nan), SEED, np.arange(6), FitSettings.simulation())
    with pytest.raises(InvalidInput, match="one simulation id per column"):
        fit_batch(target, y, SEED, np.arange(5), FitSettings.simulation())


def test_no_simulations_give_an_empty_fit() -> None:
    target, y = regression()
    fit = fit_batch(target, y[:, :0], SEED, np.arange(0), FitSettings.simulation())
    assert fit.draws["z0"].shape == (0, 4, 125)


@pytest.mark.parametrize("changes", [{"chains": 1}, {"draws": 30}, {"schedules": ()}, {"ess_limit": float("nan")}])
def test_unusable_settings_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        replace(FitSettings.simulation(), **changes)


@pytest.mark.parametrize(
    "changes", [{"warmup": 30}, {"pilot": 50}, {"target_accept": 1.0}, {"dtype": "float16"}, {"leapfrog": 0}]
)
def test_an_unusable_schedule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        replace(Schedule(warmup=50, pilot=BLOCK, leapfrog=4), **changes)


def test_the_steps_of_a_transition_grow_with_the_fourth_root_of_the_dimension() -> None:
    # Beskos et al. 2013: the step of HMC shrinks like d^(-1/4)
    schedule = Schedule(warmup=50, pilot=BLOCK, leapfrog=4)
    assert [schedule.steps(d) for d in (10, 40, 160)] == [4, 6, 8]


def test_names_are_not_part_of_what_is_compiled() -> None:
    assert Labels(("a", "b")) == Labels(("c", "d"))
    assert hash(Labels(("a", "b"))) == hash(Labels(("c", "d")))
    assert Labels(("a",)) != Labels(("a", "b"))
