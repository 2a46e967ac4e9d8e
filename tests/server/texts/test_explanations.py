"""The stored sentences about a belief."""

from __future__ import annotations

from typing import Any

import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2

from server.texts.explanations import explain_conflict
from server.texts.phrases import named_causes, times


def belief(p: float = 0.3, log_factor: float = 0.6, **changes: Any) -> conflict_pb2.BeliefConflict:
    found = conflict_pb2.BeliefConflict(
        estimand=share_of_outcome("TV"),
        client=common_pb2.Estimate(mean=0.5, sd=0.1),
        data_side=common_pb2.Estimate(mean=0.4, sd=0.05),
        bayes_factors=[
            conflict_pb2.BayesFactor(
                alternative=conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED, log_bayes_factor=log_factor
            )
        ],
        p_value=p,
        severity=conflict_pb2.SEVERITY_WEAK,
        status=conflict_pb2.CONFLICT_STATUS_OK,
        finding=conflict_pb2.FINDING_AGREES,
        conflict_rule="recentred Bayes factor at least 10; 3.1% of data sets that agree with the belief reach it",
    )
    found.MergeFrom(conflict_pb2.BeliefConflict(**changes))
    return found


@pytest.mark.parametrize(("p", "log_factor"), [(0.83, 0.02), (0.6, 0.6), (0.3, 0.09)])
def test_a_belief_that_agrees_well_is_said_to_agree(p: float, log_factor: float) -> None:
    said = explain_conflict(belief(p, log_factor, confirms=True))
    assert f"The two agree (p = {p:.2g}), and the data positively support the belief." in said
    assert "times as probable" not in said


def test_some_evidence_short_of_the_rule_is_told_with_its_factor() -> None:
    assert "makes them 1.82 times as probable (p = 0.3, severity weak)" in explain_conflict(belief())


@pytest.mark.parametrize("finding", [conflict_pb2.FINDING_AGREES, conflict_pb2.FINDING_CONFLICT])
def test_an_open_label_is_told_with_its_reason(finding: int) -> None:
    open_ = belief(finding=finding, status=conflict_pb2.CONFLICT_STATUS_BORDERLINE, status_reason="the tails decide")
    assert "The label is open: the tails decide." in explain_conflict(open_)
    assert "open" not in explain_conflict(belief(finding=finding))


@pytest.mark.parametrize(
    ("log_ratio", "told"),
    [(0.0, "1"), (2.4998, "12.2"), (7.0, "1,100"), (27.9, "1.31e+12"), (900.0, "e^900"), (float("inf"), "e^inf")],
)
def test_a_factor_has_three_digits_however_large(log_ratio: float, told: str) -> None:
    assert times(log_ratio) == told


def test_a_hidden_driver_is_told_of_wherever_the_belief_is_blamed() -> None:
    blamed = conflict_pb2.BeliefConflict(
        attribution=conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR_OR_DRIVER,
        hidden_driver=conflict_pb2.HiddenDriver(
            robustness_value=0.2, strongest_control="price", multiple_of_strongest=1.46, plausible=True
        ),
    )
    tried, told = named_causes(blamed)
    assert tried == "No change of the model that was tried resolves it."
    assert "missing from the data set cannot be excluded" in told
    assert "20 % of what the model leaves open of both, 1.5 times what the control price would." in told
    blamed.attribution, blamed.hidden_driver.plausible = conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR, False
    blamed.hidden_driver.ClearField("multiple_of_strongest")
    assert "would take the conflict away only if it explained 20 % of" in named_causes(blamed)[-1]
    blamed.attribution = conflict_pb2.CONFLICT_ATTRIBUTION_MODEL
    assert not any("data set" in said for said in named_causes(blamed))
