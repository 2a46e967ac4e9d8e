"""Sessions, analyses, decisions and outcomes on a terminal."""

from __future__ import annotations

from typing import Any, cast

import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2, elicitation_pb2, prior_update_pb2, sbc_pb2

from server.command.printing import (
    console,
    print_attribution,
    print_conflict,
    print_feedback,
    print_joint,
    print_necessity,
    print_outcome,
    print_overview,
    print_session,
    print_update,
)


def test_a_session_shows_odds_fit_tails_and_what_does_not_fit_together() -> None:
    belief = elicitation_pb2.Belief(
        belief_id="tv",
        estimand=share_of_outcome("TV"),
        summary=common_pb2.Estimate(mean=0.5, median=0.5, sd=0.1),
        notes=["± 0.1 read as one standard deviation."],
        fit=elicitation_pb2.StatementFit(
            family=common_pb2.PRIOR_FAMILY_BETA,
            odds=["1 in 20 that it is above 66.6 %."],
            interpolated=True,
            probabilities=[elicitation_pb2.StatedProbability(value=0.4, stated=0.2, fitted=0.21)],
            untold=[elicitation_pb2.Quantile(probability=0.95, value=0.666)],
            families=[
                elicitation_pb2.FamilyFit(family=common_pb2.PRIOR_FAMILY_BETA, quantile_01=0.27, quantile_99=0.73)
            ],
        ),
        data_seen=True,
        disagreement=[elicitation_pb2.Disagreement(first="a/x", second="b/y", wasserstein_scaled=2.5)],
    )
    session = elicitation_pb2.ElicitationSession(
        session_id="s",
        model_id="m",
        state=elicitation_pb2.SESSION_STATE_FEEDBACK,
        beliefs=[belief],
        coherence_notes=["The shares do not fit."],
        share_groups=[elicitation_pb2.ShareGroup(quantity=common_pb2.QUANTITY_SHARE_OF_OUTCOME, belief_ids=["tv"])],
    )
    with console.capture() as capture:
        print_session(session)
    text = capture.get()
    for expected in ("1 in 20", "0.210", "27.0 % to 73.0 %", "nothing", "66.6 %", "2.50 sd", "do not fit", "Stated"):
        assert expected in text
    assert "share of outcome" in text


def test_feedback_shows_thresholds_totals_and_the_range_of_the_data_only() -> None:
    feedback = elicitation_pb2.ElicitationFeedback(
        thresholds=[elicitation_pb2.BeliefThreshold(belief_id="tv", explanation="Wrong below 26.0 %.")],
        totals=[
            elicitation_pb2.ImpliedTotal(what="stated shares", total=common_pb2.Estimate(mean=0.9), impossible=0.125)
        ],
        predictive=elicitation_pb2.PriorPredictive(
            total=common_pb2.Estimate(mean=1200.0),
            row=common_pb2.Interval(level=0.95, lower=1.0, upper=20.0),
            observed_lowest=3.0,
            observed_highest=9.0,
        ),
        notes=["Approximate."],
    )
    with console.capture() as capture:
        print_feedback(feedback)
    text = capture.get()
    for expected in ("tv: Wrong below 26.0 %.", "12.5 %", "90.0 %", "1 to 20", "3 to 9", "Approximate"):
        assert expected in text.replace("\n", " ")


def belief(**changes: Any) -> conflict_pb2.BeliefConflict:
    found = conflict_pb2.BeliefConflict(
        belief_id="tv",
        estimand=share_of_outcome("TV"),
        client=common_pb2.Estimate(mean=0.5, sd=0.1),
        data_side=common_pb2.Estimate(mean=0.25, sd=0.05),
        bayes_factors=[
            conflict_pb2.BayesFactor(
                alternative=conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED, log_bayes_factor=230.0
            )
        ],
        p_value=0.000012345,
        p_value_se=0.00000234,
        severity=conflict_pb2.SEVERITY_VERY_STRONG,
        status=conflict_pb2.CONFLICT_STATUS_OK,
    )
    found.MergeFrom(conflict_pb2.BeliefConflict(**changes))
    return found


def printed(show: Any, *what: Any) -> str:
    with console.capture() as captured:
        console.width, before = 200, console.width
        show(*what)
        console.width = before
    return captured.get()


def test_figures_that_are_not_reliable_are_not_shown() -> None:
    unreliable = belief(status=conflict_pb2.CONFLICT_STATUS_UNRELIABLE, status_reason="Pareto k-hat is 0.93, above 0.7")
    text = printed(print_conflict, conflict_pb2.ConflictAnalysis(beliefs=[unreliable]))
    assert "not reliable" in text
    assert "Pareto k-hat is 0.93" in text
    for hidden in ("Bayes factor", "node-split", "severity", "both together", "VERY_STRONG", "data alone", "25"):
        assert hidden not in text


