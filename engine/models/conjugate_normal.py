"""A belief against a published estimate: one quantity, n unit observations around it, exact posterior draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
from scipy import stats
from scipy.special import ndtri

from engine.arrays import Flags, Floats, Integers
from engine.distributions.distribution import Distribution, Normal, TruncatedNormal, Uniform
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.backend import Backend
from engine.inference.fit import BatchFit, FitDiagnostics, Purpose, Seed
from engine.models.protocol import PriorSample
from engine.rules.quantity_names import LOG_LIKELIHOOD, LOG_PRIOR

FAMILY = "conjugate_normal/1"


_GRID = 8001
_REACH = 9.0  # standard errors around the data mean that the numerical posterior covers
_TAIL = 1e-13


@dataclass(frozen=True)
class ConjugateNormalSpec:
    """A summary of data: `estimate` ± `standard_error` (an sd) of `quantity`, from `n_observations` units."""

    quantity: str
    estimate: float
    standard_error: float
    n_observations: int
    prior: Distribution

    def __post_init__(self) -> None:
        if not self.quantity:
            raise InvalidInput("quantity", "must not be empty")
        if not math.isfinite(self.estimate):
            raise InvalidInput("estimate", "must be finite")
        if not (math.isfinite(self.standard_error) and self.standard_error > 0.0):
            raise InvalidInput("standard_error", "must be finite and above 0")
        if self.n_observations < 2:
            raise InvalidInput("n_observations", "must be at least 2")


def prepare(spec: ConjugateNormalSpec) -> ConjugateNormal:
    """The model of a summary."""
    return ConjugateNormal(spec)


@dataclass(frozen=True)
class ConjugateNormal:
    """psi ~ prior; y_1 … y_n ~ N(psi, standard_error · √n) with that sd known.

    The posterior is exact: closed form under a Normal, Uniform or TruncatedNormal prior, and by numerical inversion of
    its distribution function (relative error below 1e-5) under any other.
    """

    spec: ConjugateNormalSpec
    rows: tuple[int, ...] | None = None
    """The observations that enter the likelihood; None is all of them."""

    @property
    def family(self) -> str:
        """conjugate_normal/1."""
        return FAMILY

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The quantity, e.g. share_of_outcome[TV]."""
        return (self.spec.quantity,)

    @property
    def estimand_names(self) -> tuple[str, ...]:
        """The quantity again: it is what the business asks about."""
        return (self.spec.quantity,)

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """The quantity, log_likelihood and log_prior."""
        return (self.spec.quantity, LOG_LIKELIHOOD, LOG_PRIOR)

    @property
    def derived_names(self) -> tuple[str, ...]:
        """None: the quantity is all that there is."""
        return ()

    @property
    def priors(self) -> Mapping[str, Distribution]:
        """The prior of the quantity."""
        return MappingProxyType({self.spec.quantity: self.spec.prior})

    @property
    def estimate(self) -> float:
        """The estimate; of a model of some of the observations, their mean."""
        return self.spec.estimate if self.rows is None else float(self._used(self.observed).mean())

    @property
    def standard_error(self) -> float:
        """Its standard error."""
        return self._error

    @property
    def inference(self) -> str:
        """exact."""
        return "exact"

    @property
    def unit_sd(self) -> float:
        """Standard deviation of one observation, standard_error · √n."""
        return self.spec.standard_error * math.sqrt(self.spec.n_observations)

    @cached_property
    def observed(self) -> Floats:
        """n values [n] with the summary's mean and sd (normal scores; only the mean matters to the posterior)."""
        scores = ndtri((np.arange(self.spec.n_observations) + 0.5) / self.spec.n_observations)
        scores = (scores - scores.mean()) / scores.std(ddof=1)
        return np.asarray(self.spec.estimate + self.unit_sd * scores)

    @property
    def n_observations(self) -> int:
        """n."""
        return self.spec.n_observations

    def multiple_of(self, quantity: str) -> tuple[str, float]:
        """The one quantity and 1; UnsupportedQuantity for any other name."""
        self.prior_of(quantity)
        return quantity, 1.0

    def prior_of(self, quantity: str) -> Distribution:
        """The prior of the one quantity; UnsupportedQuantity for any other name."""
        if quantity != self.spec.quantity:
            raise UnsupportedQuantity(quantity, f"this model knows {self.spec.quantity} only")
        return self.spec.prior

    def with_priors(self, priors: Mapping[str, Distribution]) -> ConjugateNormal:
        """The same data under another prior."""
        changed = self.spec.prior
        for quantity, prior in priors.items():
            self.prior_of(quantity)
            changed = prior
        return ConjugateNormal(replace(self.spec, prior=changed), self.rows)

    def derive(self, quantity: str, parameters: Mapping[str, Floats]) -> Floats:
        """The one quantity [S]; UnsupportedQuantity for any other name."""
        self.prior_of(quantity)
        return np.asarray(parameters[quantity], dtype=np.float64)

    def restricted(self, rows: Flags) -> ConjugateNormal:
        """The same model in which only the marked observations [n] enter the likelihood."""
        marked = np.flatnonzero(rows).tolist()
        return ConjugateNormal(self.spec, tuple(row for row in marked if self.rows is None or row in self.rows))

    def paired(self) -> ConjugateNormal:
        """The model of twice as many observations with the same unit sd."""
        spec = self.spec
        halved = spec.standard_error / math.sqrt(2.0)
        rows = None if self.rows is None else (*self.rows, *(spec.n_observations + row for row in self.rows))
        return ConjugateNormal(replace(spec, standard_error=halved, n_observations=2 * spec.n_observations), rows)

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        """Truths [S] and data [n, S]."""
        ids = [int(simulation) for simulation in np.asarray(simulations)]
        truth = np.asarray([self.spec.prior.sample(seed.generator(i, Purpose.PRIOR), 1)[0] for i in ids], dtype=float)
        parameters = {self.spec.quantity: truth}
        y = self.simulate(parameters, seed, simulations)
        return PriorSample(parameters, y, self.evaluate(parameters, y))

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        """Data [n, S] at parameters [S]."""
        ids = np.asarray(simulations)
        noise = [seed.generator(int(i), Purpose.DATA).standard_normal(self.n_observations) for i in ids]
        columns = np.asarray(noise).reshape(ids.size, self.n_observations).T
        return np.asarray(parameters[self.spec.quantity] + self.unit_sd * columns)

    def evaluate(self, parameters: Mapping[str, Floats], y: Floats) -> dict[str, Floats]:
        """Every quantity [S] at parameters [S] and data y [n, S]."""
        psi = parameters[self.spec.quantity]
        log_likelihood = np.sum(stats.norm.logpdf(self._used(y), loc=psi, scale=self.unit_sd), axis=0)
        return {self.spec.quantity: psi, LOG_LIKELIHOOD: log_likelihood, LOG_PRIOR: self.spec.prior.logpdf(psi)}

    @property
    def _error(self) -> float:
        """Standard error of the mean of the observations that are used."""
        return self.spec.standard_error if self.rows is None else self.unit_sd / math.sqrt(len(self.rows))

    def _used(self, y: Floats) -> Floats:
        return y if self.rows is None else y[list(self.rows)]

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        """Independent draws from the exact posterior for data y [n, S]; R-hat is 1 and ESS the number of draws."""
        data = np.asarray(y, dtype=np.float64)
        ids = np.asarray(simulations)
        if data.ndim != 2 or data.shape != (self.n_observations, ids.size):
            raise InvalidInput("y", f"must be [{self.n_observations}, S] with one simulation id per column")
        if not np.all(np.isfinite(data)):
            raise InvalidInput("y", "must be finite")
        data = self._used(data)
        number = inference.chains * inference.draws
        uniform = np.asarray([seed.generator(int(i), Purpose.MCMC).random(number) for i in ids]).reshape(-1, number)
        # A uniform of exactly 0 would be the end of the support.
        psi = self._quantiles(data.mean(axis=0), np.maximum(uniform, 2.0**-54))
        spread = ((data - data.mean(axis=0)) ** 2).sum(axis=0)[:, None]
        misfit = spread + data.shape[0] * (data.mean(axis=0)[:, None] - psi) ** 2
        variance = self.unit_sd**2
        log_likelihood = -0.5 * misfit / variance - 0.5 * data.shape[0] * math.log(2.0 * math.pi * variance)
        shape = (ids.size, inference.chains, inference.draws)
        draws = {
            self.spec.quantity: psi.reshape(shape),
            LOG_LIKELIHOOD: log_likelihood.reshape(shape),
            LOG_PRIOR: self.spec.prior.logpdf(psi).reshape(shape),
        }
        nonfinite = ~np.all(np.isfinite(psi), axis=1)
        return BatchFit(draws, FitDiagnostics.independent(nonfinite, number))

    def _quantiles(self, mean: Floats, uniform: Floats) -> Floats:
        """Posterior quantiles [S, N] at uniform [S, N] for data means [S]."""
        match self.spec.prior:
            case Normal(location, scale):
                lower, upper = -math.inf, math.inf
            case TruncatedNormal(location, scale, lower, upper):
                pass
            case Uniform(lower, upper):
                location, scale = 0.0, math.inf
            case _:
                rows = [self._inverted(float(m), u) for m, u in zip(mean, uniform, strict=True)]
                return np.asarray(rows).reshape(uniform.shape)
        precision = self._error**-2 + scale**-2
        centre = ((mean * self._error**-2 + location * scale**-2) / precision)[:, None]
        sd = precision**-0.5
        if math.isinf(lower) and math.isinf(upper):
            return np.asarray(centre + sd * ndtri(uniform))
        low, high = (lower - centre) / sd, (upper - centre) / sd
        return np.asarray(np.clip(centre + sd * stats.truncnorm.ppf(uniform, low, high), lower, upper))

    def _inverted(self, mean: float, uniform: Floats) -> Floats:
        """Quantiles [N] by inverting the posterior's distribution function on a grid of the unconstrained scale."""
        prior, error = self.spec.prior, self._error
        prior_ends = float(prior.ppf(_TAIL)), float(prior.isf(_TAIL))
        low, high = max(prior_ends[0], mean - _REACH * error), min(prior_ends[1], mean + _REACH * error)
        if not low < high:
            low, high = prior_ends  # data far outside the prior: the posterior hugs an end of its support
        ends = prior.support.to_unconstrained(np.asarray([low, high]))
        grid = np.linspace(max(float(ends[0]), -700.0), min(float(ends[1]), 700.0), _GRID)
        psi = prior.support.from_unconstrained(grid)
        log_density = prior.unconstrained_logpdf(grid) - 0.5 * ((psi - mean) / error) ** 2
        density = np.exp(log_density - log_density.max())
        below = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
        return prior.support.from_unconstrained(np.interp(uniform * below[-1], below, grid))
