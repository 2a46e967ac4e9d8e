"""The judgement over the parts of a run, and the error rate of runs that are extended."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.rules.sbc_presets import Part
from engine.sbc.judgement import PartRecord, judge, rules_of
from engine.sbc.ledger import RankLedger
from engine.sbc.verdict import Outcome, Reason, verdict
from engine.sbc.verdict_rules import RULES, VerdictRules

CANARY = Part.CANARY_PRIOR_AS_POSTERIOR


def ledger(n: int, seed: int = 0, quantities: int = 4, power: float = 1.0, start: int = 0) -> RankLedger:
    """Uniform ranks among 99 draws; `power` bends them: 2 makes the posterior lie too high."""
    rng = np.random.default_rng(seed)
    shape = (n, quantities)
    names = (*(f"theta_{index}" for index in range(quantities - 1)), "log_likelihood")
    ranks = np.floor(100 * rng.random(shape) ** power).astype(np.int32)
    return RankLedger(
        simulations=np.arange(start, start + n),
        quantities=names,
        ranks=ranks,
        n_draws=np.full(n, 99, dtype=np.int32),
        v=rng.random(shape),
        ties=np.zeros(shape),
        status=np.zeros(n, dtype=np.uint8),
        r_hat=np.ones(n),
        ess=np.full(n, 400.0),
        mean=np.zeros(shape),
        sd=np.ones(shape),
        truth=np.zeros(shape),
    )


def record(part: Part, n: int = 200, *, seed: int = 0, power: float = 1.0, planned: int | None = None) -> PartRecord:
    return PartRecord(part, ledger(n, seed, power=power), (planned or n,))


def test_a_run_passes_when_its_parts_pass_and_its_canaries_are_noticed() -> None:
    found = judge([record(Part.PRIOR), record(Part.POSTERIOR, seed=1), record(CANARY, power=3.0)])
    assert found.outcome is Outcome.PASS
    assert found.reasons == ()
    assert "the check noticed an inference that returns the prior" in found.sentence


def test_a_canary_that_is_not_noticed_takes_the_pass_away() -> None:
    found = judge([record(Part.PRIOR), record(CANARY, seed=2)])
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.undetected == (CANARY,)
    assert found.reasons == ("The check did not notice an inference that returns the prior.",)
    assert found.reasons[0] in found.sentence


def test_one_part_that_fails_fails_the_run_whatever_the_canaries_did() -> None:
    found = judge([record(Part.PRIOR), record(Part.POSTERIOR, power=3.0), record(CANARY)])
    assert found.outcome is Outcome.FAIL
    assert all(reason.startswith("Truths from the posterior: ") for reason in found.reasons)


def test_a_missing_part_and_a_missing_canary_leave_the_run_without_conclusion() -> None:
    empty = PartRecord(Part.POSTERIOR, None, (200,))
    found = judge([record(Part.PRIOR), empty, PartRecord(CANARY, None, (256,))])
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons == (
        "Truths from the posterior: no simulation yet.",
        "Unfinished canary: an inference that returns the prior.",
    )
    assert found.undetected == ()
    half = judge([record(Part.PRIOR), record(CANARY, 100, planned=256)])
    assert (half.undetected, half.reasons) == ((), ("Unfinished canary: an inference that returns the prior.",))


def test_parts_that_decide_share_the_error_and_canaries_take_none_of_it() -> None:
    parts = [Part.PRIOR, Part.POSTERIOR, CANARY]
    assert rules_of([Part.PRIOR, CANARY], 0.05).alpha == 0.05
    rules = rules_of(parts, 0.05)
    assert rules.alpha == 0.025
    total = rules.alpha_sequential + rules.alpha_shared + sum(rules.level(extensions) for extensions in range(60))
    assert total == pytest.approx(rules.alpha)


def test_quick_runs_and_small_alphas_never_certify() -> None:
    quick = judge([record(Part.PRIOR)], may_pass=False)
    assert (quick.outcome, quick.reasons) == (
        Outcome.INCONCLUSIVE,
        ("A QUICK run can find errors but never certifies.",),
    )
    lenient = judge([record(Part.PRIOR)], 0.01)
    assert lenient.outcome is Outcome.INCONCLUSIVE
    assert judge([record(Part.PRIOR, power=3.0)], may_pass=False).outcome is Outcome.FAIL


def test_simulations_behind_a_gap_have_no_say() -> None:
    rows = ledger(100)
    gap = rows.rows(np.arange(100) != 50)
    found = judge([PartRecord(Part.PRIOR, gap, (100,))])
    assert found.verdicts[Part.PRIOR].done == 50


def test_a_run_needs_a_part_that_decides_and_none_twice() -> None:
    for records in ([record(CANARY)], [record(Part.PRIOR), record(Part.PRIOR)]):
        with pytest.raises(InvalidInput):
            judge(records)


def test_a_fail_at_the_number_that_was_planned_first_stays_one_after_an_extension() -> None:
    # A spike in the middle, which the e-process does not look for; among 2000 it drowns.
    long = ledger(2000, 4)
    long.ranks[:200:4, 0] = 50
    assert verdict(long.rows(np.arange(2000) < 200), 200).reasons == (Reason.BAND_TEST,)
    assert verdict(long, 2000, earlier=(200,)).failing == ("theta_0",)
    assert verdict(long, 2000).outcome is Outcome.PASS


def test_an_extension_is_judged_at_the_level_that_was_kept_back_for_it() -> None:
    assert [RULES.level(extensions) for extensions in range(4)] == pytest.approx([0.03, 0.0045, 0.00225, 0.001125])
    rows = ledger(300, 5)
    assert verdict(rows, 300, earlier=(200,)).detectable.alpha == pytest.approx(0.0045)


@pytest.mark.parametrize("runs", [150, pytest.param(400, marks=pytest.mark.slow)])
def test_extending_until_something_fails_keeps_the_error_rate(runs: int) -> None:
    """Runs of 4 quantities, extended four times by 100 from 100 on; 2000 of them had .040, naive .161.

    Of 150 runs .103 may fail: the naive way would be found with probability .97.
    """
    failed = naive = 0
    for seed in range(runs):
        rows = ledger(500, 10_000 + seed)
        looks = (100, 200, 300, 400)
        failed += verdict(rows, 500, earlier=looks).outcome is Outcome.FAIL
        levels = VerdictRules(alpha=0.053, alpha_sequential=0.001, alpha_extension=0.001)
        naive += any(
            verdict(rows.rows(np.arange(500) < look), look, levels).outcome is Outcome.FAIL for look in (*looks, 500)
        )
    # binomial standard errors: of 400 runs .011 at .05 and .018 at .16
    assert failed / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert naive / runs == pytest.approx(0.161, abs=4 * np.sqrt(0.161 * 0.839 / runs))
