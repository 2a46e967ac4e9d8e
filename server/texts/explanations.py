"""The answers in sentences, rendered from the very messages that are stored, so that words and numbers agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2, sbc_pb2

from engine.rules.limits import SILENT_CONTRACTION
from server.contract.quantities import estimand
from server.contract.wire import label
from server.texts.both_sides import no_compromise
from server.texts.formats import p_is
from server.texts.law_shapes import shape_remark
from server.texts.phrases import (
    agree,
    as_sharp,
    heavy_tails,
    log_factor,
    moved,
    named_causes,
    open_label,
    probable_under,
    rule_words,
    rules_apart,
    severity_words,
    spread,
    status_reason,
    taken_away,
    times,
)
from server.texts.standing import Standing, not_relied_on, together_not_told


def explain_conflict(belief: conflict_pb2.BeliefConflict) -> str:
    """What the data say about a belief; the wording is always "under this model"."""
    quantity, what = belief.estimand.quantity, estimand(belief.estimand)
    client, data = spread(belief.client, quantity), spread(belief.data_side, quantity)
    if belief.finding == conflict_pb2.FINDING_UNRELIABLE:
        return (
            f"The client believes {client} for the {what}; what the data say of it cannot be told. The comparison is "
            f"not reliable: {status_reason(belief)}."
        )
    both = f"The client believes {client} for the {what}; under this model the data alone say {data}."
    if remark := shape_remark(belief.prior, quantity):
        both = f"{both} About the belief: {remark}"
    if belief.finding == conflict_pb2.FINDING_DATA_SILENT:
        return f"{both} That is too little to agree or to contradict: {_silence(belief)}."
    rule = rule_words(belief)
    evidence = f"{moved(belief, 'them')} ({p_is(belief.p_value)}, severity {severity_words(belief.severity)})"
    if belief.finding == conflict_pb2.FINDING_AGREES:
        support = ", and the data positively support the belief" if belief.confirms else ""
        answer = f"{evidence}: that does not reach the rule for a contradiction ({rule}){support}."
        if agree(belief):
            answer = f"The two agree ({p_is(belief.p_value)}){support}."
        return " ".join([both, answer, *open_label(belief), *_rank_expert(belief)])
    if belief.finding != conflict_pb2.FINDING_CONFLICT:
        raise AssertionError(f"there are no words for the finding {belief.finding}")
    sentences = [f"{both} {evidence}: the data contradict the belief (by the rule in force: {rule})."]
    sentences += [*open_label(belief), *heavy_tails(belief)]
    if belief.HasField("p_value_holm"):
        sentences.append(f"Corrected for all beliefs of the session (Holm), {p_is(belief.p_value_holm)}.")
    sentences += rules_apart(belief)
    sentences += named_causes(belief)
    if belief.suggestion:
        sentences.append(belief.suggestion)
    return " ".join(sentences + _rank_expert(belief))


def _rank_expert(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What the data say between the client and the expert, where one was asked."""
    log_ratio = log_factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_EXPERT)
    if log_ratio is None:
        return []
    side = "the expert's belief" if log_ratio > 0.0 else "this belief"
    return [f"Between the two, {probable_under(times(abs(log_ratio)), side)}."]


def _silence(belief: conflict_pb2.BeliefConflict) -> str:
    """Why the data are silent: they left the reference prior where it was, or are too wide against the belief."""
    if belief.contraction < SILENT_CONTRACTION:
        return (
            f"they shrink the variance of the model's reference prior by {taken_away(belief)} only, so they are silent "
            "on this belief"
        )
    months = f"{belief.prior_ess_months:,.0f} months of" if belief.HasField("prior_ess_months") else "far more"
    return f"{as_sharp(months)}, so they could hardly have contradicted it"


def direction(estimands: Sequence[common_pb2.Estimand], weights: Sequence[float]) -> str:
    """The combination of beliefs that clashes most, in words: "… of tv and … of radio together too high"."""
    largest = max((abs(weight) for weight in weights), default=0.0)
    sides = []
    for sign, word in ((-1, "high"), (1, "low")):
        names = [estimand(about) for about, w in zip(estimands, weights, strict=True) if sign * w > 0.3 * largest]
        if names:
            sides.append(f"{' and '.join(names)} {'together ' if len(names) > 1 else ''}too {word}")
    return f"The beliefs put {' and '.join(sides)}." if sides else ""


@dataclass(frozen=True)
class Told:
    """What the sentences of an attribution may tell: worked out by the gate, once for every answer.

    Fields:
        shares: as what the share of outcome of each channel may be told, by channel. total: of all of them together.
        believed: diagnostics of the fit under the client's beliefs, None without one.
        collinear: of channels that the data can hardly tell from the rest of the model, the part of the exposure that
        follows from the rest, R².
    """

    shares: Mapping[str, Standing]
    total: Standing
    believed: common_pb2.FitDiagnostics | None = None
    collinear: Mapping[str, float] = field(default_factory=dict)


