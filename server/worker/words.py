"""The answers in sentences, rendered from the very messages that are stored, so that words and numbers agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2, sbc_pb2

from engine.conflict.curve import SILENT_CONTRACTION
from server.formats import estimand, shown
from server.wire import label

NAMED_CAUSES = 2
"""So many causes are named in the sentence; all of them are in the answer."""


def _spread(message: common_pb2.Estimate, quantity: int) -> str:
    centre = message.mean if message.HasField("mean") else message.median
    if not message.HasField("sd"):
        return shown(centre, quantity)
    return f"{shown(centre, quantity)} ± {shown(message.sd, quantity)}"


def explain_conflict(belief: conflict_pb2.BeliefConflict) -> str:
    """What the data say about a belief; the wording is always "under this model"."""
    quantity, what = belief.estimand.quantity, estimand(belief.estimand)
    client, data = _spread(belief.client, quantity), _spread(belief.data_side, quantity)
    both = f"The client believes {client} for the {what}; under this model the data alone say {data}."
    if belief.finding == conflict_pb2.FINDING_UNRELIABLE:
        return f"{both} The comparison is not reliable: {belief.status_reason}"
    if belief.finding == conflict_pb2.FINDING_DATA_SILENT:
        return f"{both} That is too little to agree or to contradict: {_silence(belief)}."
    severity = label(conflict_pb2.Severity, belief.severity).lower().replace("_", " ")
    rule = belief.conflict_rule.partition(";")[0]
    factor = math.exp(min(recentred(belief), 700.0))
    evidence = (
        f"Moving the belief to where the data point makes them {_times(factor)} times as probable "
        f"(p = {belief.p_value:.2g}, severity {severity})"
    )
    if belief.finding != conflict_pb2.FINDING_CONFLICT:
        support = ", and the data positively support the belief" if belief.confirms else ""
        answer = f"{both} {evidence}: that does not reach the rule for a contradiction ({rule}){support}."
        return " ".join([answer, *_rank_expert(belief)])
    sentences = [f"{both} {evidence}: the data contradict the belief (by the rule in force: {rule})."]
    heavy = label(conflict_pb2.Severity, belief.severity_if_heavy_tailed).lower().replace("_", " ")
    if belief.severity_if_heavy_tailed and heavy != severity:
        sentences.append(
            f"With heavy tails the label would be {heavy}: it depends on how sure the client is of the tails."
        )
    if belief.HasField("p_value_holm"):
        sentences.append(f"Corrected for all beliefs of the session (Holm), p = {belief.p_value_holm:.2g}.")
    sentences += explain_causes(belief)
    return " ".join(sentences + _rank_expert(belief))


def _rank_expert(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What the data say between the client and the expert, where one was asked."""
    expert = conflict_pb2.BAYES_FACTOR_ALTERNATIVE_EXPERT
    found = [factor.log_bayes_factor for factor in belief.bayes_factors if factor.alternative == expert]
    if not found:
        return []
    side = "the expert's belief" if found[0] > 0.0 else "this belief"
    return [
        f"Between the two, the data are {_times(math.exp(min(abs(found[0]), 700.0)))} times as probable under {side}."
    ]


def _times(factor: float) -> str:
    """Three digits, as many as a Bayes factor's own error leaves."""
    return f"{float(f'{factor:.3g}'):,g}"


def _silence(belief: conflict_pb2.BeliefConflict) -> str:
    """Why the data are silent: they left the reference prior where it was, or are too wide against the belief."""
    if belief.contraction < SILENT_CONTRACTION:
        return (
            f"they shrink the variance of the model's reference prior by {100 * max(belief.contraction, 0.0):.0f} % "
            "only, so they are silent on this belief"
        )
    months = f"{belief.prior_ess_months:,.0f} months of" if belief.HasField("prior_ess_months") else "far more"
    return f"the belief is as sharp as {months} data like these would be, so they are silent on it"


def explain_causes(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What else could explain a conflict, and what would settle it."""
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
    sentences += [cause.explanation for cause in resolving[:NAMED_CAUSES]]
    if belief.suggestion:
        sentences.append(belief.suggestion)
    return sentences


def direction(estimands: Sequence[common_pb2.Estimand], weights: Sequence[float]) -> str:
    """The combination of beliefs that clashes most, in words: "… of tv and … of radio together too high"."""
    largest = max((abs(weight) for weight in weights), default=0.0)
    sides = []
    for sign, word in ((-1, "high"), (1, "low")):
        names = [estimand(one) for one, w in zip(estimands, weights, strict=True) if sign * w > 0.3 * largest]
        if names:
            sides.append(f"{' and '.join(names)} {'together ' if len(names) > 1 else ''}too {word}")
    return f"The beliefs put {' and '.join(sides)}." if sides else ""


def recentred(belief: conflict_pb2.BeliefConflict) -> float:
    """Natural logarithm of the recentred Bayes factor; 0 where there is none."""
    return next(
        (
            factor.log_bayes_factor
            for factor in belief.bayes_factors
            if factor.alternative == conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED
        ),
        0.0,
    )


def explain_attribution(attribution: attribution_pb2.Attribution) -> list[str]:
    """What each channel brought, in a sentence each."""
    sentences = []
    for channel in attribution.channels:
        for q in channel.quantities:
            if q.quantity != common_pb2.QUANTITY_SHARE_OF_OUTCOME:
                continue
            text = f"{channel.channel} brought {_spread(q.data_side, q.quantity)} of the outcome by the data alone"
            if q.HasField("client_posterior"):
                text += f", {_spread(q.client_posterior, q.quantity)} by the client's beliefs and the data together"
            sentences.append(text + ".")
    if attribution.HasField("total_media_share"):
        share = _spread(attribution.total_media_share, common_pb2.QUANTITY_SHARE_OF_OUTCOME)
        sentences.append(f"All channels together: {share} of the outcome.")
    return sentences


def explain_validation(validation: attribution_pb2.BayesianValidation) -> list[str]:
    """What follows from the checks behind an attribution."""
    sentences: list[str] = []
    contradicted = [belief.belief_id for belief in validation.conflicts if belief.conflict]
    if contradicted:
        sentences.append(f"The data contradict the belief(s) {', '.join(contradicted)}: do not act on them unchanged.")
    sentences.append(certificate_sentence(validation))
    return sentences


def certificate_sentence(validation: attribution_pb2.BayesianValidation) -> str:
    """State of the model's calibration."""
    essential = validation.sbc_necessity.decision == sbc_pb2.NECESSITY_DECISION_ESSENTIAL
    match validation.certificate_verdict:
        case sbc_pb2.VERDICT_KIND_PASS:
            run = validation.certificate_run_id
            return f"The model has passed simulation-based calibration over this window (run {run})."
        case sbc_pb2.VERDICT_KIND_FAIL:
            return (
                f"The model has FAILED simulation-based calibration (run {validation.certificate_run_id}): "
                "its intervals cannot be trusted."
            )
        case sbc_pb2.VERDICT_KIND_INCONCLUSIVE:
            return f"Simulation-based calibration was inconclusive (run {validation.certificate_run_id})."
    if essential:
        return "Simulation-based calibration is essential for this model and has not been done."
    return "The model has not been calibrated."
