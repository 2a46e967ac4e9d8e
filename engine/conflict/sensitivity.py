"""Power-scaling: how far the answer moves when prior or likelihood count for more. Sensitivity, not conflict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.conflict.curve import jackknife_error
from engine.conflict.divergence import Estimate
from engine.conflict.overlay import Overlay

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PowerScaling:
    """Derivatives of the client posterior by the logarithm to base 2 of an exponent of prior or likelihood.

    `prior`, `likelihood`: of its mean, in posterior standard deviations. `prior_mean`, `prior_sd`: of its mean and
    standard deviation by the prior's exponent, in the units of the quantity.
    """

    prior: Estimate
    likelihood: Estimate
    prior_mean: float
    prior_sd: float


def power_scaling(overlay: Overlay) -> PowerScaling | None:
    """ln 2 · Cov(psi, log p_client) and ln 2 · Cov(psi, log L) under the client posterior (methods/conflict.md §9).

    The covariances are the derivatives exactly, and need no importance weights (Kallioinen et al. 2023 take them by
    such weights). None where the posterior or the covariances have no finite moments.
    """
    log_mass = overlay.rows + overlay.log_prior + overlay.log_weights
    mass = np.exp(log_mass - log_mass.max(axis=1, keepdims=True))
    used = np.isfinite(overlay.x) & np.all(mass > 0.0, axis=0)
    mass = mass[:, used] / mass[:, used].sum(axis=1, keepdims=True)
    x, log_prior, log_likelihood = overlay.x[used], overlay.log_prior[used], overlay.rows[:, used]
    with np.errstate(over="ignore", invalid="ignore"):
        centred = x - (mass @ x)[:, None]
        sd = np.sqrt(np.sum(mass * centred**2, axis=1))
        by_prior = math.log(2.0) * np.sum(mass * centred * log_prior, axis=1)
        by_likelihood = math.log(2.0) * np.sum(mass * centred * log_likelihood, axis=1)
        spread = math.log(2.0) * float(mass[0] @ ((centred[0] ** 2 - sd[0] ** 2) * log_prior))
    if not all(np.all(np.isfinite(values)) for values in (sd, by_prior, by_likelihood)):
        return None

    def in_sd(moved: Array) -> Estimate:
        return Estimate(float(moved[0] / sd[0]), float(jackknife_error(moved[2:] / sd[2:])))

    return PowerScaling(in_sd(by_prior), in_sd(by_likelihood), float(by_prior[0]), spread / (2.0 * float(sd[0])))
