"""What conflict analysis, SBC and prior updating know of a model family, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from engine.distributions.distribution import Distribution
from engine.inference.fit import BatchFit, Flags, Floats, Integers, Seed

LOG_LIKELIHOOD = "log_likelihood"
LOG_PRIOR = "log_prior"

if TYPE_CHECKING:
    from engine.inference.backend import Backend


@dataclass(frozen=True)
class PriorSample:
    """S draws from prior and likelihood; `quantities` holds every quantity at the truth."""

    parameters: Mapping[str, Floats]
    y: Floats
    quantities: Mapping[str, Floats]


class Model(Protocol):
    """A prepared model: data, frozen scalers and priors, ready to be simulated from and fitted."""

    @property
    def family(self) -> str:
        """Versioned id of the family, e.g. additive_mmm/1."""
        ...

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Top-level scalar unknowns; their number is what the SBC decision calls the number of parameters."""
        ...

    @property
    def estimand_names(self) -> tuple[str, ...]:
        """Business quantities; one that is sampled as a parameter appears here as well."""
        ...

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Everything a fit returns, once each: parameters, other estimands, log_likelihood, log_prior."""
        ...

    @property
    def derived_names(self) -> tuple[str, ...]:
        """Quantities that beliefs may be about although a fit does not return them or `prior_of` has no law of them."""
        ...

    @property
    def priors(self) -> Mapping[str, Distribution]:
        """Marginal priors by parameter name; the parameters are independent a priori."""
        ...

    @property
    def observed(self) -> Floats:
        """The real outcome [T] in original units."""
        ...

    @property
    def n_observations(self) -> int:
        """T."""
        ...

    def multiple_of(self, quantity: str) -> tuple[str, float]:
        """(parameter, factor) with quantity = factor · parameter and factor > 0; UnsupportedQuantity otherwise."""
        ...

    def prior_of(self, quantity: str) -> Distribution:
        """Marginal prior of a parameter or of a monotone function of one; UnsupportedQuantity otherwise."""
        ...

    def with_priors(self, priors: Mapping[str, Distribution]) -> Model:
        """The same model with marginal priors replaced, by quantity name as in `prior_of`."""
        ...

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        """Truths and data of the given simulation ids, in plain NumPy; scalers stay those of the real data."""
        ...

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        """Data [T, S] at parameters [S], by the same plain NumPy as `sample_prior` and from the same noise."""
        ...

    def evaluate(self, parameters: Mapping[str, Floats], y: Floats) -> dict[str, Floats]:
        """Every quantity [S] at parameters [S] and data y [T, S], in plain NumPy."""
        ...

    def derive(self, quantity: str, parameters: Mapping[str, Floats]) -> Floats:
        """A parameter, estimand or derived quantity [S] at parameters [S], in plain NumPy and little memory.

        UnsupportedQuantity for any other name.
        """
        ...

    def restricted(self, rows: Flags) -> Model:
        """The same model in which only the marked observations [T] enter the likelihood; y is given whole."""
        ...

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        """Posterior draws for y [T, S] in original units; simulation i depends on (y[:, i], seed, its id) only."""
        ...


@runtime_checkable
class Replicable(Protocol):
    """A model for which data can be replicated given everything but their noise.

    That is what posterior SBC needs: a second column of observations that shares the covariates, the carry-over and
    the time-varying latents of the first. Data concatenated in time would not do: the end of the one would carry over
    into the other. Models in which an outcome depends on earlier outcomes are not replicable like this.
    """

    def paired(self) -> Model:
        """The model of [y, y'] [2T, S]: two columns of observations, independent given the parameters."""
        ...


@runtime_checkable
class CarryOver(Protocol):
    """A model in which exposure acts with a delay."""

    def lagged(self, periods: int) -> Model:
        """The same model, mistaken about time: exposure acts `periods` later than it should."""
        ...
