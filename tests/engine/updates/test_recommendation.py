"""The table of recommendations: every row, their order, and that there is always an answer."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.conflict.analysis import Finding
from engine.conflict.causes import Blame
from engine.conflict.severity import Severity
from engine.rules.reasons import Ground
from engine.updates.recommendation import TABLE, Situation, recommend
from engine.updates.update import Action

EXAMPLES = settings(max_examples=300, deadline=None, derandomize=True, database=None)
OUTCOMES = (Action.KEEP, Action.UPDATE, Action.WIDEN, Action.ROBUSTIFY)

CONFLICT = Situation(
    finding=Finding.CONFLICT,
    severity=Severity.STRONG,
    severity_if_heavy_tailed=Severity.STRONG,
    blame=Blame.PRIOR,
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
    blame=None,
    z=0.5,
    joint_conflict=False,
    outcome=Action.KEEP,
)

ROWS = [
    (Ground.UNRELIABLE, Action.CHECK_MODEL, CONFLICT, {"finding": Finding.UNRELIABLE, "severity": None, "z": 5.0}),
    (Ground.EXPERIMENT_AGAINST_DATA, Action.CHECK_MODEL, CONFLICT, {"experiment_z": 3.0}),
    (Ground.MODEL, Action.CHECK_MODEL, CONFLICT, {"blame": Blame.MODEL}),
    (Ground.OUTLIERS, Action.CHECK_MODEL, CONFLICT, {"blame": Blame.OUTLIERS}),
    (Ground.UNDECIDED, Action.CHECK_MODEL, CONFLICT, {"blame": Blame.UNDECIDED, "belief_months": 30.0}),
    (Ground.BOTH_FIRM, Action.RUN_EXPERIMENT, CONFLICT, {"z": 2.7, "belief_months": 6.5}),
    (Ground.BETWEEN, Action.RUN_EXPERIMENT, CONFLICT, {"z": 6.0, "belief_months": 5.0, "between": True}),
    (Ground.INCOHERENT, Action.RE_ELICIT, CONFLICT, {"incoherence_z": 2.5}),
    (Ground.INCOHERENT, Action.RE_ELICIT, AGREES, {"incoherence_z": 2.5}),
    (Ground.TOGETHER, Action.RE_ELICIT, AGREES, {"joint_conflict": True}),
    (Ground.RELIEVED, Action.KEEP, AGREES, {"data_finding": Finding.CONFLICT, "experiment_z": 1.0}),
    (
        Ground.RELIEVED,
        Action.UPDATE,
        AGREES,
        {"data_finding": Finding.CONFLICT, "experiment_z": 1.0, "outcome": Action.UPDATE},
    ),
    (Ground.SILENT, Action.KEEP, AGREES, {"finding": Finding.DATA_SILENT}),
    (Ground.NO_CONFLICT, Action.KEEP, AGREES, {"finding": Finding.DATA_SILENT, "prior_sensitivity": 0.01}),
    (Ground.NO_CONFLICT, Action.KEEP, AGREES, {}),
    (Ground.LEARNING, Action.UPDATE, AGREES, {"outcome": Action.UPDATE}),
    (Ground.TAILS, Action.ROBUSTIFY, CONFLICT, {"severity_if_heavy_tailed": Severity.MODERATE}),
    (Ground.OVERCONFIDENT, Action.RE_ELICIT, CONFLICT, {"belief_months": 25.0}),
    (Ground.HIDDEN_DRIVER, Action.RUN_EXPERIMENT, CONFLICT, {"blame": Blame.PRIOR_OR_DRIVER}),
    (Ground.LEFT, Action.KEEP, CONFLICT, {"blame": Blame.PRIOR_OR_DRIVER, "outcome": Action.KEEP}),
    (Ground.CHANGED, Action.UPDATE, CONFLICT, {"blame": Blame.PRIOR_OR_DRIVER, "experiment_z": 1.0}),
    (Ground.LEFT, Action.KEEP, CONFLICT, {"outcome": Action.KEEP}),
    (Ground.CHANGED, Action.UPDATE, CONFLICT, {}),
    (Ground.CHANGED, Action.WIDEN, CONFLICT, {"outcome": Action.WIDEN}),
    (Ground.CHANGED, Action.ROBUSTIFY, CONFLICT, {"outcome": Action.ROBUSTIFY}),
]


@pytest.mark.parametrize(
    ("ground", "action", "base", "change"), ROWS, ids=[f"{i} {row[0].value}" for i, row in enumerate(ROWS)]
)
def test_each_row_applies_where_it_should(ground: Ground, action: Action, base: Situation, change: dict) -> None:
    found = recommend(dataclasses.replace(base, **change))
    assert (found.grounds.ground, found.action) == (ground, action)


def test_every_row_of_the_table_is_reached() -> None:
    assert [row.ground for row in TABLE] == list(Ground)
    assert {ground for ground, *_ in ROWS} == set(Ground)


def test_what_data_and_experiments_say_together_is_not_said_of_the_data() -> None:
    for base in (CONFLICT, AGREES):
        both = recommend(dataclasses.replace(base, experiment_z=1.0, data_finding=base.finding)).grounds
        assert both.with_experiments
        assert not recommend(base).grounds.with_experiments
    relieved = dataclasses.replace(AGREES, data_finding=Finding.CONFLICT, experiment_z=1.0)
    assert recommend(relieved).grounds.ground is Ground.RELIEVED


def test_an_experiment_at_hand_is_not_asked_for_again() -> None:
    both_founded = dataclasses.replace(CONFLICT, z=3.0, belief_months=12.0)
    assert recommend(both_founded).action is Action.RUN_EXPERIMENT
    assert recommend(dataclasses.replace(both_founded, experiment_z=1.0)).action is not Action.RUN_EXPERIMENT


SITUATIONS = st.builds(
    Situation,
    finding=st.sampled_from(Finding),
    severity=st.none() | st.sampled_from(Severity),
    severity_if_heavy_tailed=st.none() | st.sampled_from(Severity),
    blame=st.none() | st.sampled_from(Blame),
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
    if situation.finding is Finding.UNRELIABLE:
        assert found.action is Action.CHECK_MODEL
    if found.action in {Action.UPDATE, Action.WIDEN}:
        assert found.action is situation.outcome
    if found.action is Action.KEEP:
        assert situation.outcome is Action.KEEP  # what is accepted under this name changes nothing
    if situation.blame is Blame.PRIOR_OR_DRIVER and situation.experiment_z is None and situation.in_conflict:
        assert found.action not in {Action.UPDATE, Action.WIDEN}
    if situation.in_conflict and situation.blame not in (None, Blame.PRIOR, Blame.PRIOR_OR_DRIVER):
        assert found.action is Action.CHECK_MODEL
