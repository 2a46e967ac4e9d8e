"""Small models for SBC whose posterior is known, each also with one bug; after the examples of the R package SBC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy import special

from engine.distributions.distribution import Gamma, HalfNormal
from engine.inference.backend import Backend
from engine.inference.fit import BatchFit, FitDiagnostics, Integers, Purpose, Seed
from engine.inference.prior_map import PriorMap, tabulate
from engine.inference.target import Target, observed_curvature
from engine.models.protocol import PriorSample

Floats = NDArray[np.float64]
Values = Mapping[str, Floats]


class Toy:
    """What `run_shard` needs of a model, from one data set at a time."""

    quantity_names: tuple[str, ...]

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        """One truth."""
        raise NotImplementedError

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        """Data [T] of a truth."""
        raise NotImplementedError

    def quantities(self, parameters: Values, y: Floats) -> Values:
        """Every quantity [n] at parameters [n] and data y [T]; the same formulas for the truth and for the draws."""
        raise NotImplementedError

    def simulate(self, prior: np.random.Generator, noise: np.random.Generator) -> tuple[dict[str, Any], Floats]:
        """One truth and its data."""
        truth = self.prior(prior)
        return truth, self.data(truth, noise)

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        pairs = [self.simulate(seed.generator(i, Purpose.PRIOR), seed.generator(i, Purpose.DATA)) for i in simulations]
        values = [self.quantities({name: np.array([v]) for name, v in truth.items()}, y) for truth, y in pairs]
        rows = {name: np.concatenate([value[name] for value in values]) for name in self.quantity_names}
        return PriorSample({}, np.stack([y for _, y in pairs], axis=1), rows)


class Exact(Toy):
    """A toy with independent draws of a posterior in closed form or on a fine grid."""

    def posterior(self, y: Floats, rng: np.random.Generator, size: int) -> Values:
        """Draws [size] of the parameters given data y [T]."""
        raise NotImplementedError

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        shape, size = (len(simulations), inference.chains, inference.draws), inference.chains * inference.draws
        values = []
        for column, simulation in enumerate(simulations):
            drawn = self.posterior(y[:, column], seed.generator(simulation, Purpose.MCMC), size)
            values.append(self.quantities(drawn, y[:, column]))
        rows = {name: np.stack([value[name] for value in values]).reshape(shape) for name in self.quantity_names}
        ones, none = np.ones(shape[0]), np.zeros(shape[0], dtype=np.int64)
        return BatchFit(rows, FitDiagnostics(ones, size * ones, size * ones, none, none, ones > 0, ones < 0))


def choose(log_weights: Floats, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Positions [size] drawn with probabilities that are proportional to exp(log_weights [n])."""
    below = np.cumsum(np.exp(log_weights - log_weights.max()))
    return np.searchsorted(below, rng.random(size) * below[-1], side="right")


def unit_normal(rng: np.random.Generator, size: int) -> Floats:
    return rng.standard_normal(size)


def student_5(rng: np.random.Generator, size: int) -> Floats:
    return rng.standard_t(5.0, size)


@dataclass(frozen=True)
class NormalMean(Exact):
    """mu ~ N(0, 1), ten observations mu + noise; the fit takes the noise for unit normal and uses the first `used`.

    A pair that is `rejected` is drawn again, which the fit knows nothing of.
    """

    used: int = 10
    noise: Callable[[np.random.Generator, int], Floats] = unit_normal
    rejected: Callable[[float, Floats], bool] = lambda mu, y: False

    quantity_names = ("mu", "log_likelihood")

    def simulate(self, prior: np.random.Generator, noise: np.random.Generator) -> tuple[dict[str, Any], Floats]:
        while True:
            mu = prior.standard_normal()
            y = mu + self.noise(noise, 10)
            if not self.rejected(mu, y):
                return {"mu": mu}, y

    def quantities(self, parameters: Values, y: Floats) -> Values:
        mu = parameters["mu"]
        return {"mu": mu, "log_likelihood": -0.5 * ((y - mu[:, None]) ** 2).sum(axis=1)}

    def posterior(self, y: Floats, rng: np.random.Generator, size: int) -> Values:
        precision = self.used + 1.0
        return {"mu": y[: self.used].sum() / precision + rng.standard_normal(size) / np.sqrt(precision)}


