"""Every strategy on the TV example through the RPCs: 50 % ± 10 % (sd) against a published estimate of 25 % ± 5 %."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from liftos.bayes import (
    Client,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    experiment,
    roi,
    share_of_outcome,
    usd,
)
from liftos.bayes.v1 import prior_update_pb2, sbc_pb2

from tests.end_to_end.examples import normal, register_tv

ABOUT = share_of_outcome("TV")
BLOCKED = prior_update_pb2.UPDATE_ACTION_CHECK_MODEL


@pytest.fixture(scope="module")
def analysed(service: Any) -> Iterator[Client]:
    """The belief, analysed; the model is not calibrated."""
    with Client.connect(service.address, client_id=f"updates-{uuid.uuid4().hex[:8]}") as connected:
        register_tv(connected, normal(0.5, 10.0))
        believe(connected, "beliefs", 0.5)
        connected.conflicts.analyze("beliefs")
        yield connected


def believe(client: Client, session_id: str, mean: float) -> None:
    client.elicitation.create(session_id, model_id="tv", client_confidence=0.7)
    client.elicitation.add_belief(session_id, "tv", ABOUT, mean=mean, plus_minus=0.1, meaning="sd")
    client.elicitation.confirm(session_id)


# methods/conflict.md §12
STRATEGIES = [
    pytest.param({"update_strategy": "evidence_weighted"}, 0.36270, 0.15960, id="evidence weighted"),
    pytest.param(
        {"update_strategy": "evidence_weighted", "min_evidence_strength": 1}, 0.26896, 0.11992, id="even odds"
    ),
    pytest.param({"update_strategy": "full_bayesian"}, 0.3, 0.04472, id="full Bayesian"),
    pytest.param({"update_strategy": "conservative"}, 0.5, 0.24495, id="ML-II"),
    pytest.param({"update_strategy": "conservative", "conservative_p_value": 0.05}, 0.5, 0.11735, id="p-value"),
    pytest.param({"update_strategy": "power_prior", "power": 0.25}, 0.375, 0.07071, id="power"),
    pytest.param({"update_strategy": "power_prior"}, 0.33333, 0.05774, id="half power"),
]


@pytest.mark.parametrize(("request_", "mean", "sd"), STRATEGIES)
def test_each_strategy_gives_the_figures_of_the_method_note(
    analysed: Client, request_: dict[str, Any], mean: float, sd: float
) -> None:
    update = analysed.updates.propose("beliefs", **request_)
    (belief,) = update.beliefs
    assert belief.changed
    assert (belief.after_summary.mean, belief.after_summary.sd) == pytest.approx((mean, sd), abs=5e-5)
    assert belief.prior_ess_months_before == pytest.approx(6.0, rel=1e-3)
    assert update.beliefs[0] == analysed.updates.get(update.update_id).beliefs[0]
    assert update.HasField("power") is (request_["update_strategy"] == "power_prior")
    assert not update.HasField("correlation")


def test_an_updated_prior_is_worth_belief_and_data_together(analysed: Client) -> None:
    # methods/conflict.md §12: 30 = 6 + 24 months
    (belief,) = analysed.updates.propose("beliefs", update_strategy="full_bayesian").beliefs
    assert belief.prior_ess_months_after == pytest.approx(30.0, rel=1e-3)


def test_the_power_of_the_belief_is_learned(analysed: Client) -> None:
    # methods/conflict.md §12: E b .4144, mode .1667
    (belief,) = analysed.updates.propose("beliefs", update_strategy="adaptive_power_prior").beliefs
    assert (belief.expected_power, belief.power_mode) == pytest.approx((0.4144, 0.1667), abs=1e-4)
    assert not belief.HasField("weight")
    assert belief.after.WhichOneof("kind") == "gridded"


def test_a_robust_mixture_keeps_its_components(analysed: Client) -> None:
    update = analysed.updates.propose("beliefs", update_strategy="robust_mixture", robust_weight=0.3)
    assert update.robust_weight == 0.3
    client, vague = update.beliefs[0].after.mixture.components
    assert client.distribution == update.beliefs[0].before
    assert vague.distribution.normal.sd == pytest.approx(0.05 * math.sqrt(24.0), rel=1e-3)
    assert client.weight < 0.7


def test_without_the_gate_the_belief_is_mixed_below_the_minimum_too(analysed: Client) -> None:
    gated = analysed.updates.propose("beliefs", update_strategy="evidence_weighted", min_evidence_strength=100)
    assert not gated.beliefs[0].changed
    (belief,) = analysed.updates.propose("beliefs", gate=False, min_evidence_strength=100).beliefs
    assert belief.changed
    assert belief.weight == pytest.approx(12.18 / 112.18, abs=1e-4)


def test_what_counts_is_what_the_data_and_the_experiments_say_together(analysed: Client) -> None:
    lift = experiment("lift", ABOUT, estimate=0.3, standard_error=0.05, first_date="2024-02-01", scope="12 regions")
    update = analysed.updates.propose("beliefs", update_strategy="full_bayesian", experiments=[lift])
    (belief,) = update.beliefs
    assert list(update.experiments) == [lift]
    assert belief.experiment_side.mean == pytest.approx(0.3)
    assert belief.data_side.mean == pytest.approx(0.25, abs=1e-6)
    precision = 0.1**-2 + 2.0 * 0.05**-2
    assert belief.after_summary.mean == pytest.approx((50.0 + 0.55 * 400.0) / precision, abs=1e-5)
    assert belief.log_bayes_factor == pytest.approx(0.5 * 0.225**2 / (0.01 + 0.00125), rel=1e-4)
    two = [lift, experiment("other", ABOUT, estimate=0.3, standard_error=0.05)]
    (belief,) = analysed.updates.propose("beliefs", update_strategy="full_bayesian", experiments=two).beliefs
    assert belief.experiment_side.sd == pytest.approx(0.05 / math.sqrt(2.0))


def test_an_experiment_that_contradicts_the_data_points_to_the_model(analysed: Client) -> None:
    far = experiment("far", ABOUT, estimate=0.6, standard_error=0.05)
    (belief,) = analysed.updates.propose("beliefs", update_strategy="full_bayesian", experiments=[far]).beliefs
    assert belief.action == BLOCKED
    assert any("experiments contradict what the data say" in reason for reason in belief.reasons)


def test_a_projection_shows_what_is_lost_and_refuses_to_stand_in_for_two_modes(analysed: Client) -> None:
    # methods/conflict.md §12: KS .0437, KL .0292
    (belief,) = analysed.updates.propose("beliefs", project_to="normal").beliefs
    found = belief.projection
    assert found.refused
    assert "2 modes" in found.refusal
    assert (found.max_cdf_error, found.kl_nats) == pytest.approx((0.0437, 0.0292), abs=1e-4)
    assert found.distribution.normal.sd == pytest.approx(0.15960, abs=5e-5)
    (belief,) = analysed.updates.propose("beliefs", update_strategy="full_bayesian", project_to="gamma").beliefs
    assert belief.projection.refused
    assert not belief.projection.HasField("distribution")
    (belief,) = analysed.updates.propose("beliefs", update_strategy="full_bayesian", project_to="normal").beliefs
    assert not belief.projection.refused
    assert belief.projection.distribution == belief.after


WRONG = [
    pytest.param({"power": 0.5}, "power", id="power of another strategy"),
    pytest.param({"robust_weight": 0.5, "update_strategy": "power_prior"}, "robust_weight", id="weight of another"),
    pytest.param({"gate": False, "update_strategy": "conservative"}, "without_gate", id="gate of another"),
    pytest.param({"conservative_p_value": 0.05}, "conservative_p_value", id="p-value of another"),
    pytest.param({"power": 1.5, "update_strategy": "power_prior"}, "power", id="power beyond 1"),
    pytest.param(
        {"experiments": [experiment("a", roi("TV"), estimate=1.0, standard_error=0.1)]},
        "experiments[0].estimand",
        id="experiment about nothing believed",
    ),
    pytest.param(
        {"experiments": [experiment("a", ABOUT, estimate=0.3, standard_error=0.1)] * 2},
        "experiments[1].experiment_id",
        id="an experiment twice",
    ),
    pytest.param(
        {"experiments": [experiment("a", ABOUT, estimate=0.3, standard_error=0.0)]},
        "experiments[0].standard_error",
        id="an experiment without error",
    ),
    pytest.param(
        {
            "experiments": [
                experiment(
                    "a", ABOUT, estimate=0.3, standard_error=0.1, first_date="2024-02-01", last_date="2024-01-01"
                )
            ]
        },
        "experiments[0].window.last_date",
        id="a window that ends before it begins",
    ),
]


@pytest.mark.parametrize(("request_", "field"), WRONG)
def test_a_wrong_setting_is_refused_with_its_path(analysed: Client, request_: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        analysed.updates.propose("beliefs", **request_)
    assert [v.field for v in caught.value.violations] == [field]


def test_the_analysis_can_be_named_and_must_be_one_of_the_session(analysed: Client) -> None:
    believe(analysed, "named", 0.27)
    with pytest.raises(FailedPrecondition) as caught:
        analysed.updates.propose("named")
    assert caught.value.reason == "NO_EVIDENCE"
    first = analysed.conflicts.analyze("named")
    second = analysed.conflicts.analyze("named", confidence_threshold=0.9)
    assert analysed.updates.propose("named").lineage.analysis_id == second.analysis_id
    named = analysed.updates.propose("named", analysis_id=first.analysis_id)
    assert named.lineage.analysis_id == first.analysis_id
    with pytest.raises(InvalidArgument, match="not an analysis of session 'beliefs'"):
        analysed.updates.propose("beliefs", analysis_id=first.analysis_id)
    with pytest.raises(NotFound):
        analysed.updates.propose("beliefs", analysis_id=str(uuid.uuid4()))


def test_nothing_is_recommended_for_release_until_the_model_is_calibrated(client: Client) -> None:
    register_tv(client, normal(0.5, 10.0))
    believe(client, "beliefs", 0.5)
    client.conflicts.analyze("beliefs")
    update = client.updates.propose("beliefs", update_strategy="evidence_weighted")
    assert not update.releasable
    assert update.beliefs[0].action == BLOCKED
    assert update.beliefs[0].reasons[0].startswith("Nothing is recommended for release yet. Model 'tv'")
    assert update.summary[0].startswith("Check the model before the belief about the share of outcome of TV")
    keeping = client.updates.propose("beliefs", update_strategy="evidence_weighted", min_evidence_strength=1000)
    assert keeping.releasable  # nothing changes, so nothing rests on the model
    run = client.sbc.run(model_id="tv", num_simulations=200, seed=1).result(timeout=120)
    assert run.verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    released = client.updates.get(update.update_id)
    assert released.releasable
    # The label is another under heavy tails (methods/conflict.md §8), so the belief should become robust.
    assert released.beliefs[0].action == prior_update_pb2.UPDATE_ACTION_ROBUSTIFY
    assert released.summary[0].startswith("Make the belief about the share of outcome of TV (50 % ± 10 %")
    accepted = client.updates.accept(released, decided_by="Ann")
    assert accepted.beliefs[0].action == prior_update_pb2.UPDATE_ACTION_ROBUSTIFY


def test_a_belief_that_the_data_do_not_contradict_is_kept_or_learned_from(analysed: Client) -> None:
    believe(analysed, "agrees", 0.27)
    analysed.conflicts.analyze("agrees")
    kept = analysed.updates.propose("agrees", update_strategy="conservative")
    assert kept.beliefs[0].action == prior_update_pb2.UPDATE_ACTION_KEEP
    assert kept.beliefs[0].after == kept.beliefs[0].before
    assert kept.summary[0].startswith("Keep the belief about the share of outcome of TV (27 % ± 10 %).")


def test_an_experiment_that_ends_a_conflict_is_not_said_to_be_the_data(analysed: Client) -> None:
    lift = experiment("lift", ABOUT, estimate=0.3, standard_error=0.05)
    (belief,) = analysed.updates.propose("beliefs", experiments=[lift]).beliefs
    assert belief.log_bayes_factor < math.log(10) < math.log(12.18)
    assert any("The data alone contradict the belief" in reason for reason in belief.reasons)
    assert not any("do not contradict" in reason for reason in belief.reasons)


def test_whether_calibration_is_essential_counts_the_experiments_and_the_policy_in_force(client: Client) -> None:
    register_tv(client, normal(0.5, 10.0))
    client.elicitation.create("calm", model_id="tv", client_confidence=0.9)
    client.elicitation.add_belief("calm", "tv", ABOUT, mean=0.35, plus_minus=0.1, meaning="sd")
    client.elicitation.confirm("calm")
    client.conflicts.analyze("calm", business_impact=usd(1000))
    optional = sbc_pb2.NECESSITY_DECISION_NOT_REQUIRED_BY_POLICY
    essential = sbc_pb2.NECESSITY_DECISION_ESSENTIAL
    plain = client.updates.propose("calm", update_strategy="full_bayesian")
    assert (plain.sbc_decision, plain.releasable) == (optional, True)
    lift = experiment("lift", ABOUT, estimate=0.02, standard_error=0.03)
    strong = client.updates.propose("calm", update_strategy="full_bayesian", experiments=[lift])
    assert strong.beliefs[0].log_bayes_factor > math.log(10)
    assert (strong.sbc_decision, strong.releasable) == (essential, False)
    client.sbc.create_policy(
        model_complexity=10, bayes_factor=10, business_impact=usd(1), client_confidence=0.6, adopted_by="Ann"
    )
    later = client.updates.propose("calm", update_strategy="full_bayesian")
    assert (later.sbc_decision, later.releasable) == (essential, False)
    assert client.updates.get(plain.update_id).releasable  # what was recommended before stays as it was
