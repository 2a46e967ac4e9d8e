"""What is recommended for a belief, and why, in words."""

from __future__ import annotations

import dataclasses

import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import common_pb2, prior_update_pb2

from engine.rules.reasons import Ground, Grounds
from server.texts.advice import explain_grounds, summary_of

GROUNDS = Grounds(
    Ground.CHANGED, False, z=3.14, belief_months=12.0, data_months=24.0, experiment_z=2.7, incoherence_z=2.2
)


@pytest.mark.parametrize("ground", Ground)
def test_every_ground_has_a_sentence_with_its_figures(ground: Ground) -> None:
    told = explain_grounds(dataclasses.replace(GROUNDS, ground=ground))
    assert told.endswith(".")
    assert "{" not in told


def test_what_data_and_experiments_say_together_is_not_said_of_the_data() -> None:
    assert explain_grounds(GROUNDS) == "The data contradict the belief."
    both = dataclasses.replace(GROUNDS, with_experiments=True)
    assert explain_grounds(both) == "Data and experiments together contradict the belief."
    assert explain_grounds(dataclasses.replace(both, ground=Ground.RELIEVED)).startswith("The data alone contradict")


def test_figures_are_told_in_few_digits() -> None:
    assert "3.1 standard deviations apart and both are well founded (12 and 24 months' worth)" in explain_grounds(
        dataclasses.replace(GROUNDS, ground=Ground.BOTH_FIRM)
    )


def estimate(median: float, lower: float, upper: float, mean: float | None = None) -> common_pb2.Estimate:
    """With the 80 % interval that is given and one of 95 % that is half as wide again."""
    wide = common_pb2.Interval(level=0.95, lower=median - 1.5 * (median - lower), upper=median + 1.5 * (upper - median))
    near = common_pb2.Interval(level=0.8, lower=lower, upper=upper)
    return common_pb2.Estimate(
        mean=median if mean is None else mean, median=median, sd=(upper - lower) / 2.563, intervals=[near, wide]
    )


BEFORE, DATA = estimate(0.15, 0.124, 0.176), estimate(0.021, 0.0146, 0.0274)


def summary(after: common_pb2.Estimate, action: int) -> str:
    belief = prior_update_pb2.BeliefUpdate(
        estimand=share_of_outcome("tv"),
        before_summary=BEFORE,
        data_side=DATA,
        after_summary=after,
        changed=True,
        action=action,  # type: ignore[arg-type]
    )
    (told,) = summary_of(prior_update_pb2.PriorUpdate(beliefs=[belief]))
    return told


def test_what_lies_where_neither_belief_nor_data_are_is_told_without_its_figure() -> None:
    between = estimate(0.115, 0.1, 0.13)
    told = summary(between, prior_update_pb2.UPDATE_ACTION_RUN_EXPERIMENT)
    assert "(15.0 % ± 2.0 %; by the strategy where neither belief nor data are)" in told
    assert "11.5" not in told


def test_a_widened_belief_is_told_with_its_median_which_stays() -> None:
    # The law is skewed: its mean would seem to move away from the data, which are below.
    told = summary(estimate(0.15, 0.02, 0.6, mean=0.24), prior_update_pb2.UPDATE_ACTION_WIDEN)
    assert "(15.0 %, 95 % interval from 11.1 % to 18.9 %; by the strategy 15 %, 95 % interval" in told
    assert "24 %" not in told


def test_what_has_moved_to_the_data_is_told() -> None:
    assert "by the strategy 2.50 % ± 0.50 %" in summary(
        estimate(0.025, 0.0186, 0.0314), prior_update_pb2.UPDATE_ACTION_UPDATE
    )
