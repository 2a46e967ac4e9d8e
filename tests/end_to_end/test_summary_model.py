"""The TV example through the RPCs: a belief of 50 % ± 10 % (sd) against a published estimate of 25 % ± 5 %."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from liftos.bayes import AlreadyExists, Client, NotFound, share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2, prior_update_pb2, sbc_pb2

from tests.end_to_end.examples import normal, register_tv

UNIFORM = common_pb2.Distribution(uniform=common_pb2.Uniform(lower=0.0, upper=1.0))
WIDE = normal(0.5, 10.0)


def believe(client: Client, mean: float, sd: float, session_id: str = "beliefs") -> None:
    client.elicitation.create(session_id, model_id="tv", client_confidence=0.7)
    client.elicitation.add_belief(
        session_id,
        "tv",
        share_of_outcome("TV"),
        mean=mean,
        plus_minus=sd,
        meaning="sd",
    )
    client.elicitation.confirm(session_id)


def factor(belief: conflict_pb2.BeliefConflict, alternative: int) -> float:
    return math.exp(next(f.log_bayes_factor for f in belief.bayes_factors if f.alternative == alternative))


def test_the_tv_example_has_the_figures_of_the_method_note(client: Client) -> None:
    # methods/conflict.md §14 id 1 and 2
    register_tv(client, WIDE)
    believe(client, 0.5, 0.1)
    analysis = client.conflicts.analyze("beliefs")
    (belief,) = analysis.beliefs
    assert factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED) == pytest.approx(12.182, abs=5e-4)
    assert factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_POINT_MLE) == pytest.approx(27.241, abs=5e-4)
    assert factor(belief, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_WIDENED) == pytest.approx(3.1945, abs=5e-4)
    assert belief.p_value == pytest.approx(0.02535, abs=5e-6)
    assert belief.kl_divergence_nats == pytest.approx(3.4431, abs=5e-4)
    assert belief.wasserstein_1 == pytest.approx(0.2500, abs=5e-5)
    assert belief.wasserstein_2 == pytest.approx(0.25495, abs=5e-5)
    assert belief.severity == conflict_pb2.SEVERITY_STRONG
    assert belief.conflict
    assert belief.finding == conflict_pb2.FINDING_CONFLICT
    assert belief.prior_ess_months == pytest.approx(6.0, rel=1e-3)
    # id 17: d mean / d log2 = .0277259, in posterior sds of .0447214
    assert belief.sensitivity.prior == pytest.approx(0.61997, abs=5e-5)
    assert belief.sensitivity.likelihood == pytest.approx(-0.61997, abs=5e-5)
    assert belief.severity_if_heavy_tailed == conflict_pb2.SEVERITY_MODERATE
    assert "depends on how sure the client is of the extremes" in belief.explanation
    assert not analysis.reference_fit_reused


def test_experts_are_ranked_against_each_other(client: Client) -> None:
    # m(.25; .5, .1118) and m(.25; .3, .1118): ln BF = (z² - z'²)/2, and back
    register_tv(client, WIDE)
    believe(client, 0.5, 0.1)
    believe(client, 0.3, 0.1, "expert")
    expected = 0.5 * (0.25**2 - 0.05**2) / (0.1**2 + 0.05**2)
    for mine, theirs, sign in (("beliefs", "expert", 1.0), ("expert", "beliefs", -1.0)):
        analysis = client.conflicts.analyze(mine, expert_session_id=theirs)
        found = factor(analysis.beliefs[0], conflict_pb2.BAYES_FACTOR_ALTERNATIVE_EXPERT)
        assert math.log(found) == pytest.approx(sign * expected, abs=1e-3)
        assert analysis.expert_session_id == theirs
    with pytest.raises(NotFound, match="nobody"):
        client.conflicts.analyze("beliefs", expert_session_id="nobody")


def test_a_belief_as_a_factor_is_the_product_with_the_reference(client: Client) -> None:
    # N(.3, .1) times N(.5, .1) is N(.4, .0707)
    register_tv(client, normal(0.3, 0.1))
    client.elicitation.create("factor", model_id="tv")
    belief = client.elicitation.add_belief(
        "factor", "tv", share_of_outcome("TV"), mean=0.5, plus_minus=0.1, meaning="sd", role="extra_factor"
    )
    assert belief.role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR
    client.elicitation.confirm("factor")
    (found,) = client.conflicts.analyze("factor").beliefs
    z = 0.15 / math.hypot(math.sqrt(0.005), 0.05)
    assert found.role == elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR
    assert factor(found, conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED) == pytest.approx(
        math.exp(0.5 * z * z), rel=1e-3
    )


def test_replicated_data_agree_with_the_node_split(client: Client) -> None:
    # methods/conflict.md §3 I: for normal beliefs and data the two p-values are the same, .0253
    register_tv(client, WIDE)
    believe(client, 0.5, 0.1)
    (belief,) = client.conflicts.analyze("beliefs", replicates=99, timeout=120).beliefs
    assert belief.replicated.replicates == 99
    assert belief.replicated.p_value <= 0.09  # five standard errors


def test_the_update_of_the_tv_example_is_the_mixture_of_the_method_note(client: Client) -> None:
    # methods/conflict.md §12: T = 10 gives weight .54919, mean .36270, sd .15960
    register_tv(client, WIDE)
    believe(client, 0.5, 0.1)
    client.conflicts.analyze("beliefs")
    update = client.updates.propose("beliefs", update_strategy="evidence_weighted", min_evidence_strength=10)
    (belief,) = update.beliefs
    assert belief.weight == pytest.approx(0.54919, abs=5e-5)
    assert belief.after_summary.mean == pytest.approx(0.36270, abs=5e-5)
    assert belief.after_summary.sd == pytest.approx(0.15960, abs=5e-5)
    posterior = client.updates.propose("beliefs", update_strategy="full_bayesian")
    assert posterior.beliefs[0].after_summary.mean == pytest.approx(0.3, abs=1e-4)
    assert posterior.beliefs[0].after_summary.sd == pytest.approx(0.04472, abs=1e-4)


def test_a_belief_that_agrees_is_not_in_conflict_and_is_not_updated(client: Client) -> None:
    register_tv(client, WIDE)
    believe(client, 0.27, 0.05)
    analysis = client.conflicts.analyze("beliefs")
    (belief,) = analysis.beliefs
    assert not belief.conflict
    assert not analysis.conflict
    assert belief.finding == conflict_pb2.FINDING_AGREES
    update = client.updates.propose("beliefs", update_strategy="evidence_weighted")
    assert not update.beliefs[0].changed
    assert update.beliefs[0].action == prior_update_pb2.UPDATE_ACTION_KEEP
    assert update.beliefs[0].after == update.beliefs[0].before


def test_an_update_is_released_only_once_calibration_has_passed(client: Client) -> None:
    register_tv(client, WIDE)
    believe(client, 0.5, 0.1)
    analysis = client.conflicts.analyze("beliefs")
    assert analysis.sbc_necessity.decision == sbc_pb2.NECESSITY_DECISION_ESSENTIAL  # Bayes factor above 10
    blocked = client.updates.propose("beliefs", update_strategy="evidence_weighted")
    assert not blocked.releasable
    assert blocked.release_blockers
    run = client.sbc.run(model_id="tv", num_simulations=200, seed=1).result(timeout=120)
    assert run.verdict.kind == sbc_pb2.VERDICT_KIND_PASS, run.verdict
    # A quick look afterwards can find errors, but it neither certifies nor takes the certificate away.
    quick = client.sbc.run(model_id="tv", num_simulations=100, validation_type="quick", seed=2).result(timeout=120)
    assert quick.verdict.kind == sbc_pb2.VERDICT_KIND_INCONCLUSIVE
    assert client.sbc.check_necessity(model_id="tv").satisfied_by_run_id == run.run_id
    released = client.updates.get(blocked.update_id)
    assert released.releasable
    accepted = client.updates.accept(released, decided_by="Ann", reason="calibrated")
    assert accepted.state == prior_update_pb2.UPDATE_STATE_ACCEPTED
    assert client.updates.get(blocked.update_id).decided_by == "Ann"


def test_a_run_streams_gapless_events_and_can_be_resumed_from_any_of_them(client: Client) -> None:
    register_tv(client, WIDE)
    handle = client.sbc.run(model_id="tv", num_simulations=160, seed=2)
    events = list(handle.events())
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].state_changed.state == common_pb2.JOB_STATE_SUCCEEDED
    done = [event.progress.done for event in events]
    assert done == sorted(done)
    assert done[-1] == 160
    assert any(event.HasField("interim") for event in events)
    assert any(event.progress.HasField("rate_per_second") for event in events)
    resumed = list(client.sbc.attach(handle.run_id).events(after_sequence=3))
    assert [event.sequence for event in resumed] == list(range(4, len(events) + 1))


def test_a_cancelled_run_ends_and_keeps_what_was_finished(client: Client) -> None:
    register_tv(client, WIDE)
    handle = client.sbc.run(model_id="tv", num_simulations=100_000, seed=3)
    first = next(event for event in handle.events() if event.HasField("batch_finished"))
    run = handle.cancel()
    assert run.state == common_pb2.JOB_STATE_CANCELLED
    assert handle.result(timeout=30).progress.done >= first.progress.done
    # Nobody waits behind the rest of it: that is out of the queue (tests/persistence/test_queue.py).
    following = client.sbc.run(model_id="tv", num_simulations=64, seed=4).result(timeout=60)
    assert following.state == common_pb2.JOB_STATE_SUCCEEDED


def test_the_same_request_id_gives_the_same_analysis(client: Client) -> None:
    register_tv(client, WIDE)
    believe(client, 0.5, 0.1)
    request_id = "6f7c0f0e-3b0a-4a43-9d46-0a2a9d3c8a11"
    once = client.conflicts.analyze("beliefs", request_id=request_id)
    again = client.conflicts.analyze("beliefs", request_id=request_id)
    assert once.analysis_id == again.analysis_id
    assert len(list(client.conflicts.list())) == 1


def test_of_several_calls_that_create_the_same_model_one_wins_and_the_others_learn_it(service: Any) -> None:
    def attempt(_: int) -> str:
        with Client.connect(service.address, client_id="race") as client:
            try:
                register_tv(client, WIDE)
            except AlreadyExists as error:
                return error.reason
            return "created"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(8)))
    assert sorted(outcomes) == ["ALREADY_EXISTS"] * 7 + ["created"]


def test_the_largest_run_that_certifies_is_the_certificate(client: Client) -> None:
    register_tv(client, WIDE)
    passed = client.sbc.run(model_id="tv", num_simulations=100, seed=11).result(timeout=120)
    assert passed.verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    larger = client.sbc.run(model_id="tv", num_simulations=200, seed=12).result(timeout=120)
    assert larger.verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    assert client.sbc.check_necessity(model_id="tv").satisfied_by_run_id == larger.run_id
    strict = client.sbc.run(model_id="tv", num_simulations=300, seed=13, alpha=0.01).result(timeout=120)
    assert strict.verdict.kind == sbc_pb2.VERDICT_KIND_INCONCLUSIVE  # a PASS at a smaller alpha is easier
    assert client.sbc.check_necessity(model_id="tv").satisfied_by_run_id == larger.run_id
