"""The test that every model family has to pass before conflict analysis and SBC may rely on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.errors import UnsupportedQuantity
from engine.inference.settings import BLOCK, FitSettings, Schedule
from engine.inference.target import Target
from engine.models.protocol import LOG_LIKELIHOOD, LOG_PRIOR, Model, PriorSample, Seed

Floats = NDArray[np.float64]

_SEED = Seed(0x5EED, 0xC0DE)
_P_VALUE = 1e-5  # of a Kolmogorov-Smirnov test per quantity: a false alarm once in 100 000


@runtime_checkable
class DensityModel(Protocol):
    """A model whose posterior is a Target; the two sides, NumPy and JAX, are then compared."""

    @property
    def target(self) -> Target:
        """The posterior in JAX."""
        ...

    def coordinates(self, parameters: Mapping[str, Floats]) -> Floats:
        """Target coordinates z [D, S] of parameters [S]."""
        ...

    def target_units(self, y: Floats) -> Floats:
        """y in the target's units."""
        ...

    def evaluate(self, parameters: Mapping[str, Floats], y: Floats) -> dict[str, Floats]:
        """Every quantity [S] in plain NumPy."""
        ...


@dataclass(frozen=True)
class Check:
    """One fact about the model, whether it holds, and what was seen."""

    name: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True)
class ConformanceReport:
    """All checks of a model."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.holds)


def check(model: Model, simulations: int = 200) -> ConformanceReport:
    """Check a model at `simulations` prior draws (`methods/mmm.md` §5).

    Everything is finite, shapes and names agree, a simulation does not depend on its batch, stated priors are those
    that are drawn from, and fitting simulated data leaves every frozen number as it was. For a DensityModel also:
    density and gradient are finite, and JAX agrees with NumPy on every quantity.
    """
    ids = np.arange(simulations, dtype=np.int64)
    sample = model.sample_prior(_SEED, ids)
    checks = [*_shapes(model, sample, simulations), *_batch(model, sample), *_priors(model, sample)]
    checks += _frozen(model, sample)
    if isinstance(model, DensityModel):
        checks += _density(model, sample)
    return ConformanceReport(tuple(checks))


def _shapes(model: Model, sample: PriorSample, count: int) -> list[Check]:
    quantities = set(model.quantity_names)
    expected = {*model.parameter_names, *model.estimand_names, LOG_LIKELIHOOD, LOG_PRIOR}
    finite = all(np.all(np.isfinite(values)) for values in (sample.y, *sample.quantities.values()))
    shapes = {name: values.shape for name, values in sample.quantities.items() if values.shape != (count,)}
    return [
        Check("priors are named after the parameters", tuple(model.priors) == model.parameter_names),
        Check("quantities are parameters, estimands, log_likelihood, log_prior", quantities == expected),
        Check("the simulator returns every quantity", set(sample.quantities) == quantities),
        Check("quantities have one value per simulation", not shapes, str(shapes)),
        Check("y is [T, S] in float64", sample.y.shape == (model.n_observations, count) and sample.y.dtype == float),
        Check("observed is [T]", model.observed.shape == (model.n_observations,)),
        Check("prior draws, data and quantities are finite", finite),
    ]


def _batch(model: Model, sample: PriorSample) -> list[Check]:
    alone = model.sample_prior(_SEED, np.asarray([2], dtype=np.int64))
    same = np.array_equal(alone.y[:, 0], sample.y[:, 2])
    return [Check("a simulation does not depend on the others of its batch", same)]


def _priors(model: Model, sample: PriorSample) -> list[Check]:
    checks = []
    for name in (*model.parameter_names, *model.estimand_names):
        try:
            prior = model.prior_of(name)
        except UnsupportedQuantity:
            continue
        p_value = float(stats.kstest(prior.cdf(sample.quantities[name]), "uniform").pvalue)
        checks.append(
            Check(f"prior_of({name}) is the law of its prior draws", p_value > _P_VALUE, f"p = {p_value:.2g}")
        )
    return checks


def _frozen(model: Model, sample: PriorSample) -> list[Check]:
    before = dict(getattr(model, "scalers", {}))
    observed = model.observed.copy()
    settings = FitSettings(4, BLOCK, (Schedule(warmup=2 * BLOCK, pilot=BLOCK, leapfrog=4, chunk=8),), 1.05, 100.0)
    fit = model.fit(sample.y[:, :2], _SEED, np.arange(2, dtype=np.int64), settings)
    shape = (2, settings.chains, settings.draws)
    shaped = all(fit.draws[name].shape == shape for name in model.quantity_names)
    unchanged = dict(getattr(model, "scalers", {})) == before and np.array_equal(model.observed, observed)
    return [
        Check(
            "a fit returns [S, chains, draws] of every quantity", shaped and set(fit.draws) == set(model.quantity_names)
        ),
        Check("a fit of simulated data is finite", all(bool(np.all(np.isfinite(d))) for d in fit.draws.values())),
        Check("a fit of simulated data leaves the scalers unchanged", unchanged),
    ]


def _density(model: DensityModel, sample: PriorSample) -> list[Check]:
    target = model.target
    z = jnp.asarray(model.coordinates(sample.parameters))
    y = jnp.asarray(model.target_units(sample.y))
    value = jax.jit(target.log_likelihood)(z, y)
    gradient = jax.jit(jax.grad(lambda position: jnp.sum(target.log_likelihood(position, y))))(z)
    noise = np.random.default_rng(0).standard_normal((target.noise_dimension, z.shape[1]))
    rows = np.asarray(jax.jit(target.quantities)(z, y, jnp.asarray(noise)))
    jax_side = dict(zip(target.quantity_names, rows, strict=True))
    numpy_side = model.evaluate({name: jax_side[name] for name in sample.parameters}, sample.y)
    checks = [
        Check("the log likelihood is finite at prior draws", bool(np.all(np.isfinite(value)))),
        Check("its gradient is finite at prior draws", bool(np.all(np.isfinite(gradient)))),
    ]
    for name, values in numpy_side.items():
        error = float(np.max(np.abs(jax_side[name] - values) / (1.0 + np.abs(values))))
        checks.append(Check(f"JAX and NumPy agree on {name}", error < 1e-5, f"largest relative difference {error:.2g}"))
    return checks
