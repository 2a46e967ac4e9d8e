"""Replicated-data p-value: how often data drawn from belief and model carry as much news for the belief as the real."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.arrays import Floats
from engine.conflict.curve import EvidenceCurve
from engine.conflict.divergence import information_gain
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput
from engine.inference.backend import Backend
from engine.inference.fit import Purpose, Seed
from engine.models.protocol import Model


@dataclass(frozen=True)
class ReplicatedPValue:
    """(1 + #{KL_rep ≥ KL_obs}) / (1 + replicates), its standard error, and the fits that missed their thresholds."""

    value: float
    se: float
    replicates: int
    failed_fits: int


def replicated_p(
    model: Model,
    quantity: str,
    prior: Distribution,
    draws: Mapping[str, Floats],
    replicates: int,
    seed: Seed,
    inference: Backend,
) -> ReplicatedPValue:
    """P(information gain of replicated data ≥ that of the real data), information gain = KL(client posterior ‖ client).

    Nott, Wang, Evans & Englert 2020; methods/conflict.md §7. A replicate takes psi from the client's prior and
    everything else from a draw of the reference posterior, so that it blames the belief and not the model. The real
    data are fitted with the replicates by the same settings: under a right belief all of them are exchangeable,
    whatever the noise of short chains. `draws`: reference-posterior draws of every parameter, each [chains, n].
    UnsupportedQuantity unless psi is a fixed multiple of a parameter.
    """
    if replicates < 1:
        raise InvalidInput("replicates", "must be at least 1")
    parameter, factor = model.multiple_of(quantity)
    rng = seed.derived("replicated_p").generator(0, Purpose.PRIOR)
    # Evenly over all chains, so that no draw comes twice before every draw has come once.
    chosen = rng.permutation(np.arange(replicates) * np.ravel(draws[parameter]).size // replicates)
    parameters = {name: np.ravel(draws[name])[chosen] for name in model.parameter_names}
    parameters[parameter] = prior.sample(rng, replicates) / factor
    ids = np.arange(replicates + 1)
    simulated = model.simulate(parameters, seed, ids[1:])
    fit = model.fit(np.concatenate([model.observed[:, None], simulated], axis=1), seed, ids, inference)
    reference = model.prior_of(quantity)
    gains = np.array([_gain(prior, reference, factor * posterior) for posterior in fit.draws[parameter]])
    beyond = int(np.sum(gains[1:] >= gains[0]))
    p = (1 + beyond) / (1 + replicates)
    return ReplicatedPValue(p, math.sqrt(p * (1.0 - p) / replicates), replicates, int(np.sum(~fit.diagnostics.ok)))


def _gain(prior: Distribution, reference: Distribution, draws: Floats) -> float:
    """Information gain from draws [chains, n] of psi; months of data do not enter it."""
    curve = EvidenceCurve.from_draws(draws, reference, 1.0, with_error=False)
    return information_gain(Overlay(prior, curve)).value
