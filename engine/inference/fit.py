"""Seeds, and what a fit returns: draws and diagnostics."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput

if TYPE_CHECKING:
    pass


Floats = NDArray[np.float64]


Integers = NDArray[np.int64]


Flags = NDArray[np.bool_]


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
