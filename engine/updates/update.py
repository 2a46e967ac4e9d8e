"""Strategies that turn a prior and an evidence curve into the prior for the next, disjoint data."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from engine.conflict.bayes_factor import recentred, recentring_shift
from engine.conflict.curve import EvidenceCurve
from engine.conflict.experiment import Experiment, place_of, with_experiment
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import MAX_EXTRAPOLATED, Overlay
from engine.conflict.p_value import node_split
from engine.conflict.reliability import belief_refusals
from engine.distributions.distribution import Distribution, Gridded, Mixture
from engine.errors import InvalidInput
from engine.rules import update_defaults
from engine.rules.compromises import Lies, lies
from engine.updates.power_prior import adaptive_power
from engine.updates.projection import modes
from engine.updates.robust import robust_mixture, unit_information
from engine.updates.widening import ml_widening, p_value_widening

Z_WARNING = 2.0
MAX_COMPONENTS = 8
"""Of a mixture that is kept as one; more become a density on a grid."""
MAX_GRIDS = 2
"""So many components on grids become a single one: updates of updates would double them each time."""
_GONE = 1e-12
"""A component with less weight is left out."""
_NEGLIGIBLE = 0.01
"""Standard deviations of the belief by which a mean that moves away from the data is not worth a word."""


class Strategy(enum.Enum):
    """How evidence changes a prior (methods/conflict.md §12)."""

    EVIDENCE_WEIGHTED = "evidence_weighted"
    FULL_BAYESIAN = "full_bayesian"
    CONSERVATIVE = "conservative"
    POWER_PRIOR = "power_prior"
    ADAPTIVE_POWER_PRIOR = "adaptive_power_prior"
    ROBUST_MIXTURE = "robust_mixture"


class Action(enum.Enum):
    """What is to be done about a belief; a strategy by itself does one of the first four."""

    KEEP = "keep"
    UPDATE = "update"
    WIDEN = "widen"
    ROBUSTIFY = "robustify"
    CHECK_MODEL = "check_model"
    RE_ELICIT = "re_elicit"
    RUN_EXPERIMENT = "run_experiment"


@dataclass(frozen=True)
class UpdateRule:
    """A strategy with its settings; each counts for one strategy alone.

    Fields:
        min_evidence_strength: T of EVIDENCE_WEIGHTED, ≥ 1. gate: whether it does nothing below T.
        power: a0 of POWER_PRIOR, in [0, 1]. robust_weight: w of ROBUST_MIXTURE, in [0, 1].
        p_value: what CONSERVATIVE has to reach, in (0, 1); None: ML-II.
    """

    strategy: Strategy
    min_evidence_strength: float = update_defaults.MIN_EVIDENCE_STRENGTH
    gate: bool = True
    power: float = update_defaults.POWER
    robust_weight: float = update_defaults.ROBUST_WEIGHT
    p_value: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min_evidence_strength) and self.min_evidence_strength >= 1.0):
            raise InvalidInput("min_evidence_strength", "must be finite and at least 1")
        for name in ("power", "robust_weight"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InvalidInput(name, "must lie between 0 and 1")
        if self.p_value is not None and not 0.0 < self.p_value < 1.0:
            raise InvalidInput("p_value", "must lie strictly between 0 and 1")


@dataclass(frozen=True)
class PriorUpdate:
    """The next prior.

    `changed` is False exactly when `distribution` is the object that came in. `weight` is that of the recentred client
    under EVIDENCE_WEIGHTED, `expected_power` and `power_mode` those of the belief's power under ADAPTIVE_POWER_PRIOR,
    `log_bf` the recentred log Bayes factor where the strategy asked for it.
    """

    distribution: Distribution
    action: Action
    reasons: tuple[str, ...]
    changed: bool
    weight: float | None = None
    expected_power: float | None = None
    power_mode: float | None = None
    log_bf: float | None = None


def update(
    prior: Distribution,
    curve: EvidenceCurve,
    rule: UpdateRule,
    *,
    log_bf: float | None = None,
    experiments: Sequence[Experiment] = (),
) -> PriorUpdate:
    """Apply a strategy; the input object itself comes back when nothing changes or the evidence is unreliable.

    `log_bf` is the recentred log Bayes factor where an analysis has found it; `experiments` about the same quantity
    count beside the data, and then the factor is that of both, by the curve. Formulas: methods/conflict.md §12.

    EVIDENCE_WEIGHTED: with B the recentred Bayes factor, unchanged below T, else the mixture (1 - w) client + w
    recentred client, w = B/(B + T): T is the prior odds granted to the belief. FULL_BAYESIAN: the client's posterior;
    POWER_PRIOR: with the likelihood to the power a0. ADAPTIVE_POWER_PRIOR: with the belief to a power that the data
    decide on. ROBUST_MIXTURE: belief and unit-information prior, weighed by the data. CONSERVATIVE: the client widened
    about its median to the width that makes the data most likely, or just not surprising; never narrower, never moved.
    """
    both = curve
    if experiments:
        both = with_experiment(curve, Experiment.pooled(experiments))
        if both.rises_at_edge and not curve.rises_at_edge:
            return _kept(
                prior,
                "the experiments lie where no draw of the reference fit has been: together with the data they would be "
                "an extrapolation",
            )
        log_bf = None
    overlay = Overlay(prior, both)
    refusals = belief_refusals(overlay)
    if refusals:
        return _kept(prior, *refusals)
    found = _by_strategy(overlay, curve, rule, log_bf)
    return replace(found, reasons=(*found.reasons, *_away(overlay, found.distribution))) if found.changed else found


def _by_strategy(overlay: Overlay, curve: EvidenceCurve, rule: UpdateRule, log_bf: float | None) -> PriorUpdate:
    """The strategy's answer; `overlay` is of data and experiments, `curve` of the data alone."""
    prior = overlay.prior
    match rule.strategy:
        case Strategy.EVIDENCE_WEIGHTED:
            return _evidence_weighted(overlay, rule, log_bf)
        case Strategy.FULL_BAYESIAN:
            return _posterior(overlay, 1.0, "posterior under the client's own prior")
        case Strategy.POWER_PRIOR:
            told = f"posterior under the client's own prior with the data at {100 * rule.power:g} % of their weight"
            return _posterior(overlay, rule.power, told)
        case Strategy.ADAPTIVE_POWER_PRIOR:
            return _adaptive(overlay)
        case Strategy.ROBUST_MIXTURE:
            if curve.is_silent or float(curve.reference_kept[0]) > 0.0:
                return _kept(
                    prior,
                    "the data do not bound the quantity by themselves, so there is no vague prior worth one month of "
                    "them to put beside the belief",
                )
            return _robust(overlay, unit_information(curve), rule.robust_weight)
        case Strategy.CONSERVATIVE:
            return _conservative(overlay, rule.p_value)
        case _:
            assert_never(rule.strategy)


