"""How beliefs hang together, as it is stored with their session."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes import incremental_outcome, roi, share_of_media, share_of_outcome, total_media_share_of_outcome
from liftos.bayes.v1 import elicitation_pb2

from engine.errors import UnsupportedQuantity
from persistence.tables import ElicitedSession
from server.contract.wire import to_json
from server.records.sessions import correlation_of
from server.worker.conflict.dependence import dirichlet_groups, parts_of_totals, prior_correlation, whole_shares

MATRIX = [[1.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 1.0]]


def test_a_stored_correlation_follows_the_order_of_the_beliefs() -> None:
    session = ElicitedSession(correlation={"belief_ids": ["a", "b", "c"], "matrix": MATRIX}, share_groups=[])
    found = correlation_of(session, ["c", "new", "b"])
    assert found is not None
    np.testing.assert_allclose(found, [[1.0, 0.0, -0.2], [0.0, 1.0, 0.0], [-0.2, 0.0, 1.0]])
    assert correlation_of(ElicitedSession(share_groups=[]), ["a"]) is None


def test_shares_that_were_stated_together_are_found_by_their_places() -> None:
    group = elicitation_pb2.ShareGroup(belief_ids=["b", "a"], alpha=[2.0, 3.0, 5.0])
    session = ElicitedSession(share_groups=[to_json(group)])
    (found,) = dirichlet_groups(session, ["a", "b", "c"])
    assert (found.places, found.alpha) == ((1, 0), (2.0, 3.0, 5.0))
    assert dirichlet_groups(session, ["a", "c"]) == []


def test_a_group_of_shares_is_correlated_within_itself_alone() -> None:
    group = elicitation_pb2.ShareGroup(belief_ids=["a", "b"], alpha=[2.0, 3.0, 5.0])
    session = ElicitedSession(
        correlation={"belief_ids": ["a", "b", "c"], "matrix": MATRIX}, share_groups=[to_json(group)]
    )
    found = prior_correlation(session, ["a", "b", "c"])
    assert found is not None
    assert found[0, 1] < 0.0
    np.testing.assert_allclose(found[2], [0.0, 0.0, 1.0])
    assert prior_correlation(ElicitedSession(share_groups=[]), ["a", "b"]) is None


@pytest.mark.parametrize(
    ("kind", "scale", "places"), [(share_of_media, 1.0, (0, 2)), (share_of_media, 0.9, ()), (share_of_outcome, 1.0, ())]
)
def test_shares_of_media_are_a_whole_where_their_draws_sum_to_one(kind, scale: float, places: tuple[int, ...]) -> None:
    tv = np.array([0.2, 0.5, 0.7])
    draws = np.stack([scale * tv, np.array([3.0, 4.0, 5.0]), scale * (1.0 - tv)])
    estimands = [kind("tv"), share_of_outcome("tv"), kind("radio")]
    assert whole_shares(estimands, draws) == places


def test_what_is_a_part_of_the_outcome_is_made_one_and_nothing_else() -> None:
    shares = {"tv": np.array([0.2, 0.1]), "radio": np.array([0.05, 0.15]), "press": np.array([0.4, 0.2])}
    draws = np.stack([shares["tv"], shares["radio"] * 8.0, np.array([0.3, 0.4]), shares["press"] * 1e5, shares["tv"]])
    estimands = [
        share_of_outcome("tv"),
        roi("radio"),
        share_of_media("tv"),
        incremental_outcome("press"),
        total_media_share_of_outcome(),
    ]
    asked: list[str] = []

    def shares_of(name: str) -> np.ndarray:
        asked.append(name)
        if "press" in name:
            raise UnsupportedQuantity(name, "not defined")
        return shares["radio"]

    (weights,) = parts_of_totals(estimands, draws, shares_of)
    assert weights == pytest.approx([1.0, 1.0 / 8.0, 0.0, 0.0, 0.0])
    assert asked == ["share_of_outcome[radio]", "share_of_outcome[press]"]


def test_shares_of_media_are_summed_unless_they_are_the_whole() -> None:
    draws = np.array([[0.2, 0.3], [0.5, 0.3], [0.3, 0.4]])
    estimands = [share_of_media(name) for name in ("tv", "radio", "press")]
    assert parts_of_totals(estimands, draws, {}.__getitem__).shape == (0, 3)
    assert parts_of_totals(estimands[:2], draws[:2], {}.__getitem__).tolist() == [[1.0, 1.0]]
