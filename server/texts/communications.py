"""Messages that an analyst can send to a client, rendered from stored answers when they are read.

Every number is one of the message that is rendered: nothing is computed here but logarithms turned into factors,
fractions into per cent and rates into "one in so many".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2, sbc_pb2

from server.contract.quantities import estimand
from server.contract.wire import label
from server.texts.both_sides import EXTRAPOLATED, no_compromise
from server.texts.formats import chance, p_is
from server.texts.law_shapes import shape_remark
from server.texts.phrases import (
    agree,
    as_sharp,
    centre,
    clashes_together,
    heavy_tails,
    interval,
    log_factor,
    middle,
    moved,
    named_causes,
    open_label,
    plain_rule,
    probable_under,
    rules_apart,
    severity_words,
    spread,
    status_reason,
    taken_away,
    times,
)
from server.texts.policy_words import client_reasons, client_steps
from server.texts.shared_number_notes import shares
from server.texts.standing import missed_by

NAMED_QUANTITIES = 3
"""So many miscalibrated quantities are named in a message; all of them are in the verdict."""

NOT_INFERENTIAL = (
    "NOT INFERENTIAL. A prior of the session has seen rows of this window before, so they are counted twice. What "
    "follows is exploratory: it proves nothing, and no update that rests on it can be accepted."
)
_TITLE = "Not inferential: "


@dataclass(frozen=True)
class Setting:
    """What the messages of one answer have in common."""

    model_id: str
    data: str
    exploratory: bool = False
    looks: int = 0
    joint: conflict_pb2.JointConflict = field(default_factory=conflict_pb2.JointConflict)
    beliefs: Sequence[conflict_pb2.BeliefConflict] = ()
    """Those that `joint` is about."""
    made: str = ""
    """Date of the answer, ISO 8601."""
    certified: bool = False
    """Whether the model has passed calibration over this window by now, whatever the answer says of then."""
    missed: str = ""
    """Why nothing of the fit behind the answer may be told as a finding."""


def conflict_communications(
    analysis: conflict_pb2.ConflictAnalysis, certified: bool = False
) -> list[common_pb2.Communication]:
    """One message per belief of an analysis, and one more where calibration is at issue and none has passed since."""
    setting = Setting(
        analysis.model_id,
        _data(analysis.provenance),
        analysis.exploratory,
        analysis.looks,
        analysis.joint,
        analysis.beliefs,
        _made(analysis),
        certified,
        missed_by(analysis),
    )
    messages = [_about_belief(belief, setting) for belief in analysis.beliefs]
    return messages + _about_calibration(analysis.sbc_necessity, setting)


def attribution_communications(
    attribution: attribution_pb2.Attribution, certified: bool = False
) -> list[common_pb2.Communication]:
    """As those of a conflict analysis; nothing without the checks."""
    checks = attribution.validation
    setting = Setting(
        attribution.model_id,
        _data(attribution.provenance),
        attribution.exploratory,
        joint=checks.joint,
        beliefs=checks.conflicts,
        made=_made(attribution),
        certified=certified,
        missed=missed_by(attribution),
    )
    messages = [_about_belief(belief, setting) for belief in checks.conflicts]
    return messages + _about_calibration(checks.sbc_necessity, setting, checks.started_run_id)


def calibration_at_issue(necessity: sbc_pb2.SbcNecessity) -> bool:
    """Whether a decision calls for a message: a failed run stood, or calibration was essential and none had passed."""
    essential = necessity.decision == sbc_pb2.NECESSITY_DECISION_ESSENTIAL and not necessity.satisfied_by_run_id
    return essential or "STANDING_FAIL" in necessity.evidence


def _made(answer: conflict_pb2.ConflictAnalysis | attribution_pb2.Attribution) -> str:
    return answer.create_time.ToDatetime().date().isoformat() if answer.HasField("create_time") else ""


def run_communications(run: sbc_pb2.SbcRun) -> list[common_pb2.Communication]:
    """A message about a run that has failed; none about any other."""
    verdict = run.verdict
    if verdict.kind != sbc_pb2.VERDICT_KIND_FAIL:
        return []
    failing = [q for q in verdict.quantities if q.failing]
    others = " Others deviate as well." if len(failing) > NAMED_QUANTITIES else ""
    production = (sbc_pb2.INFERENCE_METHOD_UNSPECIFIED, sbc_pb2.INFERENCE_METHOD_PRODUCTION)
    other = "" if run.inference_method in production else label(sbc_pb2.InferenceMethod, run.inference_method)
    how = f"by {other}, which is not the inference of the service" if other else "as the service fits real data"
    found = [test.explanation for test in verdict.shared_numbers if shares(test)]
    if failing or not found:
        found.append(
            f"Over {verdict.n_simulations} simulations the truth was not found again as it should have been. "
            + " ".join(_deviation(q) for q in failing[:NAMED_QUANTITIES])
            + others
        )
    paragraphs = [
        f"Calibration run {run.run_id} drew true values, simulated data from them by the model “{run.model_id}” itself "
        f"and fitted these {how}. " + " ".join(found),
        f"How sure this is: a model without error fails with a probability of at most {100 * verdict.alpha:.3g} %, all "
        "quantities together.",
    ]
    if not other:
        return [_failed(Setting(run.model_id, ""), paragraphs)]
    paragraphs += [
        "What it does not mean: anything about the figures of the service, which it computes in another way.",
        f"What to do next: do not use {other} for this model, or not for the quantities named.",
    ]
    subject = f"Model {run.model_id}: the inference {other} failed its calibration"
    return [_message(common_pb2.COMMUNICATION_TEMPLATE_SBC_FAILED, subject, paragraphs, Setting(run.model_id, ""))]


def _data(provenance: common_pb2.Provenance) -> str:
    if not provenance.HasField("window"):
        return "the data"
    return f"the data from {provenance.window.first_date} to {provenance.window.last_date}"


def _message(
    template: common_pb2.CommunicationTemplate.ValueType,
    subject: str,
    paragraphs: Sequence[str],
    setting: Setting,
    belief_id: str = "",
) -> common_pb2.Communication:
    """The message; in an exploratory analysis it begins by saying that it is not inferential."""
    first = [NOT_INFERENTIAL] if setting.exploratory else []
    return common_pb2.Communication(
        template=template,
        belief_id=belief_id,
        subject=f"{_TITLE if setting.exploratory else ''}{subject}",
        body="\n\n".join([*first, *filter(None, paragraphs)]),
    )


# Beliefs


def _about_belief(belief: conflict_pb2.BeliefConflict, setting: Setting) -> common_pb2.Communication:
    name = estimand(belief.estimand)
    # An answer of an earlier version may hold a finding from a fit that missed its thresholds.
    finding = conflict_pb2.FINDING_UNRELIABLE if setting.missed else belief.finding
    template, title, paragraphs = _BY_FINDING[finding](belief, setting)
    subject = f"{_capital(name)}: {title}"
    return _message(template, subject, paragraphs, setting, belief.belief_id)


def _stated(belief: conflict_pb2.BeliefConflict) -> str:
    """The centre of a belief with its unit."""
    return middle(belief.client, belief.estimand.quantity)


_Written = tuple["common_pb2.CommunicationTemplate.ValueType", str, list[str]]


def _conflict(belief: conflict_pb2.BeliefConflict, setting: Setting) -> _Written:
    sure = [
        f"How sure this is: {_p_value(belief)}",
        f"{_evidence(belief)}; {_by_chance(belief.null_rate)} it by chance.",
        f"A contradiction is declared when {plain_rule(belief)}.",
        *open_label(belief),
        *heavy_tails(belief),
        *_family(belief),
        *_looks(setting),
    ]
    meaning = [
        "What it does not mean: that the belief is proven wrong. Belief, data and this model do not fit together, and "
        "any of the three may be at fault.",
        *named_causes(belief),
    ]
    steps = [
        "What to do next:",
        belief.suggestion,
        "Look at what the belief rests on. Before it shapes a budget, either keep it for a stated reason or let the "
        "recommended update widen or move it.",
    ]
    return (
        common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND,
        f"the data contradict the belief of {_stated(belief)}",
        [_sides(belief, setting), *map(_joined, (sure, meaning, steps))],
    )


def _confirmed(belief: conflict_pb2.BeliefConflict, setting: Setting) -> _Written:
    sure = ["How sure this is:"]
    reference = log_factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_REFERENCE)
    if reference is not None:
        supports = probable_under(times(-reference), "the belief as under what the model assumes without it")
        sure.append(f"{_capital(supports)}.")
    sure += [_capital(_p_value(belief)), *open_label(belief), *_looks(setting)]
    # With its width: a wide belief is not supported in its middle.
    supported = "lie well inside the belief of" if agree(belief) else "speak for the belief of"
    return (
        common_pb2.COMMUNICATION_TEMPLATE_BELIEF_CONFIRMED,
        f"the data {supported} {spread(belief.client, belief.estimand.quantity)}",
        [
            _sides(belief, setting),
            _joined(sure),
            *_together(belief, setting),
            "What it does not mean: that the belief is proven, or that the value in its middle is right. What the data "
            "support is the belief with all its width. Another model might see it otherwise, and beliefs close to this "
            "one would be supported as well.",
            _joined(
                [
                    _next_together(belief, setting) or "What to do next: nothing has to change.",
                    "When the belief is updated, these data must not be counted a second time.",
                ]
            ),
        ],
    )


def _not_contradicted(belief: conflict_pb2.BeliefConflict, setting: Setting) -> _Written:
    evidence = (
        "Belief and data agree."
        if agree(belief)
        else f"{_evidence(belief)}; a contradiction is declared when {plain_rule(belief)}."
    )
    sure = [
        f"How sure this is: {_p_value(belief)}",
        evidence,
        *open_label(belief),
        *_family(belief),
        *_looks(setting),
    ]
    return (
        common_pb2.COMMUNICATION_TEMPLATE_BELIEF_NOT_CONTRADICTED,
        f"the data do not contradict the belief of {_stated(belief)}",
        [
            _sides(belief, setting),
            _joined(sure),
            *_together(belief, setting),
            "What it does not mean: that the data support the belief. There are other values that they would not "
            "contradict either.",
            _joined([_next_together(belief, setting) or "What to do next: the belief can stay.", belief.suggestion]),
        ],
    )


def _together(belief: conflict_pb2.BeliefConflict, setting: Setting) -> list[str]:
    """That the beliefs clash with the data together, and whether this one, which does not alone, has a part in it."""
    if not setting.joint.conflict:
        return []
    if not clashes_together(setting.joint, setting.beliefs, belief.belief_id):
        return ["The beliefs taken together contradict the data, but that rests on others than this one."]
    sentences = [
        "But the beliefs taken together contradict the data: "
        f"{_by_p('beliefs and data were about the same values', setting.joint.p_value)}",
        setting.joint.worst_direction,
    ]
    return [_joined(sentences)]


def _next_together(belief: conflict_pb2.BeliefConflict, setting: Setting) -> str:
    asked = clashes_together(setting.joint, setting.beliefs, belief.belief_id)
    return "What to do next: ask for the beliefs again, all together." if asked else ""


def _silent(belief: conflict_pb2.BeliefConflict, setting: Setting) -> _Written:
    shrunk = f"they take away {taken_away(belief)} of the uncertainty (as variance) that the model starts with"
    worth = "the belief is sharper than any number of months of data like these would be"
    if belief.HasField("prior_ess_months"):
        worth = as_sharp(f"{belief.prior_ess_months:,.0f} months of")
    return (
        common_pb2.COMMUNICATION_TEMPLATE_DATA_SILENT,
        f"the data say too little about the belief of {_stated(belief)}",
        [
            _sides(belief, setting),
            _joined(
                [f"How much the data say: {shrunk}, and {worth}.", _COULD_NOT, *_looks(setting)],
            ),
            "What it does not mean: that the belief is right, or that it is wrong. Where it is used, the answer is the "
            "belief's and not the data's.",
            _joined(
                [
                    "What to do next:",
                    belief.suggestion
                    or "Only new information helps: an experiment, a time in which the spend is varied on purpose, or "
                    "data by region.",
                ]
            ),
        ],
    )


_COULD_NOT = "Had the belief been wrong, data like these would most likely not have shown it."


def _no_answer(belief: conflict_pb2.BeliefConflict, setting: Setting) -> _Written:
    reason = setting.missed or status_reason(belief)
    return (
        common_pb2.COMMUNICATION_TEMPLATE_NO_ANSWER,
        f"no reliable answer about the belief of {_stated(belief)}",
        [
            f"The belief “{belief.belief_id}” was compared with {setting.data} under the model “{setting.model_id}”, "
            "but the figures of the comparison are not reliable and none is given here.",
            f"Why: {reason}." if reason else "",
            "What it does not mean: neither that the data agree with the belief nor that they contradict it.",
            _joined(
                [
                    "What to do next:",
                    belief.suggestion or "Have an analyst look at the fit and at how far the belief lies from it.",
                ]
            ),
        ],
    )


_BY_FINDING = {
    conflict_pb2.FINDING_CONFLICT: _conflict,
    conflict_pb2.FINDING_AGREES: lambda belief, setting: (_confirmed if belief.confirms else _not_contradicted)(
        belief, setting
    ),
    conflict_pb2.FINDING_DATA_SILENT: _silent,
    conflict_pb2.FINDING_UNRELIABLE: _no_answer,
    conflict_pb2.FINDING_UNSPECIFIED: _no_answer,
}


def _sides(belief: conflict_pb2.BeliefConflict, setting: Setting) -> str:
    """What was believed, what the data say and what both say together."""
    quantity = belief.estimand.quantity
    client, data = centre(belief.client), centre(belief.data_side)
    side = "higher than" if data > client else "lower than" if data < client else "the same as"
    remark = shape_remark(belief.prior, quantity)
    return (
        f"The belief “{belief.belief_id}” puts the {estimand(belief.estimand)} at "
        f"{_estimate(belief.client, quantity)}. Under the model “{setting.model_id}” {setting.data} alone put it at "
        f"{_estimate(belief.data_side, quantity)}, {side} the belief. {_both(belief)}"
        f"{f' About the belief: {remark}' if remark else ''}"
    )


def _both(belief: conflict_pb2.BeliefConflict) -> str:
    """What belief and data give together, or why that is no figure to tell."""
    if not belief.HasField("client_posterior"):
        return f"What belief and data give together is not told: {EXTRAPOLATED}."
    if reason := no_compromise(belief.client, belief.data_side, belief.client_posterior):
        return f"{_capital(reason)}; no figure of it is told."
    return f"Belief and data together give {_estimate(belief.client_posterior, belief.estimand.quantity)}."


def _estimate(message: common_pb2.Estimate, quantity: int) -> str:
    """Centre with unit and widest interval."""
    text = middle(message, quantity)
    if not message.intervals:
        return text
    return f"{text} ({interval(message, quantity)})"


def _p_value(belief: conflict_pb2.BeliefConflict) -> str:
    return _by_p("belief and data were about the same value", belief.p_value)


def _by_p(agreement: str, probability: float) -> str:
    return f"if {agreement}, they would differ at least as much as they do with a probability of {chance(probability)}."


def _evidence(belief: conflict_pb2.BeliefConflict) -> str:
    return f"{moved(belief, 'the data')}. That is called {severity_words(belief.severity)} evidence"


def _by_chance(rate: float) -> str:
    """How often right beliefs get a label, in words."""
    if 0.0 < rate <= 0.1:
        return f"one right belief in {1.0 / rate:.0f} gets"
    return f"{100 * rate:.3g} % of right beliefs get"


def _family(belief: conflict_pb2.BeliefConflict) -> list[str]:
    """What becomes of the evidence when all beliefs of the session are counted."""
    if not belief.HasField("p_value_holm"):
        return []
    counted = chance(belief.p_value_holm)
    told = f"Several beliefs were looked at; corrected for all of them the probability is {counted}."
    return [told, *rules_apart(belief)]


def _looks(setting: Setting) -> list[str]:
    if setting.looks < 2:
        return []
    return [
        f"These quantities have been analysed {setting.looks} times under these data; who looks often finds something."
    ]


# Calibration


def _about_calibration(
    necessity: sbc_pb2.SbcNecessity, setting: Setting, started: str = ""
) -> list[common_pb2.Communication]:
    """A message where a failed run stands, or where calibration is essential and none has passed."""
    if setting.certified or not calibration_at_issue(necessity):
        return []
    then = f" when this analysis was made ({setting.made})" if setting.made else ""
    if "STANDING_FAIL" in necessity.evidence:
        return [_failed(setting, [necessity.explanation], client_steps(necessity, started))]
    paragraphs = [
        f"Simulation-based calibration asks whether a model's intervals hold what they promise: true values are drawn, "
        f"data are simulated from them and fitted as the real ones are. For the model “{setting.model_id}” "
        f"{f'it was essential{then}' if then else 'it is essential'}, and no run has passed.",
        client_reasons(necessity),
        "What it does not mean: that the figures are wrong. It means that nobody has shown yet that their intervals "
        "are as wide as they should be.",
        client_steps(necessity, started),
    ]
    subject = f"Model {setting.model_id}: calibration is needed before its figures are relied on"
    return [_message(common_pb2.COMMUNICATION_TEMPLATE_SBC_ESSENTIAL, subject, paragraphs, setting)]


def _failed(setting: Setting, findings: Sequence[str], steps: str = "") -> common_pb2.Communication:
    paragraphs = [
        *findings,
        "What it does not mean: that the model does not describe the market, which this check does not ask, or that "
        "the figures are wrong in a known direction. It means that intervals and probabilities of this model are not "
        "what they say they are.",
        steps
        or "What to do next: do not rely on the model's intervals. Correct model, priors or sampler and calibrate "
        "again. A failed run stands until a larger one passes that ranks the same quantities.",
    ]
    subject = f"Model {setting.model_id}: failed its calibration, its intervals cannot be trusted"
    return _message(common_pb2.COMMUNICATION_TEMPLATE_SBC_FAILED, subject, paragraphs, setting)


def _deviation(quantity: sbc_pb2.QuantityCalibration) -> str:
    """How one quantity deviates."""
    how = _SHAPES.get(quantity.shape, "the truth does not lie in its ranges as often as it should")
    text = f"{quantity.quantity}: {how}"
    wide = [interval for interval in quantity.coverage if interval.nominal > 0.85]
    if wide:
        cover = min(wide, key=lambda interval: interval.nominal)
        text += (
            f"; intervals that promise {100 * cover.nominal:.1f} % held the truth in {100 * cover.observed:.1f} % "
            f"of the simulations"
        )
    if quantity.HasField("adjusted_p_value"):
        text += f" ({p_is(quantity.adjusted_p_value)}, corrected for all quantities)"
    return f"{text}."


_SHAPES: dict[int, str] = {
    sbc_pb2.RANK_SHAPE_OVER_CONFIDENT: "the model is too sure of it",
    sbc_pb2.RANK_SHAPE_UNDER_CONFIDENT: "the model is less sure of it than it could be",
    sbc_pb2.RANK_SHAPE_BIASED_UP: "the model puts it too high",
    sbc_pb2.RANK_SHAPE_BIASED_DOWN: "the model puts it too low",
}


def _joined(sentences: Sequence[str]) -> str:
    return " ".join(filter(None, sentences))


def _capital(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}"