def _away(overlay: Overlay, law: Distribution) -> tuple[str, ...]:
    """That the mean has moved away from the data though nothing else has: a matter of how skewed the laws are.

    Strategies work on the unconstrained scale, where a median that stays is a mean that stays. In the units of a
    quantity that lives above 0, or between 0 and 1, a wider law reaches farther where there is more room.
    """
    before, data = overlay.prior, overlay.data_side
    if not all(math.isfinite(moment) for moment in (before.mean, before.sd, law.mean, data.mean)):
        return ()
    if abs(law.mean - data.mean) <= abs(before.mean - data.mean) + _NEGLIGIBLE * before.sd:
        return ()
    old, new = float(before.ppf(0.5)), float(law.ppf(0.5))
    median = f"stays at {new:.3g}" if math.isclose(old, new, rel_tol=1e-6) else f"moves from {old:.3g} to {new:.3g}"
    return (
        f"the median {median}, while the mean moves from {before.mean:.3g} to {law.mean:.3g}, away from the "
        f"{data.mean:.3g} of the data: the law is skewed, and its median tells better where it lies",
    )


def _kept(prior: Distribution, *reasons: str, weight: float | None = None, log_bf: float | None = None) -> PriorUpdate:
    return PriorUpdate(prior, Action.KEEP, reasons, changed=False, weight=weight, log_bf=log_bf)


def _evidence_weighted(overlay: Overlay, rule: UpdateRule, known_log_bf: float | None) -> PriorUpdate:
    threshold = rule.min_evidence_strength
    shift = recentring_shift(overlay)
    log_bf = recentred(Ladder.climb(overlay), shift).log_bf if known_log_bf is None else known_log_bf
    if rule.gate and log_bf < math.log(threshold):
        told = f"Bayes factor {_factor(log_bf)} is below the required {threshold:g}"
        return _kept(overlay.prior, told, weight=0.0, log_bf=log_bf)
    weight = 1.0 / (1.0 + threshold * math.exp(-log_bf))
    reasons = (
        f"Bayes factor {_factor(log_bf)} against the belief, at prior odds of {threshold:g} for it, "
        f"gives the recentred belief a weight of {weight:.3f}",
    )
    law = _mix(overlay.prior, overlay.prior.shifted(shift), weight)
    if law is overlay.prior:
        return _kept(law, *reasons, weight=weight, log_bf=log_bf)
    return PriorUpdate(law, Action.UPDATE, reasons, changed=True, weight=weight, log_bf=log_bf)


def _factor(log_bf: float) -> str:
    """A Bayes factor in three digits; beyond ten thousand nobody needs to know it exactly."""
    return f"{math.exp(log_bf):.3g}" if log_bf <= math.log(1e4) else "more than 10,000"


