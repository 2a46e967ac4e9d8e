"""What the benchmarks do with a model in a worker process: compile it, run its simulations and keep the diagnostics."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.inference.backend import Backend
from engine.inference.batch import FitSettings
from engine.inference.fit import BatchFit, FitDiagnostics, Seed
from engine.models.protocol import Model
from engine.sbc.ledger import RankLedger, concatenate
from engine.sbc.shard import run_shard

__all__ = ["SHARD", "compile_levels", "run_simulations"]

SHARD = 256
"""Simulations per call of `run_shard`, as in a run of the service."""


class _Recorded:
    """A model that keeps the diagnostics of its fits, of which a ledger keeps only a summary.

    With a seed of its own it runs other chains on the same data sets.
    """

    def __init__(self, model: Model, chains: Seed | None = None) -> None:
        self._model = model
        self._chains = chains
        self.found: list[FitDiagnostics] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def fit(self, y: NDArray[np.float64], seed: Seed, simulations: NDArray[np.int64], inference: Backend) -> BatchFit:
        fit = self._model.fit(y, self._chains or seed, simulations, inference)
        self.found.append(fit.diagnostics)
        return fit


def run_simulations(
    model: Model, seed: Seed, ids: NDArray[np.int64], settings: FitSettings, *, chains: Seed | None = None
) -> tuple[RankLedger, NDArray[np.int64]]:
    """Ledger of the simulations, shard by shard, and the schedule [S] that each ended on, from 0.

    `chains` seeds the chains where they shall differ from the run's.
    """
    recorded = _Recorded(model, chains)
    parts = [ids[first : first + SHARD] for first in range(0, ids.size, SHARD)]
    ledgers = [run_shard(cast("Model", recorded), seed, part, settings) for part in parts]
    return concatenate(ledgers), np.concatenate([np.asarray(found.escalations) for found in recorded.found])


def compile_levels(model: Model, settings: FitSettings) -> None:
    """Fit one data set on every schedule in turn, so that none of them is compiled in what is timed afterwards.

    NUTS, which hardly a simulation comes to, is compiled when it does.
    """
    unreachable = dataclasses.replace(settings, r_hat_limit=1.0 + 1e-15, ess_limit=1e15, last=None)
    seed, one = Seed.of(999), np.arange(1)
    model.fit(model.sample_prior(seed, one).y, seed, one, unreachable)
