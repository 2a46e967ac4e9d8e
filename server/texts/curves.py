"""How far the answer about a belief hangs on the curve of response, from the stored comparison of the curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from liftos.bayes.v1 import conflict_pb2, model_pb2

from server.texts.phrases import spread

WEIGHTY = 0.05
"""A curve of a smaller weight is not told of when the curves disagree."""
MUCH = 0.25
"""From this part of the variance on, the answer is said to hang on the curve."""

CURVE_NAMES = {
    model_pb2.SATURATION_HILL: "a Hill curve with slope 1",
    model_pb2.SATURATION_HILL_SLOPE: "a Hill curve with free slope",
    model_pb2.SATURATION_LOGISTIC: "a logistic curve",
    model_pb2.SATURATION_LINEAR: "a linear response",
}
_SAYS = {
    conflict_pb2.FINDING_CONFLICT: "the data contradict the belief",
    conflict_pb2.FINDING_AGREES: "belief and data agree",
    conflict_pb2.FINDING_DATA_SILENT: "the data say nothing about it",
    conflict_pb2.FINDING_UNRELIABLE: "no figure can be relied on",
}


def explain_curves(belief: conflict_pb2.BeliefConflict) -> str:
    """Whether the curves agree about a belief, what each says where they do not, and what they say on average."""
    comparison, quantity = belief.curves, belief.estimand.quantity
    weighty = [curve for curve in comparison.curves if curve.weight >= WEIGHTY]
    findings = dict.fromkeys(curve.finding for curve in weighty)
    sentences = []
    if len(findings) > 1:
        parts = [f"under {_named(group)} {_SAYS[group[0].finding]}" for group in _by_finding(weighty)]
        sentences.append(f"The answer hangs on the curve of response: {'; '.join(parts)}.")
    elif weighty:
        sentences.append(
            f"Under every curve of response that the data leave open {_SAYS[weighty[0].finding]} ({_named(weighty)})."
        )
    sides = [f"{spread(curve.data_side, quantity)} under {CURVE_NAMES[curve.saturation]}" for curve in weighty]
    sentences.append(f"By the data alone it is {_listed(sides)}.")
    sentences.append(
        f"On average over the curves, by how well each explains the data, it is "
        f"{spread(comparison.data_side, quantity)}, and {_SAYS[comparison.finding]}."
    )
    if comparison.between_curves >= MUCH:
        sentences.append(f"{100 * comparison.between_curves:.0f} % of the variance lies between the curves.")
    if out := [curve for curve in comparison.curves if curve.reason]:
        sentences.append(f"Left out of the average: {_listed(CURVE_NAMES[c.saturation] for c in out)}.")
    return " ".join(sentences)


def _by_finding(curves: Sequence[conflict_pb2.CurveAnswer]) -> list[list[conflict_pb2.CurveAnswer]]:
    """The curves grouped by their finding, the group of the largest weight first."""
    groups: dict[int, list[conflict_pb2.CurveAnswer]] = {}
    for curve in curves:
        groups.setdefault(curve.finding, []).append(curve)
    return sorted(groups.values(), key=lambda group: -sum(curve.weight for curve in group))


def _named(curves: Iterable[conflict_pb2.CurveAnswer]) -> str:
    """The names of curves with their weights."""
    return _listed(f"{CURVE_NAMES[curve.saturation]} (weight {curve.weight:.2f})" for curve in curves)


def _listed(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
