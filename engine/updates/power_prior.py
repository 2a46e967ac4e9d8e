"""Normalised power prior on the belief: how far it should count, learned from how far the data agree with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from engine.arrays import Floats
from engine.conflict.curve import cells, law_from_nodes
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Distribution

# b = t² makes the integrands, which begin like √b, smooth at 0.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_ROOTS = 0.5 * (1.0 + _NODES)
POWERS: Floats = _ROOTS**2
_LOG_POWER_WEIGHTS = np.log(_WEIGHTS * _ROOTS)
_FAR = np.geomspace(1e-2, 1e3, 300)
"""How far beyond the overlay's own nodes a belief with little power reaches, in widths of these."""


@dataclass(frozen=True, eq=False)
class AdaptivePower:
    """The posterior of power and quantity.

    Fields:
        posterior: of psi, ∫ p(psi | b, y) p(b | y) db. expected, mode: of b, between 0 and 1.
        extrapolated_share: of the posterior of psi, beyond what the draws cover.
    """

    posterior: Distribution
    expected: float
    mode: float
    extrapolated_share: float


def adaptive_power(overlay: Overlay) -> AdaptivePower:
    """p(b | y) ∝ ∫ client^b / Z(b) L dpsi, b ~ U(0, 1), Z(b) = ∫ client^b (Duan et al. 2006; methods/conflict.md §12).

    For a normal client p(b | y) ∝ N(estimate; mu, √(tau²/b + s²)). The power is taken on the client's unconstrained
    scale. A client whose power has no finite mass, as Student's t of few degrees of freedom, gives such b none.
    """
    reach = overlay.nodes[-1] - overlay.nodes[0]
    ends = overlay.nodes[0] - reach * _FAR[::-1], overlay.nodes[-1] + reach * _FAR
    wide, log_weights = cells(np.concatenate([ends[0], overlay.nodes, ends[1]]))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        log_client, log_jacobian = overlay.powered_client(wide)
        log_likelihood = overlay.log_likelihood_at(wide)
    usable = np.isfinite(log_client) & np.isfinite(log_jacobian) & ~np.isnan(log_likelihood)
    log_client, log_likelihood = log_client[usable], log_likelihood[usable]
    base = (log_jacobian + log_weights)[usable]

    def log_evidence(powers: Floats) -> tuple[Floats, Floats]:
        """ln ∫ client^b / Z(b) L and ln Z(b) at each b."""
        terms = powers[:, None] * log_client + base
        log_z = special.logsumexp(terms, axis=1)
        return special.logsumexp(terms + log_likelihood, axis=1) - log_z, log_z

    evidence, log_z = log_evidence(POWERS)
    weights = special.softmax(evidence + _LOG_POWER_WEIGHTS)
    best = int(np.argmax(evidence))
    low = float(POWERS[best - 1]) if best > 0 else 0.0
    high = float(POWERS[best + 1]) if best + 1 < POWERS.size else 1.0
    optimum = optimize.minimize_scalar(
        lambda b: -float(log_evidence(np.array([b]))[0][0]), bounds=(low, high), method="bounded"
    )
    at_one = float(log_evidence(np.ones(1))[0][0])
    mode = 1.0 if at_one >= -float(optimum.fun) else float(optimum.x)

    log_client, log_jacobian = overlay.powered_client(overlay.nodes)
    with np.errstate(invalid="ignore"):
        log_prior = special.logsumexp(POWERS[:, None] * log_client + (_LOG_POWER_WEIGHTS - log_z)[:, None], axis=0)
    log_density = overlay.rows[0] + log_jacobian + log_prior
    return AdaptivePower(
        law_from_nodes(overlay.support, overlay.nodes, log_density),
        float(weights @ POWERS),
        mode,
        overlay.extrapolated(log_density),
    )
