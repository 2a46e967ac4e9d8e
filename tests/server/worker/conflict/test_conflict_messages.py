"""What the contract says about a belief is written by somebody."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import conflict_pb2, elicitation_pb2

import server.worker
from engine.conflict.analysis import analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.overlay import MAX_EXTRAPOLATED
from engine.distributions.distribution import Beta
from server.worker.conflict.comparison import Examined
from server.worker.conflict.conflict_messages import belief_conflict_message

WORKER = "\n".join(path.read_text() for path in Path(server.worker.__path__[0]).rglob("*.py"))
"""The source of all that runs in a worker."""


@pytest.mark.parametrize(
    "field",
    [
        f"{message.DESCRIPTOR.name}.{field.name}"
        for message in (conflict_pb2.BeliefConflict, conflict_pb2.JointConflict)
        for field in message.DESCRIPTOR.fields
    ],
)
def test_every_field_of_a_conflict_is_set_by_the_worker(field: str) -> None:
    """By its source: a field that nobody writes is read as zero, and no type tells."""
    name = field.partition(".")[2]
    assert re.search(rf"\b{name}\b\s*=[^=]|\.{name}\.(CopyFrom|extend|append|add|MergeFrom)\(|\"{name}\"", WORKER), (
        field
    )


@pytest.mark.parametrize(("mean", "given"), [(0.25, True), (0.8, False)])
def test_a_posterior_that_is_an_extrapolation_is_left_out(mean: float, given: bool) -> None:
    draws = np.random.default_rng(2).beta(40.0, 160.0, (16, 400))
    curve = EvidenceCurve.from_draws(draws, Beta(1.0, 3.0), 24.0, with_error=False)
    prior = Beta(200.0 * mean, 200.0 * (1.0 - mean))
    figures = analyse_belief(prior, curve)
    assert (figures.extrapolated_share < MAX_EXTRAPOLATED) is given
    belief = elicitation_pb2.Belief(belief_id="b", estimand=share_of_outcome("tv"))
    rows: Any = SimpleNamespace(pk="curve")
    message = belief_conflict_message(Examined(rows, belief, rows, prior, curve, None, figures))
    assert message.HasField("client_posterior") is given
