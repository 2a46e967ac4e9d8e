"""Canaries: the caller's own model with an inference that is wrong on purpose, which the check has to notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from engine.arrays import Floats, Integers
from engine.errors import InvalidInput, UnsupportedModel
from engine.inference.backend import Backend
from engine.inference.fit import BatchFit, FitDiagnostics, Purpose, Seed
from engine.models.protocol import CarryOver, Model
from engine.rules.sbc_presets import Part
from engine.sbc.ranks import thinned

KEPT = 49
"""Draws of a broken fit that are evaluated anew; enough for ranks, and evaluating is what a canary costs."""

NARROW = 0.8
"""Factor on the posterior standard deviations of CANARY_NARROW_POSTERIOR."""


def applies(canary: Part, model: Model) -> bool:
    """Whether the error exists for this model: without carry-over there is no lag to get wrong."""
    return canary is not Part.CANARY_LAGGED_MEDIA or isinstance(model, CarryOver)


def broken(model: Model, canary: Part) -> BrokenModel:
    """The model with the inference of a canary; UnsupportedModel where it does not apply."""
    if not applies(canary, model):
        raise UnsupportedModel(f"{model.family} has no carry-over that {canary.value} could get wrong")
    return BrokenModel(model, canary)


@dataclass(frozen=True)
class BrokenModel:
    """The wrong inference of a model whose simulations are right.

    CANARY_NARROW_POSTERIOR: every parameter's draws move towards their mean, sd × .8. CANARY_HALF_DATA: every other
    observation is ignored. CANARY_LAGGED_MEDIA: exposure acts one period late. CANARY_PRIOR_AS_POSTERIOR: draws of the
    prior, whatever the data. Whatever was done to the parameters, all quantities of a draw are computed from them by
    the right model, the log likelihood from all data: an error shows where it would in a real inference.
    """

    model: Model
    canary: Part

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Those of the model."""
        return self.model.quantity_names

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        """Draws [S, 1, KEPT] of the wrong inference and the diagnostics of the fit behind them."""
        kept, diagnostics = self._parameters(y, seed, simulations, inference)
        quantities = []
        for row in range(simulations.size):
            parameters = {name: draws[row] for name, draws in kept.items()}
            quantities.append(self.model.evaluate(parameters, np.repeat(y[:, row : row + 1], KEPT, axis=1)))
        draws = {name: np.stack([values[name] for values in quantities])[:, None, :] for name in self.quantity_names}
        return BatchFit(draws, diagnostics)

    def _parameters(
        self, y: Floats, seed: Seed, simulations: Integers, inference: Backend
    ) -> tuple[Mapping[str, Floats], FitDiagnostics]:
        """The wrong draws [S, KEPT] of every parameter."""
        model, factor = self.model, 1.0
        match self.canary:
            case Part.CANARY_PRIOR_AS_POSTERIOR:
                streams = [seed.derived("canary").generator(int(i), Purpose.PRIOR) for i in simulations]
                draws = {
                    name: np.stack([np.asarray(prior.sample(stream, KEPT), dtype=np.float64) for stream in streams])
                    for name, prior in model.priors.items()
                }
                return draws, FitDiagnostics.independent(np.zeros(simulations.size, dtype=bool), KEPT)
            case Part.CANARY_HALF_DATA:
                model = model.restricted(np.arange(model.n_observations) % 2 == 0)
            case Part.CANARY_LAGGED_MEDIA:
                assert isinstance(model, CarryOver), "the error does not exist for this model"
                model = model.lagged(1)
            case Part.CANARY_NARROW_POSTERIOR:
                factor = NARROW
            case Part.PRIOR | Part.POSTERIOR | Part.RECOVERY:
                raise InvalidInput("canary", f"{self.canary.value} is none")
            case _:
                assert_never(self.canary)
        fit = model.fit(y, seed, simulations, inference)
        kept = {}
        for name in model.parameter_names:
            merged = np.asarray(fit.draws[name], dtype=np.float64).reshape(simulations.size, -1)
            kept[name] = merged[:, thinned(merged.shape[1], KEPT)]
            if factor != 1.0:
                # Towards the mean: whatever interval the parameter lives on, the result lies on it too.
                kept[name] = factor * kept[name] + (1.0 - factor) * merged.mean(axis=1, keepdims=True)
        return kept, fit.diagnostics
