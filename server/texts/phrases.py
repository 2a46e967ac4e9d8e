"""What the stored sentences and the messages to clients say in the same words, from stored messages alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

from liftos.bayes.v1 import common_pb2, conflict_pb2

from server.contract.wire import label
from server.texts.formats import at_most, decimals, decimals_of, factor, measured, shown

NAMED_CAUSES = 2
"""So many causes are named in the sentence; all of them are in the answer."""
REJECTED = -2.0
"""Natural logarithm of the factor below which the data reject a changed model: under 1 to 7."""
CLEAR_AGREEMENT = 0.5
"""p-value above which belief and data simply agree."""
CLASHES = 0.3
"""A belief is among those that clash together if its weight in the worst direction is this part of the largest."""
HARDLY_MORE = math.log(1.1)
"""Recentred log factor below which no other place of the belief is worth telling of."""


def centre(message: common_pb2.Estimate) -> float:
    """The mean, the median where there is none."""
    return message.mean if message.HasField("mean") else message.median


def spread(message: common_pb2.Estimate, quantity: int) -> str:
    """Centre and standard deviation with the unit of the quantity."""
    if message.HasField("sd"):
        return plus_minus(centre(message), message.sd, quantity)
    return middle(message, quantity)


def middle(message: common_pb2.Estimate, quantity: int) -> str:
    """Centre with the unit of the quantity, in as many decimals as its standard deviation has."""
    return measured(shown(centre(message), quantity, decimals_of(message, quantity)), quantity)


def reach(message: common_pb2.Estimate, quantity: int) -> str:
    """Median and widest interval with the unit of the quantity."""
    median = measured(shown(message.median, quantity, decimals_of(message, quantity)), quantity)
    return f"{median}, {interval(message, quantity)}" if message.intervals else median


def interval(message: common_pb2.Estimate, quantity: int) -> str:
    """The widest interval of an estimate that has one."""
    widest = max(message.intervals, key=lambda interval: interval.level)
    lower, upper = (shown(end, quantity, decimals_of(message, quantity)) for end in (widest.lower, widest.upper))
    return f"{100 * widest.level:.3g} % interval from {lower} to {upper}"


def plus_minus(mean: float, sd: float, quantity: int) -> str:
    """Mean and standard deviation with the unit of the quantity, both to two digits of the standard deviation."""
    digits = decimals(sd, quantity)
    return measured(f"{shown(mean, quantity, digits)} ± {shown(sd, quantity, digits)}", quantity)


def log_factor(belief: conflict_pb2.BeliefConflict, alternative: int) -> float | None:
    """Natural logarithm of the Bayes factor of an alternative; None where there is none."""
    logs = (factor.log_bayes_factor for factor in belief.bayes_factors if factor.alternative == alternative)
    return next(logs, None)


def recentred(belief: conflict_pb2.BeliefConflict) -> float:
    """Natural logarithm of the recentred Bayes factor; 0 where there is none."""
    return log_factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED) or 0.0


def times(log_ratio: float) -> str:
    """A factor of its logarithm, in a sentence."""
    return at_most(math.exp(min(log_ratio, 700.0)))


def times_exactly(log_ratio: float) -> str:
    """The same in a table of figures; what no number holds is e to that power."""
    return factor(math.exp(log_ratio)) if log_ratio < 700.0 else f"e^{log_ratio:,.0f}"


def agree(belief: conflict_pb2.BeliefConflict) -> bool:
    """Whether a belief that is not contradicted agrees so well that a factor against it would only puzzle."""
    return not belief.conflict and (belief.p_value > CLEAR_AGREEMENT or recentred(belief) < HARDLY_MORE)


def clashes_together(
    joint: conflict_pb2.JointConflict, beliefs: Iterable[conflict_pb2.BeliefConflict], belief_id: str
) -> bool:
    """Whether the beliefs are contradicted together though none is alone, and this one is among those that clash.

    Where one is contradicted alone, that is what the others are contradicted with.
    """
    if not joint.conflict or any(belief.conflict for belief in beliefs):
        return False
    directions = {part.belief_id: abs(part.direction) for part in joint.parts}
    return directions.get(belief_id, 0.0) >= CLASHES * max(directions.values(), default=0.0)


def rule_in_force(conflict_threshold: float, confidence_threshold: float | None, null_rate: float) -> str:
    """When a conflict is declared, and how often beliefs that are right are called one."""
    bound = f"{_BY_FACTOR} {conflict_threshold:g}"
    if confidence_threshold is not None:
        bound = f"{_BY_P} {1.0 - confidence_threshold:g}"
    return f"{bound}; {null_rate:.1%} of data sets that agree with the belief reach it"


_BY_FACTOR, _BY_P = "recentred Bayes factor at least", "node-split p at most"
_PLAIN_RULES = {_BY_FACTOR: "this factor is at least", _BY_P: "the probability named first is at most"}


def rule_words(belief: conflict_pb2.BeliefConflict) -> str:
    """The rule in force, without how often it errs."""
    return belief.conflict_rule.partition(";")[0]


def plain_rule(belief: conflict_pb2.BeliefConflict) -> str:
    """The rule in force without its technical names, after the p-value and the factor have been told."""
    words = rule_words(belief)
    for technical, plain in _PLAIN_RULES.items():
        words = words.replace(technical, plain)
    return words


def moved(belief: conflict_pb2.BeliefConflict, data: str) -> str:
    """What moving the belief would do for the data, which are called `data` here."""
    return f"Moving the belief to where the data point makes {data} {times(recentred(belief))} times as probable"


def probable_under(factor_words: str, model: str) -> str:
    """How much more probable the data are under a belief or a model than under another."""
    return f"the data are {factor_words} times as probable under {model}"


def taken_away(belief: conflict_pb2.BeliefConflict) -> str:
    """How much of the variance of the reference prior the data take away, in per cent."""
    return f"{100 * max(belief.contraction, 0.0):.0f} %"


def as_sharp(amount: str) -> str:
    """How much the belief is worth in data, of which there is so much."""
    return f"the belief is as sharp as {amount} data like these would be"


def status_reason(belief: conflict_pb2.BeliefConflict) -> str:
    """Why the figures are unreliable or the label is open, without a full stop."""
    return belief.status_reason.rstrip(".")


def open_label(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """Why the severity is open, if it is."""
    if belief.status != conflict_pb2.CONFLICT_STATUS_BORDERLINE:
        return []
    return [f"The label is open: {status_reason(belief)}."]


def severity_words(severity: conflict_pb2.Severity.ValueType) -> str:
    """A severity label for people."""
    return label(conflict_pb2.Severity, severity).lower().replace("_", " ")


def heavy_tails(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What the label would be with heavy tails, if another."""
    heavy = severity_words(belief.severity_if_heavy_tailed)
    if not belief.severity_if_heavy_tailed or heavy == severity_words(belief.severity):
        return []
    return [
        f"If the belief left more room for extreme values (heavy tails), the label would be {heavy}: it depends on how "
        "sure the client is of the extremes."
    ]