@dataclass(frozen=True)
class NormalScale(Exact):
    """mu ~ N(0, 1), sigma ~ N⁺(0, 1), ten observations N(mu, sigma); the bug reads sigma as a precision."""

    as_precision: bool = False

    quantity_names = ("mu", "sigma", "log_likelihood")

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"mu": rng.standard_normal(), "sigma": abs(rng.standard_normal())}

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        return truth["mu"] + truth["sigma"] * rng.standard_normal(10)

    def quantities(self, parameters: Values, y: Floats) -> Values:
        mu, sigma = parameters["mu"], parameters["sigma"]
        misfit = ((y - mu[:, None]) ** 2).sum(axis=1)
        return {"mu": mu, "sigma": sigma, "log_likelihood": -0.5 * misfit / sigma**2 - y.size * np.log(sigma)}

    def posterior(self, y: Floats, rng: np.random.Generator, size: int) -> Values:
        # mu is integrated out, log sigma lies on a grid: its posterior is about 0.2 wide, 200 cells.
        step = 0.001
        grid = np.arange(-15.0, 2.0, step)
        variance = np.exp(-grid) if self.as_precision else np.exp(2.0 * grid)
        of_mean = variance / y.size + 1.0
        density = -0.5 * (y.size - 1.0) * np.log(variance) - 0.5 * y.var() * y.size / variance
        density += -0.5 * np.log(of_mean) - 0.5 * y.mean() ** 2 / of_mean
        density += grid - 0.5 * np.exp(2.0 * grid)  # the prior in log sigma
        cell = choose(density, rng, size)
        sigma = np.exp(grid[cell] + step * (rng.random(size) - 0.5))
        precision = y.size / variance[cell] + 1.0
        mu = y.sum() / variance[cell] / precision + rng.standard_normal(size) / np.sqrt(precision)
        return {"mu": mu, "sigma": sigma}


@dataclass(frozen=True)
class GammaScale(Exact):
    """log shape, log scale ~ N(0, 1), forty observations Gamma(shape, scale); the bug reads the scale as a rate."""

    as_rate: bool = False

    quantity_names = ("shape", "scale", "log_likelihood")

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"shape": np.exp(rng.standard_normal()), "scale": np.exp(rng.standard_normal())}

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        return rng.gamma(truth["shape"], truth["scale"], 40)

    @staticmethod
    def _log_likelihood(shape: Floats, scale: Floats, y: Floats) -> Floats:
        fit = (shape - 1.0) * np.log(y).sum() - y.sum() / scale
        return fit - y.size * (special.gammaln(shape) + shape * np.log(scale))

    def quantities(self, parameters: Values, y: Floats) -> Values:
        shape, scale = parameters["shape"], parameters["scale"]
        return {"shape": shape, "scale": scale, "log_likelihood": self._log_likelihood(shape, scale, y)}

    def posterior(self, y: Floats, rng: np.random.Generator, size: int) -> Values:
        # A coarse grid over the prior finds the box that holds the posterior, a fine one inside it is drawn from.
        ends, cells = np.array([[-5.0, 5.0], [-5.0, 5.0]]), 100
        for _ in range(2):
            step = (ends[:, 1] - ends[:, 0]) / cells
            shape, scale = (ends[k, 0] + step[k] * (np.arange(cells) + 0.5) for k in range(2))
            factor = np.exp(-scale if self.as_rate else scale)
            density = self._log_likelihood(np.exp(shape)[:, None], factor, y) - 0.5 * (shape[:, None] ** 2 + scale**2)
            places = np.nonzero(density > density.max() - 20.0)
            ends = np.array(
                [
                    [ends[k, 0] + step[k] * (p.min() - 1), ends[k, 0] + step[k] * (p.max() + 2)]
                    for k, p in enumerate(places)
                ]
            )
        cell = np.unravel_index(choose(density.ravel(), rng, size), density.shape)
        drawn = [grid[c] + s * (rng.random(size) - 0.5) for grid, c, s in zip((shape, scale), cell, step, strict=True)]
        return {"shape": np.exp(drawn[0]), "scale": np.exp(drawn[1])}