def _mix(first: Distribution, second: Distribution, weight: float) -> Distribution:
    """(1 - weight) first + weight second, with mixtures flattened; one alone where the other has no weight left."""
    if weight < _GONE or 1.0 - weight < _GONE:
        return first if weight < _GONE else second
    weights: list[float] = []
    components: list[Distribution] = []
    for share, law in ((1.0 - weight, first), (weight, second)):
        if isinstance(law, Mixture):
            weights += [share * w for w in law.weights]
            components += law.components
        else:
            weights.append(share)
            components.append(law)
    mixture = Mixture(tuple(weights), tuple(components))
    grids = sum(isinstance(component, Gridded) for component in components)
    if len(components) <= MAX_COMPONENTS and grids < MAX_GRIDS:
        return mixture
    if mixture.is_mixed:
        if len(components) <= MAX_COMPONENTS:
            return mixture
        raise InvalidInput("prior", f"would be more than {MAX_COMPONENTS} components, which do not all live alike")
    return Gridded.of(mixture)


def _posterior(overlay: Overlay, power: float, told: str) -> PriorUpdate:
    if power == 0.0:
        return _kept(overlay.prior, "data without weight change nothing")
    if power == 1.0:
        told, share = "posterior under the client's own prior", overlay.extrapolated_share
    else:
        share = overlay.extrapolated(power * overlay.rows[0] + overlay.log_prior)
    if share > MAX_EXTRAPOLATED:
        return _kept(overlay.prior, _beyond(share))
    law = overlay.posterior(power)
    reasons = (told, *_warning(overlay, law))
    return PriorUpdate(law, Action.UPDATE, reasons, changed=True)


def _beyond(share: float) -> str:
    return (
        f"{100 * share:.0f} % of the posterior under the belief lies beyond the draws of the reference fit: it would "
        "be an extrapolation"
    )


def _warning(overlay: Overlay, law: Distribution) -> tuple[str, ...]:
    """That belief and data are apart; and, of the posterior, that it lies where neither is, where it does."""
    pair = overlay.normal_pair
    apart = (
        pair.z > Z_WARNING if pair is not None else node_split(overlay).value < math.erfc(Z_WARNING / math.sqrt(2.0))
    )
    if not apart:
        return ()
    told = "belief and data are more than 2 standard deviations apart"
    if lies(*(place_of(side) for side in (overlay.prior, overlay.data_side, law))) is Lies.NEITHER:
        told += ": what they give together lies where neither of them is"
    return (told,)


def _adaptive(overlay: Overlay) -> PriorUpdate:
    power = adaptive_power(overlay)
    if power.extrapolated_share > MAX_EXTRAPOLATED:
        return _kept(overlay.prior, _beyond(power.extrapolated_share))
    reasons = (
        f"posterior under the belief raised to a power that the data decide on: {power.expected:.2f} on average, most "
        f"likely {power.mode:.2f}, where 1 is the belief in full and 0 none of it",
        "one data set teaches little about the power: perfect agreement between a normal belief and the data would put "
        "it at no more than .6 on average",
    )
    return PriorUpdate(
        power.posterior,
        Action.UPDATE,
        reasons,
        changed=True,
        expected_power=power.expected,
        power_mode=power.mode,
    )


def _robust(overlay: Overlay, vague: Distribution, weight: float) -> PriorUpdate:
    if weight == 0.0:
        return _kept(overlay.prior, "a vague component without weight changes nothing")
    mixture = robust_mixture(overlay, vague, weight)
    reasons = (
        f"mixture of the belief with a vague prior worth one month of data, of weight {weight:g}; the data leave the "
        f"belief {100 * mixture.client_weight:.3g} % of the weight",
    )
    law = _mix(mixture.client, mixture.vague, 1.0 - mixture.client_weight)
    return PriorUpdate(law, Action.ROBUSTIFY, reasons, changed=True)


def _conservative(overlay: Overlay, p_value: float | None) -> PriorUpdate:
    if p_value is None:
        factor, width = ml_widening(overlay), "the width that makes the data most likely"
        enough = "the data are as near as the belief's own width expects"
    else:
        reached = p_value_widening(overlay, p_value)
        if reached is None:
            return _kept(overlay.prior, f"no width of the belief gives the data a p-value of {p_value:g}")
        factor, width = reached, f"the least that gives the data a p-value of {p_value:g}"
        enough = f"the data have a p-value of at least {p_value:g} already"
    if factor <= 1.0:
        return _kept(overlay.prior, enough)
    if p_value is None and float(overlay.curve.reference_kept[0]) > 0.0:
        # Half of the widened law would go to the end where the likelihood stays high, half to the other.
        return _kept(
            overlay.prior,
            "the data do not bound the quantity by themselves: the wider the belief, the more of it would lie where "
            "they rule nothing out, and no width makes them most likely",
        )
    law = overlay.prior.widened(factor)
    reasons = [f"widened {factor:.4g} times about its median, {width}"]
    if len(peaks := modes(law)) > 1:
        where = " and ".join(f"{peak:.3g}" for peak in peaks)
        reasons.append(f"the widened belief has {len(peaks)} modes, at {where}: widening moved them apart as well")
    return PriorUpdate(law, Action.WIDEN, tuple(reasons), changed=True)
