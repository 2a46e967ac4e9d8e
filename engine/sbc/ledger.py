"""Ledger of ranks: what every simulation left behind, from which every statistic and verdict is computed."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import Flags, Floats, Integers
from engine.errors import InvalidInput


class Status(enum.IntEnum):
    """How the fit of one simulation ended; stored as uint8, so values never change their meaning."""

    OK = 0
    RETRIED = 1
    DIVERGENT = 2
    NONFINITE = 3
    NOT_CONVERGED = 4

    @property
    def accepted(self) -> bool:
        """Whether the fit's ranks count; the others are failures, which are kept and never dropped silently."""
        return self in (Status.OK, Status.RETRIED)


@dataclass(frozen=True)
class RankLedger:
    """Rows of S simulations and P quantities, in ascending order of simulation id.

    simulations [S] int64: ids, counted from 0, that fix every random stream of a simulation
    quantities [P]: names
    ranks [S, P] int32: rank of the truth among the kept draws, 0..n_draws, ties broken at random
    n_draws [S] int32: kept posterior draws L
    v [S, P] float64: the uniform that turns a rank into the randomised PIT
    ties [S, P] float64: share of kept draws equal to the truth (or not comparable with it)
    status [S] uint8: `Status`
    r_hat, ess [S] float64: worst over parameters; ess is the smaller of bulk and tail
    mean, sd, truth [S, P] float64: posterior mean and standard deviation, and the truth
    """

    simulations: Integers
    quantities: tuple[str, ...]
    ranks: npt.NDArray[np.int32]
    n_draws: npt.NDArray[np.int32]
    v: Floats
    ties: Floats
    status: npt.NDArray[np.uint8]
    r_hat: Floats
    ess: Floats
    mean: Floats
    sd: Floats
    truth: Floats

    def __post_init__(self) -> None:
        """Refuse arrays whose shapes or values contradict each other."""
        rows, columns = len(self.simulations), len(self.quantities)
        for name in ("n_draws", "status", "r_hat", "ess"):
            if getattr(self, name).shape != (rows,):
                raise InvalidInput(name, f"must have shape ({rows},), has {getattr(self, name).shape}")
        for name in ("ranks", "v", "ties", "mean", "sd", "truth"):
            if getattr(self, name).shape != (rows, columns):
                raise InvalidInput(name, f"must have shape ({rows}, {columns}), has {getattr(self, name).shape}")
        if columns == 0 or len(set(self.quantities)) != columns:
            raise InvalidInput("quantities", "need at least one name and no name twice")
        if rows and (self.simulations[0] < 0 or np.any(np.diff(self.simulations) <= 0)):
            raise InvalidInput("simulations", "ids must be ascending, from 0, and each appear once")
        if np.any(self.n_draws < 1) or np.any(self.ranks < 0) or np.any(self.ranks > self.n_draws[:, None]):
            raise InvalidInput("ranks", "must lie between 0 and the number of draws, which is at least 1")
        if not np.all((self.v >= 0) & (self.v <= 1)):
            raise InvalidInput("v", "must lie in [0, 1]")
        if np.any(self.status > max(Status)):
            raise InvalidInput("status", "unknown status")

    def __len__(self) -> int:
        """Return the number of simulations."""
        return len(self.simulations)

    @property
    def u(self) -> Floats:
        """Return the randomised PIT (rank + v) / (L + 1), [S, P]; exactly uniform when the ranks are."""
        return (self.ranks + self.v) / (self.n_draws[:, None] + 1.0)

    @property
    def accepted(self) -> Flags:
        """Return which simulations count, [S]."""
        return np.isin(self.status, [status.value for status in Status if status.accepted])

    def rows(self, selected: Flags) -> RankLedger:
        """Return the ledger of the selected simulations ([S] booleans)."""
        return dataclasses.replace(self, **{name: getattr(self, name)[selected] for name in _ARRAYS})

    def prefix(self) -> RankLedger:
        """Return the simulations 0, 1, 2, ... up to the first that is not there yet.

        Sequential statistics use only these: the order in which simulations finish depends on their run time and so
        on their data.
        """
        return self.rows(self.simulations == np.arange(len(self)))


_ARRAYS = tuple(field.name for field in dataclasses.fields(RankLedger) if field.name != "quantities")


def concatenate(ledgers: Sequence[RankLedger]) -> RankLedger:
    """Join the ledgers of several shards, in any order; refuse a simulation that appears twice or other quantities."""
    if not ledgers:
        raise InvalidInput("ledgers", "need at least one")
    if any(ledger.quantities != ledgers[0].quantities for ledger in ledgers):
        raise InvalidInput("ledgers", "must hold the same quantities in the same order")
    simulations = np.concatenate([ledger.simulations for ledger in ledgers])
    order = np.argsort(simulations, kind="stable")
    if np.any(np.diff(simulations[order]) == 0):
        raise InvalidInput("ledgers", "a simulation appears in two ledgers")
    arrays = {name: np.concatenate([getattr(ledger, name) for ledger in ledgers])[order] for name in _ARRAYS}
    return RankLedger(quantities=ledgers[0].quantities, **arrays)
