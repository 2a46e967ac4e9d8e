"""Stored results as tables and sentences on a terminal; every number is taken from the message it is given."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from liftos.bayes import Client
from liftos.bayes.v1 import (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    elicitation_pb2,
    model_pb2,
    prior_update_pb2,
    sbc_pb2,
)
from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table

from server.contract.quantities import estimand, quantity_words, unit
from server.contract.wire import label
from server.records.outcomes import by_experiment, points_to
from server.texts.both_sides import no_compromise, nowhere
from server.texts.formats import SMALLEST_P, decimals_of, factor, number, p_is, p_value, shown
from server.texts.phrases import centre, times_exactly
from server.texts.recovery_words import explain_truth
from server.texts.standing import not_relied_on

STAMP = "EXPLORATORY – NOT INFERENTIAL"

# No markup: names of quantities hold square brackets.
console = Console(highlight=False, markup=False)


def estimate(message: common_pb2.Estimate, quantity: int) -> str:
    """Mean and 95 % interval."""
    digits = decimals_of(message, quantity)
    told = shown(centre(message), quantity, digits)
    wide = next((interval for interval in message.intervals if abs(interval.level - 0.95) < 1e-9), None)
    if wide is None:
        return told
    return f"{told}  [{shown(wide.lower, quantity, digits)}, {shown(wide.upper, quantity, digits)}]"


def _together(
    belief: common_pb2.Estimate, data: common_pb2.Estimate, both: common_pb2.Estimate | None, quantity: int
) -> str:
    """What belief and data give together, if that is known and a figure to tell."""
    if both is None:
        return "–"
    return "no compromise" if no_compromise(belief, data, both) else estimate(both, quantity)


def _made_of(
    belief: common_pb2.Estimate, data: common_pb2.Estimate, prior: common_pb2.Estimate | None, quantity: int
) -> str:
    """What a strategy has made of a belief, if anything, unless that lies where neither belief nor data are."""
    if prior is None:
        return "–"
    return "where neither is" if nowhere(belief, data, prior) else estimate(prior, quantity)


def print_session(session: elicitation_pb2.ElicitationSession) -> None:
    """An elicitation session: a table per belief with what the law says, its odds, and remarks on all of them."""
    state = label(elicitation_pb2.SessionState, session.state)
    console.print(f"Session {session.session_id} about model {session.model_id}: {state}")
    for belief in session.beliefs:
        console.print(_belief(belief))
        if belief.fit.probabilities:
            console.print(_stated(belief))
        for line in (*belief.fit.odds, *belief.notes):
            console.print(line)
        for pair in belief.disagreement:
            console.print(
                f"{pair.first} and {pair.second} are {pair.wasserstein_scaled:.2f} sd apart "
                f"(Jensen-Shannon {pair.jensen_shannon_nats:.3f} nats)"
            )
    for group in session.share_groups:
        console.print(f"Stated together as {quantity_words(group.quantity)}: {', '.join(group.belief_ids)}")
    for note in session.coherence_notes:
        console.print(f"Note: {note}", style="bold")


def _belief(belief: elicitation_pb2.Belief) -> Table:
    """What a belief says, and what other families would have made of its tails."""
    quantity = belief.estimand.quantity
    table = Table(title=f"Belief {belief.belief_id}: {estimand(belief.estimand)}", title_justify="left")
    table.add_column("")
    table.add_column("")
    table.add_row("mean  [95 % interval]", estimate(belief.summary, quantity))
    for untold in belief.fit.untold:
        table.add_row(f"{100 * untold.probability:.0f} % quantile, not asked for", shown(untold.value, quantity))
    for other in belief.fit.families:
        family = label(common_pb2.PriorFamily, other.family).lower().replace("_", " ")
        mark = " (taken)" if other.family == belief.fit.family else ""
        table.add_row(
            f"1 to 99 % as {family}{mark}",
            f"{shown(other.quantile_01, quantity)} to {shown(other.quantile_99, quantity)}",
        )
    if belief.fit.interpolated:
        table.add_row("checked by", "nothing: as many parameters as numbers stated")
    if belief.HasField("data_seen"):
        table.add_row("stated after seeing the data", "yes" if belief.data_seen else "no")
    return table


def _stated(belief: elicitation_pb2.Belief) -> Table:
    """Stated against fitted probabilities."""
    table = Table(show_header=True)
    for column in ("below", "stated", "fitted"):
        table.add_column(column, justify="right")
    for point in belief.fit.probabilities:
        table.add_row(shown(point.value, belief.estimand.quantity), f"{point.stated:.3f}", f"{point.fitted:.3f}")
    return table


def print_feedback(feedback: elicitation_pb2.ElicitationFeedback) -> None:
    """What the beliefs of a session imply before they meet the data."""
    for threshold in feedback.thresholds:
        console.print(f"{threshold.belief_id}: {threshold.explanation}", style="bold")
    if feedback.totals:
        table = Table(title="Implied totals", title_justify="left")
        for column in ("", "mean  [95 % interval]", "chance of more than the whole"):
            table.add_column(column)
        for total in feedback.totals:
            chance = f"{100 * total.impossible:.1f} %" if total.HasField("impossible") else "–"
            table.add_row(total.what, estimate(total.total, common_pb2.QUANTITY_SHARE_OF_OUTCOME), chance)
        console.print(table)
    if feedback.HasField("predictive"):
        row = feedback.predictive.row
        console.print(
            f"Predicted outcome of the window: {estimate(feedback.predictive.total, 0)}. Of a single row: "
            f"{number(row.lower)} to {number(row.upper)} in {100 * row.level:.0f} % of them; the data range from "
            f"{number(feedback.predictive.observed_lowest)} to {number(feedback.predictive.observed_highest)}."
        )
    for note in feedback.notes:
        console.print(f"Note: {note}")


def print_conflict(analysis: conflict_pb2.ConflictAnalysis) -> None:
    """A conflict analysis: one table and one sentence per belief, then the decision on SBC."""
    print_stamp(analysis)
    print_missed(analysis)
    for belief in analysis.beliefs:
        quantity = belief.estimand.quantity
        name = estimand(belief.estimand)
        if unit(quantity):
            name = f"{name}, in {unit(quantity)}"
        table = Table(title=f"Belief {belief.belief_id}: {name}", title_justify="left")
        table.add_column("")
        table.add_column("mean  [95 % interval]")
        table.add_row("client believes", estimate(belief.client, quantity))
        reliable = belief.status != conflict_pb2.CONFLICT_STATUS_UNRELIABLE
        if reliable:
            table.add_row("data alone", estimate(belief.data_side, quantity))
            both = belief.client_posterior if belief.HasField("client_posterior") else None
            table.add_row("both together", _together(belief.client, belief.data_side, both, quantity))
        else:
            table.add_row("not reliable", belief.status_reason)
        console.print(table)
        if reliable:
            console.print(_figures(belief))
        if belief.causes:
            console.print(_causes(belief))
        console.print(belief.explanation, style="bold")
        if belief.HasField("curves"):
            console.print(_curves(belief))
            console.print(belief.curves.explanation)
    if analysis.HasField("joint"):
        print_joint(analysis.joint)
    print_looks(analysis.looks, "analysed")
    for note in analysis.notes:
        console.print(f"Note: {note}")
    if analysis.HasField("sbc_necessity"):
        print_necessity(analysis.sbc_necessity)


def _curves(belief: conflict_pb2.BeliefConflict) -> Table:
    """What every saturation curve says of a belief."""
    table = Table("saturation curve", "data alone  [95 % interval]", "finding", show_header=True)
    table.add_column("weight by evidence", justify="right")
    table.add_column("by prediction", justify="right")
    for curve in belief.curves.curves:
        table.add_row(
            label(model_pb2.Saturation, curve.saturation),
            estimate(curve.data_side, belief.estimand.quantity) if curve.HasField("data_side") else curve.reason,
            label(conflict_pb2.Finding, curve.finding),
            f"{curve.weight:.2f}",
            f"{curve.stacking_weight:.2f}" if curve.HasField("stacking_weight") else "–",
        )
    return table


def _figures(belief: conflict_pb2.BeliefConflict) -> Table:
    """The figures of a reliable comparison."""
    figures = Table(show_header=True)
    figures.add_column("evidence against the belief")
    figures.add_column("value", justify="right")
    for bayes_factor in belief.bayes_factors:
        name = label(conflict_pb2.BayesFactorAlternative, bayes_factor.alternative)
        error = f" ± {100 * bayes_factor.mcse:.1f} %" if bayes_factor.mcse else ""
        figures.add_row(f"Bayes factor, {name}", f"{times_exactly(bayes_factor.log_bayes_factor)}{error}")
    figures.add_row("node-split p", _p_with_error(belief.p_value, belief.p_value_se))
    if belief.HasField("p_value_holm"):
        figures.add_row("p, Holm over the session", p_value(belief.p_value_holm))
    if belief.HasField("replicated"):
        audit = belief.replicated
        name = f"replicated-data p ({audit.replicates} data sets)"
        figures.add_row(name, _p_with_error(audit.p_value, audit.se))
    kl = f"{belief.kl_divergence_nats:.3f}{_error(belief.kl_divergence_mcse, '.3f')} nats"
    figures.add_row("KL(data side ‖ belief)", kl)
    figures.add_row("Wasserstein-1", shown(belief.wasserstein_1, belief.estimand.quantity))
    if belief.HasField("prior_ess_months"):
        figures.add_row("the belief is worth", f"{number(belief.prior_ess_months)} months of data")
    figures.add_row("severity", label(conflict_pb2.Severity, belief.severity))
    reason = f": {belief.status_reason}" if belief.status_reason else ""
    figures.add_row("status", f"{label(conflict_pb2.ConflictStatus, belief.status)}{reason}")
    return figures


def print_stamp(answer: conflict_pb2.ConflictAnalysis | attribution_pb2.Attribution) -> None:
    """That an answer has counted data twice, and which."""
    if not answer.exploratory:
        return
    console.print(f"{STAMP}: data are counted twice.", style="bold red")
    for overlap in answer.overlaps:
        days = (
            f"{overlap.window.first_date} to {overlap.window.last_date}" if overlap.HasField("window") else "a summary"
        )
        geos = f" in {', '.join(overlap.geos)}" if overlap.geos else ""
        restated = f"; restated since: {', '.join(overlap.restated_months)}" if overlap.restated_months else ""
        console.print(
            f"Belief {overlap.belief_id} had seen {days} ({overlap.rows} rows{geos}) through update "
            f"{overlap.update_id}{restated}.",
            style="red",
        )


def print_missed(answer: conflict_pb2.ConflictAnalysis | attribution_pb2.Attribution) -> None:
    """That the fit behind an answer missed its thresholds, before any of its figures."""
    for sentence in not_relied_on(answer.diagnostics) if answer.HasField("diagnostics") else ():
        console.print(sentence, style="bold red")


def print_looks(looks: int, what: str) -> None:
    """How often the client has looked at these rows for the same quantities, unless this is the first time."""
    if looks > 1:
        console.print(
            f"Look {looks}: these quantities were {what} {looks} times under rows in common, this time included."
        )


def _p_with_error(value: float, error: float) -> str:
    """A p-value with its Monte Carlo error, where it is not told as below the smallest one."""
    return p_value(value) if value < SMALLEST_P else f"{p_value(value)}{_error(error, '.1g')}"


def _error(value: float, form: str) -> str:
    return f" ± {value:{form}}" if value else ""


def _causes(belief: conflict_pb2.BeliefConflict) -> Table:
    """What the data would say under other models."""
    quantity = belief.estimand.quantity
    table = Table(title="What else could explain it", title_justify="left")
    for column in ("change of the model", "data alone", "change", "Bayes factor", "explains the data better by"):
        table.add_column(column)
    idle = [cause for cause in belief.causes if _changes_nothing(cause, belief.data_side)]
    for cause in belief.causes:
        if cause in idle:
            continue
        kind = label(conflict_pb2.CauseKind, cause.kind).lower().replace("_", " ")
        gain = f"e^{cause.log_evidence_gain:.1f}" if cause.HasField("log_evidence_gain") else "not comparable"
        against = times_exactly(cause.log_bayes_factor)
        table.add_row(
            f"{kind} {cause.subject}".strip(),
            estimate(cause.data_side, quantity),
            shown(cause.change, quantity),
            f"{against} (resolved)" if cause.resolves else against,
            gain,
        )
    if idle:
        table.add_row(f"and {len(idle)} other change{'s' if len(idle) > 1 else ''}", "change nothing", "", "", "")
    return table


def _changes_nothing(cause: conflict_pb2.Cause, before: common_pb2.Estimate) -> bool:
    """Whether a changed model resolves nothing and moves the data side by less than half a standard deviation."""
    return not cause.resolves and before.HasField("sd") and abs(cause.change) < 0.5 * before.sd


def print_joint(joint: conflict_pb2.JointConflict) -> None:
    """All beliefs of a session together."""
    if joint.status == conflict_pb2.CONFLICT_STATUS_UNRELIABLE:
        console.print(f"All beliefs together: not reliable; {joint.status_reason}")
        return
    answer = f"the data contradict them. {joint.worst_direction}" if joint.conflict else "no contradiction."
    console.print(
        f"All beliefs together: D² = {joint.d_squared:.2f} on {joint.degrees_of_freedom} degrees of freedom, "
        f"{p_is(joint.p_value)}, calibrated Bayes factor {times_exactly(joint.log_calibrated_bayes_factor)}: {answer}"
    )


def print_necessity(necessity: sbc_pb2.SbcNecessity) -> None:
    """The decision whether SBC is essential, with the rules behind it."""
    table = Table(title="Is simulation-based calibration essential?", title_justify="left")
    for column in ("input", "observed", "rule", "margin", "fired"):
        table.add_column(column)
    for rule in necessity.rules:
        told = factor if rule.input == "bayes_factor" else number
        threshold, observed, margin = number(rule.threshold), "missing", ""
        if rule.HasField("observed"):
            observed = told(rule.observed)
            margin = f"{told(rule.margin)}{' (near)' if rule.near_miss else ''}"
            if rule.fired and observed == threshold:
                # A label is taken as just beyond the end of its band, and so may a number be that rounds to the limit.
                observed, margin = f"just {rule.operator} {threshold}", "(near)"
        fired = ("yes" if rule.fired else "no") if rule.HasField("fired") else "unknown"
        table.add_row(rule.input, observed, f"{rule.operator} {threshold}", margin, fired)
    console.print(table)
    console.print(necessity.explanation, style="bold")
    if necessity.HasField("cost"):
        console.print(_cost(necessity.cost))
    if reach := _reach(necessity):
        console.print(f"Such a run detects, with 80 % power: {reach}.")
    console.print(f"Policy {necessity.policy_id}, decision {necessity.decision_id}", soft_wrap=True)


def _cost(cost: sbc_pb2.SbcCost) -> str:
    """What the advised run costs."""
    seconds = "unknown seconds"
    if cost.HasField("seconds_median"):
        seconds = f"{number(cost.seconds_median)} s (90 %: {number(cost.seconds_90)} s)"
    return f"Cost: {cost.fits} fits, {seconds}. {cost.explanation}"


def _reach(necessity: sbc_pb2.SbcNecessity) -> str:
    """The smallest errors that the advised run would see."""
    errors = []
    if necessity.HasField("detectable_sd_factor"):
        errors.append(f"a posterior sd {100 * (1 - necessity.detectable_sd_factor):.0f} % too small")
    if necessity.HasField("detectable_sd_factor_above"):
        errors.append(f"one {100 * (necessity.detectable_sd_factor_above - 1):.0f} % too large")
    if necessity.HasField("detectable_bias_sd"):
        errors.append(f"a bias of {necessity.detectable_bias_sd:.2f} posterior sd")
    return ", ".join(errors)


def print_policies(policies: Iterable[sbc_pb2.NecessityPolicy]) -> None:
    """Versions of the policy, the one in force first."""
    table = Table(title="Policy on SBC; the newest version is in force", title_justify="left")
    for column in (
        "version",
        "parameters >",
        "Bayes factor >",
        "impact, USD >",
        "confidence <",
        "adopted by",
        "reason",
    ):
        table.add_column(column)
    for policy in policies:
        limits = policy.thresholds
        table.add_row(
            str(policy.version),
            str(limits.model_complexity),
            number(limits.bayes_factor),
            f"{limits.business_impact.minor_units / 100:,.2f}",
            number(limits.client_confidence),
            policy.adopted_by or "–",
            policy.reason,
        )
    console.print(table)


def print_decisions(decisions: Iterable[sbc_pb2.StoredDecision]) -> None:
    """Stored decisions, newest first."""
    for stored in decisions:
        when = stored.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
        console.print(f"{when}  {_decision(stored)} (policy {stored.necessity.policy_version})", soft_wrap=True)


def _decision(stored: sbc_pb2.StoredDecision) -> str:
    source = label(sbc_pb2.DecisionSource, stored.source).lower()
    about = f" of model {stored.model_id}" if stored.model_id else ""
    return f"{source}{about}: {label(sbc_pb2.NecessityDecision, stored.necessity.decision)}"


def print_replay(replay: sbc_pb2.ReplayNecessityPolicyResponse) -> None:
    """Past decisions that would have been different."""
    for changed in replay.changed:
        would_be = label(sbc_pb2.NecessityDecision, changed.would_be.decision)
        failed = f"; failed runs: {', '.join(changed.failed_run_ids)}" if changed.failed_run_ids else ""
        console.print(f"{_decision(changed.was)} would be {would_be}{failed}", soft_wrap=True)
    for sentence in replay.summary:
        console.print(sentence, style="bold")


def print_outcome(outcome: conflict_pb2.ConflictOutcome, analysis: conflict_pb2.ConflictAnalysis) -> None:
    """A recorded outcome, and what the analysis that it is about makes of its experiment."""
    side = label(conflict_pb2.OutcomeSide, outcome.side).lower()
    how = "without experiment"
    if outcome.HasField("experiment"):
        belief = next((belief for belief in analysis.beliefs if belief.belief_id == outcome.belief_id), None)
        how = f"{_told_by(outcome, belief)} experiment {outcome.experiment.experiment_id}"
    note = "; a later record counts" if outcome.superseded else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    console.print(
        f"Belief {outcome.belief_id} of analysis {outcome.analysis_id}: for {side}, {how}, recorded by "
        f"{outcome.recorded_by}{reason}{note}",
        soft_wrap=True,
    )


def _told_by(outcome: conflict_pb2.ConflictOutcome, belief: conflict_pb2.BeliefConflict | None) -> str:
    """Whether the side of an outcome is that which its experiment points to."""
    if by_experiment(outcome, belief):
        return "by"
    silent = belief is None or isinstance(points_to(outcome.experiment, belief), str)
    return "stated, undecided by" if silent else "against"


def print_outcome_report(report: conflict_pb2.GetOutcomeReportResponse) -> None:
    """How often the data were right, by severity."""
    table = Table(title="How conflicts were resolved", title_justify="left")
    for column in ("severity", "analysed", "resolved", "for data", "for client", "by experiment", "data right"):
        table.add_column(column)
    for record in report.severities:
        rate = "–"
        if record.HasField("hit_rate"):
            low, high = 100 * record.hit_rate_lower, 100 * record.hit_rate_upper
            rate = f"{100 * record.hit_rate:.0f} %  [{low:.0f} %, {high:.0f} %]"
        counts = (record.analysed, record.resolved, record.for_data, record.for_client, record.by_experiment)
        table.add_row(label(conflict_pb2.Severity, record.severity), *map(str, counts), rate)
    console.print(table)
    for sentence in report.summary:
        console.print(sentence, style="bold")


def coverage(quantity: sbc_pb2.QuantityCalibration, level: float) -> str:
    """Observed coverage of the central interval of a level."""
    # The nominal level is what ranks of a finite number of draws can represent, so it is only near the level.
    coverages = [c for c in quantity.coverage if abs(c.nominal - level) < 0.02]
    if not coverages:
        return ""
    return f"{100 * coverages[0].observed:.0f} %"


def print_sbc(run: sbc_pb2.SbcRun) -> None:
    """A calibration run and its verdict."""
    state = label(common_pb2.JobState, run.state)
    console.print(f"SBC run {run.run_id}: {state}, {run.progress.done} of {run.progress.total} simulations")
    kind = label(sbc_pb2.ValidationType, run.validation_type)
    method = label(sbc_pb2.InferenceMethod, run.inference_method) if run.inference_method else "PRODUCTION"
    priors = f", priors of session {run.session_id!r}" if run.session_id else ""
    held = f" before the last {run.hold_out_months}" if run.hold_out_months else ""
    console.print(f"{kind} of model {run.model_id!r}, last {run.data_period_months} months{held}{priors}")
    # A report on a fixed truth has no verdict, so no error rate.
    recovers = run.validation_type == sbc_pb2.VALIDATION_TYPE_RECOVERY
    console.print(f"Inference {method}, {'' if recovers else f'alpha {run.alpha:g}, '}seed {run.seed}")
    if run.HasField("error"):
        field = f" ({run.error.field})" if run.error.field else ""
        console.print(f"{run.error.reason}: {run.error.message}{field}", style="red")
    if run.fixed_truth:
        console.print(f"Truth, {explain_truth(run.fixed_truth)}")
    if run.HasField("recovery"):
        console.print(_recovery_table(run.recovery))
        for sentence in run.recovery.summary:
            console.print(sentence)
    if not run.HasField("verdict"):
        if run.progress.HasField("rate_per_second"):
            console.print(f"{run.progress.rate_per_second:.1f}/s, {run.progress.eta_seconds:.0f} s to go")
        if run.HasField("interim"):
            console.print(evidence_in_words(run.interim))
        return
    for part in dict.fromkeys(q.part for q in run.verdict.quantities):
        console.print(_quantities_table(run, part))
    for canary in run.verdict.canaries:
        name = label(sbc_pb2.SbcPart, canary.canary).removeprefix("CANARY_").lower().replace("_", " ")
        noticed = f"noticed by {canary.quantity}" if canary.detected else "NOT NOTICED"
        console.print(f"Canary, {name}: {noticed} ({canary.n_simulations} simulations)")
    for test in run.verdict.shared_numbers:
        console.print(f"Truths from the {label(sbc_pb2.SbcPart, test.part).lower()}: {test.explanation}")
    console.print(f"Verdict: {label(sbc_pb2.VerdictKind, run.verdict.kind)}. {run.verdict.explanation}", style="bold")
    if run.verdict.kind != sbc_pb2.VERDICT_KIND_CANCELLED:
        console.print(
            f"{run.verdict.n_escalated} simulations needed the longer schedule, {run.verdict.n_failed} failed."
        )
        for q in run.verdict.quantities:
            if q.n_not_finite:
                console.print(f"{q.quantity} was no number in {q.n_not_finite} of them.")


def _recovery_table(report: sbc_pb2.RecoveryReport) -> Table:
    table = Table(title="At the fixed truth; coverage of 50, 80 and 95 % intervals, bias in sd", title_justify="left")
    table.add_column("quantity", overflow="fold")
    for column in ("truth", "bias", "in sd", "50 %", "80 %", "95 %"):
        table.add_column(column, no_wrap=True)
    for q in report.quantities:
        in_sd = f"{q.bias_in_sd:+.2f} ± {q.bias_in_sd_error:.2f}" if q.HasField("bias_in_sd_error") else "–"
        covered = [f"{100 * c.observed:.0f} % ({100 * c.lower:.0f}–{100 * c.upper:.0f})" for c in q.coverage]
        bias = f"{q.bias:+.3g}" if q.HasField("bias") else "–"
        table.add_row(q.quantity, f"{q.truth:.4g}", bias, in_sd, *(covered or ["–"] * 3))
    return table


def evidence_in_words(interim: sbc_pb2.InterimReport) -> str:
    """An interim report in a line: what is miscalibrated, or how far the evidence is from saying so."""
    failing = [q.quantity for q in interim.quantities if q.failing]
    if not failing:
        return f"evidence {math.exp(min(interim.log_global_e_value, 99.0)):.2g}"
    more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
    return f"miscalibrated: {failing[0]}{more}"


def _quantities_table(run: sbc_pb2.SbcRun, part: sbc_pb2.SbcPart.ValueType) -> Table:
    truths = label(sbc_pb2.SbcPart, part).lower() if part else "prior"
    table = Table(title=f"Truths from the {truths}; coverage of 50 % and 90 % intervals", title_justify="left")
    table.add_column("quantity", overflow="fold")
    for column in ("adj. p", "ln e", "rank", "50 %", "90 %", "shape"):
        table.add_column(column, no_wrap=True)
    # Failing ones first; otherwise as they come, strongest evidence first.
    for q in sorted((q for q in run.verdict.quantities if q.part == part), key=lambda q: not q.failing):
        table.add_row(
            q.quantity,
            _p_value(q),
            f"{q.log_e_value_peak:.1f}",
            f"{q.mean_rank:.3f}",
            coverage(q, 0.5),
            coverage(q, 0.9),
            f"{label(sbc_pb2.RankShape, q.shape).lower().replace('_', '-')}{' FAIL' if q.failing else ''}",
        )
    return table


def _p_value(quantity: sbc_pb2.QuantityCalibration) -> str:
    if not quantity.HasField("adjusted_p_value"):
        return "–"
    return p_value(quantity.adjusted_p_value)


def print_update(update: prior_update_pb2.PriorUpdate) -> None:
    """A recommended update."""
    if update.exploratory:
        console.print(f"{STAMP}: it rests on an analysis that counts data twice.", style="bold red")
    strategy = label(prior_update_pb2.UpdateStrategy, update.update_strategy)
    table = Table(title=f"Prior update ({strategy}): {label(prior_update_pb2.UpdateState, update.state)}")
    with_experiments = any(belief.HasField("experiment_side") for belief in update.beliefs)
    experiments = ["experiments"] if with_experiments else []
    for column in ("belief", "before", "data alone", *experiments, "after", "worth in months", "action"):
        table.add_column(column)
    for belief in update.beliefs:
        quantity = belief.estimand.quantity
        side = belief.experiment_side
        table.add_row(
            belief.belief_id,
            estimate(belief.before_summary, quantity),
            estimate(belief.data_side, quantity),
            *([estimate(side, quantity) if belief.HasField("experiment_side") else "–"] if with_experiments else []),
            _made_of(belief.before_summary, belief.data_side, belief.after_summary, quantity),
            _worth(belief),
            label(prior_update_pb2.UpdateAction, belief.action),
        )
    console.print(table)
    for sentence in update.summary:
        console.print(sentence)
    for belief in update.beliefs:
        for reason in belief.reasons[1:]:
            console.print(f"{belief.belief_id}: {reason}")
        if belief.HasField("projection"):
            console.print(f"{belief.belief_id}: {_projection(belief.projection)}")
    print_looks(update.looks, "updated")
    print_lineage(update)
    for blocker in update.release_blockers:
        console.print(f"Cannot be accepted yet: {blocker}", style="yellow")
    if update.decided_by:
        reason = f": {update.decision_reason}" if update.decision_reason else "."
        console.print(f"Decided by {update.decided_by}{reason}")


def print_lineage(update: prior_update_pb2.PriorUpdate) -> None:
    """What an update was derived from, and what was replaced on the way to it."""
    lineage = update.lineage
    for seen in lineage.seen:
        data = f"data set {seen.dataset_id!r}" if seen.dataset_id else "a summary"
        days = f" from {seen.window.first_date} to {seen.window.last_date}" if seen.HasField("window") else ""
        through = f", through update {seen.update_id}" if seen.update_id else ""
        console.print(f"Has seen {seen.rows} rows of {seen.kpi} in {data}{days}{through}.")
    if lineage.experiment_ids:
        console.print(f"Has used the experiments {', '.join(lineage.experiment_ids)}.")
    if lineage.parent_update_ids:
        console.print(f"Comes after the updates {', '.join(lineage.parent_update_ids)}, nearest first.")
    estimands = {belief.belief_id: belief.estimand for belief in update.beliefs}
    for replaced in lineage.replaced:
        quantity = estimands[replaced.belief_id].quantity if replaced.belief_id in estimands else 0
        console.print(
            f"Replaced belief {replaced.belief_id}, {estimate(replaced.before, quantity)}, in update "
            f"{replaced.update_id}; Bayes factor against it {times_exactly(replaced.log_bayes_factor)}."
        )


def _worth(belief: prior_update_pb2.BeliefUpdate) -> str:
    """What the prior is worth in months of data, before and after."""
    before = number(belief.prior_ess_months_before) if belief.HasField("prior_ess_months_before") else "–"
    after = number(belief.prior_ess_months_after) if belief.HasField("prior_ess_months_after") else "–"
    return f"{before} → {after}"


def _projection(projection: prior_update_pb2.Projection) -> str:
    """What is lost by one distribution in the place of the updated prior."""
    if not projection.HasField("distribution"):
        return f"No projection. {projection.refusal}"
    family = str(projection.distribution.WhichOneof("kind")).replace("_", " ")
    told = (
        f"Nearest {family}: {number(projection.kl_nats)} nats, distribution functions within "
        f"{projection.max_cdf_error:.3f}."
    )
    return f"{told} It must not stand in. {projection.refusal}" if projection.refused else told


def print_attribution(attribution: attribution_pb2.Attribution) -> None:
    """An attribution: prior, data and updated answer side by side, the baseline, the geos, and the checks."""
    print_stamp(attribution)
    print_missed(attribution)
    table = Table(title=f"Attribution under model {attribution.model_id}", title_justify="left")
    for column in ("channel", "quantity", "prior", "data, reference prior", "belief and data", "accepted update"):
        table.add_column(column)
    for channel in attribution.channels:
        for q in channel.quantities:
            both = q.client_posterior if q.HasField("client_posterior") else None
            updated = q.updated_prior if q.HasField("updated_prior") else None
            table.add_row(
                channel.channel,
                quantity_words(q.quantity),
                estimate(q.prior, q.quantity) if q.HasField("prior") else "–",
                estimate(q.data_side, q.quantity) if q.HasField("data_side") else "–",
                _together(q.prior, q.data_side, both, q.quantity),
                _made_of(q.prior, q.data_side, updated, q.quantity),
            )
    if attribution.HasField("baseline_share"):
        share = estimate(attribution.baseline_share, common_pb2.QUANTITY_SHARE_OF_OUTCOME)
        outcome = estimate(attribution.baseline_outcome, common_pb2.QUANTITY_INCREMENTAL_OUTCOME)
        table.add_row("(no media)", "share of outcome", "–", share, "–", "–")
        table.add_row("(no media)", "outcome", "–", outcome, "–", "–")
    console.print(table)
    if attribution.geos:
        console.print(_geos_table(attribution))
    for sentence in attribution.summary:
        console.print(sentence)
    for sentence in attribution.validation.summary:
        console.print(sentence, style="bold")
    if attribution.validation.started_run_id:
        console.print(f"Calibration run: {attribution.validation.started_run_id}")


def _geos_table(attribution: attribution_pb2.Attribution) -> Table:
    """A row per geo: the means of share and ROI by channel."""
    table = Table(
        title="By geo: share of the geo's outcome, ROI (means, by data and reference prior)", title_justify="left"
    )
    for column in ("geo", "outcome", *(channel.channel for channel in attribution.channels), "no media"):
        table.add_column(column, justify="left" if column == "geo" else "right")

    def mean(message: Any, field: str, quantity: int) -> str:
        return shown(getattr(message, field).mean, quantity) if message.HasField(field) else "–"

    for geo in attribution.geos:
        cells = []
        for channel in geo.channels:
            roi = f", {mean(channel, 'roi', common_pb2.QUANTITY_ROI)}" if channel.HasField("roi") else ""
            cells.append(f"{mean(channel, 'share_of_outcome', common_pb2.QUANTITY_SHARE_OF_OUTCOME)}{roi}")
        rest = mean(geo, "baseline_share", common_pb2.QUANTITY_SHARE_OF_OUTCOME)
        table.add_row(geo.geo, number(geo.outcome), *cells, rest)
    return table


def print_messages(messages: Iterable[common_pb2.Communication]) -> None:
    """Messages to a client, ready to be sent."""
    listed = list(messages)
    if not listed:
        console.print("There is nothing to tell the client.")
    for index, message in enumerate(listed):
        if index:
            console.print(Rule())
        console.print(f"Subject: {message.subject}\n\n{message.body}\n", soft_wrap=True)


def print_overview(client: Client, options: str) -> None:
    """Everything of a client that can be read again, newest first, with the command that shows it whole."""
    console.print(Panel("Stored results", expand=False))
    listed = False
    for message, what, command in _overview(client):
        listed = True
        _entry(message, what, f"{command} {options}")
    if not listed:
        console.print("This client has no results yet.")


def _overview(client: Client) -> Iterator[tuple[Any, str, str]]:
    """Every stored result of a client, in words, and what `show` has to be told of it."""
    for session in client.elicitation.list():
        state = label(elicitation_pb2.SessionState, session.state)
        what = f"elicitation session about model {session.model_id}, {len(session.beliefs)} beliefs: {state}"
        yield session, what, f"session {session.session_id}"
    for analysis in client.conflicts.list():
        state = label(common_pb2.JobState, analysis.state)
        what = f"conflict analysis of session {analysis.session_id}: {state}{_stamped(analysis)}"
        yield analysis, what, f"conflict {analysis.analysis_id}"
    for run in client.sbc.list():
        state = label(common_pb2.JobState, run.state)
        verdict = f", verdict {label(sbc_pb2.VerdictKind, run.verdict.kind)}" if run.HasField("verdict") else ""
        kind = label(sbc_pb2.ValidationType, run.validation_type)
        what = f"SBC of model {run.model_id}, {kind}, {run.num_simulations} simulations: {state}{verdict}"
        yield run, what, f"sbc {run.run_id}"
    for update in client.updates.list():
        state = label(prior_update_pb2.UpdateState, update.state)
        what = f"prior update of session {update.session_id}: {state}{_stamped(update)}"
        yield update, what, f"update {update.update_id}"
    for attribution in client.attribution.list():
        state = label(common_pb2.JobState, attribution.state)
        what = f"attribution of model {attribution.model_id}: {state}{_stamped(attribution)}"
        yield attribution, what, f"attribution {attribution.attribution_id}"


def _stamped(message: Any) -> str:
    return f", {STAMP}" if message.exploratory else ""


def _entry(message: Any, what: str, command: str) -> None:
    when = message.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
    console.print(f"{when}  {what}", soft_wrap=True)
    # On a line of its own and never wrapped, so that it can be copied.
    console.print(f"    {sys.argv[0]} show {command}", soft_wrap=True)
