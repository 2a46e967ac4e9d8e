"""The decision on simulation-based calibration in words: for the analyst who asked, and for the client."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from liftos.bayes.v1 import sbc_pb2

from engine.rules.sbc_policy import INPUTS, Change, Decision, NecessityDecision, NecessityPolicy
from engine.rules.sbc_presets import ValidationType
from server.contract.wire import label
from server.texts.formats import LARGEST_FACTOR, at_most, factor, number


@dataclass(frozen=True)
class _Told:
    """A rule of the policy that applies, with observed value and threshold: to the analyst and to the client."""

    analyst: str
    client: str


_RULES = {
    "model_complexity": _Told(
        "the model has {} parameters (more than {})",
        "the model has {} parameters, and the policy asks for it above {}",
    ),
    "bayes_factor": _Told(
        "the Bayes factor against the client's prior is {} (more than {})",
        "the data are {} times as probable under another belief than under the client's (policy: above {})",
    ),
    "business_impact": _Told("{} are at stake (more than {})", "{} US dollars are at stake (policy: above {})"),
    "client_confidence": _Told(
        "the client's confidence is {} (less than {})",
        "the client's confidence in its own beliefs is {} (policy: below {})",
    ),
}
_SIGNS = {
    "STALE_PASS": "model, data or software have changed since the last run that passed",
    "DIVERGENCES": "the computation ran into trouble in places (divergent transitions)",
    "R_HAT": "repeated computations do not agree well enough (R-hat)",
    "LOW_ESS": "the computation rests on few effective draws",
    "APPROXIMATE_INFERENCE": "the computation is approximate",
    "CUSTOM_LIKELIHOOD": "the model has a likelihood of its own",
    "MULTIMODAL": "the answer has several peaks",
    "DATA_DEPENDENT_SCALING": "the scaling depends on the data",
}
_BANDS = {
    sbc_pb2.CONFLICT_SEVERITY_WEAK: "1 to 3",
    sbc_pb2.CONFLICT_SEVERITY_MODERATE: "3 to 10",
    sbc_pb2.CONFLICT_SEVERITY_STRONG: "10 to 100",
    sbc_pb2.CONFLICT_SEVERITY_VERY_STRONG: "above 100",
}


def explain_decision(decision: NecessityDecision, policy: NecessityPolicy, factor_words: str | None = None) -> str:
    """What the policy says and what is recommended; `factor_words`: the Bayes factor where that is no number."""
    if decision.decision is Decision.ESSENTIAL:
        reasons = []
        for rule in decision.rules:
            if rule.triggered:
                words = factor_words if rule.field == "bayes_factor" else None
                observed = words or _amount(rule.field, rule.observed or 0.0, policy)
                reasons.append(
                    _RULES[INPUTS[rule.field]].analyst.format(observed, _amount(rule.field, rule.threshold, policy))
                )
        text = f"Calibration is essential by policy: {' and '.join(reasons)}."
    elif decision.decision is Decision.UNDETERMINED:
        missing = ", ".join(INPUTS[name] for name in decision.missing)
        text = f"Undetermined: no rule applies to what is known, but {missing} could make it essential."
    else:
        text = "The policy does not require calibration, which does not mean that the model is safe."
    if decision.evidence:
        text += (
            f" Evidence for a check: {', '.join(sign.value.lower().replace('_', ' ') for sign in decision.evidence)}."
        )
    if decision.satisfied:
        return f"{text} A certified pass of the same model is at hand."
    if decision.validation_type is ValidationType.NONE:
        return text
    return f"{text} Recommended: {decision.validation_type.value}, {decision.simulations} simulations."


def explain_change(change: Change, policy: NecessityPolicy) -> str:
    """What would change the answer."""
    requirement = f"{change.operator} {_amount(change.field, change.threshold, policy)}"
    together = " together with the others" if change.together else ""
    return f"{INPUTS[change.field]} {requirement}{together} would make it {change.leads_to.value}."


def _amount(field: str, value: float, policy: NecessityPolicy) -> str:
    if field == "business_impact_minor_units":
        return f"{value / 100:,.2f} {policy.currency}"
    # Short, unless that would put the value on its threshold.
    thresholds = (policy.max_parameters, policy.max_bayes_factor, policy.min_confidence)
    if value in thresholds:
        return f"{value:.4g}"
    short = float(f"{value:.3g}" if field == "bayes_factor" else f"{value:.4g}")
    return f"{value:.10g}" if short in thresholds else f"{short:,g}"


def labelled_factor(severity: sbc_pb2.ConflictSeverity.ValueType, lower: float) -> str:
    """A Bayes factor of which only the label is known, with the lower end of its band, where it is taken to be."""
    name = label(sbc_pb2.ConflictSeverity, severity)
    return f"{name} ({_BANDS[severity]}), taken as above {lower:g}"


def standing_fail(run_id: str, failing: Collection[str], simulations: int, answer: ValidationType) -> str:
    """What a FAIL that stands is about, and the kind of run that would answer it."""
    names = ", ".join(failing) or "what it ranked"
    return (
        f"SBC run {run_id} failed ({names}). It stands until a larger run passes that ranks the same: "
        f"{answer.value} with more than {simulations} simulations."
    )


def passed(run_id: str, ago: datetime.timedelta, simulations: int, *, off_the_conflict: bool) -> str:
    """The run that has passed; `off_the_conflict`: truths from the posterior, where the conflict is, were wanted."""
    but = ", but not with truths from the posterior, where the conflict is" if off_the_conflict else ""
    return f"SBC run {run_id} passed {_age(ago)} with {simulations} simulations{but}."


def _age(past: datetime.timedelta) -> str:
    if past.days >= 1:
        return "yesterday" if past.days == 1 else f"{past.days} days ago"
    return "within the last 24 hours"


def passed_elsewhere(run_id: str, model_id: str | None, window: str | None, *, of_session: bool) -> str:
    """Which run has passed, and what it was about that is not this: model, window, priors of a session."""
    differs = []
    if model_id is not None:
        differs.append(f"model {model_id!r}")
    if window is not None:
        differs.append(f"a window of {window}")
    if of_session:
        differs.append("the priors of a session")
    about = " and ".join(differs) or "another version of the service or of the data"
    return f"SBC run {run_id} has passed, but for {about}."


def client_reasons(necessity: sbc_pb2.SbcNecessity) -> str:
    """Why calibration is essential, to the client."""
    reasons = [_client_reason(rule) for rule in necessity.rules if rule.fired and rule.input in _RULES]
    signs = [_SIGNS[name] for name in necessity.evidence if name in _SIGNS]
    missing = [name.replace("_", " ") for name in necessity.missing_inputs]
    sentences = [f"Why it is essential: {'; '.join(reasons)}."]
    if signs:
        sentences.append(f"The fit itself gives further reason: {'; '.join(signs)}.")
    if missing:
        sentences.append(f"Not known, and not counted: {', '.join(missing)}.")
    return " ".join(sentences)


def _client_reason(rule: sbc_pb2.NecessityRule) -> str:
    observed, threshold = number(rule.observed), number(rule.threshold)
    if rule.input == "bayes_factor" and factor(rule.observed) != threshold:
        observed = at_most(rule.observed) if rule.threshold < LARGEST_FACTOR else factor(rule.observed)
    return _RULES[rule.input].client.format(observed, threshold)


def client_steps(necessity: sbc_pb2.SbcNecessity, started: str) -> str:
    """The run that would answer, what it costs and what it would notice, as far as the decision says so."""
    if started:
        steps = [f"What to do next: calibration run {started} has been asked for; wait for its verdict."]
    elif necessity.recommended_validation_type:
        kind = label(sbc_pb2.ValidationType, necessity.recommended_validation_type)
        steps = [
            "What to do next: have the model calibrated. For the analyst: a run of type "
            f"{kind} with {necessity.recommended_simulations} simulations."
        ]
    else:
        return ""
    if necessity.cost.HasField("seconds_median"):
        steps.append(f"Half of the runs like it took {number(necessity.cost.seconds_median)} seconds at most.")
    if necessity.HasField("detectable_bias_sd"):
        steps.append(
            f"It would notice estimates that are off by {necessity.detectable_bias_sd:.2g} times the uncertainty "
            "that the model states; smaller errors may escape it."
        )
    steps.append("Until a run has passed, treat the intervals as provisional.")
    return " ".join(steps)


@dataclass(frozen=True)
class Replayed:
    """Counts of a replay of past decisions under changed thresholds.

    was, would_be: ESSENTIAL then, and under the thresholds; gained, lost: of the one and not of the other; differ:
    decisions that change in any way, listed: so many of them at most. Of the models that would not have had to be
    calibrated `failed` have failed a run, `finished` have finished runs without a FAIL and `unknown` have none.
    """

    replayed: int
    was: int
    would_be: int
    gained: int
    lost: int
    differ: int
    listed: int
    failed: int
    finished: int
    unknown: int


def explain_replay(counts: Replayed) -> Sequence[str]:
    """A replay in sentences."""
    if not counts.replayed:
        return ["No decision is stored yet, so nothing can be replayed."]
    sentences = [
        f"{counts.was} of {counts.replayed} decisions were ESSENTIAL; under these thresholds {counts.would_be} would "
        f"have been: {counts.gained} more and {counts.lost} fewer."
    ]
    if dropped := counts.failed + counts.finished + counts.unknown:
        sentences.append(
            f"Models that would not have had to be calibrated: {dropped}. Of these {counts.failed} have failed a run, "
            f"which might not have been made, {counts.finished} have finished runs without a FAIL, and "
            f"{counts.unknown} were never calibrated, so that nobody knows."
        )
    if counts.differ > counts.listed:
        sentences.append(f"{counts.differ} decisions differ; the newest {counts.listed} are listed.")
    return sentences
