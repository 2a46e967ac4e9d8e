"""Experiments beside the data: independent estimates multiplied into an evidence curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import Distribution, Normal
from engine.distributions.support import REAL_LINE
from engine.errors import InvalidInput
from engine.rules.compromises import TAIL, Place

_SCORES = np.linspace(-8.0, 8.0, 321)


@dataclass(frozen=True)
class Experiment:
    """An estimate of the quantity with its standard error, both in the units of the quantity."""

    estimate: float
    standard_error: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.estimate):
            raise InvalidInput("estimate", "must be finite")
        if not (math.isfinite(self.standard_error) and self.standard_error > 0.0):
            raise InvalidInput("standard_error", "must be finite and above 0")

    @classmethod
    def pooled(cls, experiments: Sequence[Experiment]) -> Experiment:
        """Independent experiments about one quantity as one: their likelihoods multiply."""
        if not experiments:
            raise InvalidInput("experiments", "must hold at least one")
        precision = math.fsum(experiment.standard_error**-2 for experiment in experiments)
        mean = math.fsum(experiment.estimate * experiment.standard_error**-2 for experiment in experiments) / precision
        return cls(mean, precision**-0.5)

    @property
    def law(self) -> Normal:
        """What it says on its own."""
        return Normal(self.estimate, self.standard_error)


def with_experiment(curve: EvidenceCurve, experiment: Experiment) -> EvidenceCurve:
    """The curve of data and experiment together: log L + log N(estimate; psi, standard_error), normalised anew.

    The likelihood is normal in the units of the quantity, wherever that lives: an estimate may lie outside the range.
    A normal curve on the real line stays one. Otherwise the grid gets points where the experiment is sharp; what the
    draws cover, `supported`, stays what it was, and so does `months`: an experiment is worth no months of data.
    """
    estimate, error = experiment.estimate, experiment.standard_error
    if curve.gaussian is not None and curve.support == REAL_LINE:
        both = Experiment.pooled([Experiment(*curve.gaussian), experiment])
        return EvidenceCurve.normal(
            both.estimate,
            both.standard_error,
            curve.reference,
            curve.months,
            quantity=curve.quantity,
            support=curve.support,
        )
    near = estimate + error * _SCORES
    near = curve.support.to_unconstrained(near[curve.support.contains(near)])
    # Points closer than a spline can use are dropped, those of the curve itself never.
    gap = 1e-3 * float(np.min(np.diff(curve.grid)))
    apart = np.abs(near[:, None] - curve.grid[None, :]).min(axis=1) > gap if near.size else np.zeros(0, dtype=bool)
    grid = np.unique(np.concatenate([curve.grid, near[apart & np.isfinite(near)]]))
    added = -0.5 * ((curve.support.from_unconstrained(grid) - estimate) / error) ** 2
    rows = curve.rows_at(grid) + added
    if not np.all(np.isfinite(rows)):
        raise InvalidInput("standard_error", "is too small against the range of the quantity")

    def build(constants: np.ndarray) -> EvidenceCurve:
        shifted = rows - constants[:, None]
        return replace(
            curve,
            grid=grid,
            log_likelihood=shifted[0],
            heavy_tail_log_likelihood=shifted[1],
            replicates=shifted[2:],
            gaussian=None,
        )

    return build(build(np.zeros(rows.shape[0])).log_reference_marginals())


def distance(experiment: Experiment, data_side: Distribution) -> float:
    """How far experiment and data are apart, in standard deviations of their difference, normal case."""
    middle, spread = median_and_spread(data_side)
    return abs(experiment.estimate - middle) / math.hypot(experiment.standard_error, spread)


def place_of(law: Distribution) -> Place:
    """Where a law lies."""
    return Place(float(law.ppf(TAIL)), float(law.ppf(0.5)), float(law.isf(TAIL)))


def median_and_spread(law: Distribution) -> tuple[float, float]:
    """Median and half the central 68.3 % interval: mean and sd of a normal law, and there whatever the tails are."""
    low, high = law.interval(0.682689)
    return float(law.ppf(0.5)), 0.5 * (high - low)
