"""Smooth log density of draws on the real line by penalised maximum likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline

from engine.arrays import Floats

_SEGMENTS = 30
_BINS_PER_SEGMENT = 10
_PENALTIES = tuple(10.0**k for k in np.arange(-1.0, 8.5, 0.5))


@dataclass(frozen=True)
class LogDensity:
    """A log density as a cubic B-spline on [low, high]; unnormalised."""

    low: float
    high: float
    knots: Floats
    coefficients: Floats

    def __call__(self, u: Floats) -> Floats:
        """Log density at u, which must lie in [low, high]."""
        return np.asarray(BSpline(self.knots, self.coefficients, 3)(u), dtype=np.float64)


def fit_log_densities(
    groups: Sequence[Floats], effective_fraction: float, *, undersmoothing: float = 1.0
) -> list[LogDensity]:
    """Log density of all draws, followed by one fit per group that leaves this group out; none for a single group.

    P-spline density smoothing (Eilers & Marx 1996): Poisson regression of bin counts on cubic B-splines with a
    penalty on third differences. That penalty's null space is the Gaussian (Silverman 1982), so smoothing pulls
    towards the normal, and the fit keeps the draws' mean and variance at any penalty. The penalty minimises BIC
    with counts multiplied by `effective_fraction` (effective sample size / draws), so autocorrelation is not
    mistaken for structure; the leave-out fits keep the penalty chosen for all draws. That one weighs bias against
    variance, and the leave-out fits show the variance only: divided by `undersmoothing`, the bias is small beside it.
    """
    draws = np.concatenate(groups)
    inner = [float(q) for q in np.quantile(draws, [0.001, 0.999])]
    sd = float(draws.std())
    # A few far outliers must not stretch the bins; a wide empty margin would teach the fit to fall too fast.
    low = max(float(draws.min()) - 0.1 * sd, inner[0] - 2.0 * sd)
    high = min(float(draws.max()) + 0.1 * sd, inner[1] + 2.0 * sd)
    bins = _SEGMENTS * _BINS_PER_SEGMENT
    edges = np.linspace(low, high, bins + 1)
    counts = np.stack([np.histogram(group, edges)[0] for group in groups]).astype(np.float64)
    total = counts.sum(axis=0)

    knots = low + (high - low) / _SEGMENTS * np.arange(-3.0, _SEGMENTS + 4.0)
    centres = 0.5 * (edges[:-1] + edges[1:])
    basis = BSpline.design_matrix(centres, knots, 3).toarray()
    differences = np.diff(np.eye(basis.shape[1]), n=3, axis=0)
    penalty = differences.T @ differences

    weighted = total * effective_fraction
    z = (centres - draws.mean()) / sd
    coefficients = np.linalg.lstsq(basis, np.log(weighted.sum() / bins) + 1.0 - 0.5 * z * z, rcond=None)[0]
    best, chosen, start = np.inf, _PENALTIES[-1], coefficients
    for strength in reversed(_PENALTIES):
        coefficients, freedom = _poisson_fit(basis, weighted, strength * penalty, coefficients)
        eta = basis @ coefficients
        criterion = -2.0 * float(weighted @ eta - np.exp(eta).sum()) + np.log(weighted.sum()) * freedom
        if criterion < best:
            best, chosen, start = criterion, strength, coefficients
    if undersmoothing != 1.0:
        chosen = chosen / undersmoothing
        start = _poisson_fit(basis, weighted, chosen * penalty, start)[0]
    fits = [start]
    for group in counts if len(groups) > 1 else ():
        left = (total - group) * effective_fraction
        fits.append(_poisson_fit(basis, left, chosen * penalty, start)[0])
    return [LogDensity(low, high, knots, fit) for fit in fits]


def _poisson_fit(basis: Floats, counts: Floats, penalty: Floats, start: Floats) -> tuple[Floats, float]:
    """Penalised Poisson regression by iteratively reweighted least squares; also the effective number of parameters."""
    coefficients = start
    ridge = 1e-9 * np.eye(basis.shape[1])
    for _ in range(60):
        mu = np.exp(np.clip(basis @ coefficients, -60.0, 60.0))
        information = basis.T @ (mu[:, None] * basis)
        step = np.linalg.solve(information + penalty + ridge, basis.T @ (counts - mu) - penalty @ coefficients)
        largest = float(np.max(np.abs(step)))
        coefficients = coefficients + step * min(1.0, 5.0 / max(largest, 1e-300))
        if largest < 1e-8:
            break
    return coefficients, float(np.trace(np.linalg.solve(information + penalty + ridge, information)))
