"""Strategies that turn a prior and an evidence curve into the prior for the next, disjoint data."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from scipy import optimize

from engine.conflict.bayes_factor import recentred, recentring_shift
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.conflict.p_value import node_split
from engine.conflict.reliability import curve_refusals
from engine.errors import InvalidInput
from engine.priors.distribution import Distribution, Mixture

MAX_WIDENING = 1e4
Z_WARNING = 2.0
MAX_EXTRAPOLATED = 0.5


class Strategy(enum.Enum):
    """How evidence changes a prior (conflict.md §12)."""

    EVIDENCE_WEIGHTED = "evidence_weighted"
    FULL_BAYESIAN = "full_bayesian"
    CONSERVATIVE = "conservative"


class Action(enum.Enum):
    """What was done: the prior kept as it is, moved towards the data, or widened in place."""

    KEEP = "keep"
    UPDATE = "update"
    WIDEN = "widen"


@dataclass(frozen=True)
class PriorUpdate:
    """The next prior; `weight` is that of the recentred client under EVIDENCE_WEIGHTED.

    `changed` is False exactly when `distribution` is the object that came in.
    """

    distribution: Distribution
    action: Action
    weight: float | None
    reasons: tuple[str, ...]
    changed: bool


def update(
    prior: Distribution,
    curve: EvidenceCurve,
    strategy: Strategy,
    min_evidence_strength: float = 10.0,
    log_bf: float | None = None,
) -> PriorUpdate:
    """Apply a strategy; the input object itself comes back when nothing changes or the evidence is unreliable.

    EVIDENCE_WEIGHTED: with B the recentred Bayes factor (e^`log_bf` where an analysis has found it) and T =
    `min_evidence_strength` (≥ 1), unchanged below T, else the mixture (1 - w) client + w recentred client, w =
    B/(B + T): T is the prior odds granted to the belief.
    FULL_BAYESIAN: the client's posterior. CONSERVATIVE: the client widened about its median to the width that makes
    the data most likely (ML-II), never narrower, never moved. Formulas: conflict.md §12.
    """
    if not (math.isfinite(min_evidence_strength) and min_evidence_strength >= 1.0):
        raise InvalidInput("min_evidence_strength", "must be finite and at least 1")
    overlay = Overlay(prior, curve)
    refusals = curve_refusals(overlay)
    if refusals:
        return _kept(prior, None, *refusals)
    match strategy:
        case Strategy.EVIDENCE_WEIGHTED:
            return _evidence_weighted(overlay, min_evidence_strength, log_bf)
        case Strategy.FULL_BAYESIAN:
            return _full_bayesian(overlay)
        case Strategy.CONSERVATIVE:
            return _conservative(overlay)


def _kept(prior: Distribution, weight: float | None, *reasons: str) -> PriorUpdate:
    return PriorUpdate(prior, Action.KEEP, weight, reasons, changed=False)


def _evidence_weighted(overlay: Overlay, threshold: float, found: float | None) -> PriorUpdate:
    shift = recentring_shift(overlay)
    log_bf = recentred(Ladder.climb(overlay), shift).log_bf if found is None else found
    if log_bf < math.log(threshold):
        return _kept(overlay.prior, 0.0, f"Bayes factor {math.exp(log_bf):.3g} is below the required {threshold:g}")
    weight = 1.0 / (1.0 + threshold * math.exp(-log_bf))
    alternative = overlay.prior.shifted(shift)
    reasons = (
        f"Bayes factor {math.exp(min(log_bf, 700.0)):.3g} against the belief, at prior odds of {threshold:g} for it, "
        f"gives the recentred belief a weight of {weight:.3f}",
    )
    if 1.0 - weight < 1e-12:
        return PriorUpdate(alternative, Action.UPDATE, weight, reasons, changed=True)
    return PriorUpdate(_mix(overlay.prior, alternative, weight), Action.UPDATE, weight, reasons, changed=True)


def _mix(first: Distribution, second: Distribution, weight: float) -> Mixture:
    """(1 - weight) first + weight second, with mixtures flattened."""
    weights: list[float] = []
    components: list[Distribution] = []
    for share, law in ((1.0 - weight, first), (weight, second)):
        if isinstance(law, Mixture):
            weights += [share * w for w in law.weights]
            components += law.components
        else:
            weights.append(share)
            components.append(law)
    return Mixture(tuple(weights), tuple(components))


def _full_bayesian(overlay: Overlay) -> PriorUpdate:
    if overlay.extrapolated_share > MAX_EXTRAPOLATED:
        return _kept(
            overlay.prior,
            None,
            f"{100 * overlay.extrapolated_share:.0f} % of the posterior under the belief lies beyond the draws of the "
            "reference fit: it would be an extrapolation",
        )
    pair = overlay.normal_pair
    reasons = ["posterior under the client's own prior"]
    p = node_split(overlay).value
    in_conflict = pair.z > Z_WARNING if pair is not None else p < math.erfc(Z_WARNING / math.sqrt(2.0))
    if in_conflict:
        reasons.append(
            "belief and data are more than 2 standard deviations apart: the posterior is narrower than both and sits "
            "where neither is"
        )
    return PriorUpdate(overlay.client_posterior, Action.UPDATE, None, tuple(reasons), changed=True)


def _conservative(overlay: Overlay) -> PriorUpdate:
    factor = ml_widening(overlay)
    if factor <= 1.0:
        return _kept(overlay.prior, None, "the data are as near as the belief's own width expects")
    reasons = (f"widened {factor:.4g} times about its median, the width that makes the data most likely",)
    return PriorUpdate(overlay.prior.widened(factor), Action.WIDEN, None, reasons, changed=True)


def ml_widening(overlay: Overlay) -> float:
    """The factor ≥ 1 on the unconstrained scale that maximises the client's marginal likelihood (ML-II).

    Normal case: tau*² = max(tau², d² - s²).
    """
    pair = overlay.normal_pair
    if pair is not None:
        wide = (pair.estimate - pair.mu) ** 2 - pair.s**2
        return max(math.sqrt(wide) / pair.tau if wide > 0.0 else 1.0, 1.0)

    def loss(log_factor: float) -> float:
        return -overlay.log_marginal_of(0.0, math.exp(log_factor))

    if loss(1e-3) >= loss(0.0):
        return 1.0
    bounds = (0.0, math.log(MAX_WIDENING))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return math.exp(float(found.x))
