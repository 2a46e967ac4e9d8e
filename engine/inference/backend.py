"""What every inference method offers, and the loop shared by those that fit one simulation after another."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.arrays import Floats, Integers
from engine.errors import InvalidInput
from engine.inference.drawn_quantities import draw_quantities
from engine.inference.fit import BatchFit, Purpose, Seed
from engine.inference.mode import Laplace, find_mode
from engine.inference.precision import require_float64
from engine.inference.target import Target


class Backend(Protocol):
    """A way to turn data into posterior draws, so that SBC can judge any method by the same ledger.

    The draws and diagnostics of simulation i depend on (y[:, i], seed, its id) only: never on the other simulations of
    the call, and never on a true parameter, which would favour the method in its own test.
    """

    @property
    def name(self) -> str:
        """Versioned id, e.g. nuts/1; it changes whenever the same settings no longer give the same draws."""
        ...

    @property
    def chains(self) -> int:
        """Chains per simulation; methods with independent draws only split these into so many rows."""
        ...

    @property
    def draws(self) -> int:
        """Draws per chain."""
        ...

    def fit(self, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        """Draws [S, chains, draws] of every quantity for y [T, S] in the target's units and ids [S].

        Raises InvalidInput where y is not finite or not [T, S] with one id per column, EngineError without float64.
        """
        ...


class Draw(Protocol):
    """One simulation's posterior draws, from its data, its Laplace approximation and its two keys."""

    def __call__(self, target: Target, y: Array, laplace: Laplace, start: Array, key: Array) -> tuple[Array, Array]:
        """Positions [draws, D, chains] and the number of divergences among them, for y [T] and mode [D]."""
        ...


def draw_each(
    target: Target, y: Floats, seed: Seed, simulations: Integers, shape: tuple[int, int], draw: Draw
) -> tuple[Floats, Integers]:
    """Values [Q, S, *shape] of every quantity and divergences [S], with shape = (chains, draws).

    Each simulation is computed alone, in one shape, so that it is the same to the last bit in every batch.
    Errors as for `Backend.fit`.
    """
    data, ids = checked(y, simulations)
    values = np.empty((len(target.quantity_names), ids.size, *shape))
    divergences = np.zeros(ids.size, dtype=np.int64)
    for index in range(ids.size):
        lane = slice(index, index + 1)
        column = jnp.asarray(data[:, lane])
        keys = seed.keys(ids[lane], Purpose.MCMC)
        mode, factor = find_mode(target, column)
        laplace = Laplace(mode[:, 0], factor[:, :, 0])
        positions, diverged = draw(target, column[:, 0], laplace, seed.keys(ids[lane], Purpose.INIT)[0], keys[0])
        drawn = draw_quantities(target, column, positions[..., None], keys)
        values[:, index] = np.transpose(np.asarray(drawn)[..., 0], (1, 2, 0))
        divergences[index] = int(diverged)
    return values, divergences


def checked(y: Floats, simulations: Integers) -> tuple[Floats, Integers]:
    """y [T, S] and ids [S] as arrays; errors as for `Backend.fit`."""
    require_float64()
    data = np.asarray(y, dtype=np.float64)
    ids = np.asarray(simulations, dtype=np.int64)
    if data.ndim != 2 or ids.shape != (data.shape[1],):
        raise InvalidInput("y", "must be [T, S] with one simulation id per column")
    if not np.all(np.isfinite(data)):
        raise InvalidInput("y", "must be finite")
    return data, ids


def require_positive(**settings: float) -> None:
    """Raise InvalidInput for a setting that is not positive (NaN included)."""
    for field, value in settings.items():
        if not value > 0:
            raise InvalidInput(f"settings.{field}", "must be positive")
