"""Node-split p-value: does the client's law cover what the data say on their own?"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from engine.arrays import Floats
from engine.conflict.curve import jackknife_error
from engine.conflict.overlay import Overlay


class PValueKind(enum.Enum):
    """NODE_SPLIT takes the reference's influence out; …_WITH_REFERENCE could not, as the data leave psi unbounded."""

    NODE_SPLIT = "node_split"
    NODE_SPLIT_WITH_REFERENCE = "node_split_with_reference"


@dataclass(frozen=True)
class PValue:
    """Two-sided p-value with its Monte Carlo standard error."""

    kind: PValueKind
    value: float
    se: float


def node_split(overlay: Overlay, draws: Floats | None = None) -> PValue:
    """p = 2 min(F̄, 1 - F̄), F̄ = ∫ F_client dData (Marshall & Spiegelhalter 2007; methods/conflict.md §7).

    Data side: L normalised on the client's unconstrained scale, i.e. posterior weights 1/p_ref, within the reference's
    1e-6 points; where that is no proper law, the reference stays in (`EvidenceCurve.reference_kept`).

    `draws` [chains, n] under the reference, weighed by 1/p_ref, give the same without the smoothed curve. They are
    noisier and without bias, where a tail that is heavier than the curve's makes it too small by a factor that its
    jackknife does not show: so the distance of the two is in the error.
    """
    pair = overlay.normal_pair
    if pair is not None:
        return PValue(PValueKind.NODE_SPLIT, float(2.0 * special.ndtr(-pair.z)), 0.0)
    overlay = overlay.wide
    log_data = overlay.log_data_side
    mass = np.exp(log_data + overlay.log_weights - (log_data + overlay.log_weights).max(axis=1, keepdims=True))
    mass = mass / mass.sum(axis=1, keepdims=True)
    below, above = mass @ overlay.client_cdf, mass @ overlay.client_sf
    removed = bool(overlay.curve.reference_kept[0] == 0.0)
    kind = PValueKind.NODE_SPLIT if removed else PValueKind.NODE_SPLIT_WITH_REFERENCE
    values = 2.0 * np.minimum(below, above)
    error = float(jackknife_error(values[2:]))
    if draws is not None:
        error = math.hypot(error, float(values[0]) - _by_draws(overlay, np.ravel(draws)))
    return PValue(kind, float(values[0]), error)


def _by_draws(overlay: Overlay, draws: Floats) -> float:
    """p of draws [n] under the reference, each weighed by what the reference has taken part in the data side."""
    curve = overlay.curve
    u = curve.support.to_unconstrained(draws)
    low, high = curve.data_side_range
    log_reference = curve.log_reference_at(u)
    weights = np.where((u > low) & (u < high), (float(curve.reference_kept[0]) - 1.0) * log_reference, -np.inf)
    mass = special.softmax(weights)
    return float(2.0 * min(mass @ overlay.prior.cdf(draws), mass @ overlay.prior.sf(draws)))
