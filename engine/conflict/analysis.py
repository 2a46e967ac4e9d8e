"""Conflict analysis of one belief: every figure that follows from a client prior and an evidence curve."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from engine.conflict import bayes_factor
from engine.conflict.bayes_factor import BayesFactor
from engine.conflict.challenge import could_contradict
from engine.conflict.curve import EvidenceCurve
from engine.conflict.divergence import Estimate, Wasserstein, information_gain, kl_data_client, prior_ess_months
from engine.conflict.divergence import wasserstein as wasserstein_distances
from engine.conflict.marginal import Ladder, LogMarginal
from engine.conflict.overlay import Overlay
from engine.conflict.p_value import PValue, node_split
from engine.conflict.reliability import Status, belief_refusals, judge
from engine.conflict.sensitivity import PowerScaling, power_scaling
from engine.conflict.severity import (
    CONFIRMS_BELOW,
    CONFLICT_THRESHOLD,
    Severity,
    null_rate,
    severity,
    severity_probability,
    threshold_null_rate,
)
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput


class Finding(enum.Enum):
    """The answer in one word.

    DATA_SILENT: agreement means nothing, because the data hardly moved the reference prior, or because what they say is
    so wide against the belief that they could hardly have contradicted it (`could_contradict`).
    """

    AGREES = "agrees"
    CONFLICT = "conflict"
    DATA_SILENT = "data_silent"
    UNRELIABLE = "unreliable"


@dataclass(frozen=True)
class ConflictRule:
    """When a conflict is declared.

    Given a confidence threshold c in (0, 1), exactly when the node-split p ≤ 1 - c, whose false-alarm rate is 1 - c;
    without one, from a recentred Bayes factor of `conflict_threshold` (> 1) on.
    """

    conflict_threshold: float = CONFLICT_THRESHOLD
    confidence_threshold: float | None = None

    def __post_init__(self) -> None:
        if self.confidence_threshold is not None and not 0.0 < self.confidence_threshold < 1.0:
            raise InvalidInput("confidence_threshold", "must lie strictly between 0 and 1")
        if not (math.isfinite(self.conflict_threshold) and self.conflict_threshold > 1.0):
            raise InvalidInput("conflict_threshold", "must be finite and above 1")

    def declares(self, log_bf: float, p: float) -> bool:
        """Whether a recentred (or calibrated joint) log Bayes factor with this p-value is a conflict."""
        if self.confidence_threshold is None:
            return log_bf >= math.log(self.conflict_threshold)
        return p <= 1.0 - self.confidence_threshold

    @property
    def null_rate(self) -> float:
        """How often a belief that is right is called a conflict."""
        if self.confidence_threshold is None:
            return threshold_null_rate(self.conflict_threshold)
        return 1.0 - self.confidence_threshold


DEFAULT_RULE = ConflictRule()


@dataclass(frozen=True)
class Summary:
    """A law in the units of the quantity: mean, median, standard deviation, central 95 % interval."""

    mean: float
    median: float
    sd: float
    lower: float
    upper: float

    @classmethod
    def of(cls, law: Distribution) -> Summary:
        """Summarise a distribution."""
        return cls(law.mean, float(law.ppf(0.5)), law.sd, *law.interval(0.95))


@dataclass(frozen=True)
class BeliefConflict:
    """One belief against one curve; the fields are those of methods/conflict.md §2.

    `severity` is the label of `recentred` and None when UNRELIABLE; `null_rate` how often a right belief gets this
    label. `conflict`: by `rule`. `confirms`: the REFERENCE factor is below 1/3, and the data could have
    contradicted the belief. `severity_if_heavy_tailed`: the label
    if the client were a Student-t with 4 df of the same location and scale. `recentring_shift` is on the unconstrained
    scale. A belief replaces the marginal prior of psi and leaves the nuisances given psi as they are (§3 F); one that
    is meant as a factor beside the reference comes as the product law (`engine.distributions.product`).
    """

    quantity: str
    status: Status
    reasons: tuple[str, ...]
    finding: Finding
    severity: Severity | None
    severity_probability: float
    severity_if_heavy_tailed: Severity | None
    null_rate: float | None
    conflict: bool
    rule: ConflictRule
    confirms: bool
    recentred: BayesFactor
    widened: BayesFactor
    reference: BayesFactor
    point_mle: BayesFactor
    expert: BayesFactor | None
    p: PValue
    kl: Estimate
    information_gain: Estimate
    wasserstein: Wasserstein
    prior_ess_months: float
    sensitivity: PowerScaling | None
    contraction: float
    extrapolated_share: float
    recentring_shift: float
    log_marginal_client: float
    client: Distribution
    data_side: Distribution
    client_posterior: Distribution


def analyse_belief(
    prior: Distribution,
    curve: EvidenceCurve,
    rule: ConflictRule = DEFAULT_RULE,
    *,
    draws: ArrayLike | None = None,
    bridges: Sequence[LogMarginal] = (),
    client_draws: ArrayLike | None = None,
    expert: Distribution | None = None,
    of_fit: Sequence[str] = (),
) -> BeliefConflict:
    """All conflict figures of a client prior against a curve; a pure function.

    `rule` says what is called a conflict. `draws` [chains, n] of psi under the reference posterior add the importance
    mean, and `bridges` estimates of the client's marginal likelihood from runs of their own, to the ladder of
    estimators; `expert` is another prior of psi to compare. `client_draws` [chains, n] of psi under the client's
    posterior, from such runs, answer what hangs on the likelihood there: the client posterior, the information gain
    and the sensitivity. `of_fit` are reasons why nothing of the fit behind the curve may be relied on: with one the
    figures are UNRELIABLE, whatever the curve looks like.
    """
    overlay = Overlay(prior, curve)
    ladder = Ladder.climb(overlay, draws, bridges)
    shift = bayes_factor.recentring_shift(overlay)
    headline = bayes_factor.recentred(ladder, shift)
    widened, reference = bayes_factor.widened(ladder), bayes_factor.reference(ladder)
    # A bound that Monte Carlo noise put below what it bounds would be none.
    point = bayes_factor.point_mle(ladder)
    point = replace(point, log_bf=max(factor.log_bf for factor in (point, headline, widened, reference)))
    there = overlay if client_draws is None else _near(overlay, client_draws)
    p = node_split(overlay, ladder.draws)
    reliability = judge(ladder, headline, p, of_fit)
    usable = reliability.status is not Status.UNRELIABLE
    label = severity(headline.log_bf) if usable else None
    conflict = usable and rule.declares(headline.log_bf, p.value)
    ess = prior_ess_months(overlay)
    silent = curve.is_silent or not could_contradict(ess, curve.months, rule.null_rate)

    reasons = reliability.reasons
    lost = -math.expm1(overlay.log_kept_mass)
    if lost > 0.01:
        reasons = (*reasons, f"{100 * lost:.1f} % of the belief lay outside the quantity's range and was cut off")
    return BeliefConflict(
        quantity=curve.quantity,
        status=reliability.status,
        reasons=reasons,
        finding=_finding(usable, conflict, silent),
        severity=label,
        severity_probability=severity_probability(headline.log_bf, headline.mcse),
        severity_if_heavy_tailed=_heavy_tailed_severity(overlay, draws) if usable else None,
        null_rate=None if label is None else null_rate(label),
        conflict=conflict,
        rule=rule,
        confirms=usable and not silent and reference.log_bf < math.log(CONFIRMS_BELOW),
        recentred=headline,
        widened=widened,
        reference=reference,
        point_mle=point,
        expert=None if expert is None else _against(expert, ladder, draws),
        p=p,
        kl=kl_data_client(overlay),
        information_gain=information_gain(there),
        wasserstein=wasserstein_distances(overlay),
        prior_ess_months=ess,
        sensitivity=power_scaling(there),
        contraction=curve.contraction,
        extrapolated_share=there.extrapolated_share,
        recentring_shift=shift,
        log_marginal_client=ladder.chosen.value,
        client=prior,
        data_side=overlay.data_side,
        client_posterior=there.client_posterior,
    )


def _near(overlay: Overlay, client_draws: ArrayLike) -> Overlay:
    """The client over the likelihood as draws under its own posterior show it; as it was where they show nothing."""
    try:
        return Overlay(overlay.prior, EvidenceCurve.from_draws(client_draws, overlay.prior, 1.0))
    except InvalidInput:
        return overlay


def _against(expert: Distribution, ladder: Ladder, draws: ArrayLike | None) -> BayesFactor | None:
    """The factor of another expert's prior against the client's; None where that prior cannot be judged."""
    other = Ladder.climb(Overlay(expert, ladder.overlay.curve), draws)
    if other.refusal or belief_refusals(other.overlay):
        return None
    return bayes_factor.expert(other, ladder)


def _heavy_tailed_severity(overlay: Overlay, draws: ArrayLike | None) -> Severity | None:
    """The label under a Student-t client; None where the draws do not reach that either."""
    ladder = Ladder.climb(overlay.heavy_tailed, draws)
    return None if ladder.refusal else severity(bayes_factor.recentred(ladder).log_bf)


def _finding(usable: bool, conflict: bool, silent: bool) -> Finding:
    if not usable:
        return Finding.UNRELIABLE
    if conflict:
        return Finding.CONFLICT
    return Finding.DATA_SILENT if silent else Finding.AGREES
