"""Beliefs in every form, shares stated together, pools of experts, and feedback, through the RPCs."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
from liftos.bayes import (
    Client,
    FailedPrecondition,
    InvalidArgument,
    LiftosBayesError,
    NotFound,
    channel,
    coefficient,
    share_of_media,
    share_of_outcome,
)
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2, sbc_pb2

from tests.end_to_end.examples import normal, register_mmm, register_tv

TV = share_of_outcome("TV")


def opened(client: Client, session_id: str = "s", model_id: str = "tv") -> str:
    client.elicitation.create(session_id, model_id=model_id)
    return session_id


def field_of(error: LiftosBayesError) -> str:
    return str(error.violations[0].field)


def test_every_form_is_compiled_and_says_how_well(client: Client) -> None:
    # methods/conflict.md §14 id 18: maxent Beta(.2, .6, .9); ranges, chips, bounds without a session
    fitted = client.elicitation.fit_prior("share_of_outcome", range=(0.2, 0.6), probability=0.9, family="beta")
    assert fitted.compiled.beta.alpha == pytest.approx(6.112197, abs=1e-6)
    assert fitted.fit.family == common_pb2.PRIOR_FAMILY_BETA
    assert fitted.fit.interpolated
    assert [round(q.probability, 2) for q in fitted.fit.untold] == [0.05, 0.33, 0.67, 0.95]
    assert fitted.fit.odds[0].startswith("1 in 20 that the share of outcome is below")
    names = [one.family for one in fitted.fit.families]
    assert set(names) == {
        common_pb2.PRIOR_FAMILY_BETA,
        common_pb2.PRIOR_FAMILY_TRUNCATED_NORMAL,
        common_pb2.PRIOR_FAMILY_UNIFORM,
    }
    gamma = client.elicitation.fit_prior("roi", range=(0.0, 10.0), probability=0.7, family="gamma")
    assert gamma.compiled.gamma.shape == pytest.approx(0.868584, abs=1e-6)
    moded = client.elicitation.fit_prior("share_of_outcome", range=(0.2, 0.6), probability=0.9, mode=0.3)
    beta = moded.compiled.beta
    assert (beta.alpha - 1) / (beta.alpha + beta.beta - 2) == pytest.approx(0.3)
    chips = client.elicitation.fit_prior("roi", roulette=([0, 1, 2, 3, 4, 5], [1, 4, 8, 5, 2]))
    assert len(chips.fit.probabilities) == 5
    assert chips.fit.max_error == max(abs(p.stated - p.fitted) for p in chips.fit.probabilities)
    assert not chips.fit.interpolated
    pert = client.elicitation.fit_prior("roi", mode_and_bounds=(0.0, 1.0, 5.0))
    assert (pert.summary.mean, pert.summary.sd) == pytest.approx((1.5, 5 / 6))
    quantiles = client.elicitation.fit_prior("roi", quantiles={0.25: 0.5, 0.5: 1.0, 0.75: 2.5}, family="gamma")
    assert quantiles.compiled.gamma.shape == pytest.approx(0.894197, abs=1e-6)
    assert "0.462" in quantiles.notes[0]


def test_a_belief_keeps_its_fit_and_whether_the_data_were_seen(client: Client) -> None:
    register_tv(client)
    session = opened(client)
    belief = client.elicitation.add_belief(
        session, "tv", TV, quantiles={0.1: 0.35, 0.5: 0.5, 0.9: 0.66}, family="beta", data_seen=False
    )
    assert belief.compiled.HasField("beta")
    assert belief.HasField("data_seen")
    assert not belief.data_seen
    (stored,) = client.elicitation.get(session).beliefs
    assert stored == belief
    assert [p.value for p in stored.fit.probabilities] == [0.35, 0.5, 0.66]
    assert "share of outcome of TV" in stored.fit.odds[0]


def test_a_belief_of_another_family_is_analysed_and_updated(client: Client) -> None:
    register_tv(client, normal(0.5, 10.0))
    session = opened(client)
    client.elicitation.add_belief(session, "tv", TV, mean=0.5, plus_minus=0.1, meaning="sd", family="beta")
    client.elicitation.confirm(session)
    (belief,) = client.conflicts.analyze(session).beliefs
    assert belief.finding == conflict_pb2.FINDING_CONFLICT
    recentred = next(
        f for f in belief.bayes_factors if f.alternative == conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED
    )
    # The normal belief has 12.18 (methods/conflict.md §14 id 1); §8: a beta of the same moments gives another.
    assert 12.5 < math.exp(recentred.log_bayes_factor) < 17.0
    update = client.updates.propose(session, update_strategy="evidence_weighted")
    assert update.beliefs[0].changed
    run = client.sbc.run(model_id="tv", session_id=session, num_simulations=100, seed=5).result(timeout=120)
    assert run.verdict.kind == sbc_pb2.VERDICT_KIND_PASS  # the belief is the model's prior


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        ({"range": (20.0, 60.0), "probability": 0.9}, "statement.range.lower"),
        ({"range": (0.2, 0.6), "probability": 0.9, "mode": 40.0}, "statement.range.mode"),
        ({"quantiles": {0.1: 0.2, 0.9: 60.0}}, "statement.quantiles.values[1]"),
        ({"mode_and_bounds": (0.2, 0.3, 60.0)}, "statement.mode_and_bounds.upper"),
        ({"mode_and_bounds": (0.2, 0.1, 0.6)}, "statement.mode_and_bounds.mode"),
        ({"roulette": ([0, 0.2, 0.4, 0.6, 0.8, 1.2], [1, 4, 8, 5, 2])}, "statement.roulette.chips[4]"),
        ({"roulette": ([0, 0.2, 0.4, 0.6, 0.8, 1.0], [1, 2, 3, 2, 1])}, "statement.roulette.chips"),
        ({"roulette": ([0, 0.2, 0.4, 0.6, 0.8], [1, 2, 3, 2, 1])}, "statement.roulette.edges"),
        ({"roulette": ([0, 0.2, 0.4, 0.6], [5, 8, 2])}, "statement.roulette.edges"),
        ({"mean": 0.5, "plus_minus": 0.1, "meaning": "sd", "family": "gamma"}, "statement.family"),
        ({"mean": 0.5, "plus_minus": 0.1, "meaning": "sd", "family": "uniform"}, "statement.family"),
        ({"distribution": normal(0.5, 0.1), "family": "normal"}, "statement.family"),
        ({"mode_and_bounds": (0.2, 0.3, 0.2)}, "statement.mode_and_bounds.upper"),
        ({"pooled": [("nobody", "tv"), ("nobody", "b")]}, "statement.pooled.members[0].session_id"),
    ],
)
def test_a_statement_that_cannot_be_is_refused_with_the_path_of_its_field(
    client: Client, stated: dict, field: str
) -> None:
    register_tv(client)
    session = opened(client)
    with pytest.raises((InvalidArgument, NotFound)) as caught:
        client.elicitation.add_belief(session, "tv", TV, **stated)
    assert field_of(caught.value) == field
    assert not client.elicitation.get(session).beliefs


def test_a_uniform_statement_is_compiled_with_the_reason_why_it_is_no_belief(client: Client) -> None:
    fitted = client.elicitation.fit_prior("share_of_outcome", mean=0.5, plus_minus=0.1, meaning="sd", family="uniform")
    assert fitted.compiled.uniform.lower == pytest.approx(0.5 - 0.1 * math.sqrt(3))
    assert "Not to be had as a belief" in fitted.notes[-1]


def test_an_updated_prior_is_added_to_a_session_not_fitted(client: Client) -> None:
    register_tv(client)
    request = elicitation_pb2.FitPriorRequest(client_id=client.client_id, quantity=common_pb2.QUANTITY_ROI)
    request.statement.updated_prior.update_id = "u"
    request.statement.updated_prior.belief_id = "b"
    with pytest.raises(InvalidArgument, match=r"statement\.updated_prior: is compiled already"):
        client._connection.unary(client._connection.stubs.elicitation.FitPrior, request, None)


# -- pools -----------------------------------------------------------------------------------------------------------


def experts(client: Client) -> list[tuple[str, str]]:
    register_tv(client)
    for name, mean, sd in (("ann", 0.5, 0.1), ("ben", 0.3, 0.05)):
        client.elicitation.create(name, model_id="tv")
        client.elicitation.add_belief(name, "tv", TV, mean=mean, plus_minus=sd, meaning="sd", stated_by=name)
        client.elicitation.confirm(name)
    return [("ann", "tv"), ("ben", "tv")]


def test_pools_of_two_experts_are_those_of_the_method_note(client: Client) -> None:
    # methods/conflict.md §14 id 19
    members = experts(client)
    linear = client.elicitation.add_belief(opened(client, "linear"), "tv", TV, pooled=members)
    assert (linear.summary.mean, linear.summary.sd) == pytest.approx((0.4, 0.1274755), abs=1e-6)
    assert len(linear.compiled.mixture.components) == 2
    (apart,) = linear.disagreement
    assert (apart.first, apart.second) == ("ann/tv", "ben/tv")
    assert apart.wasserstein_scaled == pytest.approx(0.2 / math.sqrt(0.5 * (0.1**2 + 0.05**2)), rel=1e-4)
    assert 0.4 < apart.jensen_shannon_nats < math.log(2)
    geometric = client.elicitation.fit_prior("share_of_outcome", pooled=members, method="logarithmic")
    assert (geometric.compiled.normal.mean, geometric.compiled.normal.sd) == pytest.approx((0.34, 0.0632456), abs=1e-6)
    weighted = client.elicitation.fit_prior("share_of_outcome", pooled=[(*members[0], 3.0), members[1]])
    assert weighted.summary.mean == pytest.approx(0.45)
    client.elicitation.confirm("linear")
    assert client.conflicts.analyze("linear", expert_session_id="ann").beliefs


def test_only_confirmed_beliefs_about_the_same_quantity_are_pooled(client: Client) -> None:
    members = experts(client)
    client.elicitation.create("open", model_id="tv")
    client.elicitation.add_belief("open", "tv", TV, mean=0.4, plus_minus=0.1, meaning="sd")
    with pytest.raises(FailedPrecondition, match="open") as open_session:
        client.elicitation.fit_prior("share_of_outcome", pooled=[members[0], ("open", "tv")])
    assert open_session.value.reason == "INVALID_STATE"
    assert field_of(open_session.value) == "statement.pooled.members[1].session_id"
    with pytest.raises(NotFound) as unknown:
        client.elicitation.fit_prior("share_of_outcome", pooled=[members[0], ("ben", "radio")])
    assert field_of(unknown.value) == "statement.pooled.members[1].belief_id"
    for quantity, named in (("roi", members), ("share_of_outcome", [members[0], members[0]])):
        with pytest.raises(InvalidArgument) as caught:
            client.elicitation.fit_prior(quantity, pooled=named)
        assert field_of(caught.value).startswith("statement.pooled.members[")


# -- feedback --------------------------------------------------------------------------------------------------------


def test_the_threshold_of_the_tv_example_is_known_before_the_data(client: Client) -> None:
    # methods/conflict.md §13: wrong if the data said below mu - 2.146 v = .26
    register_tv(client)
    session = opened(client)
    client.elicitation.add_belief(session, "tv", TV, mean=0.5, plus_minus=0.1, meaning="sd")
    feedback = client.elicitation.feedback(session)
    (threshold,) = feedback.thresholds
    assert threshold.belief_id == "tv"
    assert threshold.expected_standard_error == 0.05
    assert threshold.lower == pytest.approx(0.26, abs=2e-4)
    assert threshold.upper == pytest.approx(0.74, abs=2e-4)
    assert "26.0 %" in threshold.explanation
    assert not feedback.HasField("predictive")
    assert feedback.notes


def test_feedback_on_no_beliefs_and_on_no_session(client: Client) -> None:
    register_tv(client)
    assert not client.elicitation.feedback(opened(client)).thresholds
    with pytest.raises(NotFound):
        client.elicitation.feedback("nobody")


# -- shares stated together, and a model with outcomes ---------------------------------------------------------------


def test_shares_of_outcome_leave_a_baseline(client: Client) -> None:
    register_mmm(client)
    session = opened(client, model_id="mmm")
    with pytest.raises(InvalidArgument, match="leaves nothing") as full:
        client.elicitation.add_shares(session, "share_of_outcome", {"x1": (0.7, 0.1), "x2": (0.3, 0.1)}, meaning="sd")
    assert field_of(full.value) == "shares"
    for quantity, shares, field in (
        ("roi", {"x1": (0.7, 0.1), "x2": (0.3, 0.1)}, "quantity"),
        ("share_of_outcome", {"x1": (0.2, 0.1), "x9": (0.3, 0.1)}, "shares[1].channel"),
        ("share_of_outcome", {"x1": (0.2, 0.1), "x2": (30.0, 10.0)}, "shares[1].share.mean"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            client.elicitation.add_shares(session, quantity, shares, meaning="sd")
        assert field_of(caught.value) == field
    added = client.elicitation.add_shares(
        session, "share_of_outcome", {"x1": (0.3, 0.06), "x2": (0.2, 0.05)}, meaning="sd", stated_by="Ann"
    )
    (group,) = added.share_groups
    assert list(group.belief_ids) == ["x1", "x2"]
    total = sum(group.alpha)
    assert [a / total for a in group.alpha] == pytest.approx([0.3, 0.2, 0.5])
    assert [b.summary.mean for b in added.beliefs] == pytest.approx([0.3, 0.2])
    assert [b.stated_by for b in added.beliefs] == ["Ann", "Ann"]
    assert "Asked for an sd of 6 %" in added.beliefs[0].notes[0]
    assert not added.coherence_notes

    feedback = client.elicitation.feedback(session, timeout=180)
    assert [t.belief_id for t in feedback.thresholds] == ["x1", "x2"]
    for threshold, belief in zip(feedback.thresholds, added.beliefs, strict=True):
        assert 0 < threshold.lower < belief.summary.mean < threshold.upper < 1
        assert threshold.expected_standard_error > 0
    stated, rest, media = feedback.totals
    assert stated.impossible == 0  # a Dirichlet distribution cannot exceed the whole
    assert stated.total.mean == pytest.approx(0.5, abs=0.01)
    assert rest.total.mean == pytest.approx(1 - stated.total.mean)
    assert media.total.mean == pytest.approx(0.5, abs=0.03)
    predictive = feedback.predictive
    assert predictive.simulations == 500
    assert predictive.row.lower < predictive.observed_lowest < predictive.observed_highest < predictive.row.upper
    assert predictive.total.mean > 0
    assert client.elicitation.feedback(session) == feedback  # the same question gets the same digits

    removed = client.elicitation.remove_belief(session, "x2")
    assert not removed.share_groups
    assert [b.belief_id for b in removed.beliefs] == ["x1"]
    with pytest.raises(InvalidArgument, match="same quantity") as twin:
        client.elicitation.add_shares(
            session,
            "share_of_outcome",
            {"x2": (0.2, 0.05), "x1": (0.3, 0.1)},
            meaning="sd",
            belief_ids={"x1": "again"},
        )
    assert field_of(twin.value) == "shares[1]"


def test_shares_of_media_are_scaled_and_cannot_be_the_priors_of_a_prediction(client: Client) -> None:
    register_mmm(client)
    session = opened(client, model_id="mmm")
    with pytest.raises(InvalidArgument) as one:
        client.elicitation.add_shares(session, "share_of_media", {"x1": (0.9, 0.05)}, meaning="sd")
    assert field_of(one.value) == "shares"
    added = client.elicitation.add_shares(
        session,
        "share_of_media",
        {"x1": (0.9, 0.08), "x2": (0.3, 0.08)},
        meaning="interval_half_width",
        level=0.9,
        belief_ids={"x1": "first"},
    )
    assert [b.belief_id for b in added.beliefs] == ["first", "x2"]
    assert [b.summary.mean for b in added.beliefs] == pytest.approx([0.75, 0.25])
    assert "scaled from 90 % to 75 %" in added.beliefs[0].notes[1]
    feedback = client.elicitation.feedback(session, timeout=180)
    assert not feedback.HasField("predictive")
    assert "first, x2" in " ".join(feedback.notes)
    (total,) = feedback.totals
    assert total.total.mean == pytest.approx(1.0)
    assert total.impossible == 0
    assert all(threshold.explanation for threshold in feedback.thresholds)


@pytest.mark.slow  # needs a fit of the demo's model
def test_two_shares_of_media_stated_together_are_jointly_what_each_is_alone(client: Client) -> None:
    register_mmm(client)
    session = opened(client, model_id="mmm")
    client.elicitation.add_shares(session, "share_of_media", {"x1": (0.6, 0.1), "x2": (0.4, 0.1)}, meaning="sd")
    client.elicitation.confirm(session)
    joint = client.conflicts.analyze(session, timeout=300).joint
    assert joint.degrees_of_freedom == 1
    assert joint.d_squared == pytest.approx(joint.parts[0].d_squared_without, rel=0.1)


def test_a_belief_that_no_fit_can_have_as_its_prior_is_named_and_the_others_keep_their_thresholds(
    client: Client,
) -> None:
    register_mmm(client)
    session = opened(client, model_id="mmm")
    for event in ("event_1", "event_2"):
        client.elicitation.add_belief(
            session, event, coefficient(event), mean=100.0, plus_minus=50.0, meaning="sd", family="student_t"
        )
    client.elicitation.add_belief(
        session, "x1", share_of_outcome("x1"), mean=0.3, plus_minus=0.1, meaning="sd", family="truncated_normal"
    )
    feedback = client.elicitation.feedback(session, timeout=180)
    assert not feedback.HasField("predictive")
    assert "event_1, event_2 as its prior" in " ".join(feedback.notes)
    # The first event is before the window of 24 months, so its data cannot say anything of it.
    outside, inside, share = feedback.thresholds
    assert "next to nothing" in outside.explanation
    assert not outside.HasField("lower")
    assert inside.lower < 100.0 < inside.upper
    assert 0 < share.lower < 0.3 < share.upper


def test_shares_of_media_of_some_channels_are_refused(client: Client) -> None:
    register_mmm(client)
    client.models.register_mmm(
        "three",
        dataset_id="weekly",
        channels=[channel("x1"), channel("x2"), channel("third", exposure_column="x1")],
        parameterise_by="share_of_outcome",
    )
    session = opened(client, model_id="three")
    with pytest.raises(InvalidArgument, match="third is missing") as caught:
        client.elicitation.add_shares(session, "share_of_media", {"x1": (0.7, 0.1), "x2": (0.3, 0.1)}, meaning="sd")
    assert field_of(caught.value) == "shares"


def test_incoherent_beliefs_are_remarked_on(client: Client) -> None:
    register_mmm(client)
    session = opened(client, model_id="mmm")
    for name in ("x1", "x2"):
        client.elicitation.add_belief(session, name, share_of_media(name), mean=0.3, plus_minus=0.02, meaning="sd")
    (note,) = client.elicitation.get(session).coherence_notes
    assert "60.0 %" in note
    assert "less than the whole" in note


def test_the_command_shows_a_session_and_its_feedback(client: Client, service: Any) -> None:
    register_tv(client)
    session = opened(client)
    client.elicitation.add_belief(session, "tv", TV, mean=0.5, plus_minus=0.1, meaning="sd")
    command = [sys.executable, "-m", "server.command.cli", "show", "session", session, "--feedback"]
    command += ["--client", client.client_id, "--target", service.address]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "160"})
    text = " ".join(shown.stdout.split())
    assert "1 in 20 that the share of outcome of TV is below 33.6 %" in text
    assert "called wrong if they said below 26.0 %" in text
