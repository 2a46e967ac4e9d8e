"""As what the figures of a fit may be told."""

from __future__ import annotations

import math

import pytest
from liftos.bayes.v1 import common_pb2, conflict_pb2

from server.texts.standing import missed_by, missed_thresholds, not_relied_on, together_not_told

MISSED = common_pb2.FitDiagnostics(max_r_hat=1.0163, min_ess_bulk=812.0, min_ess_tail=371.4, divergences=3)
MET = common_pb2.FitDiagnostics(max_r_hat=1.002, min_ess_bulk=3000.0, min_ess_tail=2500.0, converged=True)


def test_a_fit_that_missed_its_thresholds_is_told_with_what_it_reached() -> None:
    reached = "R-hat 1.0163, 371 effective draws, 3 divergent transitions"
    assert not_relied_on(MISSED) == [
        f"The sampler did not meet its thresholds ({reached}); these figures must not be relied on."
    ]
    assert together_not_told(MISSED) == [
        "What the client's beliefs and the data say together is not told: in that fit the sampler did not meet its "
        f"thresholds ({reached})."
    ]


def test_nothing_is_told_of_a_fit_that_met_them() -> None:
    assert missed_thresholds(MET) == ""
    assert not_relied_on(MET) == together_not_told(MET) == []


@pytest.mark.parametrize("r_hat", [math.nan, 0.0])
def test_what_was_not_computed_is_not_told_as_a_figure(r_hat: float) -> None:
    told = missed_thresholds(common_pb2.FitDiagnostics(max_r_hat=r_hat, divergences=2))
    assert told == "the sampler did not meet its thresholds (2 divergent transitions)"
    assert missed_thresholds(common_pb2.FitDiagnostics()) == "the sampler did not meet its thresholds"


def test_an_answer_without_diagnostics_is_not_said_to_have_missed_anything() -> None:
    assert missed_by(conflict_pb2.ConflictAnalysis()) == ""
    assert missed_by(conflict_pb2.ConflictAnalysis(diagnostics=MET)) == ""
    assert "R-hat 1.016" in missed_by(conflict_pb2.ConflictAnalysis(diagnostics=MISSED))
