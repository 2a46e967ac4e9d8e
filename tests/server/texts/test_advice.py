"""What is recommended for a belief, and why, in words."""

from __future__ import annotations

import dataclasses

import pytest

from engine.rules.reasons import Ground, Grounds
from server.texts.advice import explain_grounds

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
