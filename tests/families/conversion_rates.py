"""A model family of somebody else's: conversions are Poisson, so many for each unit of one exposure.

All that a family needs, in one file: the model, the half that the server checks specifications with, and the half that
the worker prepares models with. It has dates, outcomes to predict and an inference of its own; neither channels that
an outcome could be attributed to nor a specification that could be changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2
from numpy.typing import NDArray
from scipy import stats

from engine.arrays import Flags, Integers
from engine.distributions.distribution import Distribution, Gamma
from engine.distributions.support import POSITIVE, Support
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.backend import Backend
from engine.inference.fit import BatchFit, FitDiagnostics, Purpose, Seed
from engine.models.protocol import PriorSample
from engine.models.table import WindowReport
from engine.rules.quantity_names import LOG_JOINT, LOG_LIKELIHOOD, LOG_PRIOR
from server.contract.errors import invalid_field
from server.contract.families.family import Checked, Family
from server.contract.wire import quantity_name
from server.worker.fitting.preparation import Data, Preparation

FAMILY = "conversion_rates/1"

Floats = NDArray[np.float64]

_GRID, _TAIL = 8001, 1e-9


@dataclass(frozen=True)
class ConversionRates:
    """y_t ~ Poisson(rate · x_t) with a prior of the rate; `rows` [T] are those that enter the likelihood."""

    quantity: str
    exposure: Floats
    observed: Floats
    prior: Distribution
    window: WindowReport
    rows: Flags

    family = FAMILY
    inference = "exact"
    derived_names = ()

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The rate."""
        return (self.quantity,)

    estimand_names = parameter_names

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """The rate, log_likelihood, log_prior."""
        return (self.quantity, LOG_LIKELIHOOD, LOG_PRIOR)

    @property
    def priors(self) -> Mapping[str, Distribution]:
        """That of the rate."""
        return {self.quantity: self.prior}

    @property
    def n_observations(self) -> int:
        """T."""
        return self.observed.size

    def multiple_of(self, quantity: str) -> tuple[str, float]:
        """The rate and 1."""
        self.prior_of(quantity)
        return quantity, 1.0

    def prior_of(self, quantity: str) -> Distribution:
        """The prior of the rate."""
        if quantity != self.quantity:
            raise UnsupportedQuantity(quantity, f"this model knows {self.quantity} only")
        return self.prior

    def with_priors(self, priors: Mapping[str, Distribution]) -> ConversionRates:
        """The same data under another prior."""
        for quantity in priors:
            self.prior_of(quantity)
        return replace(self, prior=priors.get(self.quantity, self.prior))

    def support_of(self, quantity: str) -> Support | None:
        """A rate is positive."""
        return POSITIVE if quantity == self.quantity else None

    def outcome_of(self, y: Floats) -> Floats:
        """All conversions."""
        return np.asarray(y.sum(axis=0))

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        """Rates [S] and conversions [T, S]."""
        rates = [self.prior.sample(seed.generator(int(i), Purpose.PRIOR), 1)[0] for i in simulations]
        parameters = {self.quantity: np.asarray(rates)}
        y = self.simulate(parameters, seed, simulations)
        return PriorSample(parameters, y, self.evaluate(parameters, y))

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        """Conversions [T, S]."""
        pairs = zip(simulations, parameters[self.quantity], strict=True)
        drawn = [seed.generator(int(i), Purpose.DATA).poisson(rate * self.exposure) for i, rate in pairs]
        return np.stack(drawn, axis=1).astype(np.float64)

    def evaluate(self, parameters: Mapping[str, Floats], y: Floats) -> dict[str, Floats]:
        """Every quantity [S] at rates [S]."""
        rate = parameters[self.quantity]
        means = np.outer(self.exposure[self.rows], rate)
        log_likelihood = stats.poisson.logpmf(y[self.rows], means).sum(axis=0)
        return {self.quantity: rate, LOG_LIKELIHOOD: log_likelihood, LOG_PRIOR: self.prior.logpdf(rate)}

    def derive(self, quantity: str, parameters: Mapping[str, Floats]) -> Floats:
        """The rate."""
        self.prior_of(quantity)
        return np.asarray(parameters[quantity])

    def restricted(self, rows: Flags) -> ConversionRates:
        """The same model with fewer rows in the likelihood."""
        return replace(self, rows=self.rows & np.asarray(rows, dtype=bool))

    def paired(self) -> ConversionRates:
        """Two series of conversions of the same exposure."""
        twice = {name: np.tile(getattr(self, name), 2) for name in ("exposure", "observed", "rows")}
        return replace(self, **twice)

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        """Independent draws by inverting the posterior's distribution function on a grid of the log rate."""
        if not np.all(np.isfinite(y)):
            raise InvalidInput("y", "must be finite")
        shape = (inference.chains, inference.draws)
        columns = []
        for column, simulation in zip(y.T, simulations, strict=True):
            uniform = seed.generator(int(simulation), Purpose.MCMC).random(shape)
            columns.append(self._quantiles(column, uniform))
        rates = np.stack(columns)
        flat = rates.reshape(rates.shape[0], -1)
        values = [
            self.evaluate({self.quantity: rate}, np.repeat(one[:, None], rate.size, axis=1))
            for rate, one in zip(flat, y.T, strict=True)
        ]
        draws = {name: np.stack([value[name] for value in values]).reshape(rates.shape) for name in self.quantity_names}
        return BatchFit(draws, FitDiagnostics.independent(~np.isfinite(flat).all(axis=1), flat.shape[1]))

    def _quantiles(self, y: Floats, uniform: Floats) -> Floats:
        total, size = y[self.rows].sum(), self.exposure[self.rows].sum()
        alone = stats.gamma(total + 1.0, scale=1.0 / size)
        ends = [law.ppf(end) for law in (alone, self.prior) for end in (_TAIL, 1.0 - _TAIL)]
        rate = np.geomspace(min(ends), max(ends), _GRID)
        log_density = alone.logpdf(rate) + self.prior.logpdf(rate) + np.log(rate)
        density = np.exp(log_density - log_density.max())
        below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
        return np.exp(np.interp(uniform * below[-1], below, np.log(rate)))


