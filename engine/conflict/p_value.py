"""Node-split p-value: does the client's law cover what the data say on their own?"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from scipy import special

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


def node_split(overlay: Overlay) -> PValue:
    """p = 2 min(F̄, 1 - F̄), F̄ = ∫ F_client dData (Marshall & Spiegelhalter 2007; methods/conflict.md §7).

    Data side: L normalised on the client's unconstrained scale, i.e. posterior weights 1/p_ref, within the reference's
    1e-6 points; where that is no proper law, the reference stays in (`EvidenceCurve.reference_kept`).
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
    return PValue(kind, float(values[0]), float(jackknife_error(values[2:])))
