"""What the elicitation service says of beliefs without a worker: estimands, and beliefs that do not fit together."""

from __future__ import annotations

import pytest
from liftos.bayes import coefficient, share_of_media, share_of_outcome, total_media_share_of_outcome
from liftos.bayes.v1 import common_pb2, elicitation_pb2, model_pb2

from server.errors import ServiceError
from server.formats import estimand as words
from server.formats import shown
from server.services.conflicts import quantity_name
from server.services.elicitation import coherence_notes
from server.services.models import check_conjugate, check_estimand


def belief(estimand: common_pb2.Estimand, mean: float, sd: float) -> elicitation_pb2.Belief:
    return elicitation_pb2.Belief(estimand=estimand, summary=common_pb2.Estimate(mean=mean, median=mean, sd=sd))


def test_a_total_outside_of_what_all_shares_sum_to_is_remarked_on() -> None:
    shares = [belief(share_of_outcome("tv"), 0.2, 0.03), belief(share_of_outcome("radio"), 0.1, 0.04)]
    # The joint sd is sqrt(.03² + .04² + .12²) = .13, and 1.96 times that .2548.
    far, near = (belief(total_media_share_of_outcome(), 0.3 + gap, 0.12) for gap in (0.26, 0.25))
    (note,) = coherence_notes([*shares, far], ["tv", "radio"])
    assert "sum to 0.30" in note
    assert "0.56" in note
    assert coherence_notes([*shares, near], ["tv", "radio"]) == []
    # Without a belief about every channel the shares only bound the total from below.
    assert coherence_notes([*shares, far], ["tv", "radio", "print"]) == []
    low = belief(total_media_share_of_outcome(), 0.05, 0.05)
    (note,) = coherence_notes([*shares, low], ["tv", "radio", "print"])
    assert "radio and tv sum to 0.30" in note
    assert coherence_notes([far], []) == []


def test_a_total_without_a_standard_deviation_is_not_compared() -> None:
    total = belief(total_media_share_of_outcome(), 3.0, 0.1)
    total.summary.ClearField("sd")
    assert coherence_notes([belief(share_of_outcome("tv"), 0.2, 0.03), total], ["tv"]) == []


@pytest.mark.parametrize("kind", [share_of_outcome, share_of_media])
def test_shares_that_sum_above_one_are_remarked_on(kind: type) -> None:
    beliefs = [belief(kind("tv"), 0.7, 0.1), belief(kind("radio"), 0.5, 0.1)]
    (note,) = coherence_notes(beliefs, ["tv", "radio"])
    assert "1.20" in note


def test_every_quantity_needs_a_channel_but_the_total_which_must_have_none() -> None:
    check_estimand("estimand", share_of_outcome("tv"))
    check_estimand("estimand", total_media_share_of_outcome())
    for wrong in (
        common_pb2.Estimand(quantity=common_pb2.QUANTITY_ROI),
        common_pb2.Estimand(quantity=common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME, channel="tv"),
    ):
        with pytest.raises(ServiceError) as caught:
            check_estimand("estimand", wrong)
        assert [v.field for v in caught.value.violations] == ["estimand.channel"]
        with pytest.raises(ServiceError) as caught:
            check_conjugate(model_pb2.ConjugateNormalSpec(estimand=wrong))
        assert [v.field for v in caught.value.violations] == ["spec.conjugate_normal.estimand.channel"]


def test_the_total_has_a_name_and_words_of_its_own() -> None:
    total = total_media_share_of_outcome()
    assert quantity_name(total) == "total_media_share_of_outcome"
    assert words(total) == "share of outcome of all media"
    assert shown(0.31, total.quantity) == "31.0 %"
    assert quantity_name(coefficient("price")) == "coefficient[price]"
    assert words(coefficient("price")) == "coefficient of price"
