"""Verdicts: error rates, power, failure bounds and every reason not to pass."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from engine.errors import InvalidInput
from engine.sbc.ledger import RankLedger, Status
from engine.sbc.shape import Shape
from engine.sbc.verdict import Outcome, Reason, RepeatedTruths, holm, repeated_truths, verdict
from engine.sbc.verdict_rules import VerdictRules

L = 99


def _ledger(ranks, seed=0, quantities=None, **changes):
    ranks = np.asarray(ranks, dtype=np.int32)
    n, p = ranks.shape
    if quantities is None:
        quantities = ("log_likelihood", *(f"q{k}" for k in range(1, p)))
    ledger = RankLedger(
        simulations=np.arange(n),
        quantities=quantities,
        ranks=ranks,
        n_draws=np.full(n, L, dtype=np.int32),
        v=np.random.default_rng([seed, 1]).uniform(size=(n, p)),
        ties=np.zeros((n, p)),
        status=np.zeros(n, dtype=np.uint8),
        r_hat=np.ones(n),
        ess=np.full(n, 400.0),
        mean=np.zeros((n, p)),
        sd=np.ones((n, p)),
        truth=np.zeros((n, p)),
    )
    return dataclasses.replace(ledger, **changes)


def _ranks(rng, n, p=1, sd_factor=1.0, bias=0.0):
    """Ranks among L exact draws of N(m + bias, sd_factor^2) when N(m, 1) is the posterior."""
    return rng.binomial(L, stats.norm.cdf((rng.normal(size=(n, p)) - bias) / sd_factor))


def _uniform(n, p=2, seed=0):
    return np.random.default_rng(seed).integers(0, L + 1, size=(n, p))


def _failed(n, count, status=Status.DIVERGENT):
    flags = np.zeros(n, dtype=np.uint8)
    flags[np.linspace(0, n - 1, count).astype(int)] = status
    return flags


# The family level is also that of test_error_rates.
@pytest.mark.parametrize(
    ("p", "lowest", "highest"), [(1, 0.02, 0.08), pytest.param(16, 0.0, 0.05, marks=pytest.mark.slow)]
)
def test_exact_backend_fails_at_the_nominal_rate_over_200_runs(p, lowest, highest):
    rng = np.random.default_rng(7)  # methods/sbc.md §14 id 1: 5 % +- 3 % single, at most 5 % family
    outcomes = [verdict(_ledger(_ranks(rng, 100, p), seed), 100).outcome for seed in range(200)]
    rate = np.mean([outcome is Outcome.FAIL for outcome in outcomes])
    assert lowest <= rate <= highest
    assert set(outcomes) <= {Outcome.FAIL, Outcome.PASS}


def test_a_posterior_sd_a_fifth_too_small_fails_at_500_simulations():
    rng = np.random.default_rng(8)  # canary of methods/sbc.md §14; §11: power .99 at N = 500
    for seed in range(10):
        found = verdict(_ledger(_ranks(rng, 500, sd_factor=0.8), seed), 500)
        assert found.outcome is Outcome.FAIL
        assert found.quantities[0].shape is Shape.OVER_CONFIDENT


@pytest.mark.parametrize(
    ("sd_factor", "bias", "outcome", "expected"),
    [
        (1.0, 0.0, Outcome.PASS, Shape.UNIFORM),
        (1 / 3, 0.0, Outcome.FAIL, Shape.OVER_CONFIDENT),
        (2.0, 0.0, Outcome.FAIL, Shape.UNDER_CONFIDENT),
        (1.0, 1.0, Outcome.FAIL, Shape.BIASED_UP),
        (1.0, -1.0, Outcome.FAIL, Shape.BIASED_DOWN),
    ],
)
def test_only_the_exact_mock_passes_and_the_others_get_their_shape(sd_factor, bias, outcome, expected):
    found = verdict(_ledger(_ranks(np.random.default_rng(9), 200, 1, sd_factor, bias)), 200)  # methods/sbc.md §14 id 2
    assert (found.outcome, found.quantities[0].shape) == (outcome, expected)


def test_some_extra_low_estimates_fail():
    rng = np.random.default_rng(10)  # methods/sbc.md §14 id 2: a tenth of the posteriors lies 3 sd too low
    ranks = np.where(rng.uniform(size=(500, 1)) < 0.1, _ranks(rng, 500, bias=-3.0), _ranks(rng, 500))
    found = verdict(_ledger(ranks), 500)
    assert found.outcome is Outcome.FAIL
    assert found.quantities[0].shape is Shape.BIASED_DOWN


def _loglik_ranks(rng, n, kind):
    """Ranks of the log-likelihood: mu ~ N(0, 1), ten unit-noise observations (methods/sbc.md §10)."""
    mu = rng.normal(size=(n, 1))
    first, second = mu + rng.normal(size=(n, 1)) / np.sqrt(5), mu + rng.normal(size=(n, 1)) / np.sqrt(5)
    mean = (first + second) / 2
    z = rng.normal(size=(n, L))
    draws = {
        "exact": 10 / 11 * mean + z / np.sqrt(11),
        "prior": z,
        "half": 5 / 6 * first + z / np.sqrt(6),
    }[kind]
    loglik = np.abs(draws - mean) > np.abs(mu - mean)  # the log-likelihood falls with the distance from the mean
    return np.column_stack([loglik.sum(axis=1), (draws < mu).sum(axis=1)])


@pytest.mark.parametrize(("kind", "expected"), [("exact", 0.5), ("prior", 0.8654), ("half", 0.6499)])
def test_log_likelihood_of_draws_is_below_that_of_the_truth_as_often_as_section_10_says(kind, expected):
    ranks = _loglik_ranks(np.random.default_rng(11), 20_000, kind)
    assert ranks[:, 0].mean() / L == pytest.approx(expected, abs=0.008)
    assert ranks[:, 1].mean() / L == pytest.approx(0.5, abs=0.008)


@pytest.mark.parametrize(("kind", "n"), [("prior", 50), ("half", 200)])
def test_an_inference_that_ignores_data_fails_by_its_log_likelihood_alone(kind, n):
    found = verdict(_ledger(_loglik_ranks(np.random.default_rng(12), n, kind)), n)
    assert found.outcome is Outcome.FAIL
    assert found.failing == ("log_likelihood",)


def test_holm_adjustment_equals_the_hand_calculation():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


def test_pass_states_what_it_would_have_seen():
    found = verdict(_ledger(_uniform(1000)), 1000)
    assert found.outcome is Outcome.PASS
    assert found.reasons == ()
    assert found.detectable.simulations == 1000
    assert "with 80 % power" in found.sentence
    assert f"{100 * (1 - found.detectable.sd_factor_low):.0f} % too small" in found.sentence


def test_a_quick_run_may_fail_but_never_pass():
    assert verdict(_ledger(_uniform(99)), 99).reasons == (Reason.FEW_SIMULATIONS,)
    assert verdict(_ledger(np.zeros((50, 2))), 50).outcome is Outcome.FAIL


def test_an_incomplete_run_is_inconclusive_however_uniform():
    found = verdict(_ledger(_uniform(500)), 1000)
    assert (found.outcome, found.reasons) == (Outcome.INCONCLUSIVE, (Reason.INCOMPLETE,))


def test_band_test_waits_for_the_planned_number():
    rng = np.random.default_rng(13)
    bump = np.concatenate([rng.integers(0, L + 1, size=(400, 1)), np.full((25, 1), 50)])  # no e-alternative fits
    bump = rng.permutation(bump)
    found = verdict(_ledger(bump), 425)
    assert found.reasons == (Reason.BAND_TEST,)
    assert verdict(_ledger(bump), 426).reasons == (Reason.INCOMPLETE,)


def test_failures_up_to_the_cap_pass_and_beyond_are_inconclusive():
    ranks = _uniform(200, seed=3)
    at_cap = verdict(_ledger(ranks, status=_failed(200, 2)), 200)
    assert (at_cap.outcome, at_cap.failure_rate, at_cap.accepted) == (Outcome.PASS, 0.01, 198)
    beyond = verdict(_ledger(ranks, status=_failed(200, 3)), 200)
    assert (beyond.outcome, beyond.reasons) == (Outcome.INCONCLUSIVE, (Reason.FAILED_FITS,))
    retried = verdict(_ledger(ranks, status=_failed(200, 50, Status.RETRIED)), 200)
    assert (retried.outcome, retried.failure_rate) == (Outcome.PASS, 0.0)


def test_failed_fits_that_could_restore_uniformity_prevent_a_fail():
    ranks = _uniform(400, p=1, seed=4)
    low = np.sort(ranks, axis=0)[:40]  # all the lowest ranks belong to fits that failed
    status = np.where(ranks <= low.max(), Status.NOT_CONVERGED, Status.OK)[:, 0].astype(np.uint8)
    found = verdict(_ledger(ranks, status=status), 400)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert Reason.FAILED_FITS_DECIDE in found.reasons
    assert found.quantities[0].p < 1e-3
    assert found.quantities[0].p_best > 0.2
    assert found.quantities[0].p_all > 0.05


def test_a_fail_stands_whatever_the_failed_fits_would_have_shown():
    ranks = _uniform(400, p=1, seed=5) ** 2 // L
    status = _failed(400, 20)
    found = verdict(_ledger(ranks, status=status), 400)
    assert found.outcome is Outcome.FAIL
    rng = np.random.default_rng(6)
    for completion in (np.zeros(20), np.full(20, L), np.full(20, 50), rng.integers(0, L + 1, 20)):
        ranks[status > 0, 0] = completion
        assert verdict(_ledger(ranks), 400).outcome is Outcome.FAIL


def test_ties_in_a_continuous_quantity_are_an_alarm_unless_declared_discrete():
    ranks = _uniform(200)
    ties = np.zeros(ranks.shape)
    ties[:, 1] = 1.0  # a chain that never leaves the truth has uniform ranks, methods/sbc.md §12
    assert verdict(_ledger(ranks, ties=ties), 200).reasons == (Reason.TIES,)
    assert verdict(_ledger(ranks, ties=ties), 200, VerdictRules(discrete=frozenset({"q1"}))).outcome is Outcome.PASS


def test_too_few_draws_are_inconclusive():
    draws = np.full(200, L, dtype=np.int32)
    draws[:21] = 30
    ranks = np.minimum(_uniform(200), draws[:, None])
    ranks[:21] = np.random.default_rng(0).integers(0, 31, size=(21, 2))
    assert verdict(_ledger(ranks, n_draws=draws), 200).reasons == (Reason.FEW_DRAWS,)
    draws[20] = L
    assert verdict(_ledger(ranks, n_draws=draws), 200).outcome is Outcome.PASS


def test_no_pass_without_a_quantity_that_depends_on_the_data():
    found = verdict(_ledger(_uniform(200), quantities=("mu", "sigma")), 200)
    assert found.reasons == (Reason.NO_DATA_DEPENDENT_QUANTITY,)


def test_verdict_is_a_pure_function_of_the_ledger():
    ledger = _ledger(_uniform(150, p=3))
    assert verdict(ledger, 150) == verdict(ledger.rows(np.ones(150, dtype=bool)), 150)  # methods/sbc.md §14 id 15


def test_impossible_plans_and_levels_are_refused():
    with pytest.raises(InvalidInput, match="planned"):
        verdict(_ledger(_uniform(10)), 9)
    with pytest.raises(InvalidInput, match="alpha_sequential"):
        VerdictRules(alpha=0.05, alpha_sequential=0.05)
    with pytest.raises(InvalidInput, match="alpha"):
        VerdictRules(alpha=1.0)


def test_truths_that_repeat_are_reported_as_that_whatever_the_ranks_say():
    rng = np.random.default_rng(3)
    n, p = 400, 6
    truth = rng.normal(size=(n, p))
    # What the data enter differs with the noise, in whatever the name joins it to.
    names = ("log_likelihood", "a", "b", "log_prior", "log_joint", "log_likelihood - a")
    ledger = _ledger(_uniform(n, p), truth=truth, quantities=names)
    assert not repeated_truths(ledger)
    assert verdict(ledger, n).outcome is Outcome.PASS
    # One shard drawn twice: the log likelihood differs with the noise, the truths do not.
    again = truth.copy()
    again[200:250, 1:4] = truth[:50, 1:4]
    twice = dataclasses.replace(ledger, truth=again)
    assert repeated_truths(twice) == RepeatedTruths(50, ("a", "b"))
    found = verdict(twice, n)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reasons == (Reason.REPEATED_TRUTHS,)
    clause = "50 simulations repeat the truths of others in a and b, so that their random numbers were used twice"
    assert found.clauses == (clause,)
    assert clause in found.sentence
    biased = verdict(_ledger(_ranks(rng, n, p, bias=1.0), truth=again, quantities=names), n)
    assert biased.outcome is Outcome.FAIL
    assert Reason.REPEATED_TRUTHS in biased.reasons
    assert clause in biased.sentence


def test_a_single_quantity_of_few_bits_may_repeat_now_and_then():
    truth = np.random.default_rng(4).normal(size=(400, 2))
    truth[1, 1], truth[3, 1] = truth[0, 1], truth[2, 1]
    ledger = _ledger(_uniform(400, 2), truth=truth)
    assert not repeated_truths(ledger)
    truth[10:20, 1] = truth[0, 1]
    assert repeated_truths(dataclasses.replace(ledger, truth=truth)) == RepeatedTruths(12, ("q1",))


def test_what_was_no_number_is_named_where_fits_failed():
    n, names = 200, ("log_likelihood", "a", "b", "c", "d")
    truth, mean = np.random.default_rng(5).normal(size=(2, n, 5))
    truth[:7, 2] = np.nan
    mean[5:10, 4] = np.nan  # draws that are none leave no mean
    status = np.where(np.arange(n) < 10, np.uint8(Status.NONFINITE), np.uint8(Status.OK)).astype(np.uint8)
    ledger = _ledger(_uniform(n, 5), quantities=names, truth=truth, mean=mean, status=status)
    found = verdict(ledger, n)
    assert found.reasons == (Reason.FAILED_FITS,)
    assert found.clauses == ("too many fits failed; no number was b in 7 and d in 5 simulations",)
    assert [q.not_finite for q in found.quantities] == [0, 0, 7, 0, 5]
    plain = verdict(_ledger(_uniform(n, 5), quantities=names, status=status), n)
    assert plain.clauses == ("too many fits failed",)


def test_shared_random_numbers_fail_whatever_the_ranks_say_and_at_their_own_level():
    ledger = _ledger(_uniform(200, 2), truth=np.random.default_rng(6).normal(size=(200, 2)))
    assert verdict(ledger, 200, shared_p=0.0011).outcome is Outcome.PASS
    found = verdict(ledger, 200, shared_p=0.001)
    assert (found.outcome, found.reasons, found.failing) == (Outcome.FAIL, (Reason.SHARED_RANDOM_NUMBERS,), ())
    assert "truths depend on the noise of their data" in found.sentence
    assert verdict(ledger, 200, VerdictRules.of(0.05, 2), shared_p=0.001).outcome is Outcome.PASS
