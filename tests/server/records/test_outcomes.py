"""In whose favour a conflict was resolved, and the hit rate of the data."""

from __future__ import annotations

import math

import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2

from server.contract.errors import ServiceError
from server.records.outcomes import Resolved, by_experiment, hit_rate, report_message, side_of
from server.texts.track_record import CAVEAT

CLIENT, DATA = conflict_pb2.OUTCOME_SIDE_CLIENT, conflict_pb2.OUTCOME_SIDE_DATA


def belief(**changes: object) -> conflict_pb2.BeliefConflict:
    """The TV example: 50 % ± 10 % believed, 25 % ± 5 % by the data."""
    found = conflict_pb2.BeliefConflict(
        belief_id="tv",
        estimand=share_of_outcome("TV"),
        client=common_pb2.Estimate(mean=0.5, median=0.5, sd=0.1),
        data_side=common_pb2.Estimate(mean=0.25, median=0.25, sd=0.05),
        status=conflict_pb2.CONFLICT_STATUS_OK,
    )
    found.MergeFrom(conflict_pb2.BeliefConflict(**changes))  # type: ignore[arg-type]
    return found


def asked(
    estimate: float | None = None, se: float = 0.05, channel: str = "TV", side: int = 0
) -> conflict_pb2.RecordConflictOutcomeRequest:
    request = conflict_pb2.RecordConflictOutcomeRequest(side=side)  # type: ignore[arg-type]
    if estimate is not None:
        request.experiment.CopyFrom(
            common_pb2.Experiment(
                experiment_id="lift", estimand=share_of_outcome(channel), estimate=estimate, standard_error=se
            )
        )
    return request


def refused(request: conflict_pb2.RecordConflictOutcomeRequest, of: conflict_pb2.BeliefConflict) -> str:
    with pytest.raises(ServiceError) as caught:
        side_of(request, of)
    assert caught.value.reason == "INVALID_FIELD"
    return caught.value.violations[0].field


def test_an_experiment_is_for_the_side_that_is_nearer_in_joint_standard_deviations() -> None:
    assert side_of(asked(0.28), belief()) == DATA
    assert side_of(asked(0.48), belief()) == CLIENT
    # In points of share .36 is nearer to .25, in joint standard deviations to .5: .11/.0707 = 1.56, .14/.1118 = 1.25.
    assert side_of(asked(0.36), belief()) == CLIENT


def test_an_experiment_that_agrees_with_both_sides_tells_nothing() -> None:
    # .35 ± .2: z = .67 from .5 ± .1 and .49 from .25 ± .05
    assert refused(asked(0.35, se=0.2), belief()) == "side"
    # .28 ± .2: z = .98 and .15; .27 ± .2: 1.03 and .10
    assert refused(asked(0.28, se=0.2), belief()) == "side"
    assert side_of(asked(0.27, se=0.2), belief()) == DATA


def test_an_experiment_decides_only_what_it_points_to() -> None:
    def outcome(side: int, estimate: float | None = 0.28) -> conflict_pb2.ConflictOutcome:
        experiment = asked(estimate).experiment if estimate is not None else None
        return conflict_pb2.ConflictOutcome(side=side, experiment=experiment)  # type: ignore[arg-type]

    assert by_experiment(outcome(DATA), belief())
    assert not by_experiment(outcome(CLIENT), belief())
    assert not by_experiment(outcome(conflict_pb2.OUTCOME_SIDE_NEITHER), belief())
    assert not by_experiment(outcome(DATA, None), belief())
    assert not by_experiment(outcome(DATA), None)
    assert not by_experiment(outcome(DATA), belief(status=conflict_pb2.CONFLICT_STATUS_UNRELIABLE))


def test_a_stated_side_stands_even_against_the_experiment() -> None:
    assert side_of(asked(0.28, side=conflict_pb2.OUTCOME_SIDE_NEITHER), belief()) == conflict_pb2.OUTCOME_SIDE_NEITHER
    assert side_of(asked(side=CLIENT), belief()) == CLIENT


def test_where_the_side_cannot_be_told_it_has_to_be_stated() -> None:
    assert refused(asked(), belief()) == "side"
    # half-way between two sides of the same standard deviation
    even = belief(data_side=common_pb2.Estimate(mean=0.25, sd=0.1))
    assert refused(asked(0.375), even) == "side"
    heavy = belief()
    heavy.client.ClearField("sd")
    assert refused(asked(0.28), heavy) == "side"
    assert refused(asked(0.28), belief(status=conflict_pb2.CONFLICT_STATUS_UNRELIABLE)) == "side"


def test_an_experiment_about_another_quantity_decides_nothing() -> None:
    assert refused(asked(0.28, channel="radio"), belief()) == "experiment.estimand"
    assert refused(asked(0.28, channel="radio", side=DATA), belief()) == "experiment.estimand"


@pytest.mark.parametrize(
    ("hits", "resolved", "lower", "upper"),
    # Brown, Cai and DasGupta (2001), table of the modified Jeffreys interval, n = 10
    [(0, 10, 0.0, 0.217), (1, 10, 0.011, 0.381), (2, 10, 0.044, 0.503), (5, 10, 0.224, 0.776), (10, 10, 0.783, 1.0)],
)
def test_the_interval_of_a_hit_rate_is_jeffreys(hits: int, resolved: int, lower: float, upper: float) -> None:
    rate, low, high = hit_rate(hits, resolved)
    assert rate == hits / resolved
    assert (low, high) == (pytest.approx(lower, abs=6e-4), pytest.approx(upper, abs=6e-4))


def test_the_report_counts_every_severity_and_says_what_it_is_not() -> None:
    report = report_message(
        [
            Resolved("STRONG", "DATA", by_experiment=True),
            Resolved("STRONG", "DATA"),
            Resolved("STRONG", "CLIENT"),
            Resolved("STRONG", "NEITHER"),
            Resolved("STRONG"),
            Resolved("WEAK"),
            Resolved(None, "DATA"),
        ]
    )
    assert [record.severity for record in report.severities] == [
        conflict_pb2.SEVERITY_WEAK,
        conflict_pb2.SEVERITY_MODERATE,
        conflict_pb2.SEVERITY_STRONG,
        conflict_pb2.SEVERITY_VERY_STRONG,
    ]
    strong = report.severities[2]
    counts = (strong.analysed, strong.resolved, strong.for_data, strong.for_client, strong.by_experiment)
    assert counts == (5, 4, 2, 1, 1)
    assert math.isclose(strong.hit_rate, 0.5)
    assert not report.severities[0].HasField("hit_rate")
    first, *rest = report.summary
    assert first.startswith(
        "Strong evidence against the belief: 4 of 5 resolved, 2 for the data, 1 for the client, 1 for neither; the "
        "data were right in 50 %"
    )
    assert CAVEAT in rest
    assert any(sentence.startswith("Fewer than 10") for sentence in rest)
    assert rest[-1] == "Left out, since their figures are unreliable: 1."


def test_without_an_outcome_nothing_is_said_about_who_was_right() -> None:
    report = report_message([Resolved("STRONG")])
    assert report.severities[2].analysed == 1
    assert report.summary == ["No conflict has been resolved yet, so nothing is known about who was right."]
