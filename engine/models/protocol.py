"""What conflict analysis, SBC and prior updating know of a model family, and nothing else."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.priors.distribution import Distribution

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

LOG_LIKELIHOOD = "log_likelihood"
LOG_PRIOR = "log_prior"

if TYPE_CHECKING:
    from engine.inference.backend import Backend

_WORD = 0xFFFFFFFF


class Purpose(enum.IntEnum):
    """What a stream of random numbers is for; streams of different purposes are independent."""

    PRIOR = 0
    DATA = 1
    INIT = 2
    MCMC = 3
    TIES = 4


@dataclass(frozen=True)
class Seed:
    """A run's 64-bit seed as two uint32 words, so that no word is lost where JAX integers have 32 bits."""

    high: int
    low: int

    def __post_init__(self) -> None:
        for name in ("high", "low"):
            if not 0 <= getattr(self, name) <= _WORD:
                raise InvalidInput(f"seed.{name}", "must fit in 32 unsigned bits")

    @classmethod
    def of(cls, value: int) -> Seed:
        """The seed of an integer in [0, 2**64)."""
        return cls(value >> 32, value & _WORD)

    def generator(self, simulation: int, purpose: Purpose) -> np.random.Generator:
        """NumPy generator of one simulation and purpose, independent of every other pair."""
        sequence = np.random.SeedSequence([self.high, self.low], spawn_key=(int(purpose), int(simulation)))
        return np.random.Generator(np.random.PCG64(sequence))

    def derived(self, purpose: str) -> Seed:
        """A seed of its own for the named purpose, whose streams are independent of this seed's."""
        sequence = np.random.SeedSequence([self.high, self.low], spawn_key=tuple(purpose.encode()))
        high, low = sequence.generate_state(2)
        return Seed(int(high), int(low))

    def keys(self, simulations: NDArray[np.integer], purpose: Purpose) -> jax.Array:
        """JAX keys [S] of simulation ids [S] in [0, 2**64): fold_in of the purpose and both words of the id."""
        words = np.asarray([self.high, self.low], dtype=np.uint32)
        root = jax.random.fold_in(jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32"), int(purpose))
        ids = np.asarray(simulations).astype(np.uint64)
        fold: Callable[..., jax.Array] = jax.vmap(
            lambda high, low: jax.random.fold_in(jax.random.fold_in(root, high), low)
        )
        return fold((ids >> np.uint64(32)).astype(np.uint32), (ids & np.uint64(_WORD)).astype(np.uint32))


@dataclass(frozen=True)
class PriorSample:
    """S draws from prior and likelihood; `quantities` holds every quantity at the truth."""

    parameters: Mapping[str, Floats]
    y: Floats
    quantities: Mapping[str, Floats]


@dataclass(frozen=True)
class FitDiagnostics:
    """Per simulation [S]: the worst R-hat and ESS over the parameters and what became of the fit.

    `r_hat` is rank-normalised and split, `divergences` counts those of the returned draws, `escalations` how often the
    simulation was re-run on the longer schedule, `nonfinite` whether a draw was not finite, `ok` whether every limit
    of the settings is met. A fit that is not ok is still returned.
    """

    r_hat: Floats
    ess_bulk: Floats
    ess_tail: Floats
    divergences: Integers
    escalations: Integers
    ok: Flags
    nonfinite: Flags

    @classmethod
    def empty(cls, simulations: int) -> FitDiagnostics:
        """Diagnostics of fits that have not been run yet, to be filled in."""
        nothing, none = np.full(simulations, np.nan), np.zeros(simulations, dtype=np.int64)
        no = np.zeros(simulations, dtype=bool)
        return cls(nothing, nothing.copy(), nothing.copy(), none, none.copy(), no, no.copy())

    @classmethod
    def independent(cls, nonfinite: Flags, draws: int) -> FitDiagnostics:
        """Diagnostics of draws that are independent by construction: R-hat 1, ESS their number, ok if finite."""
        size, none = np.full(nonfinite.size, float(draws)), np.zeros(nonfinite.size, dtype=np.int64)
        return cls(np.ones(nonfinite.size), size, size.copy(), none, none.copy(), ~nonfinite, nonfinite)


@dataclass(frozen=True)
class BatchFit:
    """Posterior draws [S, chains, draws] of every quantity by name, and the diagnostics of each simulation."""

    draws: Mapping[str, Floats]
    diagnostics: FitDiagnostics


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
