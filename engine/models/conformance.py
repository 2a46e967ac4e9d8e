"""The test that every model family has to pass before conflict analysis and SBC may rely on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from engine.arrays import Floats
from engine.errors import UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.schedule import BLOCK, Schedule
from engine.models.protocol import (
    Attributes,
    Bounded,
    CarryOver,
    DensityModel,
    Model,
    Predicts,
    PriorSample,
    Regresses,
    Replicable,
)
from engine.rules.quantity_names import LOG_LIKELIHOOD, LOG_PRIOR

_SEED = Seed(0x5EED, 0xC0DE)
_P_VALUE = 1e-5  # of a Kolmogorov-Smirnov test per quantity: a false alarm once in 100 000


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
    """Check a model at `simulations` prior draws (methods/mmm.md §5).

    Everything is finite, shapes and names agree, a simulation does not depend on its batch, stated priors are those
    that are drawn from, fitting simulated data leaves every frozen number as it was, and the models made of it for
    posterior SBC and canaries are what they claim to be; so are its capabilities. For a DensityModel also: density and
    gradient are finite, and JAX agrees with NumPy on every quantity.
    """
    ids = np.arange(simulations, dtype=np.int64)
    sample = model.sample_prior(_SEED, ids)
    checks = [*_shapes(model, sample, simulations), *_batch(model, sample), *_priors(model, sample)]
    checks += [*_quantities(model, sample), *_frozen(model, sample), *_derived(model, sample)]
    checks += _capabilities(model, sample)
    if isinstance(model, DensityModel):
        checks += _density(model, model, sample)
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
    for name in dict.fromkeys((*model.parameter_names, *model.estimand_names, *model.derived_names)):
        try:
            prior = model.prior_of(name)
        except UnsupportedQuantity:
            continue
        p_value = float(stats.kstest(prior.cdf(model.derive(name, sample.parameters)), "uniform").pvalue)
        checks.append(
            Check(f"prior_of({name}) is the law of its prior draws", p_value > _P_VALUE, f"p = {p_value:.2g}")
        )
    return checks


def _quantities(model: Model, sample: PriorSample) -> list[Check]:
    """What `derive` computes from the parameters alone."""
    checks = []
    for name in model.derived_names:
        values = model.derive(name, sample.parameters)
        usable = values.shape == sample.y.shape[1:] and bool(np.all(np.isfinite(values)))
        checks.append(Check(f"`derive` gives a finite {name} per simulation", usable))
    for name in (*model.parameter_names, *model.estimand_names):
        same = np.allclose(model.derive(name, sample.parameters), sample.quantities[name], rtol=1e-9, atol=0.0)
        checks.append(Check(f"`derive` agrees with the simulator on {name}", same))
    return checks


def _frozen(model: Model, sample: PriorSample) -> list[Check]:
    before = dict(getattr(model, "scalers", {}))
    observed = model.observed.copy()
    settings = BatchedHmc(4, BLOCK, (Schedule(warmup=2 * BLOCK, pilot=BLOCK, leapfrog=4, chunk=8),), 1.05, 100.0)
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


def _derived(model: Model, sample: PriorSample) -> list[Check]:
    """Data, quantities and derived models at the first prior draws, all by NumPy."""
    few = np.arange(3, dtype=np.int64)
    parameters = {name: values[few] for name, values in sample.parameters.items()}
    y, rows = sample.y[:, few], np.arange(model.n_observations)
    again = model.evaluate(parameters, y)

    def same(quantities: Mapping[str, Floats], factor: float = 1.0) -> bool:
        """Whether nothing has changed but the log likelihood, which is so many times what it was."""
        expected = again | {LOG_LIKELIHOOD: factor * again[LOG_LIKELIHOOD]}
        return all(np.allclose(quantities[name], values, rtol=1e-9, atol=1e-12) for name, values in expected.items())

    halves = [model.restricted(rows % 2 == half).evaluate(parameters, y) for half in (0, 1)]
    parts = halves[0][LOG_LIKELIHOOD] + halves[1][LOG_LIKELIHOOD]
    first = {name: values[few] for name, values in sample.quantities.items()}
    checks = [
        Check("`simulate` makes the data of `sample_prior`", np.array_equal(model.simulate(parameters, _SEED, few), y)),
        Check("`evaluate` gives the quantities of `sample_prior`", same(first)),
        Check("the log likelihood is the sum of those of two halves", np.allclose(parts, again[LOG_LIKELIHOOD])),
        Check("a restricted model keeps every other quantity", same(halves[0] | {LOG_LIKELIHOOD: parts})),
    ]
    if isinstance(model, Replicable):
        pair = model.paired()
        twice = pair.evaluate(parameters, np.concatenate([y, y]))
        checks.append(Check("a pair has twice the observations", pair.n_observations == 2 * model.n_observations))
        checks.append(Check("the same data twice have twice the log likelihood", same(twice, 2.0)))
    if isinstance(model, CarryOver):
        checks.append(Check("no lag changes nothing", same(model.lagged(0).evaluate(parameters, y))))
        late = model.lagged(1).evaluate(parameters, y)[LOG_LIKELIHOOD]
        checks.append(Check("a lag of one period changes the likelihood", not np.allclose(late, again[LOG_LIKELIHOOD])))
    return checks


def _capabilities(model: Model, sample: PriorSample) -> list[Check]:
    """What the families' other members say, beside the quantities of the prior draws."""
    checks = []
    if isinstance(model, Attributes):
        shares = [f"share_of_outcome[{name}]" for name in model.channel_names]
        checks.append(Check("every channel has a share of outcome", set(shares) <= set(sample.quantities)))
        for name in model.channel_names if model.geos.names else ():
            by_geo = model.incremental_by_geo(name, sample.parameters).sum(axis=0)
            whole = model.derive(f"incremental_outcome[{name}]", sample.parameters)
            checks.append(Check(f"the geos add up to what {name} brought", np.allclose(by_geo, whole, rtol=1e-9)))
    if isinstance(model, Predicts):
        outcome = model.outcome_of(sample.y)
        checks.append(Check("data have one outcome each", outcome.shape == sample.y.shape[1:]))
        if isinstance(model, Attributes):
            seen = float(model.outcome_of(model.observed[:, None])[0])
            checks.append(Check("shares refer to the observed outcome", bool(np.isclose(seen, model.total_outcome))))
    if isinstance(model, Regresses):
        for name in model.channel_names:
            regression = model.regression(name)
            rows = regression.own.size
            fits = rows <= model.observed.size and rows == regression.rest.shape[0] == regression.outcome.size
            checks.append(Check(f"the regression on {name} has a row per observation that is used", fits))
    if isinstance(model, Bounded):
        for name in (*model.estimand_names, *model.derived_names):
            if (support := model.support_of(name)) is not None:
                drawn = model.derive(name, sample.parameters)
                inside = bool(np.all((drawn >= support.lower) & (drawn <= support.upper)))
                checks.append(Check(f"{name} lives where the model says", inside))
    return checks


