"""What the beliefs of a session imply together before the data."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes import beta, share_of_outcome
from liftos.bayes.v1 import elicitation_pb2
from scipy import special

from engine.inference.fit import Seed
from server.worker.elicitation.feedback import joint_draws


def belief(name: str, alpha: float, rest: float) -> elicitation_pb2.Belief:
    return elicitation_pb2.Belief(belief_id=name, estimand=share_of_outcome(name), compiled=beta(alpha, rest))


BELIEFS = [belief("tv", 12.0, 12.0), belief("radio", 6.0, 18.0), belief("print", 2.0, 30.0)]


def test_totals_of_an_adopted_session_have_its_correlation() -> None:
    between = np.array([[1.0, -0.8, 0.0], [-0.8, 1.0, 0.0], [0.0, 0.0, 1.0]])
    draws = joint_draws(BELIEFS, [], between, Seed.of(1))
    assert np.corrcoef(special.logit(draws)) == pytest.approx(between, abs=0.03)
    assert draws.mean(axis=1) == pytest.approx([0.5, 0.25, 1.0 / 16.0], abs=0.005)
    alone = joint_draws(BELIEFS, [], None, Seed.of(1))
    assert draws.sum(axis=0).std() < 0.75 * alone.sum(axis=0).std()


def test_shares_stated_together_are_drawn_together_whatever_else_is_correlated() -> None:
    group = elicitation_pb2.ShareGroup(belief_ids=["tv", "radio"], alpha=[12.0, 12.0])
    draws = joint_draws(BELIEFS, [group], np.eye(3), Seed.of(1))
    assert draws[:2].sum(axis=0) == pytest.approx(np.ones(draws.shape[1]))
