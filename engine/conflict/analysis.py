"""Conflict analysis of one belief: every figure that follows from a client prior and an evidence curve."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from engine.conflict import bayes_factor
from engine.conflict.bayes_factor import BayesFactor
from engine.conflict.curve import EvidenceCurve
from engine.conflict.divergence import Estimate, Wasserstein, information_gain, kl_data_client, prior_ess_months
from engine.conflict.divergence import wasserstein as wasserstein_distances
from engine.conflict.importance import importance_estimate
from engine.conflict.overlay import Overlay
from engine.conflict.p_value import PValue, node_split
from engine.conflict.reliability import Status, judge
from engine.conflict.severity import (
    CONFIRMS_BELOW,
    CONFLICT_THRESHOLD,
    Severity,
    null_rate,
    severity,
    severity_probability,
    threshold_null_rate,
)
from engine.errors import InvalidInput
from engine.priors.distribution import Distribution


class Finding(enum.Enum):
    """The answer in one word; DATA_SILENT: the data hardly moved the reference prior, so agreement means nothing."""

    AGREES = "agrees"
    CONFLICT = "conflict"
    DATA_SILENT = "data_silent"
    UNRELIABLE = "unreliable"


class Semantics(enum.Enum):
    """What putting a belief into the model means (conflict.md §3 F); the nuisances given psi stay the reference's."""

    MARGINAL_REPLACEMENT = "marginal_replacement"


@dataclass(frozen=True)
class Summary:
    """A law in the units of the quantity: mean, standard deviation, central 95 % interval."""

    mean: float
    sd: float
    lower: float
    upper: float

    @classmethod
    def of(cls, law: Distribution) -> Summary:
        """Summarise a distribution."""
        return cls(law.mean, law.sd, *law.interval(0.95))


@dataclass(frozen=True)
class BeliefConflict:
    """One belief against one curve; the fields are those of conflict.md §2.

    `severity` is the label of `recentred` and None when UNRELIABLE; `null_rate` how often a right belief gets this
    label. `conflict`: recentred Bayes factor ≥ `conflict_threshold`, or p ≤ 1 - `confidence_threshold` when the
    caller set one. `confirms`: the REFERENCE factor is below 1/3. `severity_if_heavy_tailed`: the label if the client
    were a Student-t with 4 df of the same location and scale. `recentring_shift` is on the unconstrained scale.
    """

    quantity: str
    semantics: Semantics
    status: Status
    reasons: tuple[str, ...]
    finding: Finding
    severity: Severity | None
    severity_probability: float
    severity_if_heavy_tailed: Severity | None
    null_rate: float | None
    conflict: bool
    conflict_threshold: float
    conflict_null_rate: float
    confidence_threshold: float | None
    confirms: bool
    recentred: BayesFactor
    widened: BayesFactor
    reference: BayesFactor
    point_mle: BayesFactor
    p: PValue
    kl: Estimate
    information_gain: Estimate
    wasserstein: Wasserstein
    prior_ess_months: float
    contraction: float
    extrapolated_share: float
    recentring_shift: float
    log_marginal_client: float
    client: Summary
    data_side: Summary
    client_posterior: Summary


def analyse_belief(
    prior: Distribution,
    curve: EvidenceCurve,
    *,
    confidence_threshold: float | None = None,
    conflict_threshold: float = CONFLICT_THRESHOLD,
    draws: ArrayLike | None = None,
) -> BeliefConflict:
    """All conflict figures of a client prior against a curve; a pure function.

    Given a confidence threshold c in (0, 1), a conflict is declared exactly when the node-split p ≤ 1 - c, whose
    false-alarm rate is 1 - c; without one, from a recentred factor of `conflict_threshold` (> 1) on. `draws`
    [chains, n] of psi under the reference posterior add the importance estimate as a cross-check.
    """
    if confidence_threshold is not None and not 0.0 < confidence_threshold < 1.0:
        raise InvalidInput("confidence_threshold", "must lie strictly between 0 and 1")
    if not (math.isfinite(conflict_threshold) and conflict_threshold > 1.0):
        raise InvalidInput("conflict_threshold", "must be finite and above 1")
    overlay = Overlay(prior, curve)
    shift = bayes_factor.recentring_shift(overlay)
    importance = None if draws is None else importance_estimate(prior, curve.reference, draws)
    khat = None if importance is None else importance.khat
    factors = [
        replace(factor, khat=khat)
        for factor in (
            bayes_factor.recentred(overlay, shift),
            bayes_factor.widened(overlay),
            bayes_factor.reference(overlay),
            bayes_factor.point_mle(overlay),
        )
    ]
    headline, widened, reference, point = factors
    p = node_split(overlay)
    reliability = judge(overlay, headline, importance)
    usable = reliability.status is not Status.UNRELIABLE
    label = severity(headline.log_bf) if usable else None

    if confidence_threshold is None:
        declared = headline.log_bf >= math.log(conflict_threshold)
        false_alarms = threshold_null_rate(conflict_threshold)
    else:
        declared = p.value <= 1.0 - confidence_threshold
        false_alarms = 1.0 - confidence_threshold
    conflict = usable and declared

    reasons = reliability.reasons
    lost = -math.expm1(overlay.log_kept_mass)
    if lost > 0.01:
        reasons = (*reasons, f"{100 * lost:.1f} % of the belief lay outside the quantity's range and was cut off")
    return BeliefConflict(
        quantity=curve.quantity,
        semantics=Semantics.MARGINAL_REPLACEMENT,
        status=reliability.status,
        reasons=reasons,
        finding=_finding(usable, conflict, curve.is_silent),
        severity=label,
        severity_probability=severity_probability(headline.log_bf, headline.mcse),
        severity_if_heavy_tailed=severity(bayes_factor.recentred(overlay.heavy_tailed).log_bf) if usable else None,
        null_rate=None if label is None else null_rate(label),
        conflict=conflict,
        conflict_threshold=conflict_threshold,
        conflict_null_rate=false_alarms,
        confidence_threshold=confidence_threshold,
        confirms=usable and reference.log_bf < math.log(CONFIRMS_BELOW),
        recentred=headline,
        widened=widened,
        reference=reference,
        point_mle=point,
        p=p,
        kl=kl_data_client(overlay),
        information_gain=information_gain(overlay),
        wasserstein=wasserstein_distances(overlay),
        prior_ess_months=prior_ess_months(overlay),
        contraction=curve.contraction,
        extrapolated_share=overlay.extrapolated_share,
        recentring_shift=shift,
        log_marginal_client=bayes_factor.log_marginal(overlay),
        client=Summary.of(prior),
        data_side=Summary.of(overlay.data_side),
        client_posterior=Summary.of(overlay.client_posterior),
    )


def _finding(usable: bool, conflict: bool, silent: bool) -> Finding:
    if not usable:
        return Finding.UNRELIABLE
    if conflict:
        return Finding.CONFLICT
    return Finding.DATA_SILENT if silent else Finding.AGREES
