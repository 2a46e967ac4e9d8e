"""What the stored sentences and the messages to clients say in the same words, from stored messages alone."""

from __future__ import annotations

import math

from liftos.bayes.v1 import common_pb2, conflict_pb2

from server.formats import measured, shown
from server.wire import label

NAMED_CAUSES = 2
"""So many causes are named in the sentence; all of them are in the answer."""


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
    found = [factor.log_bayes_factor for factor in belief.bayes_factors if factor.alternative == alternative]
    return found[0] if found else None


def recentred(belief: conflict_pb2.BeliefConflict) -> float:
    """Natural logarithm of the recentred Bayes factor; 0 where there is none."""
    return log_factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED) or 0.0


def times(log_ratio: float) -> str:
    """A ratio of its logarithm in three digits, as many as a Bayes factor's own error leaves."""
    return f"{float(f'{math.exp(min(log_ratio, 700.0)):.3g}'):,g}"


def severity_words(severity: conflict_pb2.Severity.ValueType) -> str:
    """A severity label for people."""
    return label(conflict_pb2.Severity, severity).lower().replace("_", " ")


def rule_words(belief: conflict_pb2.BeliefConflict) -> str:
    """The rule in force, without how often it errs."""
    return belief.conflict_rule.partition(";")[0]


def heavy_tails(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What the label would be with heavy tails, if another."""
    heavy = severity_words(belief.severity_if_heavy_tailed)
    if not belief.severity_if_heavy_tailed or heavy == severity_words(belief.severity):
        return []
    return [f"With heavy tails the label would be {heavy}: it depends on how sure the client is of the tails."]


def named_causes(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What else could explain a conflict."""
    sentences = []
    match belief.attribution:
        case conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR:
            sentences.append("No change of the model that was tried resolves it.")
        case conflict_pb2.CONFLICT_ATTRIBUTION_MODEL:
            sentences.append("A model that explains the data better resolves it:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_OUTLIERS:
            sentences.append("It hangs on outlying rows:")
        case conflict_pb2.CONFLICT_ATTRIBUTION_UNDECIDED:
            sentences.append("Another model resolves it, and the data do not tell which is right:")
    resolving = [cause for cause in belief.causes if cause.resolves and not cause.only_vaguer]
    if belief.attribution == conflict_pb2.CONFLICT_ATTRIBUTION_MODEL:
        resolving.sort(key=lambda cause: -cause.log_evidence_gain)
    if belief.attribution in (conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR, conflict_pb2.CONFLICT_ATTRIBUTION_UNSPECIFIED):
        resolving = []
    return sentences + [cause.explanation for cause in resolving[:NAMED_CAUSES]]
