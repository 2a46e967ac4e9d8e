"""Remarks on laws that mean and standard deviation do not describe: with a pole, or with several peaks."""

from __future__ import annotations

import math

import numpy as np
from liftos.bayes.v1 import common_pb2

from server.contract.wire import from_array
from server.texts.formats import measured, shown

_LEAST_WEIGHT = 0.05
"""Of a component, to be a peak of its own."""
_PROMINENT = 0.01
"""A peak of a density on a grid counts if it stands out by this part of the highest."""


def shape_remark(law: common_pb2.Distribution, quantity: int) -> str:
    """What to know of a law beside its mean and standard deviation, in a sentence; empty where there is nothing."""
    if ends := _poles(law):
        told = " and ".join(shown(end, quantity) for end in ends)
        return f"Its density grows without bound towards {told}: much of it lies there, not about its mean."
    peaks = _peaks(law)
    if len(peaks) > 1:
        told = " and ".join(shown(peak, quantity) for peak in peaks)
        return f"It has {len(peaks)} peaks, near {measured(told, quantity)}: its mean may be where it hardly is."
    return ""


def _poles(law: common_pb2.Distribution) -> list[float]:
    """Ends of the range where the density is infinite, each named once."""
    match law.WhichOneof("kind"):
        case "beta":
            return [end for end, shape in ((0.0, law.beta.alpha), (1.0, law.beta.beta)) if shape < 1.0]
        case "gamma":
            return [0.0] if law.gamma.shape < 1.0 else []
        case "mixture":
            parts = (part.distribution for part in law.mixture.components if part.weight >= _LEAST_WEIGHT)
            return sorted({end for part in parts for end in _poles(part)})
    return []


def _peaks(law: common_pb2.Distribution) -> list[float]:
    """Where a mixture or a density on a grid has its peaks, lowest first; other families have one, not looked for.

    Two components make two peaks where they are farther apart than their standard deviations together: of two normals
    of one width that is exact.
    """
    match law.WhichOneof("kind"):
        case "mixture":
            parts = [part for part in law.mixture.components if part.weight >= _LEAST_WEIGHT]
            places = sorted(place for part in parts if (place := _place(part.distribution)) is not None)
            peaks: list[tuple[float, float]] = []
            for middle, sd in places:
                if not peaks or middle - peaks[-1][0] > peaks[-1][1] + sd:
                    peaks.append((middle, sd))
            return [middle for middle, _ in peaks]
        case "gridded":
            return _peaks_on_grid(law.gridded)
    return []


def _place(law: common_pb2.Distribution) -> tuple[float, float] | None:
    """Where a component is, with its width; None of a family whose peak is not at its middle."""
    match law.WhichOneof("kind"):
        case "normal":
            return law.normal.mean, law.normal.sd
        case "truncated_normal":
            return law.truncated_normal.location, law.truncated_normal.scale
        case "student_t":
            return law.student_t.location, law.student_t.scale
        case "log_normal":
            median = math.exp(law.log_normal.log_mean)
            return median, median * math.sinh(law.log_normal.log_sd)
        case "beta":
            total = law.beta.alpha + law.beta.beta
            mean = law.beta.alpha / total
            return mean, math.sqrt(mean * (1.0 - mean) / (total + 1.0))
        case "gamma":
            return law.gamma.shape / law.gamma.rate, math.sqrt(law.gamma.shape) / law.gamma.rate
    return None


def _peaks_on_grid(law: common_pb2.Gridded) -> list[float]:
    """Peaks on the unconstrained scale, in the units of the quantity, ripples left out."""
    u, log_density = np.asarray(from_array(law.grid)), np.asarray(from_array(law.log_density))
    density = np.exp(log_density - log_density.max())
    tops = [i for i in range(1, u.size - 1) if density[i - 1] < density[i] >= density[i + 1]]
    peaks: list[int] = []
    for top in tops:
        if not peaks:
            peaks.append(top)
            continue
        valley = float(density[peaks[-1] : top].min())
        lower = min(float(density[peaks[-1]]), float(density[top]))
        if lower - valley > _PROMINENT:
            peaks.append(top)
        elif density[top] > density[peaks[-1]]:
            peaks[-1] = top
    return [_natural(float(u[peak]), law.lower, law.upper) for peak in peaks]


def _natural(u: float, lower: float, upper: float) -> float:
    """A point of the unconstrained scale in the units of the quantity: identity, log or logit."""
    if not math.isfinite(lower):
        return u
    u = min(max(u, -700.0), 700.0)
    return lower + (upper - lower) / (1.0 + math.exp(-u)) if math.isfinite(upper) else lower + math.exp(u)
