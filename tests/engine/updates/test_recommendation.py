"""The table of recommendations: every row, their order, and that there is always an answer."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.conflict.analysis import Finding
from engine.conflict.causes import Attribution
from engine.conflict.severity import Severity
from engine.updates.recommendation import TABLE, Situation, recommend
from engine.updates.update import Action

EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True, database=None)
OUTCOMES = (Action.KEEP, Action.UPDATE, Action.WIDEN, Action.ROBUSTIFY)

CONFLICT = Situation(
    finding=Finding.CONFLICT,
    severity=Severity.STRONG,
    severity_if_heavy_tailed=Severity.STRONG,
    attribution=Attribution.PRIOR,
    z=2.3,
    belief_months=6.0,
    data_months=24.0,
    prior_sensitivity=0.6,
    joint_conflict=True,
    incoherence_z=None,
    experiment_z=None,
    outcome=Action.UPDATE,
)
AGREES = dataclasses.replace(
    CONFLICT,
    finding=Finding.AGREES,
    severity=Severity.WEAK,
    severity_if_heavy_tailed=Severity.WEAK,
    attribution=None,
    z=0.5,
    joint_conflict=False,
    outcome=Action.KEEP,
)

ROWS = [
    ("unreliable", Action.CHECK_MODEL, CONFLICT, {"finding": Finding.UNRELIABLE, "severity": None, "z": 5.0}),
    ("experiment against data", Action.CHECK_MODEL, CONFLICT, {"experiment_z": 3.0}),
    ("model explains it", Action.CHECK_MODEL, CONFLICT, {"attribution": Attribution.MODEL}),
    ("outliers explain it", Action.CHECK_MODEL, CONFLICT, {"attribution": Attribution.OUTLIERS}),
    ("undecided", Action.CHECK_MODEL, CONFLICT, {"attribution": Attribution.UNDECIDED, "belief_months": 30.0}),
    ("neither can be talked down", Action.RUN_EXPERIMENT, CONFLICT, {"z": 2.7, "belief_months": 6.5}),
    ("incoherent", Action.RE_ELICIT, CONFLICT, {"incoherence_z": 2.5}),
    ("incoherent", Action.RE_ELICIT, AGREES, {"incoherence_z": 2.5}),
    ("together too much", Action.RE_ELICIT, AGREES, {"joint_conflict": True}),
    ("relieved by experiments", Action.KEEP, AGREES, {"data_finding": Finding.CONFLICT, "experiment_z": 1.0}),
    (
        "relieved by experiments",
        Action.UPDATE,
        AGREES,
        {"data_finding": Finding.CONFLICT, "experiment_z": 1.0, "outcome": Action.UPDATE},
    ),
    ("silent data", Action.KEEP, AGREES, {"finding": Finding.DATA_SILENT}),
    ("no conflict", Action.KEEP, AGREES, {"finding": Finding.DATA_SILENT, "prior_sensitivity": 0.01}),
    ("no conflict", Action.KEEP, AGREES, {}),
    ("learning without conflict", Action.UPDATE, AGREES, {"outcome": Action.UPDATE}),
    ("hangs on the tails", Action.ROBUSTIFY, CONFLICT, {"severity_if_heavy_tailed": Severity.MODERATE}),
    ("overconfident", Action.RE_ELICIT, CONFLICT, {"belief_months": 25.0}),
    ("left as it is", Action.KEEP, CONFLICT, {"outcome": Action.KEEP}),
    ("changed", Action.UPDATE, CONFLICT, {}),
    ("changed", Action.WIDEN, CONFLICT, {"outcome": Action.WIDEN}),
    ("changed", Action.ROBUSTIFY, CONFLICT, {"outcome": Action.ROBUSTIFY}),
]


@pytest.mark.parametrize(("row", "action", "base", "change"), ROWS, ids=[f"{i} {row[0]}" for i, row in enumerate(ROWS)])
def test_each_row_applies_where_it_should(row: str, action: Action, base: Situation, change: dict) -> None:
    found = recommend(dataclasses.replace(base, **change))
    assert (found.row, found.action) == (row, action)
    assert found.reason.endswith(".")
    assert "{" not in found.reason


def test_every_row_of_the_table_is_reached() -> None:
    assert {row.name for row in TABLE} == {row for row, *_ in ROWS}


def test_what_data_and_experiments_say_together_is_not_said_of_the_data() -> None:
    for base in (CONFLICT, AGREES):
        both = recommend(dataclasses.replace(base, experiment_z=1.0, data_finding=base.finding)).reason
        assert both.startswith("Data and experiments together")
        assert recommend(base).reason.startswith("The data")
    relieved = dataclasses.replace(AGREES, data_finding=Finding.CONFLICT, experiment_z=1.0)
    assert recommend(relieved).reason.startswith("The data alone contradict the belief")


def test_an_experiment_at_hand_is_not_asked_for_again() -> None:
    both_founded = dataclasses.replace(CONFLICT, z=3.0, belief_months=12.0)
    assert recommend(both_founded).action is Action.RUN_EXPERIMENT
    assert recommend(dataclasses.replace(both_founded, experiment_z=1.0)).action is not Action.RUN_EXPERIMENT


SITUATIONS = st.builds(
    Situation,
    finding=st.sampled_from(Finding),
    severity=st.none() | st.sampled_from(Severity),
    severity_if_heavy_tailed=st.none() | st.sampled_from(Severity),
    attribution=st.none() | st.sampled_from(Attribution),
    z=st.floats(0.0, 40.0),
    belief_months=st.floats(0.0, 1e6),
    data_months=st.floats(0.1, 200.0),
    prior_sensitivity=st.none() | st.floats(-3.0, 3.0),
    joint_conflict=st.booleans(),
    incoherence_z=st.none() | st.floats(0.0, 20.0),
    experiment_z=st.none() | st.floats(0.0, 20.0),
    outcome=st.sampled_from(OUTCOMES),
)


@EXAMPLES
@given(SITUATIONS)
def test_there_is_always_an_answer_and_no_prior_is_recommended_on_figures_that_cannot_be_relied_on(
    situation: Situation,
) -> None:
    found = recommend(situation)
    assert found.reason
    if situation.finding is Finding.UNRELIABLE:
        assert found.action is Action.CHECK_MODEL
    if found.action in {Action.UPDATE, Action.WIDEN}:
        assert found.action is situation.outcome
    if found.action is Action.KEEP:
        assert situation.outcome is Action.KEEP  # what is accepted under this name changes nothing
    if situation.in_conflict and situation.attribution not in (None, Attribution.PRIOR):
        assert found.action is Action.CHECK_MODEL
