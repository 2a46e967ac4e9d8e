"""The additive MMM's generative side in plain NumPy, written from the formulas and sharing nothing with the density."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.models.additive_design import Design
from engine.models.additive_spec import Saturation

Floats = NDArray[np.float64]


def adstock(exposure: Floats, retention: Floats) -> Floats:
    """Normalised geometric adstock: exposure [T, W] at lags 0 … W-1 and retention [S] → [T, S]."""
    weights = retention[None, :] ** np.arange(exposure.shape[1])[:, None]
    return np.asarray(exposure @ (weights / weights.sum(axis=0)))


def hill(adstocked: Floats, half_saturation: Floats) -> Floats:
    """Hill saturation of slope 1, x/(x + k), for [T, S] and [S]."""
    return np.asarray(adstocked / (adstocked + half_saturation))


def logistic(adstocked: Floats, half_saturation: Floats) -> Floats:
    """Logistic saturation (1 - e^(-λx)) / (1 + e^(-λx)) with λ = ln 3 / k, so that it is 1/2 at x = k."""
    decay = np.exp(-np.log(3.0) / half_saturation * adstocked)
    return np.asarray((1.0 - decay) / (1.0 + decay))


def expected_kpi(
    design: Design, incremental: Floats, retention: Floats, half_saturation: Floats, coefficients: Floats
) -> Floats:
    """Expected KPI [T, S] in original units.

    incremental [C, S] is each channel's incremental outcome over the window, which fixes its coefficient as
    beta = incremental / Σ_t u_t H_t (Meridian's `calculate_beta_x`, national case); coefficients [q, S] are those of
    the linear part in scaled units. Media enter around their mean effect, so that the intercept is the mean level.
    """
    kpi = design.kpi_mean + design.kpi_sd * (design.block @ coefficients)
    for index in range(incremental.shape[0]):
        lags = design.exposure[:, index, : design.n_weights[index]]
        saturate = logistic if design.saturation[index] is Saturation.LOGISTIC else hill
        curve = saturate(adstock(lags, retention[index]), half_saturation[index])
        contribution = incremental[index] * curve / (design.weights @ curve)
        kpi = kpi + contribution - contribution.mean(axis=0)
    return np.asarray(kpi)


def log_likelihood(kpi: Floats, expected: Floats, sd: Floats) -> Floats:
    """Σ_t log N(kpi_t; expected_t, sd) per simulation, in original units: [T, S], [T, S], [S] → [S]."""
    z = (kpi - expected) / sd
    return np.asarray((-0.5 * z * z - np.log(sd) - 0.5 * np.log(2.0 * np.pi)).sum(axis=0))