Mean = Callable[[Floats, Floats], Floats]
"""Mean [T] of a regression with covariates x [T, K] and coefficients [K]."""


def by_loops(x: Floats, beta: Floats) -> Floats:
    mean = np.zeros(x.shape[0])
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            mean[i] += x[i, j] * beta[j]
    return mean


def by_wrong_index(x: Floats, beta: Floats) -> Floats:
    mean = np.zeros(x.shape[0])
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            mean[i] += x[j, j] * beta[j]  # the bug: [j, j] for [i, j]
    return mean


def by_product(x: Floats, beta: Floats) -> Floats:
    return np.asarray(x @ beta)


@dataclass(frozen=True)
class Regression(Exact):
    """beta ~ N(0, 1) of three covariates, thirty observations with unit noise; the fit computes its mean by `mean`."""

    mean: Mean = by_product

    quantity_names = ("beta[1]", "beta[2]", "beta[3]", "log_likelihood")
    x = np.random.default_rng(5).standard_normal((30, 3))

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        return dict(zip(self.quantity_names[:3], rng.standard_normal(3), strict=True))

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        return self.x @ np.array([truth[name] for name in self.quantity_names[:3]]) + rng.standard_normal(30)

    def quantities(self, parameters: Values, y: Floats) -> Values:
        beta = np.stack([parameters[name] for name in self.quantity_names[:3]])
        return {**parameters, "log_likelihood": -0.5 * ((y[:, None] - self.x @ beta) ** 2).sum(axis=0)}

    def posterior(self, y: Floats, rng: np.random.Generator, size: int) -> Values:
        design = np.stack([self.mean(self.x, unit) for unit in np.eye(3)], axis=1)
        covariance = np.linalg.inv(design.T @ design + np.eye(3))
        drawn = rng.multivariate_normal(covariance @ design.T @ y, covariance, size, method="cholesky")
        return dict(zip(self.quantity_names[:3], drawn.T, strict=True))


@dataclass(frozen=True)
class CorrelatedMeans(Exact):
    """mu ~ N(0, S), three observations N(mu, S) with unit variances and correlation .8; the bug drops the
    correlation of the posterior and keeps its marginals."""

    independent: bool = False

    quantity_names = ("mu[1]", "mu[2]", "sum", "difference", "product", "log_likelihood")
    covariance = np.array([[1.0, 0.8], [0.8, 1.0]])

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        return dict(
            zip(self.quantity_names[:2], np.linalg.cholesky(self.covariance) @ unit_normal(rng, 2), strict=True)
        )

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        noise = rng.standard_normal((3, 2)) @ np.linalg.cholesky(self.covariance).T
        return (np.array([truth["mu[1]"], truth["mu[2]"]]) + noise).ravel()

    def quantities(self, parameters: Values, y: Floats) -> Values:
        mu = np.stack([parameters["mu[1]"], parameters["mu[2]"]], axis=1)
        rest = y.reshape(3, 2) - mu[:, None]
        log_likelihood = -0.5 * np.einsum("nij,jk,nik->n", rest, np.linalg.inv(self.covariance), rest)
        joint = {"sum": mu.sum(axis=1), "difference": mu[:, 0] - mu[:, 1], "product": mu[:, 0] * mu[:, 1]}
        return {**parameters, **joint, "log_likelihood": log_likelihood}

    def posterior(self, y: Floats, rng: np.random.Generator, size: int) -> Values:
        covariance = np.eye(2) if self.independent else self.covariance
        drawn = (
            y.reshape(3, 2).sum(axis=0) / 4.0 + rng.standard_normal((size, 2)) @ np.linalg.cholesky(covariance).T / 2.0
        )
        return {"mu[1]": drawn[:, 0], "mu[2]": drawn[:, 1]}


