"""Before the data: what they would have to say for a belief to be called wrong, and how sure they are likely to be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.arrays import Floats
from engine.conflict.severity import CONFLICT_THRESHOLD
from engine.distributions.distribution import Distribution
from engine.distributions.support import Support
from engine.errors import UnsupportedQuantity
from engine.inference.fit import Seed
from engine.inference.laplace import LaplaceApproximation
from engine.models.protocol import Model

SILENT = 0.99
"""Of the reference prior's sd: from a posterior no narrower than this no standard error can be taken."""

_DATA_SETS = 40
_DRAWS = 250
_PRIOR_DRAWS = 4000


@dataclass(frozen=True)
class Thresholds:
    """Estimates below `lower` or above `upper`, in units of the quantity, would contradict the belief.

    `standard_error` is that of the data side in units of the quantity, at the belief's median.
    """

    lower: float
    upper: float
    standard_error: float


def thresholds(belief: Distribution, support: Support, error: float) -> Thresholds:
    """Where a recentred Bayes factor of 10 would be reached by data of error `error` (methods/conflict.md §13).

    With v² = tau² + error² on the unconstrained scale of `support`, that is beyond mu ± sqrt(2 ln 10) v = mu ± 2.146 v;
    exact for a belief and data that are normal there. Known before the data, it pre-registers the rule.
    """
    mean, sd = _moments(belief, support)
    reach = math.sqrt(2.0 * math.log(CONFLICT_THRESHOLD)) * math.hypot(sd, error)
    lower, upper = support.from_unconstrained([mean - reach, mean + reach])
    middle = float(support.to_unconstrained(belief.ppf(0.5)))
    return Thresholds(float(lower), float(upper), error * math.exp(float(support.log_jacobian(middle))))


def _moments(law: Distribution, support: Support) -> tuple[float, float]:
    """Mean and sd of the unconstrained coordinate of `support`."""
    if law.support == support:
        return law.unconstrained_moments()
    u = _inside(support, law.ppf((np.arange(2000) + 0.5) / 2000))
    return float(u.mean()), float(u.std())


def _inside(support: Support, values: Floats) -> np.ma.MaskedArray[Any, Any]:
    """The unconstrained coordinate of values of any shape, masked outside of the support.

    The law of a share that has no upper end by itself puts a little of its mass above 1.
    """
    inside = support.contains(values)
    middle = support.from_unconstrained(0.0)
    return np.ma.masked_array(support.to_unconstrained(np.where(inside, values, middle)), mask=~inside)


def expected_errors(
    reference: Model, believed: Model, quantities: Mapping[str, Support], seed: Seed
) -> dict[str, float | None]:
    """Standard error on each quantity's unconstrained scale that data of this size and design can be expected to have.

    Forty data sets are simulated under the beliefs, with covariates and scalers as they are, and fitted under the
    reference prior by the Laplace approximation; the observed outcome is not looked at. From the median posterior sd
    the reference prior's precision is taken out: 1/s² = 1/sd² - 1/sd_ref². None where the data can be expected to say
    nothing. What differs between the data sets, above all their noise, is part of what is not known beforehand: single
    ones lie a factor of two and more on either side of the median.
    """
    ids = np.arange(_DATA_SETS)
    simulated = believed.sample_prior(seed, ids)
    fit = reference.fit(simulated.y, seed, ids, LaplaceApproximation(chains=2, draws=_DRAWS))
    parameters = {name: fit.draws[name].reshape(ids.size, -1) for name in reference.parameter_names}
    errors: dict[str, float | None] = {}
    for name, support in quantities.items():
        if name in fit.draws:
            draws = fit.draws[name].reshape(ids.size, -1)
        else:
            flat = {key: values.ravel() for key, values in parameters.items()}
            draws = reference.derive(name, flat).reshape(ids.size, -1)
        posterior = float(np.nanmedian(_inside(support, draws).std(axis=1).filled(np.nan)))
        prior = _prior_sd(reference, name, support, seed)
        errors[name] = None if posterior >= SILENT * prior else (posterior**-2 - prior**-2) ** -0.5
    return errors


def _prior_sd(model: Model, name: str, support: Support, seed: Seed) -> float:
    try:
        return _moments(model.prior_of(name), support)[1]
    except UnsupportedQuantity:
        rng = np.random.default_rng([seed.high, seed.low])
        parameters = {key: law.sample(rng, _PRIOR_DRAWS) for key, law in model.priors.items()}
        return float(_inside(support, model.derive(name, parameters)).std())
