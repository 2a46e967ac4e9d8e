"""Robust mixture: the belief beside a vague prior, and the data decide between the two."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.conflict.curve import EvidenceCurve, law_from_nodes, normal_law
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Distribution


@dataclass(frozen=True)
class RobustMixture:
    """Belief and vague prior as they are, and the weight of the belief after the data, between 0 and 1."""

    client: Distribution
    vague: Distribution
    client_weight: float


def unit_information(curve: EvidenceCurve) -> Distribution:
    """A prior worth one month of data, on the unconstrained scale: normal, sd s √months, at the reference prior's mean.

    s is the standard deviation of the data side there. A wider component would protect the client (Bartlett), so its
    width is not a matter of taste (Kass & Wasserman 1995; methods/conflict.md §12).
    """
    _, s = curve.data_side.unconstrained_moments()
    if curve.reference.support == curve.support:
        centre, _ = curve.reference.unconstrained_moments()
    else:
        centre = float(np.mean(curve.support.to_unconstrained(curve.reference.ppf((np.arange(4000) + 0.5) / 4000))))
    return normal_law(centre, s * math.sqrt(curve.months), curve.support)


def robust_mixture(overlay: Overlay, vague: Distribution, weight: float) -> RobustMixture:
    """(1 - w) client + w vague after the data: weights ∝ (1 - w) m_client and w m_vague, components unchanged.

    A client on a wider support than the quantity's is restricted to it; one on a narrower is itself, a component there.
    """
    prior = overlay.prior
    if not overlay.curve.support.holds(prior.support):
        wide = overlay.wide
        prior = law_from_nodes(wide.support, wide.nodes, wide.log_prior)
    if weight <= 0.0 or weight >= 1.0:
        return RobustMixture(prior, vague, 1.0 if weight <= 0.0 else 0.0)
    log_odds = float(overlay.log_marginals[0]) - float(Overlay(vague, overlay.curve).log_marginals[0])
    log_odds += math.log1p(-weight) - math.log(weight)
    return RobustMixture(prior, vague, 1.0 / (1.0 + math.exp(min(-log_odds, 700.0))))
