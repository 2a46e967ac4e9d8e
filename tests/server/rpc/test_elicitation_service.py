"""What the elicitation service says of beliefs without a worker: estimands, and beliefs that do not fit together."""

from __future__ import annotations

import pytest
from liftos.bayes import coefficient, normal, share_of_media, share_of_outcome, total_media_share_of_outcome
from liftos.bayes.v1 import common_pb2, elicitation_pb2, model_pb2
from liftos.bayes.values import statement

from server.contract.beyond_rules import check_estimand
from server.contract.errors import ServiceError
from server.contract.families.conjugate_specification import Conjugate
from server.contract.quantities import estimand as words
from server.contract.stated_beliefs import check_shares, check_statement
from server.contract.wire import quantity_name
from server.texts.coherence import coherence_notes
from server.texts.formats import shown


def belief(estimand: common_pb2.Estimand, mean: float, sd: float) -> elicitation_pb2.Belief:
    return elicitation_pb2.Belief(estimand=estimand, summary=common_pb2.Estimate(mean=mean, median=mean, sd=sd))


def test_a_total_outside_of_what_all_shares_sum_to_is_remarked_on() -> None:
    shares = [belief(share_of_outcome("tv"), 0.2, 0.03), belief(share_of_outcome("radio"), 0.1, 0.04)]
    # The joint sd is sqrt(.03² + .04² + .12²) = .13, and 1.96 times that .2548.
    far, near = (belief(total_media_share_of_outcome(), 0.3 + gap, 0.12) for gap in (0.26, 0.25))
    (note,) = coherence_notes([*shares, far], ["tv", "radio"])
    assert "sum to 30.0 %" in note
    assert "56.0 %" in note
    assert coherence_notes([*shares, near], ["tv", "radio"]) == []
    # Without a belief about every channel the shares only bound the total from below.
    assert coherence_notes([*shares, far], ["tv", "radio", "print"]) == []
    low = belief(total_media_share_of_outcome(), 0.05, 0.05)
    (note,) = coherence_notes([*shares, low], ["tv", "radio", "print"])
    assert "radio and tv sum to 30.0 %" in note
    assert coherence_notes([far], []) == []


def test_a_total_without_a_standard_deviation_is_not_compared() -> None:
    total = belief(total_media_share_of_outcome(), 0.9, 0.1)
    total.summary.ClearField("sd")
    assert coherence_notes([belief(share_of_outcome("tv"), 0.2, 0.03), total], ["tv"]) == []


@pytest.mark.parametrize("kind", [share_of_outcome, share_of_media])
def test_shares_that_sum_above_one_are_remarked_on(kind: type) -> None:
    beliefs = [belief(kind("tv"), 0.7, 0.1), belief(kind("radio"), 0.5, 0.1)]
    (note,) = coherence_notes(beliefs, ["tv", "radio"])
    assert "120.0 %" in note


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
            Conjugate().check(model_pb2.ModelSpec(conjugate_normal={"estimand": wrong}), [])
        assert [v.field for v in caught.value.violations] == ["spec.conjugate_normal.estimand.channel"]


def test_the_total_has_a_name_and_words_of_its_own() -> None:
    total = total_media_share_of_outcome()
    assert quantity_name(total) == "total_media_share_of_outcome"
    assert words(total) == "share of outcome of all media"
    assert shown(0.31, total.quantity) == "31.0 %"
    assert quantity_name(coefficient("price")) == "coefficient[price]"
    assert words(coefficient("price")) == "coefficient of price"


def test_shares_that_may_well_exceed_the_whole_are_remarked_on_unless_they_were_stated_together() -> None:
    # .55 + .40 with sds of .05: P(sum > 1) = P(z > .05/.0707) = 24 %
    beliefs = [belief(share_of_outcome("tv"), 0.55, 0.05), belief(share_of_outcome("radio"), 0.40, 0.05)]
    for one, name in zip(beliefs, ("a", "b"), strict=True):
        one.belief_id = name
    (note,) = coherence_notes(beliefs, ["tv", "radio"])
    assert "24 %" in note
    group = elicitation_pb2.ShareGroup(quantity=common_pb2.QUANTITY_SHARE_OF_OUTCOME, belief_ids=["a", "b"])
    assert coherence_notes(beliefs, ["tv", "radio"], [group]) == []
    assert coherence_notes(beliefs, ["tv", "radio"], correlated=["a", "b"]) == []
    safe = [belief(share_of_outcome("tv"), 0.3, 0.05), belief(share_of_outcome("radio"), 0.4, 0.05)]
    assert coherence_notes(safe, ["tv", "radio"]) == []