def test_that_a_fit_missed_its_thresholds_is_shown_before_its_figures() -> None:
    missed = common_pb2.FitDiagnostics(max_r_hat=1.016)
    for show, answer in (
        (print_conflict, conflict_pb2.ConflictAnalysis(beliefs=[belief()], diagnostics=missed)),
        (print_attribution, attribution_pb2.Attribution(model_id="m", diagnostics=missed)),
    ):
        assert printed(show, answer).startswith("The sampler did not meet its thresholds (R-hat 1.016")


def test_a_huge_factor_and_a_small_p_value_are_shown_in_a_few_digits() -> None:
    text = printed(print_conflict, conflict_pb2.ConflictAnalysis(beliefs=[belief()]))
    assert "7.72e+99" in text
    assert "< 0.0001" in text
    assert "e-0" not in text


def test_the_reason_of_an_open_label_is_shown() -> None:
    status = conflict_pb2.CONFLICT_STATUS_BORDERLINE
    one = belief(status=status, status_reason="no draw reached the tails")
    assert "BORDERLINE: no draw reached the tails" in printed(
        print_conflict, conflict_pb2.ConflictAnalysis(beliefs=[one])
    )


@pytest.mark.parametrize("conflict", [True, False])
def test_the_worst_direction_is_told_only_of_a_joint_conflict(conflict: bool) -> None:
    joint = conflict_pb2.JointConflict(
        degrees_of_freedom=2, p_value=0.012345, conflict=conflict, worst_direction="The beliefs put tv too high."
    )
    text = printed(print_joint, joint)
    assert ("too high" in text) == conflict
    assert "p = 0.012," in text


def test_a_label_as_input_is_shown_as_just_above_its_band() -> None:
    rule = sbc_pb2.NecessityRule(
        input="bayes_factor", operator=">", threshold=10, observed=10.000000000000002, margin=2e-15, fired=True
    )
    text = printed(print_necessity, sbc_pb2.SbcNecessity(rules=[rule]))
    assert "just > 10" in text
    assert "e-15" not in text


@pytest.mark.parametrize(
    ("side", "estimate", "told"),
    [
        (conflict_pb2.OUTCOME_SIDE_DATA, 0.28, "by experiment lift"),
        (conflict_pb2.OUTCOME_SIDE_CLIENT, 0.28, "against experiment lift"),
        (conflict_pb2.OUTCOME_SIDE_NEITHER, 0.28, "against experiment lift"),
        (conflict_pb2.OUTCOME_SIDE_CLIENT, 0.35, "stated, undecided by experiment lift"),
    ],
)
def test_an_outcome_says_whether_its_experiment_says_the_same(side: int, estimate: float, told: str) -> None:
    error = 0.05 if estimate < 0.3 else 0.2
    experiment = common_pb2.Experiment(experiment_id="lift", estimate=estimate, standard_error=error)
    outcome = conflict_pb2.ConflictOutcome(belief_id="tv", side=side, experiment=experiment)  # type: ignore[arg-type]
    analysis = conflict_pb2.ConflictAnalysis(beliefs=[belief()])
    assert told in printed(print_outcome, outcome, analysis)


@pytest.mark.parametrize(("reason", "told"), [("", "Decided by Ann."), ("It fits.", "Decided by Ann: It fits.")])
def test_a_decision_without_a_reason_has_no_colon(reason: str, told: str) -> None:
    update = prior_update_pb2.PriorUpdate(decided_by="Ann", decision_reason=reason)
    assert told in printed(print_update, update)


def test_a_client_without_results_is_told_so() -> None:
    nothing = type("Lists", (), {"list": staticmethod(list)})
    client = type("Client", (), dict.fromkeys(("elicitation", "conflicts", "sbc", "updates", "attribution"), nothing))
    assert "This client has no results yet." in printed(print_overview, cast(Any, client), "")


def test_changed_models_that_change_nothing_are_one_row() -> None:
    causes = [
        conflict_pb2.Cause(kind=conflict_pb2.CAUSE_KIND_COLUMN_ADDED, subject="rain", resolves=True, change=0.2),
        conflict_pb2.Cause(kind=conflict_pb2.CAUSE_KIND_COLUMN_ADDED, subject="snow", change=0.06),
        *(conflict_pb2.Cause(kind=conflict_pb2.CAUSE_KIND_SATURATION, subject="hill", change=c) for c in (0.01, -0.02)),
    ]
    text = printed(print_conflict, conflict_pb2.ConflictAnalysis(beliefs=[belief(causes=causes)]))
    assert "column added rain" in text
    assert "column added snow" in text
    assert "hill" not in text
    assert "and 2 other changes" in text
