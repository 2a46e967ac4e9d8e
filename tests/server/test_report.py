"""Elicitation sessions and their feedback on a terminal."""

from __future__ import annotations

from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import common_pb2, elicitation_pb2

from server.report import console, print_feedback, print_session


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