def explain_attribution(attribution: attribution_pb2.Attribution, told: Told) -> list[str]:
    """What each channel brought, in a sentence each; of a fit that missed its thresholds that alone."""
    if missed := not_relied_on(attribution.diagnostics):
        return missed
    apart = [] if told.believed is None else together_not_told(told.believed)
    sentences = []
    traded = {name for group in attribution.inseparable for name in group.channels}
    for channel in attribution.channels:
        for q in channel.quantities:
            if q.quantity == common_pb2.QUANTITY_SHARE_OF_OUTCOME and channel.channel not in traded:
                sentences.append(_brought(channel.channel, q, told.shares[channel.channel], together=not apart))
    sentences += [_brought_together(group) for group in attribution.inseparable]
    sentences += [
        f"{name}: {100 * r_squared:.0f} % of its exposure follows from the rest of the model, so the data hardly tell "
        "what it brought from what the rest did."
        for name, r_squared in told.collinear.items()
        if name not in traded
    ]
    share = common_pb2.QUANTITY_SHARE_OF_OUTCOME
    if refused := _refused("All channels together", told.total):
        sentences.append(refused)
    else:
        if attribution.HasField("total_media_share"):
            total = spread(attribution.total_media_share, share)
            sentences.append(f"All channels together: {total} of the outcome.")
        if attribution.HasField("baseline_share"):
            rest = spread(attribution.baseline_share, share)
            sentences.append(f"Without media there would be {rest} of the outcome.")
    return [*apart, *sentences]


def _brought(name: str, q: attribution_pb2.AttributedQuantity, standing: Standing, *, together: bool) -> str:
    """What one channel brought, by the data and, where there is such a figure, with the client's beliefs."""
    sentence = _refused(name, standing)
    if not sentence and standing.silent:
        sentence = (
            f"{name}: the data say nothing of what it brought; {spread(q.data_side, q.quantity)} of the outcome is "
            "what the model's reference prior says, not a finding."
        )
    if not sentence:
        share = spread(q.data_side, q.quantity)
        sentence = f"{name} brought {share} of the outcome by the data, under the model's reference prior."
    if not together or not q.HasField("client_posterior"):
        return sentence
    if reason := no_compromise(q.prior, q.data_side, q.client_posterior):
        return f"{sentence} The client's {reason}; no figure of it is told."
    believed = spread(q.client_posterior, q.quantity)
    return f"{sentence} By the client's beliefs and the data together it brought {believed}."


def _brought_together(group: attribution_pb2.ChannelGroup) -> str:
    """What channels brought that the data cannot tell apart."""
    *first, last = group.channels
    names, share = f"{', '.join(first)} and {last}", common_pb2.QUANTITY_SHARE_OF_OUTCOME
    return (
        f"{names} brought {spread(group.share_of_outcome, share)} of the outcome together by the data, under the "
        "model's reference prior; the data do not tell how it is divided between them, and no figure of one of them "
        "is a finding."
    )


def _refused(name: str, standing: Standing) -> str:
    """Why nothing is told of what a channel, or all of them, brought; empty where something may be."""
    if not standing.refusals:
        return ""
    reasons = "; ".join(standing.refusals)
    if standing.held_back:
        return f"{name}: the reference prior decides, and no figure is a finding: {reasons}."
    return f"{name}: what was brought cannot be told: {reasons}."


def explain_validation(
    validation: attribution_pb2.BayesianValidation, diagnostics: common_pb2.FitDiagnostics
) -> list[str]:
    """What follows from the checks behind an attribution; `diagnostics` are those of its reference fit."""
    sentences: list[str] = not_relied_on(diagnostics)
    for finding, what in _FINDINGS.items():
        named = [belief.belief_id for belief in validation.conflicts if belief.finding == finding]
        if named:
            sentences.append(f"{what.format(', '.join(named))}")
    if validation.HasField("joint"):
        sentences.append(_joint_sentence(validation.joint))
    return [*sentences, certificate_sentence(validation)]


_FINDINGS = {
    conflict_pb2.FINDING_CONFLICT: "The data contradict the belief(s) {}: do not act on them unchanged.",
    conflict_pb2.FINDING_AGREES: "The data do not contradict the belief(s) {}.",
    conflict_pb2.FINDING_DATA_SILENT: "The data say too little about the belief(s) {}: the priors decide there.",
    conflict_pb2.FINDING_UNRELIABLE: "There is no reliable comparison of the data with the belief(s) {}.",
}


def _joint_sentence(joint: conflict_pb2.JointConflict) -> str:
    if joint.status == conflict_pb2.CONFLICT_STATUS_UNRELIABLE:
        return f"The beliefs could not be compared with the data together: {joint.status_reason}."
    answer = "the data contradict the beliefs" if joint.conflict else "the data do not contradict the beliefs"
    sentence = f"Taken together, {answer} ({p_is(joint.p_value)})."
    return f"{sentence} {joint.worst_direction}" if joint.conflict else sentence


def explain_started(
    validation: attribution_pb2.BayesianValidation, verdict: str | None, *, started_before: bool
) -> str:
    """What became of the request to start a calibration run, which may have been there; `verdict` if it has one."""
    if not (run := validation.started_run_id):
        if validation.sbc_necessity.satisfied_by_run_id:
            return "No calibration run was started: one has passed."
        return "No calibration run was started: by what is known it is not essential."
    necessity = validation.sbc_necessity
    kind = label(sbc_pb2.ValidationType, necessity.recommended_validation_type)
    until = "until it has passed, do not rely on the intervals"
    if not started_before:
        size = f"{kind}, {necessity.recommended_simulations} simulations"
        return f"Calibration run {run} has been started ({size}); {until}."
    if verdict is None:
        return f"Calibration run {run} ({kind}) is under way already; {until}."
    advice = "extend it to get an answer" if verdict == "INCONCLUSIVE" else "it stands"
    return f"Calibration run {run} ({kind}) answers the request already: {verdict}; {advice}."


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
        case sbc_pb2.VERDICT_KIND_UNSPECIFIED | sbc_pb2.VERDICT_KIND_CANCELLED:
            if essential:
                return "Simulation-based calibration is essential for this model and has not been done."
            return "The model has not been calibrated."
        case other:
            raise AssertionError(f"there are no words for the verdict {other}")
