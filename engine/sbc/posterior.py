"""Posterior SBC: simulations from the posterior given the real data, refitted together with a replicate of them.

Säilynoja et al. 2025: with θ' ~ π(θ | y), y' ~ π(y' | θ') and the posterior π(θ | y, y'), the rank of θ' is uniform if
both fits are right. It asks about the region that the real data point to, where prior SBC mostly tests other data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.errors import UnsupportedModel
from engine.inference.backend import Backend
from engine.inference.fit import BatchFit, Purpose, Seed
from engine.models.protocol import Model, PriorSample, Replicable


def paired(model: Model) -> Model:
    """The model of the real data and a replicate; UnsupportedModel where there is no such thing."""
    if not isinstance(model, Replicable):
        raise UnsupportedModel(
            f"posterior SBC needs data that can be replicated given the parameters, and {model.family} does not "
            "define that: an outcome that depends on earlier outcomes has no second column beside it"
        )
    return model.paired()


def sample_posterior(
    model: Model, seed: Seed, simulations: npt.NDArray[np.int64], inference: Backend
) -> tuple[PriorSample, BatchFit]:
    """Truths θ' [S], data [y, y'] [2T, S] and quantities of `paired(model)`, and the fits that the truths come from.

    Every simulation fits the real data anew with random numbers of its own and takes one draw at random. That keeps
    the truths independent of each other, which draws of one fit are only after thinning, and the simulations
    independent of how many others there are.
    """
    pair = paired(model)
    # The chains of the two fits of a simulation must not start from the same numbers.
    first = seed.derived("truth")
    y = np.repeat(model.observed[:, None], simulations.size, axis=1)
    fit = model.fit(y, first, simulations, inference)
    draws = {name: fit.draws[name].reshape(simulations.size, -1) for name in model.parameter_names}
    number = draws[model.parameter_names[0]].shape[1]
    chosen = np.array([seed.generator(int(i), Purpose.PRIOR).integers(number) for i in simulations])
    truths = {name: values[np.arange(simulations.size), chosen].astype(np.float64) for name, values in draws.items()}
    with np.errstate(over="ignore", invalid="ignore"):  # what a failed fit gives is found by whoever fits it
        both = np.concatenate([y, model.simulate(truths, seed, simulations)])
    return PriorSample(truths, both, pair.evaluate(truths, both)), fit
