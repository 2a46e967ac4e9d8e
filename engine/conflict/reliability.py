"""Whether a conflict figure may be shown at all: the refusals of the estimator ladder."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from engine.conflict.bayes_factor import BayesFactor
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.conflict.p_value import PValue, PValueKind
from engine.conflict.severity import ORDER, SURE, calibrated_log_bf, severity, severity_probability

MIN_EFFECTIVE = 400.0
MAX_R_HAT = 1.01
MAX_OUTSIDE = 0.01


class Status(enum.Enum):
    """OK; BORDERLINE: the label is open within its error; UNRELIABLE: no severity is given."""

    OK = "ok"
    BORDERLINE = "borderline"
    UNRELIABLE = "unreliable"


@dataclass(frozen=True)
class Reliability:
    """A status with one sentence per reason; empty when OK."""

    status: Status
    reasons: tuple[str, ...]


def mass_outside_reference(overlay: Overlay) -> float:
    """The client's mass outside the reference's 0.1–99.9 % range (the support gate, methods/conflict.md §4.3)."""
    reference, client = overlay.curve.reference, overlay.prior
    return float(client.cdf(float(reference.ppf(0.001))) + client.sf(float(reference.isf(0.001))))


def held_back(curve: EvidenceCurve) -> bool:
    """Whether the reference prior decides where the posterior ends, and not the data."""
    return curve.rises_at_edge and not curve.is_silent


def curve_refusals(curve: EvidenceCurve) -> tuple[str, ...]:
    """Reasons why nothing can be said from this curve, whatever the belief and the figure."""
    reasons = []
    if curve.n_effective < MIN_EFFECTIVE:
        reasons.append(f"effective sample size {curve.n_effective:.0f} is below {MIN_EFFECTIVE:.0f}")
    if curve.r_hat > MAX_R_HAT:
        reasons.append(f"R-hat {curve.r_hat:.3f} is above {MAX_R_HAT}")
    if held_back(curve):
        reasons.append("the likelihood still rises where the draws end: the reference prior holds the fit back")
    return tuple(reasons)


def belief_refusals(overlay: Overlay) -> tuple[str, ...]:
    """Reasons why nothing can be said about this client from this curve, whatever the figure."""
    reasons = list(curve_refusals(overlay.curve))
    outside = mass_outside_reference(overlay)
    if outside > MAX_OUTSIDE:
        reasons.append(
            f"{100 * outside:.1f} % of the belief lies outside the range of the reference prior; it takes a model with "
            "a wider one"
        )
    return tuple(reasons)


def judge(ladder: Ladder, headline: BayesFactor, p: PValue, of_fit: Sequence[str] = ()) -> Reliability:
    """Status of the headline factor: refusals first (methods/conflict.md §4.2, §11), then whether its label is open.

    `of_fit` are refusals of the fit behind the curve as a whole, which no curve of a single quantity shows.

    Where the data bound psi on one side only, the recentred belief can follow them to the end of the range, and its
    factor no longer has the null rates of its bands; the p-value, which keeps the reference prior there, has to lie in
    the same band.
    """
    refusals = [*of_fit, *belief_refusals(ladder.overlay)]
    if ladder.refusal:
        refusals.append(ladder.refusal)
    label, heavy = severity(headline.log_bf), severity(headline.tail_bracket)
    distance = abs(ORDER.index(label) - ORDER.index(heavy))
    if distance > 1:
        refusals.append(f"the label is {label.value} or {heavy.value} by the shape of tails that no draw has reached")
    by_p, apart = label, 0
    if p.kind is PValueKind.NODE_SPLIT_WITH_REFERENCE:
        by_p = severity(calibrated_log_bf(p.value))
        apart = abs(ORDER.index(label) - ORDER.index(by_p))
    if apart > 1:
        refusals.append(
            f"the data bound the quantity on one side only: the label is {label.value} by the shift that suits them "
            f"best and {by_p.value} by the p-value"
        )
    if refusals:
        return Reliability(Status.UNRELIABLE, tuple(refusals))
    open_label = []
    probability = severity_probability(headline.log_bf, headline.mcse)
    if probability < SURE:
        open_label.append(f"the label {label.value} holds with probability {probability:.2f} within Monte Carlo error")
    if apart == 1:
        open_label.append(f"the data bound the quantity on one side only: by the p-value the label is {by_p.value}")
    if distance == 1:
        open_label.append(f"with exponential tails of the evidence curve the label would be {heavy.value}")
    return Reliability(Status.BORDERLINE if open_label else Status.OK, tuple(open_label))
