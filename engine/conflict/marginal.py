"""The marginal likelihood of a law of psi relative to that of the reference prior, by several estimators."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from engine.arrays import Floats
from engine.conflict.curve import CurveKind, jackknife_error
from engine.conflict.importance import GOOD_KHAT, MAX_KHAT, importance_mean
from engine.conflict.overlay import Overlay

MAX_DISAGREEMENT = 0.5
IMMATERIAL = 0.05


class Estimator(enum.Enum):
    """How a marginal likelihood was computed, the rungs of the ladder of methods/conflict.md §4.2 in their order."""

    CLOSED_FORM = "closed_form"
    IMPORTANCE = "importance"
    CURVE_INTEGRAL = "curve_integral"
    TEMPERED_BRIDGE = "tempered_bridge"
    BRIDGE_SAMPLING = "bridge_sampling"


@dataclass(frozen=True, eq=False)
class LogMarginal:
    """ln m_g / m_ref of one law g.

    Fields:
        value: the estimate. heavy_tailed: the same if the evidence curve had exponential tails.
        replicates [R]: delete-one-group jackknife versions, the groups those of the curve; R = 0 when exact.
        own_error: standard error that no replicate shows.
        khat: Pareto shape of the importance ratios behind it, if any.
    """

    value: float
    heavy_tailed: float
    replicates: Floats
    estimator: Estimator
    own_error: float = 0.0
    khat: float | None = None

    @property
    def mcse(self) -> float:
        """Monte Carlo standard error."""
        return math.hypot(float(jackknife_error(self.replicates)), self.own_error)

    def beside(self, other: LogMarginal) -> LogMarginal:
        """The same with half the gap to the estimate that confirms it in its error.

        A jackknife over the draws sees neither the bias of a smoothed curve nor the weights that no draw has shown yet;
        what separates two estimators shows both.
        """
        return replace(self, own_error=math.hypot(self.own_error, 0.5 * (self.value - other.value)))

    @classmethod
    def of_rows(cls, rows: Floats, estimator: Estimator = Estimator.CURVE_INTEGRAL) -> LogMarginal:
        """From values per row of the curve: itself, its heavy-tailed twin, the replicates."""
        return cls(float(rows[0]), float(rows[1]), np.asarray(rows[2:]), estimator)

    @classmethod
    def alone(cls, value: float, mcse: float, estimator: Estimator, khat: float | None = None) -> LogMarginal:
        """An estimate from draws of its own, which shares no error with the curve."""
        return cls(value, value, np.empty(0), estimator, mcse, khat)


def difference_error(first: LogMarginal, second: LogMarginal) -> float:
    """Standard error of the difference: paired where both come from the same groups of draws."""
    own = math.hypot(first.own_error, second.own_error)
    if first.replicates.size == second.replicates.size:
        return math.hypot(float(jackknife_error(first.replicates - second.replicates)), own)
    errors = (float(jackknife_error(marginal.replicates)) for marginal in (first, second))
    return math.hypot(*errors, own)


def by_curve(overlay: Overlay, shift: float = 0.0, factor: float = 1.0) -> LogMarginal:
    """∫ g L over the evidence curve, g the client shifted and widened, unconstrained (methods/conflict.md §4.1)."""
    if shift == 0.0 and factor == 1.0:
        return LogMarginal.of_rows(overlay.log_marginals)
    return LogMarginal.of_rows(overlay.log_marginals_of(shift, factor))


def by_importance(overlay: Overlay, draws: ArrayLike, shift: float = 0.0, factor: float = 1.0) -> LogMarginal:
    """E_post[g / p_ref] over reference-posterior draws [chains, n] (methods/conflict.md §3 F), with its k-hat."""
    mean = importance_mean(overlay.log_ratios(np.asarray(draws, dtype=np.float64), shift, factor))
    return LogMarginal(mean.log_mean, mean.log_mean, mean.replicates, Estimator.IMPORTANCE, khat=mean.khat)


@dataclass(frozen=True, eq=False)
class Ladder:
    """The client's marginal likelihood by every estimator at hand, and the one to report.

    `chosen` is the first admissible estimate that another admissible one confirms; `refusal` says why there is none,
    and is empty otherwise. `draws` serve the other laws of the same overlay.
    """

    overlay: Overlay
    draws: Floats | None
    admissible: tuple[LogMarginal, ...]
    chosen: LogMarginal
    khat: float | None
    refusal: str

    @classmethod
    def climb(cls, overlay: Overlay, draws: ArrayLike | None = None, bridges: Sequence[LogMarginal] = ()) -> Ladder:
        """Order and gates of methods/conflict.md §4.2.

        With k-hat ≤ .5 the importance mean is reported and the curve integral confirms it, up to .7 the other way
        round. Beyond, draws under the reference do not reach the client: `bridges`, estimates from runs of their own,
        come first. A curve without draws, or an exact one, stands alone. An importance mean over an induced reference
        prior only confirms: the error of that prior's density is in the curve's replicates alone.
        """
        curve = by_curve(overlay)
        if draws is None or overlay.curve.kind is CurveKind.EXACT:
            return cls(overlay, None, (curve,), curve, None, "")
        psi = np.asarray(draws, dtype=np.float64)
        mean = by_importance(overlay, psi)
        khat = mean.khat if mean.khat is not None else math.inf
        if khat > MAX_KHAT:
            admissible: tuple[LogMarginal, ...] = (*bridges, curve)
        elif khat > GOOD_KHAT or overlay.curve.induced:
            admissible = (*bridges, curve, mean)
        else:
            admissible = (mean, curve, *bridges)
        if len(admissible) == 1:
            refusal = (
                f"the belief lies where draws under the reference prior do not reach (Pareto k-hat {khat:.2f}), and "
                "no second estimate confirms the extrapolated curve"
            )
            return cls(overlay, psi, admissible, curve, khat, refusal)
        for estimate in admissible:
            confirming = [other for other in admissible if estimate is not other and agree(estimate, other)]
            # Curve and mean stand on the same draws: they do not outvote a run of its own.
            contradicted = estimate not in bridges and any(not agree(estimate, bridge) for bridge in bridges)
            if confirming and not contradicted:
                return cls(overlay, psi, admissible, estimate.beside(confirming[0]), khat, "")
        told = " and ".join(
            f"{estimate.value:.2f} by {estimate.estimator.value.replace('_', ' ')}" for estimate in admissible
        )
        return cls(overlay, psi, admissible, admissible[0], khat, f"the estimates of ln m disagree: {told}")

    @property
    def hardly_reached(self) -> bool:
        """Whether the draws reach the client too rarely for their mean to be reported: a run of its own does better."""
        return self.khat is not None and self.khat > GOOD_KHAT

    def of_client(self, shift: float, factor: float) -> LogMarginal:
        """The client shifted and widened: by the importance mean where that is reported and reaches, else the curve."""
        curve = by_curve(self.overlay, shift, factor)
        if self.draws is None:
            return curve
        mean = by_importance(self.overlay, self.draws, shift, factor)
        khat = math.inf if mean.khat is None else mean.khat
        if self.chosen.estimator is Estimator.IMPORTANCE and khat <= GOOD_KHAT:
            return mean
        if khat <= MAX_KHAT:
            return curve.beside(mean)
        # Nothing confirms the curve out there: what its tails could be otherwise is its error.
        return replace(curve, own_error=abs(curve.heavy_tailed - curve.value))


def agree(first: LogMarginal, second: LogMarginal) -> bool:
    """Within 3 combined standard errors (or .05, which no label feels) and within .5 (methods/conflict.md §4.2)."""
    gap = abs(first.value - second.value)
    return gap <= MAX_DISAGREEMENT and gap <= max(3.0 * difference_error(first, second), IMMATERIAL)