class ConversionRatesFamily(Family):
    """The half of the server: `options` name the exposure column and the mean of the Gamma prior of the rate."""

    id = FAMILY

    def check(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Checked:
        """The column is there."""
        (exposure,) = self.channels(spec)
        if exposure not in {column.name for column in columns if column.role == dataset_pb2.COLUMN_ROLE_EXPOSURE}:
            raise invalid_field("spec.custom.options.exposure", f"the data set has no exposure column {exposure!r}")
        return Checked(1)

    def channels(self, spec: model_pb2.ModelSpec) -> list[str]:
        """The one exposure."""
        return [spec.custom.options["exposure"]]

    def rankable(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Sequence[str]:
        """The rate and the log densities."""
        about = common_pb2.Estimand(quantity=common_pb2.QUANTITY_COEFFICIENT, channel=spec.custom.options["exposure"])
        return (quantity_name(about), LOG_LIKELIHOOD, LOG_PRIOR, LOG_JOINT)


def prepare(spec: model_pb2.ModelSpec, data: Data | None) -> ConversionRates:
    """The half of the worker."""
    assert data is not None
    options = spec.custom.options
    name = options["exposure"]
    first = data.window.first_row(data.table.periods)
    kpi = data.table.column(str(data.named(dataset_pb2.COLUMN_ROLE_KPI)), "kpi")
    dates = data.table.periods[first:]
    about = common_pb2.Estimand(quantity=common_pb2.QUANTITY_COEFFICIENT, channel=name)
    return ConversionRates(
        quantity=quantity_name(about),
        exposure=data.table.column(name, "exposure")[first:],
        observed=kpi[first:],
        prior=Gamma(2.0, 2.0 / options["prior_mean"]),
        window=WindowReport(dates[0], dates[-1], dates.size),
        rows=np.ones(dates.size, dtype=bool),
    )


THEIRS = ConversionRatesFamily()
THEIR_PREPARATION = Preparation(FAMILY, prepare)