def _explains(cause: conflict_pb2.Cause) -> bool:
    """Whether a cause resolves the conflict, by saying something else, under a model that the data do not reject."""
    return cause.resolves and not cause.only_vaguer and cause.log_evidence_gain >= REJECTED


def rules_apart(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """Which rule leads where the rule in force and those over all beliefs of the session do not say the same.

    Of these Holm's leads, against the error rate of the rule in force (.05 with a Bayes factor): e-BH asks for more, so
    that it is told only where it finds what the rule in force does not.
    """
    if not belief.HasField("p_value_holm"):
        return []
    by_p = rule_words(belief).partition(_BY_P)[2].strip()
    stands = belief.p_value_holm <= (float(by_p) if by_p else 0.05)
    if belief.conflict and not stands:
        return [
            "The rule in force leads here, which looks at this belief alone; corrected for all beliefs of "
            "the session the evidence does not reach it, and one such finding among several can be chance."
        ]
    if not belief.conflict and belief.flagged_by_e_bh:
        return [
            "The rule in force leads here and finds no contradiction, though the rule over all beliefs of the session "
            "flags this one."
        ]
    return []


def named_causes(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What else could explain a conflict, without what the data reject."""
    sentences = []
    match belief.attribution:
        case conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR:
            rejected = any(cause.resolves and not cause.only_vaguer for cause in belief.causes)
            but = ", but for changes that the data reject" if rejected else ""
            sentences.append(f"No change of the model that was tried resolves it{but}.")
        case conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR_OR_DRIVER:
            sentences.append("No change of the model that was tried resolves it.")
        case conflict_pb2.CONFLICT_ATTRIBUTION_MODEL:
            sentences.append("A model that explains the data better resolves it:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_OUTLIERS:
            sentences.append("It hangs on outlying rows:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_UNDECIDED if not any(cause.resolves for cause in belief.causes):
            better = max(belief.causes, key=lambda cause: cause.log_evidence_gain, default=conflict_pb2.Cause())
            return [
                "No change of the model that was tried resolves it, but the data reject the model as it is, so that "
                f"nothing can be said of the belief before it is put right: {better.explanation}"
            ]
        case conflict_pb2.CONFLICT_ATTRIBUTION_UNDECIDED:
            sentences.append("Another model resolves it, and the data do not tell which is right:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_UNSPECIFIED:
            pass  # no other model was tried
        case other:
            raise AssertionError(f"there are no words for the attribution {other}")
    resolving = [cause for cause in belief.causes if _explains(cause)]
    if belief.attribution == conflict_pb2.CONFLICT_ATTRIBUTION_MODEL:
        resolving.sort(key=lambda cause: -cause.log_evidence_gain)
    if belief.attribution not in _OTHERWISE:
        resolving = []
    named = resolving[:NAMED_CAUSES]
    idle = sum(not cause.resolves for cause in belief.causes)
    sentences += [cause.explanation for cause in named]
    if named and idle:
        changes = "1 other change" if idle == 1 else f"{idle} other changes"
        did = "was tried changes" if idle == 1 else "were tried change"
        sentences.append(f"{changes} of the model that {did} nothing of it.")
    return sentences + hidden_driver(belief)


_OTHERWISE = (
    conflict_pb2.CONFLICT_ATTRIBUTION_MODEL,
    conflict_pb2.CONFLICT_ATTRIBUTION_OUTLIERS,
    conflict_pb2.CONFLICT_ATTRIBUTION_UNDECIDED,
)


def hidden_driver(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """How strong something that the data set lacks would have to be to take the conflict away, where it was asked."""
    blamed = (conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR, conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR_OR_DRIVER)
    if not belief.HasField("hidden_driver") or belief.attribution not in blamed:
        return []
    driver = belief.hidden_driver
    strength = f"{100 * driver.robustness_value:.0f} % of what the model leaves open of both"
    if driver.strongest_control and driver.HasField("multiple_of_strongest"):
        strength += f", {driver.multiple_of_strongest:.2g} times what the control {driver.strongest_control} would"
    what = "Something that drives both spend and outcome and is missing from the data set"
    if driver.plausible:
        return [f"{what} cannot be excluded: it would take the conflict away if it explained {strength}."]
    return [f"{what} would take the conflict away only if it explained {strength}."]
