"""Runs at one fixed truth through the service: a report on coverage and bias that decides nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from liftos.bayes import Client, FailedPrecondition, InvalidArgument, channel
from liftos.bayes.v1 import common_pb2, sbc_pb2
from scipy import stats

from engine.sbc.recovery import recovery
from server.worker.sbc.calibration import recovery_message
from tests.end_to_end.examples import normal, register_tv
from tests.end_to_end.test_calibration import ledger

TV = "share_of_outcome[TV]"
PRIOR_MEAN, PRIOR_SD, ERROR = 0.3, 0.05, 0.05
TRUTH = 0.4
"""Two prior sds from the prior mean. Prior and estimate weigh the same: the posterior mean is half of each."""
BIAS = 0.5 * (PRIOR_MEAN - TRUTH)
POSTERIOR_SD, SPREAD = math.sqrt(0.5) * ERROR, 0.5 * ERROR
"""Of each posterior, and of the posterior means over data sets."""
SIMULATIONS = 1000


def covered(width: float) -> float:
    """Probability that the central interval of a normal posterior holds the truth."""
    half = stats.norm.ppf(0.5 + width / 2) * POSTERIOR_SD
    return float(stats.norm.cdf(half, BIAS, SPREAD) - stats.norm.cdf(-half, BIAS, SPREAD))


def start(client: Client, **spec: Any) -> Any:
    return client.sbc.run(**({"model_id": "tv", "validation_type": "recovery", "seed": 5} | spec))


def test_a_fixed_truth_is_covered_as_often_as_shrinkage_says_and_nothing_is_certified(client: Client) -> None:
    register_tv(client, normal(PRIOR_MEAN, PRIOR_SD))
    handle = start(client, num_simulations=SIMULATIONS, fixed_truth={TV: TRUTH})
    run = handle.result(timeout=200)
    assert run.state == common_pb2.JOB_STATE_SUCCEEDED
    assert not run.HasField("verdict")
    assert list(run.fixed_truth) == [sbc_pb2.FixedTruth(quantity=TV, value=TRUTH)]
    assert [(part.part, part.done) for part in run.parts] == [(sbc_pb2.SBC_PART_RECOVERY, SIMULATIONS)]
    report = run.recovery
    assert (report.n_simulations, report.planned, report.n_failed) == (SIMULATIONS, SIMULATIONS, 0)
    (share,) = report.quantities
    assert (share.quantity, share.truth, share.n_simulations) == (TV, TRUTH, SIMULATIONS)
    error = SPREAD / math.sqrt(SIMULATIONS)
    assert share.bias == pytest.approx(BIAS, abs=4 * error)
    assert share.bias_error == pytest.approx(error, rel=0.15)
    assert share.bias_in_sd == pytest.approx(BIAS / POSTERIOR_SD, abs=5 * error / POSTERIOR_SD)
    assert share.posterior_sd == pytest.approx(POSTERIOR_SD, rel=0.01)
    for width, seen in zip((0.5, 0.8, 0.95), share.coverage, strict=True):
        # Four standard errors, and .01 for the ranks of a hundred that stand for the interval.
        chance = covered(width)
        assert seen.observed == pytest.approx(chance, abs=0.01 + 4 * math.sqrt(chance * (1 - chance) / SIMULATIONS))
        assert seen.upper < width
    assert "no verdict" in report.summary[-1]

    # As it is streamed, so it is stored, and so it comes out of the ledger.
    events = [event.recovery for event in handle.events() if event.HasField("recovery")]
    assert events[-1] == report
    assert [event.n_simulations for event in events] == sorted({event.n_simulations for event in events})
    assert recovery_message(recovery(ledger(client, run.run_id, "recovery")), SIMULATIONS) == report
    # It neither certifies nor blocks.
    assert client.sbc.check_necessity(model_id="tv").evidence == ["NO_CERTIFIED_PASS"]
    assert not client.sbc.check_necessity(model_id="tv").satisfied_by_run_id
    certified = client.sbc.run(model_id="tv", num_simulations=100, seed=11).result(timeout=100)
    assert certified.verdict.kind == sbc_pb2.VERDICT_KIND_PASS
    start(client, num_simulations=20, fixed_truth={TV: 0.9}).result(timeout=100)
    assert client.sbc.check_necessity(model_id="tv").satisfied_by_run_id == certified.run_id


def test_a_run_at_a_fixed_truth_goes_on_and_is_found_again_for_the_same_truth_alone(client: Client) -> None:
    register_tv(client, normal(PRIOR_MEAN, PRIOR_SD))
    handle = start(client, num_simulations=100)
    run = handle.result(timeout=100)
    assert run.fixed_truth[0].value == pytest.approx(PRIOR_MEAN)  # unless something else is said, the prior median
    assert start(client, num_simulations=100).reused
    assert start(client, num_simulations=100, fixed_truth={TV: run.fixed_truth[0].value}).reused
    assert not start(client, num_simulations=100, fixed_truth={TV: 0.31}).reused
    assert not start(client, num_simulations=100, validation_type="quick").reused
    handle.extend(50)
    longer = handle.result(timeout=100)
    assert (longer.recovery.n_simulations, longer.HasField("verdict")) == (150, False)
    whole = start(client, num_simulations=150).result(timeout=100)
    assert whole.recovery == longer.recovery

    stopped = start(client, num_simulations=50_000, seed=6)
    assert stopped.cancel().verdict.kind == sbc_pb2.VERDICT_KIND_CANCELLED
    with pytest.raises(FailedPrecondition, match="cannot be extended"):
        stopped.extend(10)
    assert not stopped.resume().HasField("verdict")
    stopped.cancel()

    # The estimate is .25 with the prior's weight, so the posterior mean lies in the middle.
    measured = start(client, num_simulations=20, other_truths="posterior_mean").result(timeout=100)
    assert measured.fixed_truth[0].value == pytest.approx(0.275, abs=0.002)
    assert measured.fixed_truth[0].taken_from == sbc_pb2.OTHER_TRUTHS_POSTERIOR_MEAN


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"fixed_truth": {"roi[TV]": 1.0}}, "spec.fixed_truth[roi[TV]]", "neither a parameter"),
        ({"fixed_truth": {TV: -0.1}}, f"spec.fixed_truth[{TV}]", "prior excludes"),
        ({"alpha": 0.1}, "spec.alpha", "no verdict"),
        ({"canaries": True}, "spec.canaries", "no verdict"),
        ({"stop_on_fail": True}, "spec.stop_on_fail", "no verdict"),
        ({"further_quantities": ["log_likelihood"]}, "spec.further_quantities[0]", "no figure to recover"),
        ({"further_quantities": ["roi[TV]"]}, "spec.further_quantities[0]", "neither"),
        ({"validation_type": "standard", "fixed_truth": {TV: 0.3}}, "spec.fixed_truth", "only for RECOVERY"),
        ({"validation_type": "quick", "other_truths": "prior_median"}, "spec.other_truths", "only for RECOVERY"),
    ],
)
def test_what_makes_no_truth_is_refused_before_anything_starts(
    client: Client, spec: dict[str, Any], field: str, message: str
) -> None:
    uniform = common_pb2.Distribution(uniform=common_pb2.Uniform(lower=0.0, upper=1.0))
    register_tv(client, uniform)
    with pytest.raises(InvalidArgument, match=message) as caught:
        start(client, **spec)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert not list(client.sbc.list())


WEEKS = 80


def register_additive(client: Client) -> None:
    rng = np.random.default_rng(4)
    spend = {name: rng.gamma(2.0, 50.0, WEEKS) for name in ("tv", "radio")}
    sales = 1000 + 1.0 * spend["tv"] + 0.5 * spend["radio"] + rng.normal(0, 30, WEEKS)
    weeks = np.datetime64("2023-01-02") + np.timedelta64(7, "D") * np.arange(WEEKS)
    client.datasets.upload("d", {"week": weeks, "sales": sales, **spend}, time="week", kpi="sales", spend=list(spend))
    channels = [channel(name, spend_column=name, saturation="linear") for name in spend]
    share = "share_of_outcome"
    client.models.register_mmm(
        "m", dataset_id="d", channels=channels, parameterise_by=share, fourier_pairs=0, trend=False
    )


@pytest.mark.parametrize(
    "method",
    [
        "laplace",
        pytest.param("production", marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],  # compiles for a minute
)
def test_an_additive_model_reports_roi_and_contribution_in_their_units(client: Client, method: str) -> None:
    register_additive(client)
    further = ["incremental_outcome[tv] - incremental_outcome[radio]"]
    spec: dict[str, Any] = {
        "model_id": "m",
        "num_simulations": 200,
        "data_period_months": 18,
        "inference_method": method,
    }
    with pytest.raises(InvalidArgument, match="has no value") as caught:
        start(client, **spec, fixed_truth={"roi[tv]": 1.2, "share_of_outcome[radio]": 0.04})
    assert caught.value.violations[0].field == "spec.fixed_truth[retention[tv]]"
    truths = {"roi[tv]": 1.2, "share_of_outcome[radio]": 0.04}
    handle = start(client, **spec, fixed_truth=truths, other_truths="prior_median", further_quantities=further)
    run = handle.result(timeout=300)
    by_name = {q.quantity: q for q in run.recovery.quantities}
    assert "log_likelihood" not in by_name
    assert by_name["roi[tv]"].truth == pytest.approx(1.2)
    stated = [each.quantity for each in run.fixed_truth if not each.taken_from]
    assert stated == ["share_of_outcome[tv]", "share_of_outcome[radio]"]
    # Contribution = ROI x spend = share x outcome, at the truth and in every posterior, in its own unit.
    spend = by_name["incremental_outcome[tv]"].truth / 1.2
    outcome = by_name["incremental_outcome[radio]"].truth / 0.04
    assert by_name["share_of_outcome[tv]"].truth == pytest.approx(1.2 * spend / outcome)
    assert by_name["incremental_outcome[tv]"].bias == pytest.approx(by_name["roi[tv]"].bias * spend, rel=1e-4)
    assert by_name["incremental_outcome[tv]"].bias_in_sd == pytest.approx(by_name["roi[tv]"].bias_in_sd, rel=1e-4)
    difference = by_name[further[0]]
    assert difference.truth == pytest.approx(1.2 * spend - 0.04 * outcome)
    assert difference.bias == pytest.approx(
        by_name["incremental_outcome[tv]"].bias - by_name["incremental_outcome[radio]"].bias, rel=1e-4
    )
    # What the data say outweighs the priors here, so that intervals cover about as often as they say.
    assert run.recovery.n_failed <= 2
    assert by_name["sigma"].coverage[1].lower < 0.9
    assert by_name["sigma"].coverage[1].upper > 0.7


def test_the_command_prints_the_report(service: Any, client: Client, tmp_path: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        options = ["--client", client.client_id, "--target", service.address]
        whole = [sys.executable, "-m", "server.command.cli", "sbc", *words, *options]
        return subprocess.run(whole, capture_output=True, text=True, timeout=120, check=False)

    register_tv(client, normal(PRIOR_MEAN, PRIOR_SD))
    done = command("run", "tv", "--type", "recovery", "--simulations", "60", "--truth", f"{TV}=0.4", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert TV in done.stdout
    assert "This is a report and no verdict" in " ".join(done.stdout.split())
    assert "alpha" not in done.stdout
    assert f"stated: {TV} = 0.4" in " ".join(done.stdout.split())
    wrong = command("run", "tv", "--type", "recovery", "--truth", "0.4")
    assert wrong.returncode == 2
    (run,) = client.sbc.list()
    assert command("ledger", run.run_id, str(tmp_path / "ranks.npz")).returncode == 0
    saved = np.load(tmp_path / "ranks.npz")
    assert saved["RECOVERY.truth"].shape == (60, 1)
    assert np.all(saved["RECOVERY.truth"] == 0.4)
