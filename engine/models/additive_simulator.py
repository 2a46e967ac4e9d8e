"""The additive MMM's generative side in plain NumPy, written from the formulas and sharing nothing with the density."""

from __future__ import annotations

import numpy as np

from engine.arrays import Floats
from engine.models.additive_design import Design
from engine.models.saturation import FORMS


def adstock(exposure: Floats, retention: float) -> Floats:
    """Normalised geometric adstock [T] of exposure [T, W] at lags 0 … W-1."""
    weights = retention ** np.arange(exposure.shape[1])
    return np.asarray(exposure @ (weights / weights.sum()))


def expected_kpi(
    design: Design,
    incremental: Floats,
    retention: Floats,
    half_saturation: Floats,
    slope: Floats,
    coefficients: Floats,
) -> Floats:
    """Expected KPI [N, S] in original units.

    incremental [C, S] is each channel's incremental outcome over the window and all geos, which fixes its per-capita
    coefficient as beta = incremental / Σ_gt u_gt p_g H_gt (Meridian's `calculate_beta_x` without geo effects);
    retention, half_saturation and slope are [C, S], the latter two not looked at where a channel's curve has none;
    coefficients [q, S] are those of the linear part in scaled units. Media enter around their mean effect, so that the
    intercept is the mean level.
    Simulations are computed one by one: a matrix product over all of them would round differently in other batches.
    """
    kpi = np.empty((design.kpi.size, incremental.shape[1]))
    for simulation in range(incremental.shape[1]):
        series = design.kpi_mean + design.kpi_sd * (design.block @ coefficients[:, simulation].copy())
        for channel in range(incremental.shape[0]):
            lags = design.exposure[:, channel, : design.n_weights[channel]]
            adstocked = adstock(lags, float(retention[channel, simulation]))
            shape = float(half_saturation[channel, simulation]), float(slope[channel, simulation])
            curve = FORMS[design.saturation[channel]].value(adstocked, *shape)
            contribution = incremental[channel, simulation] * curve / (design.weights @ curve)
            series = series + contribution - contribution.mean()
        kpi[:, simulation] = design.population * series
    return kpi


def log_densities(kpi: Floats, expected: Floats, sd: Floats) -> Floats:
    """log N(kpi; expected, sd) of every observation and simulation [N, S], all in one unit."""
    z = (kpi - expected) / sd
    return np.asarray(-0.5 * z * z - np.log(sd) - 0.5 * np.log(2.0 * np.pi))
