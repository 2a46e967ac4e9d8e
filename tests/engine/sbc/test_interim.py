"""Interim reports of a run that is still going."""

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.sbc.interim import interim
from engine.sbc.ledger import RankLedger, Status
from engine.sbc.shape import Shape
from engine.sbc.verdict import Outcome, Reason, verdict


def _ledger(ranks, ids=None, status=None, quantities=("mu", "log_likelihood")):
    ranks = np.asarray(ranks, dtype=np.int32)
    n = len(ranks)
    rng = np.random.default_rng(99)
    return RankLedger(
        simulations=np.arange(n) if ids is None else np.asarray(ids),
        quantities=quantities,
        ranks=ranks,
        n_draws=np.full(n, 99, dtype=np.int32),
        v=rng.uniform(size=ranks.shape),
        ties=np.zeros(ranks.shape),
        status=np.zeros(n, dtype=np.uint8) if status is None else np.asarray(status, dtype=np.uint8),
        r_hat=np.ones(n),
        ess=np.full(n, 400.0),
        mean=np.zeros(ranks.shape),
        sd=np.ones(ranks.shape),
        truth=np.zeros(ranks.shape),
    )


def _uniform(n, seed=0):
    return np.random.default_rng(seed).integers(0, 100, size=(n, 2))


def test_a_calibrated_run_reports_no_detection_and_plausible_figures():
    report = interim(_ledger(_uniform(300)), 1000)
    assert (report.planned, report.done, report.contiguous, report.failures) == (1000, 300, 300, 0)
    assert not report.detected
    assert report.failing == ()
    for q in report.quantities:
        assert q.n == 300
        assert q.mean_pit == pytest.approx(0.5, abs=0.06)
        assert q.coverage_50.lower < 0.5 < q.coverage_50.upper
        assert q.coverage_90.lower < 0.9 < q.coverage_90.upper
        assert q.log_e <= q.log_e_peak
        assert q.shape is Shape.UNIFORM


def test_a_posterior_that_lies_too_high_is_named_and_fails_the_verdict_before_the_end():
    ranks = _uniform(120)
    ranks[:, 0] = ranks[:, 0] ** 2 // 100
    ledger = _ledger(ranks)
    report = interim(ledger, 1000)
    assert report.detected
    assert report.failing == ("mu",)
    assert report.quantities[0].shape is Shape.BIASED_UP
    assert report.quantities[0].mean_pit < 0.5
    early = verdict(ledger, 1000)
    assert (early.outcome, early.reasons, early.failing) == (Outcome.FAIL, (Reason.SEQUENTIAL_EVIDENCE,), ("mu",))


def test_evidence_once_found_stays_found():
    ranks = np.vstack([np.zeros((4, 2), dtype=int), _uniform(400)])
    report = interim(_ledger(ranks), 1000)
    assert report.log_e_overall < 0 < np.log(100) < report.log_e_overall_peak
    assert report.detected


def test_simulations_behind_a_gap_are_described_but_are_no_evidence():
    report = interim(_ledger(np.zeros((40, 2)), ids=np.arange(40) + 1), 100)
    assert (report.done, report.contiguous, report.log_e_overall) == (40, 0, 0.0)
    assert not report.detected
    assert report.quantities[0].coverage_90.observed == 0.0


def test_failed_fits_are_counted_and_left_out_of_the_description():
    status = np.zeros(50, dtype=int)
    status[:5] = Status.NOT_CONVERGED
    report = interim(_ledger(_uniform(50), status=status), 100)
    assert (report.failures, report.quantities[0].n) == (5, 45)


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_usable_yet_gives_an_empty_report(rows):
    ledger = _ledger(np.zeros((rows, 2)), status=np.full(rows, Status.NONFINITE))
    report = interim(ledger, 100)
    assert report.quantities[0].n == 0
    assert report.quantities[0].p is None
    assert report.quantities[0].mean_pit is None
    assert verdict(ledger, 100).outcome is Outcome.INCONCLUSIVE


def test_a_ledger_that_outgrows_its_plan_is_refused():
    with pytest.raises(InvalidInput, match="planned"):
        interim(_ledger(_uniform(10)), 9)
