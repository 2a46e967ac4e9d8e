"""Calibration runs through the service: parts, canaries, resuming, extending, and the verdict from the ledger alone."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from liftos.bayes import Client, FailedPrecondition, InvalidArgument
from liftos.bayes.v1 import common_pb2, sbc_pb2

from engine.distributions.distribution import Normal
from engine.models.conjugate_normal import ConjugateNormalSpec, prepare
from engine.sbc.ledger import RankLedger
from persistence.tables import SbcValidation
from server.contract.wire import from_array, label
from server.worker.sbc.calibration import judged, shared_tests, verdict_message
from tests.end_to_end.examples import MONTHS, normal, register_mmm, register_tv

WIDE = normal(0.5, 10.0)
DOCS = Path(__file__).parents[2] / "docs" / "sbc.md"
TV = prepare(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Normal(0.5, 10.0)))


def ledger(client: Client, run_id: str, part: str) -> RankLedger:
    """The ledger as a caller gets it."""
    pages = list(client.sbc.ledger(run_id, part=part))

    def column(name: str) -> Any:
        return np.concatenate([from_array(getattr(page, name)) for page in pages])

    return RankLedger(
        simulations=column("simulations"),
        quantities=tuple(pages[0].quantities),
        ranks=column("ranks").astype(np.int32),
        n_draws=column("n_draws").astype(np.int32),
        v=column("v"),
        ties=column("ties"),
        status=column("status").astype(np.uint8),
        r_hat=column("r_hat"),
        ess=column("ess"),
        mean=column("posterior_mean"),
        sd=column("posterior_sd"),
        truth=column("truth"),
    )


def recomputed(client: Client, run: sbc_pb2.SbcRun, model: Any) -> sbc_pb2.SbcVerdict:
    """The verdict of the run from what can be read of it, without the service."""
    parts = {sbc_pb2.SbcPart.Name(part.part).removeprefix("SBC_PART_"): tuple(part.planned) for part in run.parts}
    ledgers = {name: ledger(client, run.run_id, name) for name in parts}
    stored = SbcValidation(
        seed=run.seed,
        alpha=run.alpha,
        validation_type=label(sbc_pb2.ValidationType, run.validation_type),
        parts=[{"part": name, "planned": planned} for name, planned in parts.items()],
    )
    tests = shared_tests(stored, ledgers, model)
    return verdict_message(judged(stored, ledgers, tests), ledgers, run.alpha, model, tests)


def interrupted(client: Client, model_id: str, simulations: int, **spec: Any) -> sbc_pb2.SbcRun:
    """A run that is cancelled after its first batch, resumed, and extended by half of its size."""
    handle = client.sbc.run(model_id=model_id, num_simulations=simulations, **spec)
    next(event for event in handle.events() if event.HasField("batch_finished"))
    cancelled = handle.cancel()
    assert cancelled.state == common_pb2.JOB_STATE_CANCELLED
    assert cancelled.verdict.kind == sbc_pb2.VERDICT_KIND_CANCELLED
    assert 0 < cancelled.progress.done < simulations
    handle.resume()
    passed = handle.result(timeout=500)
    assert passed.verdict.kind == sbc_pb2.VERDICT_KIND_PASS, passed.verdict
    assert passed.verdict.n_simulations == simulations
    handle.extend(simulations // 2)
    extended = handle.result(timeout=500)
    assert extended.verdict.n_simulations == simulations + simulations // 2
    assert [part.planned for part in extended.parts] == [[simulations, simulations + simulations // 2]]
    # One stream, whatever happened: gapless numbers, and an end only where the run has ended for good.
    events = list(handle.events())
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    ends = [event for event in events if event.HasField("state_changed") and event.state_changed.state >= 3]
    assert [event.state_changed.state for event in ends] == [
        common_pb2.JOB_STATE_CANCELLED,
        common_pb2.JOB_STATE_SUCCEEDED,
        common_pb2.JOB_STATE_SUCCEEDED,
    ]
    assert events[-1] == ends[-1]
    return extended


def test_a_run_is_cancelled_resumed_and_extended_and_its_verdict_is_that_of_the_ledger(client: Client) -> None:
    register_tv(client, WIDE)
    run = interrupted(client, "tv", 800, seed=5)
    assert run.verdict == recomputed(client, run, TV)
    # The same simulations in one go.
    plain = client.sbc.run(model_id="tv", num_simulations=1200, seed=5).result(timeout=200)
    one, other = ledger(client, run.run_id, "prior"), ledger(client, plain.run_id, "prior")
    assert np.array_equal(one.u, other.u)
    assert np.array_equal(one.truth, other.truth)


def test_a_run_that_is_cancelled_and_resumed_again_and_again_ends_as_if_nothing_had_happened(client: Client) -> None:
    register_tv(client, WIDE)
    handle = client.sbc.run(model_id="tv", num_simulations=1200, seed=6)
    for _ in range(8):
        # Whatever the workers are at: before a shard, in it, or writing it.
        if handle.cancel().state != common_pb2.JOB_STATE_CANCELLED:
            break
        assert handle.get().verdict.kind == sbc_pb2.VERDICT_KIND_CANCELLED
        assert not handle.resume().HasField("verdict")
        time.sleep(0.03)
    run = handle.result(timeout=200)
    assert run.verdict.kind == sbc_pb2.VERDICT_KIND_PASS, run
    assert run.progress.done == run.progress.total == 1200
    plain = client.sbc.run(model_id="tv", num_simulations=1200, seed=6, fresh=True).result(timeout=200)
    assert plain.run_id != run.run_id
    assert plain.verdict == run.verdict


def test_only_a_run_that_stopped_early_can_go_on_and_only_one_without_fail_can_grow(client: Client) -> None:
    register_tv(client, WIDE)
    done = client.sbc.run(model_id="tv", num_simulations=100, seed=1)
    done.result(timeout=100)
    with pytest.raises(FailedPrecondition, match="cannot be resumed"):
        done.resume()
    stopped = client.sbc.run(model_id="tv", num_simulations=50_000, seed=2)
    stopped.cancel()
    with pytest.raises(FailedPrecondition, match="cannot be extended"):
        stopped.extend(10)
    with pytest.raises(InvalidArgument, match="more than 100000"):
        done.extend(100_000)


def test_a_comprehensive_run_has_posterior_sbc_and_canaries_that_are_noticed(client: Client) -> None:
    register_tv(client, WIDE)
    run = client.sbc.run(model_id="tv", num_simulations=200, validation_type="comprehensive", seed=3)
    finished = run.result(timeout=200)
    assert finished.verdict.kind == sbc_pb2.VERDICT_KIND_PASS, finished.verdict
    assert [(part.part, part.done) for part in finished.parts] == [
        (sbc_pb2.SBC_PART_PRIOR, 200),
        (sbc_pb2.SBC_PART_POSTERIOR, 200),
        (sbc_pb2.SBC_PART_CANARY_NARROW_POSTERIOR, 200),
        (sbc_pb2.SBC_PART_CANARY_HALF_DATA, 200),  # a summary has no carry-over, so no lag to get wrong
        (sbc_pb2.SBC_PART_CANARY_PRIOR_AS_POSTERIOR, 200),
    ]
    assert all(canary.detected for canary in finished.verdict.canaries)
    assert len(finished.verdict.canaries) == 3
    assert {q.part for q in finished.verdict.quantities} == {sbc_pb2.SBC_PART_PRIOR, sbc_pb2.SBC_PART_POSTERIOR}
    assert finished.verdict == recomputed(client, finished, TV)
    assert finished.progress.done == finished.progress.total == 5 * 200


def test_a_summary_has_one_certificate_and_a_fail_says_what_would_answer_it(client: Client) -> None:
    register_tv(client, WIDE)
    passed = client.sbc.run(model_id="tv", num_simulations=100, seed=11, data_period_months=12).result(timeout=100)
    assert passed.verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    necessity = {months: client.sbc.check_necessity(model_id="tv", data_period_months=months) for months in (12, 24)}
    assert necessity[12].satisfied_by_run_id == passed.run_id
    assert necessity[24].satisfied_by_run_id == passed.run_id  # it is the same summary over whatever window

    # At a level of one half some run soon fails a right model: a FAIL like any other.
    for seed in range(1, 60):
        run = client.sbc.run(model_id="tv", num_simulations=100, seed=seed, alpha=0.5).result(timeout=100)
        if run.verdict.kind == sbc_pb2.VERDICT_KIND_FAIL:
            break
    failing = [q.quantity for q in run.verdict.quantities if q.failing]
    assert failing
    standing = client.sbc.check_necessity(model_id="tv")
    assert "STANDING_FAIL" in standing.evidence
    assert f"SBC run {run.run_id} failed ({failing[0]}" in standing.explanation
    assert "STANDARD with more than 100 simulations" in standing.explanation
    assert standing.recommended_validation_type == sbc_pb2.VALIDATION_TYPE_STANDARD
    larger = client.sbc.run(model_id="tv", num_simulations=standing.recommended_simulations, seed=1)
    assert larger.result(timeout=100).verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    assert client.sbc.check_necessity(model_id="tv").satisfied_by_run_id == larger.run_id


def test_the_store_answers_a_request_that_was_answered_before(client: Client) -> None:
    register_tv(client, WIDE)
    spec = {"model_id": "tv", "num_simulations": 100, "further_quantities": ["log_likelihood * log_prior"]}
    first = client.sbc.run(**spec, seed=11).result(timeout=100)
    assert "log_likelihood * log_prior" in {q.quantity for q in first.verdict.quantities}
    again = client.sbc.start(**spec)
    assert (again.run_id, again.state) == (first.run_id, common_pb2.JOB_STATE_SUCCEEDED)
    assert client.sbc.start(**spec, seed=first.seed).run_id == first.run_id
    assert client.sbc.run(**spec).reused
    extended = client.sbc.attach(first.run_id)
    extended.extend(50)
    extended.result(timeout=100)
    for other in ({}, {"seed": first.seed + 1}, {"fresh": True}, {"alpha": 0.1}, {"inference_method": "laplace"}):
        assert client.sbc.start(**(spec | other)).run_id != first.run_id, other
    assert client.sbc.start(model_id="tv", num_simulations=100).run_id != first.run_id


def test_a_quantity_that_the_model_does_not_have_is_refused_with_its_place(client: Client) -> None:
    register_tv(client, WIDE)
    with pytest.raises(InvalidArgument, match="'log_likelihood - roi' is neither") as caught:
        client.sbc.run(model_id="tv", num_simulations=100, further_quantities=["log_prior", "log_likelihood - roi"])
    assert caught.value.violations[0].field == "spec.further_quantities[1]"


def test_what_a_uniform_prior_makes_a_constant_is_refused_with_the_reason(client: Client) -> None:
    register_tv(client, common_pb2.Distribution(uniform=common_pb2.Uniform(lower=0.0, upper=1.0)))
    with pytest.raises(InvalidArgument, match="'log_prior' cannot be ranked: every prior is uniform") as caught:
        client.sbc.run(model_id="tv", num_simulations=100, further_quantities=["log_likelihood - log_prior"])
    assert caught.value.violations[0].field == "spec.further_quantities[0]"


def test_the_command_runs_extends_and_saves_what_the_verdict_is_made_of(
    service: Any, client: Client, tmp_path: Path
) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        options = ["--client", client.client_id, "--target", service.address]
        whole = [sys.executable, "-m", "server.command.cli", "sbc", *words, *options]
        return subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)

    register_tv(client, WIDE)
    passed = command("run", "tv", "--simulations", "120", "--canaries", "--seed", "4", "--type", "standard")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "noticed by log_likelihood" in passed.stdout
    (run,) = client.sbc.list()
    quick = command("run", "tv", "--type", "quick", "--seed", "5")
    assert quick.returncode == 4
    assert "never certifies" in " ".join(quick.stdout.split())
    extended = command("extend", run.run_id, "40")
    assert extended.returncode == 0, extended.stdout + extended.stderr

    saved = command("ledger", run.run_id, str(tmp_path / "ranks.npz"))
    assert saved.stdout == f"{160 + 3 * 120} simulations written to {tmp_path / 'ranks.npz'}\n"
    # What docs/sbc.md says prints the sentence of the verdict, canaries included.
    blocks = [block.partition("```")[0] for block in DOCS.read_text().split("```python\n")[1:]]
    (snippet,) = (block for block in blocks if "ranks.npz" in block)
    code = snippet.replace("ranks.npz", str(tmp_path / "ranks.npz"))
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert printed.stdout.strip() == client.sbc.get(run.run_id).verdict.explanation
    watched = command("watch", run.run_id)
    assert watched.returncode == 0
    assert f"seed {run.seed}" in watched.stdout
    unknown = command("resume", "0199c0de-0000-7000-8000-000000000000")
    assert unknown.returncode == 1
    assert "NotFound" in unknown.stderr


def test_an_approximation_that_fails_is_announced_early_and_the_rest_is_not_computed(client: Client) -> None:
    register_mmm(client)
    handle = client.sbc.run(
        model_id="mmm",
        validation_type="comprehensive",
        inference_method="laplace",
        stop_on_fail=True,
        data_period_months=MONTHS,
        seed=1,
    )
    run = handle.result(timeout=200)
    assert run.verdict.kind == sbc_pb2.VERDICT_KIND_FAIL
    (message,) = run.communications
    assert message.template == common_pb2.COMMUNICATION_TEMPLATE_SBC_FAILED
    assert "LAPLACE" in message.subject
    assert run.progress.done < 500 < run.progress.total
    failing = {q.quantity: q for q in run.verdict.quantities if q.failing}
    assert "sigma" in failing  # the mode of a right-skewed posterior lies below its mean
    assert failing["sigma"].shape == sbc_pb2.RANK_SHAPE_BIASED_DOWN
    assert failing["sigma"].log_e_value_peak > math.log(100)
    assert "crossed its threshold while the run went on" in run.verdict.reasons[0]
    assert not run.verdict.canaries  # none was begun, so nothing is said about any
    announced = [event for event in handle.events() if event.HasField("interim")][-1].interim
    assert announced.running_verdict == sbc_pb2.VERDICT_KIND_FAIL
    # It is no verdict about the fits of the service.
    assert client.sbc.check_necessity(model_id="mmm", data_period_months=MONTHS).evidence == ["NO_CERTIFIED_PASS"]
    with pytest.raises(FailedPrecondition, match="a FAIL is final"):
        handle.extend(100)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_workers_and_batches_change_no_number_of_an_mmm(make_service: Callable[..., Any], tmp_path: Path) -> None:
    """1000 simulations of 15 parameters, cancelled, resumed, extended by 500, by one and two workers."""
    runs = []
    for name, environment in (
        ("one", {"LIFTOS_BAYES_WORKERS": "1"}),
        ("two", {"LIFTOS_BAYES_WORKERS": "2", "LIFTOS_BAYES_SHARD_SIZE": "40"}),
    ):
        service = make_service(tmp_path / name, environment)
        service.start()
        with Client.connect(service.address, client_id="acme") as client:
            register_mmm(client)
            run = interrupted(client, "mmm", 1000, seed=20_181, data_period_months=MONTHS)
            offline = recomputed(client, run, TV)
            # What a ledger does not know: prior scales, and names that mean the same.
            for quantity in (*run.verdict.quantities, *offline.quantities):
                quantity.ClearField("contraction")
                quantity.ClearField("equivalent_quantities")
            assert run.verdict == offline
            runs.append((run, ledger(client, run.run_id, "prior")))
        service.stop()
    (one, first), (two, second) = runs
    assert np.array_equal(first.ranks, second.ranks)
    assert np.array_equal(first.u, second.u)
    assert one.verdict == two.verdict
