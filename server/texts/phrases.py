"""What the stored sentences and the messages to clients say in the same words, from stored messages alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

from liftos.bayes.v1 import common_pb2, conflict_pb2

from server.contract.wire import label
from server.texts.formats import factor, measured, shown

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
    return measured(shown(centre(message), quantity), quantity)


def plus_minus(mean: float, sd: float, quantity: int) -> str:
    """Mean and standard deviation with the unit of the quantity."""
    return measured(f"{shown(mean, quantity)} ± {shown(sd, quantity)}", quantity)


def log_factor(belief: conflict_pb2.BeliefConflict, alternative: int) -> float | None:
    """Natural logarithm of the Bayes factor of an alternative; None where there is none."""
    logs = (factor.log_bayes_factor for factor in belief.bayes_factors if factor.alternative == alternative)
    return next(logs, None)


def recentred(belief: conflict_pb2.BeliefConflict) -> float:
    """Natural logarithm of the recentred Bayes factor; 0 where there is none."""
    return log_factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED) or 0.0


def times(log_ratio: float) -> str:
    """A factor of its logarithm; what no number holds is e to that power."""
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


def named_causes(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What else could explain a conflict, without what the data reject."""
    sentences = []
    match belief.attribution:
        case conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR:
            rejected = any(cause.resolves and not cause.only_vaguer for cause in belief.causes)
            but = ", but for changes that the data reject" if rejected else ""
            sentences.append(f"No change of the model that was tried resolves it{but}.")
        case conflict_pb2.CONFLICT_ATTRIBUTION_MODEL:
            sentences.append("A model that explains the data better resolves it:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_OUTLIERS:
            sentences.append("It hangs on outlying rows:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_UNDECIDED:
            sentences.append("Another model resolves it, and the data do not tell which is right:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_UNSPECIFIED:
            pass  # no other model was tried
        case other:
            raise AssertionError(f"there are no words for the attribution {other}")
    resolving = [
        cause
        for cause in belief.causes
        if cause.resolves and not cause.only_vaguer and cause.log_evidence_gain >= REJECTED
    ]
    if belief.attribution == conflict_pb2.CONFLICT_ATTRIBUTION_MODEL:
        resolving.sort(key=lambda cause: -cause.log_evidence_gain)
    if belief.attribution in (conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR, conflict_pb2.CONFLICT_ATTRIBUTION_UNSPECIFIED):
        resolving = []
    return sentences + [cause.explanation for cause in resolving[:NAMED_CAUSES]]
