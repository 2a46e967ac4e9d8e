"""How much wider a belief must be, about its median, for the data not to be surprising."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy import optimize, special

from engine.conflict.overlay import Overlay
from engine.conflict.p_value import node_split
from engine.conflict.search import least
from engine.errors import InvalidInput

MAX_WIDENING = 1e4
_GRID = np.arange(0.0, math.log(MAX_WIDENING), 0.1)
_ABOUT = np.linspace(-3.0, 3.0, 13)


def ml_widening(overlay: Overlay) -> float:
    """The factor ≥ 1 on the unconstrained scale that maximises the client's marginal likelihood (ML-II).

    Normal case: tau*² = max(tau², d² - s²) (methods/conflict.md §12).
    """
    pair = overlay.normal_pair
    if pair is not None:
        wide = (pair.estimate - pair.mu) ** 2 - pair.s**2
        return max(math.sqrt(wide) / pair.tau if wide > 0.0 else 1.0, 1.0)

    def loss(log_factor: float) -> float:
        return -overlay.log_marginal_of(0.0, math.exp(log_factor))

    # Of a mixture each component has a width of its own at which it reaches the data.
    (low, high), top = overlay.curve_reach
    median, candidates = overlay.client_scale[2], [_GRID]
    for place, spread in overlay.client_peaks:
        factor = (top - median) / (place - median) if place != median else 0.0
        if factor > 0.0:
            width = math.hypot(factor * spread, (high - low) / 8.0) / abs(top - median)
            candidates.append(math.log(factor) + width * _ABOUT)
    return math.exp(least(loss, np.clip(np.concatenate(candidates), 0.0, _GRID[-1]), 1e-7)[0])


def p_value_widening(overlay: Overlay, p_value: float) -> float | None:
    """The least factor ≥ 1 with a node-split p of at least `p_value`; None where no width within reach has it.

    Normal case: tau*² = max(tau², d²/z_p² - s²), z_p the two-sided normal quantile (methods/conflict.md §12).
    """
    pair = overlay.normal_pair
    if pair is not None:
        z = float(special.ndtri(0.5 * p_value))
        wide = ((pair.estimate - pair.mu) / z) ** 2 - pair.s**2
        return max(math.sqrt(wide) / pair.tau if wide > 0.0 else 1.0, 1.0)

    def excess(log_factor: float) -> float:
        wider = Overlay(overlay.prior.widened(math.exp(log_factor)), overlay.curve)
        return node_split(wider).value - p_value

    if node_split(overlay).value >= p_value:
        return 1.0
    # In small steps: of a mixture the p-value may rise, fall and rise again.
    try:
        for low, high in pairwise(_GRID.tolist()):
            if excess(high) >= 0.0:
                return math.exp(float(optimize.brentq(excess, low, high, xtol=1e-9)))
    except InvalidInput:  # wider still, it would lie outside the range of the quantity
        return None
    return None
