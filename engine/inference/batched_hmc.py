"""The production sampler as a backend."""

from __future__ import annotations

from dataclasses import dataclass

from engine.inference.batch import fit_batch
from engine.inference.settings import FitSettings
from engine.inference.target import Target
from engine.models.protocol import BatchFit, Floats, Integers, Seed


@dataclass(frozen=True)
class BatchedHmc:
    """`fit_batch` under fixed settings, with its re-runs of the simulations that did not converge."""

    settings: FitSettings

    @property
    def name(self) -> str:
        """batched-hmc/1."""
        return "batched-hmc/1"

    @property
    def chains(self) -> int:
        """Chains of the settings."""
        return self.settings.chains

    @property
    def draws(self) -> int:
        """Draws of the settings; a re-run is thinned back to as many."""
        return self.settings.draws

    def fit(self, target: Target, y: Floats, seed: Seed, simulations: Integers) -> BatchFit:
        """Draws [S, chains, draws] for y [T, S]; see `fit_batch`."""
        return fit_batch(target, y, seed, simulations, self.settings)
