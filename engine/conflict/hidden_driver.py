"""How strong a driver of spend and sales that the data lack would have to be to take a conflict away.

Cinelli & Hazlett (2020), Making sense of sensitivity: extending omitted variable bias, JRSS B 82, for the regression
of the outcome on what the channel acts by, next to the rest of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from engine.arrays import Floats
from engine.conflict.analysis import BeliefConflict
from engine.models.protocol import Regression

PLAUSIBLE_ROBUSTNESS = 0.3
"""A driver that explains less than this of what is left of exposure and of outcome cannot be excluded by anybody."""
PLAUSIBLE_MULTIPLE = 2.0
"""Nor can one that is less than twice as strong as the strongest control that was thought of."""


@dataclass(frozen=True)
class HiddenDriver:
    """What a hidden driver would have to be.

    `shift`: by how much it would have to bias the data side's mean, in units of the quantity, for the evidence to fall
    below the rule. `robustness`: the robustness value, the part of what is left of the channel's exposure and of the
    outcome, the same of both, that it would have to explain for that, in [0, 1]. `strongest`: the control of the model
    that comes nearest to doing so; `multiple`: how many times as strong as it the driver would have to be, infinite
    where no multiple of it would do. Empty and None without controls.
    """

    shift: float
    robustness: float
    strongest: str
    multiple: float | None

    @property
    def plausible(self) -> bool:
        """Whether nobody can exclude such a driver, so that the belief cannot be blamed."""
        near = self.multiple is not None and self.multiple < PLAUSIBLE_MULTIPLE
        return near or self.robustness < PLAUSIBLE_ROBUSTNESS


def hidden_driver(figures: BeliefConflict, regression: Regression) -> HiddenDriver | None:
    """The weakest hidden driver that takes away a conflict; None where there is none, or too few rows to tell.

    The distance of belief and data side is taken in the units of the quantity with normal laws, and the data side's
    standard deviation for the standard error of the regression: the bias of both is in these units.
    """
    error, freedom = figures.data_side.sd, regression.own.size - regression.rest.shape[1] - 1
    if not figures.conflict or freedom < 2 or not (math.isfinite(error) and error > 0.0):
        return None
    apart = abs(figures.data_side.mean - figures.client.mean)
    shift = max(apart - _critical(figures) * math.hypot(figures.client.sd, error), 0.0)
    needed = shift / error
    nearest = {
        name: multiple_needed(*strength(regression, place), freedom, needed)
        for name, place in regression.controls.items()
    }
    strongest = min(nearest, key=nearest.__getitem__, default="")
    return HiddenDriver(shift, robustness_value(needed, freedom), strongest, nearest.get(strongest))


def strength(regression: Regression, place: int) -> tuple[float, float]:
    """Partial R² of a control, column `place` of the rest, with the exposure, and with the outcome beside that."""
    control, others = regression.rest[:, place], np.delete(regression.rest, place, axis=1)
    with_exposure = partial_r2(regression.own, control, others)
    beside = np.column_stack([others, regression.own])
    return with_exposure, partial_r2(regression.outcome, control, beside)


def robustness_value(t: float, freedom: int) -> float:
    """Partial R² with exposure and outcome alike that biases an estimate by t standard errors (ibid., eq. 17)."""
    f2 = t * t / freedom
    return 0.5 * (math.sqrt(f2 * f2 + 4.0 * f2) - f2)


def bias_bound(with_exposure: float, with_outcome: float, freedom: int, multiple: float) -> float:
    """Largest bias in standard errors by a driver `multiple` times as strong as a control; inf beyond what can be.

    `with_exposure`, `with_outcome`: the control's partial R² with the exposure given the other controls, and with the
    outcome given those and the exposure (ibid., §4.4). The driver is no better correlated with the control than chance.
    """
    exposure = multiple * with_exposure / (1.0 - with_exposure)
    if exposure >= 1.0:
        return math.inf
    aside = multiple * with_exposure**2 / ((1.0 - multiple * with_exposure) * (1.0 - with_exposure))
    if not 0.0 <= aside < 1.0:
        return math.inf
    grown = (math.sqrt(multiple) + math.sqrt(aside)) / math.sqrt(1.0 - aside)
    outcome = min(grown**2 * with_outcome / (1.0 - with_outcome), 1.0)
    return math.sqrt(outcome * exposure / (1.0 - exposure) * freedom)


def multiple_needed(with_exposure: float, with_outcome: float, freedom: int, needed: float) -> float:
    """How many times as strong as a control a driver has to be to bias by `needed` standard errors; inf: never."""
    if min(with_exposure, with_outcome) <= 1e-12:
        return math.inf
    most = (1.0 - with_exposure) / with_exposure
    if needed <= 0.0:
        return 0.0
    # At its largest multiple the driver is the exposure itself, whose bias has no bound.
    low, high = 1e-9 * most, most * (1.0 - 1e-9)
    if bias_bound(with_exposure, with_outcome, freedom, high) < needed:
        return math.inf
    return float(
        optimize.brentq(lambda k: min(bias_bound(with_exposure, with_outcome, freedom, k), 1e9) - needed, low, high)
    )


def partial_r2(values: Floats, column: Floats, rest: Floats) -> float:
    """Share in [0, 1) of what the columns rest [N, K] leave of values [N] that a column [N] explains."""
    left, own = (each - rest @ np.linalg.lstsq(rest, each)[0] for each in (values, column))
    whole = float(left @ left) * float(own @ own)
    if whole <= 1e-24 * float(values @ values) * float(column @ column):
        return 0.0
    return min(float((left @ own) ** 2) / whole, 1.0 - 1e-12)


def _critical(figures: BeliefConflict) -> float:
    """Standard deviations of belief and data together from which on the rule in force declares a conflict."""
    return float(-special.ndtri(0.5 * figures.rule.null_rate))
