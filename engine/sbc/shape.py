"""Shape of a rank distribution in words: what kind of error in the posterior it points to."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidInput


class Shape(enum.Enum):
    """Kind of miscalibration.

    Sign convention: the rank is that of the truth among the posterior draws. A posterior that lies too high leaves
    the truth below most of its draws, so low ranks (mean PIT below 1/2) mean BIASED_UP. Ranks piled up at both ends
    mean that the posterior is too narrow, OVER_CONFIDENT; ranks in the middle that it is too wide, UNDER_CONFIDENT.
    IRREGULAR is a departure from uniformity that is neither a tilt nor a cup.
    """

    UNIFORM = "UNIFORM"
    OVER_CONFIDENT = "OVER_CONFIDENT"
    UNDER_CONFIDENT = "UNDER_CONFIDENT"
    BIASED_UP = "BIASED_UP"
    BIASED_DOWN = "BIASED_DOWN"
    IRREGULAR = "IRREGULAR"


@dataclass(frozen=True)
class Tilt:
    """First two Neyman components of the PIT, each about N(0, 1) under uniformity.

    slope: positive when the truth ranks high; cup: positive when it ranks at both ends.
    """

    slope: float
    cup: float


def tilt(u: npt.ArrayLike) -> Tilt:
    """Return sqrt(N) times the mean first and second orthonormal Legendre polynomial of u [N] (Neyman 1937)."""
    x = 2.0 * np.asarray(u, dtype=np.float64) - 1.0
    if x.size == 0:
        raise InvalidInput("u", "need at least one value")
    root = np.sqrt(x.size)
    return Tilt(float(root * np.sqrt(3.0) * x.mean()), float(root * np.sqrt(5.0) * (1.5 * x**2 - 0.5).mean()))


def shape(u: npt.ArrayLike, p: float, alpha: float = 0.05) -> Shape:
    """Name the shape of PIT values u [N] whose uniformity test gave p; UNIFORM while p > alpha."""
    if p > alpha:
        return Shape.UNIFORM
    components = tilt(u)
    if max(abs(components.slope), abs(components.cup)) < 2.0:
        return Shape.IRREGULAR
    if abs(components.slope) >= abs(components.cup):
        return Shape.BIASED_DOWN if components.slope > 0 else Shape.BIASED_UP
    return Shape.OVER_CONFIDENT if components.cup > 0 else Shape.UNDER_CONFIDENT