@dataclass(frozen=True)
class ChangePoint(Exact):
    """Thirty counts of rate `early` before the time s ~ U{1..30} and `late` from then on, both rates Exponential(1/10).

    The bug takes time s itself for an early one.
    """

    late_by_one: bool = False

    quantity_names = ("s", "early", "late", "log_likelihood")
    times = np.arange(1, 31)

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"s": float(rng.integers(1, 31)), "early": rng.exponential(10.0), "late": rng.exponential(10.0)}

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        return rng.poisson(np.where(self.times < truth["s"], truth["early"], truth["late"])).astype(np.float64)

    def quantities(self, parameters: Values, y: Floats) -> Values:
        before = self.times < parameters["s"][:, None]
        rate = np.where(before, parameters["early"][:, None], parameters["late"][:, None])
        return {**parameters, "log_likelihood": (special.xlogy(y, rate) - rate).sum(axis=1)}

    def posterior(self, y: Floats, rng: np.random.Generator, size: int) -> Values:
        before = self.times <= self.times[:, None] if self.late_by_one else self.times < self.times[:, None]
        counts = np.stack([before @ y, ~before @ y])  # [2, s]
        rows = np.stack([before.sum(axis=1), (~before).sum(axis=1)]) + 0.1
        # Both rates are integrated out: each has a Gamma posterior given s.
        s = choose((special.gammaln(counts + 1.0) - (counts + 1.0) * np.log(rows)).sum(axis=0), rng, size)
        early, late = rng.gamma(counts[:, s] + 1.0, 1.0 / rows[:, s])
        return {"s": self.times[s].astype(np.float64), "early": early, "late": late}


class Sampled(Toy):
    """A toy whose posterior is a `Target`, fitted by the backend that is handed in."""

    target: Target

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        return inference.fit(self.target, y, seed, np.asarray(simulations))


class _Posterior:
    """What the targets have in common: the parameters are the first D quantities, the curvature the observed one."""

    noise_dimension = 1

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.quantity_names[: self.dimension]

    def curvature(self, z: Array, y: Array) -> Array:
        return observed_curvature(self.log_likelihood, z, y)


def _named(what: str, size: int) -> tuple[str, ...]:
    return (*(f"{what}[{k}]" for k in range(1, size + 1)), "log_likelihood")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PoissonTarget(_Posterior):
    """Counts of mean x @ rates [T], x [T, K], under priors of the K rates."""

    x: Array
    priors: PriorMap

    @property
    def dimension(self) -> int:
        return self.x.shape[1]

    @property
    def quantity_names(self) -> tuple[str, ...]:
        return _named("rate", self.dimension)

    def log_likelihood(self, z: Array, y: Array) -> Array:
        mean = self.x @ self.priors.parameters(z)
        return jnp.sum(y * jnp.log(mean) - mean, axis=0)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        return jnp.concatenate([self.priors.parameters(z), self.log_likelihood(z, y)[None]])


class PoissonGamma(Sampled):
    """Counts y_i ~ Poisson(Σ x_ik rate_k), rate_k ~ Gamma(15, 5), one rate as in the R package, or more."""

    def __init__(self, x: Floats) -> None:
        self.x = x
        self.target = PoissonTarget(jnp.asarray(x), tabulate([Gamma(15.0, 5.0)] * x.shape[1]))
        self.quantity_names = self.target.quantity_names

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        return {name: rng.gamma(15.0, 1.0 / 5.0) for name in self.quantity_names[:-1]}

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        return rng.poisson(self.x @ np.array(list(truth.values()))).astype(np.float64)

    def quantities(self, parameters: Values, y: Floats) -> Values:
        mean = self.x @ np.stack(list(parameters.values()))
        return {**parameters, "log_likelihood": (y[:, None] * np.log(mean) - mean).sum(axis=0)}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearTarget(_Posterior):
    """z ~ N(0, I), y ~ N(x z, I): a normal posterior of precision x'x + I."""

    x: Array

    @property
    def dimension(self) -> int:
        return self.x.shape[1]

    @property
    def quantity_names(self) -> tuple[str, ...]:
        return _named("z", self.dimension)

    def log_likelihood(self, z: Array, y: Array) -> Array:
        return -0.5 * jnp.sum((y - self.x @ z) ** 2, axis=0)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        return jnp.concatenate([z, self.log_likelihood(z, y)[None]])