def test_shares_of_all_media_that_do_not_fill_the_whole_are_remarked_on() -> None:
    beliefs = [belief(share_of_media("tv"), 0.5, 0.1), belief(share_of_media("radio"), 0.2, 0.1)]
    (note,) = coherence_notes(beliefs, ["tv", "radio"])
    assert "less than the whole" in note
    assert coherence_notes(beliefs, ["tv", "radio", "print"]) == []  # the third may have the rest


def test_a_share_of_media_of_a_total_that_is_another_share_of_outcome_is_remarked_on() -> None:
    # .8 of .5 is .4; the joint sd is sqrt((.05 .5)² + (.8 .05)² + .03²) = .056, and 1.96 times that .110
    parts = [belief(share_of_media("tv"), 0.8, 0.05), belief(total_media_share_of_outcome(), 0.5, 0.05)]
    far, near = belief(share_of_outcome("tv"), 0.28, 0.03), belief(share_of_outcome("tv"), 0.3, 0.03)
    (note,) = coherence_notes([*parts, far], ["tv", "radio"])
    assert "40.0 %" in note
    assert coherence_notes([*parts, near], ["tv", "radio"]) == []


def test_a_total_of_all_media_above_one_leaves_a_negative_baseline() -> None:
    (note,) = coherence_notes([belief(total_media_share_of_outcome(), 1.2, 0.1)], ["tv", "radio"])
    assert "negative baseline" in note


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        ({"range": (0.6, 0.2), "probability": 0.9}, "s.range.upper"),
        ({"range": (0.2, 0.6), "probability": 0.9, "mean": 0.3, "mode": 0.3}, "s.range.mode"),
        ({"roulette": ([0, 1, 2], [1, 2, 3])}, "s.roulette.edges"),
        ({"roulette": ([0, 2, 1, 3], [1, 2, 3])}, "s.roulette.edges"),
        ({"mode_and_bounds": (0.2, 0.7, 0.6)}, "s.mode_and_bounds.mode"),
        ({"mode_and_bounds": (0.6, 0.6, 0.6)}, "s.mode_and_bounds.upper"),
        ({"mean": 0.5, "plus_minus": 0.1, "meaning": "sd", "level": 0.9}, "s.mean_plus_minus.level"),
        ({"mean": 0.5, "plus_minus": 0.1, "meaning": "interval_half_width"}, "s.mean_plus_minus.level"),
        ({"quantiles": [(0.1, 0.5), (0.9, 0.2)]}, "s.quantiles.values"),
        ({"distribution": normal(0.5, 0.1), "family": "beta"}, "s.family"),
        ({"pooled": [("a", "b"), ("c", "d")], "family": "beta"}, "s.family"),
    ],
)
def test_a_statement_that_contradicts_itself_is_refused_before_a_worker_sees_it(stated: dict, field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        check_statement("s", statement(**stated))
    assert [v.field for v in caught.value.violations] == [field]


def test_shares_need_a_quantity_that_is_one_and_each_channel_once() -> None:
    share = elicitation_pb2.MeanPlusMinus(mean=0.3, plus_minus=0.1, meaning=elicitation_pb2.PLUS_MINUS_MEANING_SD)
    members = [
        elicitation_pb2.ChannelShare(belief_id=name, channel=channel, share=share)
        for name, channel in (("a", "tv"), ("b", "tv"))
    ]
    for quantity, field in (
        (common_pb2.QUANTITY_ROI, "quantity"),
        (common_pb2.QUANTITY_SHARE_OF_OUTCOME, "shares[1].channel"),
    ):
        with pytest.raises(ServiceError) as caught:
            check_shares(elicitation_pb2.AddShareBeliefsRequest(quantity=quantity, shares=members))
        assert [v.field for v in caught.value.violations] == [field]
    members[1].channel, members[1].belief_id = "radio", "a"
    with pytest.raises(ServiceError) as caught:
        check_shares(
            elicitation_pb2.AddShareBeliefsRequest(quantity=common_pb2.QUANTITY_SHARE_OF_MEDIA, shares=members)
        )
    assert [v.field for v in caught.value.violations] == ["shares[1].belief_id"]
