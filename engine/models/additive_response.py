"""Each channel's response summed over the window, at many parameters at once: what derived media quantities rest on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.arrays import Floats
from engine.models.additive_design import Design
from engine.models.saturation import FORMS

_CHUNK = 300_000  # exposures (rows times parameter values) held at a time; a few megabytes, which fit in a cache


def response(design: Design, channel: int, retention: Floats, half_saturation: Floats, slope: Floats) -> Floats:
    """Σ_gt u_gt p_g H_gt [S]: outcome of a unit per-head coefficient, at retentions, half-saturations and slopes [S].

    H is the saturated adstock of the channel at this index; the incremental outcome is this times its coefficient.
    """
    form, total = FORMS[design.saturation[channel]], np.empty(retention.size)
    for part, adstocked in _adstocked(design, channel, retention):
        total[part] = design.weights @ form.value(adstocked, half_saturation[part], slope[part])
    return total


def response_by_geo(design: Design, channel: int, retention: Floats, half_saturation: Floats, slope: Floats) -> Floats:
    """Σ_t u_gt p_g H_gt [G, S]: what `response` sums over the geos, geo by geo."""
    form, geos = FORMS[design.saturation[channel]], design.window.geos
    total = np.empty((geos, retention.size))
    weights = design.weights.reshape(geos, 1, -1)
    for part, adstocked in _adstocked(design, channel, retention):
        curve = form.value(adstocked, half_saturation[part], slope[part])
        total[:, part] = (weights @ curve.reshape(geos, -1, curve.shape[1]))[:, 0]
    return total


def response_rise(
    design: Design, channel: int, retention: Floats, half_saturation: Floats, slope: Floats, factor: float = 1.01
) -> tuple[Floats, Floats]:
    """`response` [S], and what it gains [S] when every exposure, lead-in included, is `factor` times what it was.

    Adstock is linear, so its result is multiplied alike. The gain is no difference of two sums: that would cancel to
    nothing where the channel is saturated, and a positive quantity would come out as 0.
    """
    form = FORMS[design.saturation[channel]]
    total, gained = np.empty(retention.size), np.empty(retention.size)
    for part, adstocked in _adstocked(design, channel, retention):
        total[part] = design.weights @ form.value(adstocked, half_saturation[part], slope[part])
        gained[part] = design.weights @ form.rise(adstocked, half_saturation[part], slope[part], factor)
    return total, gained


def _adstocked(design: Design, channel: int, retention: Floats) -> Iterator[tuple[slice, Floats]]:
    """Normalised geometric adstock [N, s] of the channel, for a slice of the retentions [S] at a time."""
    lags = np.ascontiguousarray(design.exposure[:, channel, : design.n_weights[channel]])
    step = max(_CHUNK // lags.shape[0], 1)
    for start in range(0, retention.size, step):
        part = slice(start, start + step)
        powers = retention[part] ** np.arange(lags.shape[1])[:, None]
        yield part, lags @ (powers / powers.sum(axis=0))
