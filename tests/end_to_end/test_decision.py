"""The decision on SBC through the RPCs: thresholds, versions of the policy, evidence, cost, replay; and outcomes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from liftos.bayes import Client, InvalidArgument, NotFound, money, share_of_outcome, usd
from liftos.bayes.v1 import common_pb2, conflict_pb2, sbc_pb2

from tests.end_to_end.examples import normal, register_tv

ESSENTIAL = sbc_pb2.NECESSITY_DECISION_ESSENTIAL
NOT_REQUIRED = sbc_pb2.NECESSITY_DECISION_NOT_REQUIRED_BY_POLICY
UNDETERMINED = sbc_pb2.NECESSITY_DECISION_UNDETERMINED
WIDE = normal(0.5, 10.0)
CALM: dict[str, Any] = {
    "model_complexity": 5,
    "bayes_factor": 1.5,
    "business_impact": usd(10_000),
    "client_confidence": 0.9,
}
V1: dict[str, Any] = {
    "model_complexity": 10,
    "bayes_factor": 10.0,
    "business_impact": usd(1_000_000),
    "client_confidence": 0.6,
}


def believe(client: Client, mean: float, session_id: str = "beliefs") -> None:
    client.elicitation.create(session_id, model_id="tv", client_confidence=0.7)
    client.elicitation.add_belief(session_id, "tv", share_of_outcome("TV"), mean=mean, plus_minus=0.1, meaning="sd")
    client.elicitation.confirm(session_id)


def fired(necessity: sbc_pb2.SbcNecessity) -> list[str]:
    return [rule.input for rule in necessity.rules if rule.fired]


@pytest.mark.parametrize(
    ("field", "value", "fires"),
    [
        # the table of methods/sbc.md §15.2
        ("model_complexity", 10, False),
        ("model_complexity", 11, True),
        ("bayes_factor", 10.0, False),
        ("bayes_factor", 10.0000001, True),
        ("bayes_factor", math.inf, True),
        ("business_impact", usd("1000000.00"), False),
        ("business_impact", usd("1000000.01"), True),
        ("client_confidence", 0.6, False),
        ("client_confidence", 0.5999, True),
    ],
)
def test_thresholds_are_strict_on_the_wire(client: Client, field: str, value: Any, fires: bool) -> None:
    found = client.sbc.check_necessity(**{**CALM, field: value})
    assert fired(found) == ([field] if fires else [])
    assert found.decision == (ESSENTIAL if fires else NOT_REQUIRED)
    (rule,) = (rule for rule in found.rules if rule.input == field)
    assert (rule.margin > 0) == fires
    assert rule.near_miss == (value != math.inf)
    assert (found.policy_version, found.policy_id) == (1, "liftos.bayes.sbc-necessity/1")


def test_a_bayes_factor_is_given_once_as_itself_or_as_its_logarithm(client: Client) -> None:
    rest = {name: value for name, value in CALM.items() if name != "bayes_factor"}
    for log, fires in ((5000.0, True), (math.inf, True), (math.log(10.0), False), (-math.inf, False)):
        assert fired(client.sbc.check_necessity(**rest, log_bayes_factor=log)) == ["bayes_factor"] * fires
    with pytest.raises(InvalidArgument) as caught:
        client.sbc.check_necessity(**CALM, log_bayes_factor=0.4)
    assert [v.field for v in caught.value.violations] == ["log_bayes_factor"]
    with pytest.raises(InvalidArgument, match="log_bayes_factor"):
        client.sbc.check_necessity(**rest, log_bayes_factor=math.nan)
    with pytest.raises(InvalidArgument, match="only USD"):
        client.sbc.check_necessity(**{**CALM, "business_impact": money(100, "EUR")})


def test_the_case_of_three_million_dollars_is_essential_for_all_four_reasons(client: Client) -> None:
    found = client.sbc.check_necessity(
        model_complexity=15, conflict_severity="very_strong", business_impact=usd(3_000_000), client_confidence=0.3
    )
    assert found.decision == ESSENTIAL
    assert fired(found) == ["model_complexity", "bayes_factor", "business_impact", "client_confidence"]
    assert [rule.margin for rule in found.rules] == pytest.approx([5, 90, 2_000_000, 0.3])
    assert found.recommended_validation_type == sbc_pb2.VALIDATION_TYPE_POSTERIOR
    assert found.recommended_simulations == 1000
    assert 0.8 < found.detectable_sd_factor < 1 < found.detectable_sd_factor_above < 1.25
    assert 0 < found.detectable_bias_sd < 0.3
    # No model is named, so there is nothing to measure a cost by.
    assert (found.cost.basis, found.cost.fits) == (sbc_pb2.COST_BASIS_UNKNOWN, 2000)


def test_what_is_missing_is_not_zero(client: Client) -> None:
    without = {name: value for name, value in CALM.items() if name != "business_impact"}
    found = client.sbc.check_necessity(**without)
    assert (found.decision, list(found.missing_inputs)) == (UNDETERMINED, ["business_impact"])
    (rule,) = (rule for rule in found.rules if rule.input == "business_impact")
    assert not (rule.HasField("fired"))
    assert not (rule.HasField("observed"))
    assert not (rule.HasField("margin"))
    assert client.sbc.check_necessity(**without, business_impact=usd(0)).decision == NOT_REQUIRED
    calm = client.sbc.check_necessity(**CALM)
    assert calm.recommended_simulations == 0
    assert not (calm.HasField("cost"))
    assert not (calm.HasField("detectable_sd_factor"))


def test_a_new_version_is_in_force_everywhere_and_an_older_one_can_be_replayed(client: Client) -> None:
    (built_in,) = client.sbc.policies()
    assert (built_in.version, built_in.adopted_by) == (1, "")
    before = client.sbc.check_necessity(**{**CALM, "bayes_factor": 20.0})
    assert before.decision == ESSENTIAL
    assert before.policy_hash == built_in.policy_hash
    with pytest.raises(InvalidArgument) as unknown:
        client.sbc.check_necessity(**CALM, policy_version=2)
    assert [v.field for v in unknown.value.violations] == ["policy_version"]

    request_id = "0d0f5c3e-8f5b-4d0e-9a2b-1f1f9c0d7a01"
    wanted = {**V1, "bayes_factor": 15.0}
    lenient = client.sbc.create_policy(**wanted, adopted_by="Ann", reason="few conflicts of 10", request_id=request_id)
    assert client.sbc.create_policy(
        **wanted, adopted_by="Ann", reason="few conflicts of 10", request_id=request_id
    ) == (lenient)
    third = client.sbc.create_policy(**V1, adopted_by="Bob")
    assert [policy.version for policy in client.sbc.policies(page_size=1)] == [3, 2, 1]
    assert [policy.thresholds.bayes_factor for policy in client.sbc.policies()] == [10.0, 15.0, 10.0]
    assert len({built_in.policy_hash, lenient.policy_hash, third.policy_hash}) == 3
    with pytest.raises(InvalidArgument, match="only USD"):
        client.sbc.create_policy(**{**V1, "business_impact": money(1, "EUR")}, adopted_by="Ann")

    # The TV example has a Bayes factor of 12.18 (methods/conflict.md §14): over version 1 and 3, under version 2.
    asked = {**CALM, "bayes_factor": 12.18}
    for version, decision in ((1, ESSENTIAL), (2, NOT_REQUIRED), (3, ESSENTIAL), (None, ESSENTIAL)):
        found = client.sbc.check_necessity(**asked, policy_version=version)
        assert (found.decision, found.policy_version) == (decision, version or 3)
    client.sbc.create_policy(**{**V1, "bayes_factor": 15.0, "client_confidence": 0.5}, adopted_by="Ann")
    register_tv(client, WIDE)
    believe(client, 0.5)
    analysis = client.conflicts.analyze("beliefs", business_impact=usd(10_000))
    assert (analysis.sbc_necessity.decision, analysis.sbc_necessity.policy_version) == (NOT_REQUIRED, 4)
    assert client.conflicts.get(analysis.analysis_id).sbc_necessity == analysis.sbc_necessity


def test_decisions_are_stored_once_each_and_come_out_again_under_their_own_version(client: Client) -> None:
    register_tv(client, WIDE)
    once = client.sbc.check_necessity(**CALM, model_id="tv")
    assert client.sbc.check_necessity(**CALM, model_id="tv").decision_id == once.decision_id
    other_window = client.sbc.check_necessity(**CALM, model_id="tv", data_period_months=12)
    believe(client, 0.5)
    analysis = client.conflicts.analyze("beliefs", business_impact=usd(2_000_000))
    checked = client.sbc.check_necessity(client_confidence=0.2, log_bayes_factor=math.inf)
    stored = list(client.sbc.decisions(page_size=2))
    assert [decision.decision_id for decision in stored] == [
        found.decision_id for found in (checked, analysis.sbc_necessity, other_window, once)
    ]
    assert [decision.source for decision in stored] == [
        sbc_pb2.DECISION_SOURCE_CHECK,
        sbc_pb2.DECISION_SOURCE_CONFLICT,
        sbc_pb2.DECISION_SOURCE_CHECK,
        sbc_pb2.DECISION_SOURCE_CHECK,
    ]
    assert [decision.source_id for decision in stored] == ["", analysis.analysis_id, "", ""]
    assert [decision.model_id for decision in stored] == ["", "tv", "tv", "tv"]
    assert stored[0].necessity == checked
    assert stored[1].necessity == analysis.sbc_necessity

    same = client.sbc.replay_policy(**V1)
    assert (same.replayed, same.essential_was, same.essential_would_be, len(same.changed)) == (4, 2, 2, 0)
    # .2 stays essential for its infinite factor, 12.18 for the money that is at stake until that is allowed too.
    assert not client.sbc.replay_policy(**{**V1, "bayes_factor": 20.0}).changed
    lenient = client.sbc.replay_policy(**{**V1, "bayes_factor": 20.0, "business_impact": usd(5_000_000)})
    (changed,) = lenient.changed
    assert changed.was == stored[1]
    assert changed.would_be.decision == NOT_REQUIRED
    assert changed.would_be.policy_version == 0
    assert "1 were never calibrated" in lenient.summary[1]
    strict = client.sbc.replay_policy(**{**V1, "model_complexity": 4})
    assert [(each.was.model_id, each.would_be.decision) for each in strict.changed] == [("tv", ESSENTIAL)] * 2
    assert len(list(client.sbc.decisions())) == 4  # a replay decides nothing


def test_evidence_and_cost_follow_the_runs_of_the_model(client: Client) -> None:
    register_tv(client, WIDE)
    asked = {**CALM, "model_id": "tv", "model_complexity": 12}
    first = client.sbc.check_necessity(**asked)
    assert list(first.evidence) == ["NO_CERTIFIED_PASS"]
    assert first.cost.basis == sbc_pb2.COST_BASIS_UNKNOWN
    assert "A QUICK run" in first.cost.explanation
    client.sbc.run(model_id="tv", validation_type="quick", seed=1).result(timeout=60)
    piloted = client.sbc.check_necessity(**asked)
    assert list(piloted.evidence) == ["NO_CERTIFIED_PASS"]
    assert (piloted.cost.basis, piloted.cost.runs) == (sbc_pb2.COST_BASIS_SAME_MODEL, 1)
    assert (piloted.recommended_simulations, piloted.cost.fits) == (500, 500)
    assert 0 < piloted.cost.seconds_median <= piloted.cost.seconds_90 < 60
    # A model of its family that has not been run itself is told from it.
    client.models.register_summary(
        "radio",
        estimand=share_of_outcome("radio"),
        estimate=0.1,
        standard_error=0.02,
        n_months=24,
        reference_prior=WIDE,
    )
    assert client.sbc.check_necessity(**{**asked, "model_id": "radio"}).cost.basis == (
        sbc_pb2.COST_BASIS_SIMILAR_MODELS
    )

    passed = client.sbc.run(model_id="tv", num_simulations=200, seed=1).result(timeout=60)
    assert passed.verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    satisfied = client.sbc.check_necessity(**asked)
    assert satisfied.decision == ESSENTIAL
    assert (satisfied.satisfied_by_run_id, satisfied.recommended_simulations) == (passed.run_id, 0)
    assert f"SBC run {passed.run_id} passed within the last 24 hours" in satisfied.explanation
    # A summary is what it is, whatever window is asked for.
    other_window = client.sbc.check_necessity(**asked, data_period_months=12)
    assert other_window.satisfied_by_run_id == passed.run_id
    # A conflict asks for truths from the posterior, which that run had not.
    conflict = {**asked, "bayes_factor": 20.0}
    asks = client.sbc.check_necessity(**conflict)
    assert asks.recommended_validation_type == sbc_pb2.VALIDATION_TYPE_POSTERIOR
    assert "not with truths from the posterior" in asks.explanation
    posterior = client.sbc.run(model_id="tv", validation_type="posterior", num_simulations=200, seed=1)
    assert posterior.result(timeout=60).verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    assert client.sbc.check_necessity(**conflict).recommended_simulations == 0


def test_a_stored_analysis_asks_for_calibration_until_a_run_has_passed(client: Client) -> None:
    register_tv(client, WIDE)
    believe(client, 0.5)
    analysis = client.conflicts.analyze("beliefs")
    assert analysis.sbc_necessity.decision == ESSENTIAL

    def templates() -> list[int]:
        return [message.template for message in client.conflicts.get(analysis.analysis_id).communications]

    told = [common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND, common_pb2.COMMUNICATION_TEMPLATE_SBC_ESSENTIAL]
    assert templates() == told
    # A pass with a session's priors says nothing about the fit under the reference priors.
    for session_id, left in (("beliefs", told), ("", told[:1])):
        run = client.sbc.run(model_id="tv", session_id=session_id, num_simulations=500, seed=7).result(timeout=60)
        assert run.verdict.kind == sbc_pb2.VERDICT_KIND_PASS
        assert templates() == left
    assert client.conflicts.get(analysis.analysis_id).sbc_necessity == analysis.sbc_necessity


def test_a_replay_names_the_failed_runs_that_would_have_been_missed(client: Client) -> None:
    register_tv(client, WIDE)
    asked = client.sbc.check_necessity(**{**CALM, "model_id": "tv", "client_confidence": 0.55})
    # At a level of one half some run soon fails a right model: a FAIL like any other.
    for seed in range(1, 60):
        run = client.sbc.run(model_id="tv", num_simulations=100, seed=seed, alpha=0.5).result(timeout=60)
        if run.verdict.kind == sbc_pb2.VERDICT_KIND_FAIL:
            break
    replay = client.sbc.replay_policy(**{**V1, "client_confidence": 0.5})
    (changed,) = replay.changed
    assert changed.was.decision_id == asked.decision_id
    assert list(changed.failed_run_ids) == [run.run_id]
    assert "Of these 1 have failed a run" in replay.summary[1]


def test_outcomes_are_added_and_the_latest_of_a_belief_counts(client: Client) -> None:
    register_tv(client, WIDE)
    believe(client, 0.5)
    analysis = client.conflicts.analyze("beliefs")
    assert client.conflicts.outcome_report().severities[2].analysed == 1  # STRONG
    experiment = common_pb2.Experiment(
        experiment_id="lift-1", estimand=share_of_outcome("TV"), estimate=0.28, standard_error=0.04
    )
    request_id = "0d0f5c3e-8f5b-4d0e-9a2b-1f1f9c0d7a02"
    first = client.conflicts.record_outcome(
        analysis.analysis_id, "tv", experiment=experiment, recorded_by="Ann", request_id=request_id
    )
    assert first.side == conflict_pb2.OUTCOME_SIDE_DATA
    assert (first.severity, first.conflict) == (conflict_pb2.SEVERITY_STRONG, True)
    assert first.experiment == experiment
    again = client.conflicts.record_outcome(
        analysis.analysis_id, "tv", experiment=experiment, recorded_by="Ann", request_id=request_id
    )
    assert again == first
    strong = client.conflicts.outcome_report().severities[2]
    assert (strong.analysed, strong.resolved, strong.for_data, strong.by_experiment) == (1, 1, 1, 1)
    assert strong.hit_rate == 1.0

    second = client.conflicts.record_outcome(
        analysis.analysis_id, "tv", side="client", reason="the lift test had spilt over", recorded_by="Bob"
    )
    assert not second.superseded
    listed = list(client.conflicts.outcomes(page_size=1))
    assert [(found.outcome_id, found.superseded) for found in listed] == [
        (second.outcome_id, False),
        (first.outcome_id, True),
    ]
    strong = client.conflicts.outcome_report().severities[2]
    assert (strong.resolved, strong.for_data, strong.for_client, strong.by_experiment) == (1, 0, 1, 0)

    # What a person has stated against the experiment is not the experiment's.
    client.conflicts.record_outcome(analysis.analysis_id, "tv", side="client", experiment=experiment, recorded_by="Bob")
    strong = client.conflicts.outcome_report().severities[2]
    assert (strong.resolved, strong.for_client, strong.by_experiment) == (1, 1, 0)

    # A belief that is analysed again is the same belief, and its outcome answers the analysis that it was recorded for.
    later = client.conflicts.analyze("beliefs", data_period_months=12)
    assert list(client.conflicts.outcomes(analysis_id=later.analysis_id)) == []
    assert [record.analysed for record in client.conflicts.outcome_report().severities] == [0, 0, 1, 0]
    with pytest.raises(NotFound, match="belief 'radio'"):
        client.conflicts.record_outcome(analysis.analysis_id, "radio", side="data", recorded_by="Ann")
    with pytest.raises(InvalidArgument, match="side"):
        client.conflicts.record_outcome(analysis.analysis_id, "tv", recorded_by="Ann")
    with pytest.raises(NotFound, match="conflict analysis"):
        client.conflicts.record_outcome(request_id, "tv", side="data", recorded_by="Ann")