class Collinear(Sampled):
    """Two standard normal coefficients of covariates with correlation .9, twenty observations with unit noise."""

    def __init__(self) -> None:
        first, other = np.random.default_rng(9).standard_normal((2, 20))
        self.x = np.stack([first, 0.9 * first + np.sqrt(1.0 - 0.9**2) * other], axis=1)
        self.target = LinearTarget(jnp.asarray(self.x))
        self.quantity_names = self.target.quantity_names

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        return dict(zip(self.quantity_names[:-1], rng.standard_normal(2), strict=True))

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        return self.x @ np.array(list(truth.values())) + rng.standard_normal(20)

    def quantities(self, parameters: Values, y: Floats) -> Values:
        rest = y[:, None] - self.x @ np.stack(list(parameters.values()))
        return {**parameters, "log_likelihood": -0.5 * (rest**2).sum(axis=0)}


SCHOOLS_SD = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NonCentredTarget(_Posterior):
    """y_j ~ N(theta_j, sd_j), theta_j = mu + tau z_j, mu ~ N(0, 5), tau ~ N⁺(0, 5)."""

    sd: Array
    prior_of_tau: PriorMap

    dimension = 10
    quantity_names = (*(f"theta[{j}]" for j in range(1, 9)), "mu", "tau", "log_likelihood")

    def _parameters(self, z: Array) -> tuple[Array, Array, Array]:
        mu, tau = 5.0 * z[8:9], self.prior_of_tau.parameters(z[9:10])
        return mu + tau * z[:8], mu, tau

    def _fit(self, theta: Array, y: Array) -> Array:
        return -0.5 * jnp.sum(((y - theta) / self.sd[:, None]) ** 2, axis=0)

    def log_likelihood(self, z: Array, y: Array) -> Array:
        return self._fit(self._parameters(z)[0], y)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        theta, mu, tau = self._parameters(z)
        return jnp.concatenate([theta, mu, tau, self._fit(theta, y)[None]])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CentredTarget(NonCentredTarget):
    """The same posterior with theta_j / 10 sampled themselves: a funnel where tau is small."""

    def _parameters(self, z: Array) -> tuple[Array, Array, Array]:
        _, mu, tau = super()._parameters(z)
        return 10.0 * z[:8], mu, tau

    def log_likelihood(self, z: Array, y: Array) -> Array:
        theta, mu, tau = self._parameters(z)
        # The normal prior that the sampler puts on z gives way to that of theta.
        hierarchy = jnp.sum(-0.5 * ((theta - mu) / tau) ** 2 - jnp.log(tau) + 0.5 * z[:8] ** 2, axis=0)
        return self._fit(theta, y) + hierarchy


class EightSchools(Sampled):
    """Rubin's eight schools, simulated from their priors."""

    def __init__(self, target: type[NonCentredTarget]) -> None:
        self.target = target(jnp.asarray(SCHOOLS_SD), tabulate([HalfNormal(5.0)]))
        self.quantity_names = self.target.quantity_names

    def prior(self, rng: np.random.Generator) -> dict[str, Any]:
        mu, tau = 5.0 * rng.standard_normal(), 5.0 * abs(rng.standard_normal())
        theta = mu + tau * rng.standard_normal(8)
        return dict(zip(self.quantity_names[:-1], (*theta, mu, tau), strict=True))

    def data(self, truth: Mapping[str, Any], rng: np.random.Generator) -> Floats:
        theta = np.array([truth[name] for name in self.quantity_names[:8]])
        return theta + SCHOOLS_SD * rng.standard_normal(8)

    def quantities(self, parameters: Values, y: Floats) -> Values:
        theta = np.stack([parameters[name] for name in self.quantity_names[:8]])
        fit = -0.5 * (((y[:, None] - theta) / SCHOOLS_SD[:, None]) ** 2).sum(axis=0)
        return {**parameters, "log_likelihood": fit}
