"""Distances between the data side and a client prior, and what the prior is worth in months of data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.conflict.curve import jackknife_error
from engine.conflict.overlay import Overlay

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its Monte Carlo standard error; 0 when exact."""

    value: float
    mcse: float


@dataclass(frozen=True)
class Wasserstein:
    """Distances of order 1 and 2 between reference posterior and client.

    `w1`, `w2` in units of the quantity; `w1_scaled`, `w2_scaled` in client standard deviations; `w1_floor` the W1
    that as many draws as the curve is worth would show if they came from the client itself (0 when exact).
    """

    w1: float
    w2: float
    w1_scaled: float
    w2_scaled: float
    w1_floor: float
    w1_mcse: float


def kl_data_client(overlay: Overlay) -> Estimate:
    """KL(data side ‖ client) in nats; data side = reference posterior (Bousquet's direction, conflict.md §5)."""
    log_post = overlay.log_reference_posterior
    mass = np.exp(log_post + overlay.log_weights)
    gap = np.where(mass > 0.0, log_post, 0.0) - np.where(mass > 0.0, overlay.log_prior, 0.0)
    values = np.sum(mass * gap, axis=1)
    if float(overlay.reference_posterior_mass) < 1.0 - 1e-6:
        return Estimate(math.inf, 0.0)  # the data side has mass where the client has none
    return Estimate(float(values[0]), float(jackknife_error(values[2:])))


def information_gain(overlay: Overlay) -> Estimate:
    """KL(client posterior ‖ client) in nats: E_posterior[log L] - log m_client (Nott's statistic, conflict.md §5)."""
    log_post = overlay.rows + overlay.log_prior - overlay.log_marginals[:, None]
    mass = np.exp(log_post + overlay.log_weights)
    values = np.sum(mass * np.where(mass > 0.0, overlay.rows, 0.0), axis=1)
    values = values - overlay.log_marginals
    return Estimate(float(values[0]), float(jackknife_error(values[2:])))


def wasserstein(overlay: Overlay) -> Wasserstein:
    """W1 = ∫|F_data - F_client| dx, and W2² = E_data (x - F_client⁻¹(F_data(x)))² (conflict.md §6)."""
    overlay = overlay.wide
    x, client = overlay.x, overlay.prior
    mass = np.exp(overlay.log_reference_posterior + overlay.log_weights)
    mass = mass / mass.sum(axis=1, keepdims=True)
    # The mass at a node is split evenly about it, so that both distribution functions are read at the node.
    below = np.cumsum(mass, axis=1) - 0.5 * mass
    above = np.cumsum(mass[:, ::-1], axis=1)[:, ::-1] - 0.5 * mass
    dx = np.exp(overlay.log_weights + overlay.support.log_jacobian(overlay.nodes))
    seen = np.isfinite(x) & np.isfinite(dx)
    # Read from the nearer tail: far out, 1 - F has lost its digits while dx grows without bound on a log scale.
    gap = np.where(overlay.client_cdf < 0.5, below - overlay.client_cdf, above - overlay.client_sf)
    w1 = np.abs(gap)[:, seen] @ dx[seen]
    with np.errstate(invalid="ignore"):
        partner = np.where(below[0] < 0.5, client.ppf(np.minimum(below[0], 0.5)), client.isf(np.minimum(above[0], 0.5)))
    used = mass[0] > 1e-14
    w2 = math.sqrt(float(mass[0][used] @ (x[used] - partner[used]) ** 2))
    spread = np.sqrt(overlay.client_cdf * overlay.client_sf)[seen]
    n = overlay.curve.n_effective
    floor = math.sqrt(2.0 / (math.pi * n)) * float(spread @ dx[seen]) if math.isfinite(n) else 0.0
    sd = client.sd
    return Wasserstein(float(w1[0]), w2, float(w1[0]) / sd, w2 / sd, floor, float(jackknife_error(w1[2:])))


def prior_ess_months(overlay: Overlay) -> float:
    """How many months of data the belief is worth: months · s²/tau² on the unconstrained scale (conflict.md §12)."""
    pair = overlay.normal_pair
    if pair is not None:
        return overlay.curve.months * (pair.s / pair.tau) ** 2
    wide = overlay.wide
    mass = special.softmax(wide.log_data_side[0] + wide.log_weights)
    if overlay is wide:
        at, variance = wide.client_coordinate(wide.nodes), overlay.client_scale[1] ** 2
    else:
        # A client narrower than the quantity: both on the quantity's scale, the client by its quantiles.
        at = wide.nodes
        variance = float(np.var(wide.support.to_unconstrained(overlay.prior.ppf((np.arange(2000) + 0.5) / 2000))))
    used = (mass > 0.0) & np.isfinite(at)
    mean = float(mass[used] @ at[used])
    return overlay.curve.months * float(mass[used] @ (at[used] - mean) ** 2) / variance