def _density(model: DensityModel, numpy_model: Model, sample: PriorSample) -> list[Check]:
    target = model.target
    z = jnp.asarray(model.coordinates(sample.parameters))
    y = jnp.asarray(model.target_units(sample.y))
    value = jax.jit(target.log_likelihood)(z, y)
    gradient = jax.jit(jax.grad(lambda position: jnp.sum(target.log_likelihood(position, y))))(z)
    noise = np.random.default_rng(0).standard_normal((target.noise_dimension, z.shape[1]))
    rows = np.asarray(jax.jit(target.quantities)(z, y, jnp.asarray(noise)))
    jax_side = dict(zip(target.quantity_names, rows, strict=True))
    numpy_side = numpy_model.evaluate({name: jax_side[name] for name in sample.parameters}, sample.y)
    checks = [
        Check("the log likelihood is finite at prior draws", bool(np.all(np.isfinite(value)))),
        Check("its gradient is finite at prior draws", bool(np.all(np.isfinite(gradient)))),
    ]
    for name, values in numpy_side.items():
        error = float(np.max(np.abs(jax_side[name] - values) / (1.0 + np.abs(values))))
        checks.append(Check(f"JAX and NumPy agree on {name}", error < 1e-5, f"largest relative difference {error:.2g}"))
    return checks
