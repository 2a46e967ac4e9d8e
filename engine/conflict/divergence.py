"""Distances between the data side and a client prior, and what the prior is worth in months of data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.conflict.curve import jackknife_error
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Distribution, Mixture
from engine.distributions.effective_size import by_moments, elir

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
    w2_mcse: float


def kl_data_client(overlay: Overlay) -> Estimate:
    """KL(data side ‖ client) in nats; data side = reference posterior (Bousquet's; methods/conflict.md §5)."""
    log_post = overlay.log_reference_posterior
    mass = np.exp(log_post + overlay.log_weights)
    gap = np.where(mass > 0.0, log_post, 0.0) - np.where(mass > 0.0, overlay.log_prior, 0.0)
    values = np.sum(mass * gap, axis=1)
    if float(overlay.reference_posterior_mass) < 1.0 - 1e-6:
        return Estimate(math.inf, 0.0)  # the data side has mass where the client has none
    return Estimate(float(values[0]), float(jackknife_error(values[2:])))


def information_gain(overlay: Overlay) -> Estimate:
    """KL(client posterior ‖ client) in nats: E_posterior[log L] - log m_client (Nott; methods/conflict.md §5)."""
    log_post = overlay.rows + overlay.log_prior - overlay.log_marginals[:, None]
    mass = np.exp(log_post + overlay.log_weights)
    values = np.sum(mass * np.where(mass > 0.0, overlay.rows, 0.0), axis=1)
    values = values - overlay.log_marginals
    return Estimate(float(values[0]), float(jackknife_error(values[2:])))


def wasserstein(overlay: Overlay) -> Wasserstein:
    """W1 = ∫|F_data - F_client| dx, and W2² = E_data (x - F_client⁻¹(F_data(x)))² (methods/conflict.md §6)."""
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
    w2 = np.array([_w2(client, x, *row) for row in zip(mass, below, above, strict=True)])
    spread = np.sqrt(overlay.client_cdf * overlay.client_sf)[seen]
    n = overlay.curve.n_effective
    floor = math.sqrt(2.0 / (math.pi * n)) * float(spread @ dx[seen]) if math.isfinite(n) else 0.0
    sd = client.sd
    errors = (float(jackknife_error(values[2:])) for values in (w1, w2))
    return Wasserstein(float(w1[0]), float(w2[0]), float(w1[0]) / sd, float(w2[0]) / sd, floor, *errors)


def _w2(client: Distribution, x: Array, mass: Array, below: Array, above: Array) -> float:
    """W2 of the law with these masses at x from the client, each point paired with the client's equal quantile."""
    used = mass > 1e-14
    low, high = np.minimum(below[used], 0.5), np.minimum(above[used], 0.5)
    with np.errstate(invalid="ignore"):
        partner = np.where(below[used] < 0.5, client.ppf(low), client.isf(high))
    return math.sqrt(float(mass[used] @ (x[used] - partner) ** 2))


@dataclass(frozen=True)
class PriorWorth:
    """How many months of data a belief is worth, and whether its moments had to stand in for its information."""

    months: float
    by_moments: bool


def prior_ess_months(overlay: Overlay) -> float:
    """How many months of data the belief is worth: `prior_worth`."""
    return prior_worth(overlay).months


def prior_worth(overlay: Overlay) -> PriorWorth:
    """How many months of data the belief is worth: months · s² · E[(d log p / du)²] (ELIR; methods/conflict.md §12).

    s² is the variance of the data side on the client's unconstrained scale, so that a month of data holds information
    1 / (months s²) there; for a normal client this is months · s²/tau². Where that is no number above 0, for a client
    narrower than the quantity with data outside it, and for a mixture of laws on different supports, the client's
    variance stands in for its information.
    """
    pair, months = overlay.normal_pair, overlay.curve.months
    if pair is not None:
        return PriorWorth(months * (pair.s / pair.tau) ** 2, by_moments=False)
    wide = overlay.wide
    mass = special.softmax(wide.log_data_side[0] + wide.log_weights)
    at = wide.client_coordinate(wide.nodes)
    used = (mass > 0.0) & np.isfinite(at)
    if overlay is not wide and float(mass[used].sum()) < 1.0 - 1e-6:
        # Both on the quantity's scale, the client by its quantiles.
        client = wide.support.to_unconstrained(overlay.prior.ppf((np.arange(2000) + 0.5) / 2000))
        mean = float(mass @ wide.nodes)
        variance = float(mass @ (wide.nodes - mean) ** 2)
        return PriorWorth(months * variance / float(np.var(client)), by_moments=True)
    share = mass[used] / mass[used].sum()
    variance = float(share @ (at[used] - float(share @ at[used])) ** 2)

    def unit_variance(u: Array) -> Array:
        return np.full_like(u, months * variance)

    # Where a component of a narrower support begins the density jumps, which is no information.
    jumps = isinstance(overlay.prior, Mixture) and overlay.prior.is_mixed
    information = math.nan if jumps else elir(overlay.prior, unit_variance, unconstrained=True)
    if math.isfinite(information) and information > 0.0:
        return PriorWorth(information, by_moments=False)
    return PriorWorth(by_moments(overlay.prior, unit_variance, unconstrained=True), by_moments=True)
