"""What a run costs: from measured runs alone, with compiling counted once."""

from __future__ import annotations

import pytest
from liftos.bayes.v1 import sbc_pb2

from server.worker.sbc.costs import NOTHING, Measured, Timing, Workload, cost_message, timing, workload


def batch(simulations: int, compute: float, compiling: float = 0.0, posterior: bool = False) -> sbc_pb2.BatchFinished:
    part = sbc_pb2.SBC_PART_POSTERIOR if posterior else sbc_pb2.SBC_PART_PRIOR
    return sbc_pb2.BatchFinished(
        part=part, n_simulations=simulations, compute_seconds=compute, compile_seconds=compiling
    )


@pytest.mark.parametrize(
    ("kind", "carry_over", "fits"),
    [
        (sbc_pb2.VALIDATION_TYPE_QUICK, False, 100),
        (sbc_pb2.VALIDATION_TYPE_STANDARD, True, 100),
        (sbc_pb2.VALIDATION_TYPE_POSTERIOR, True, 200),
        # prior, posterior twice, and the canaries, of which a model without carry-over has one less
        (sbc_pb2.VALIDATION_TYPE_COMPREHENSIVE, True, 100 + 200 + 400),
        (sbc_pb2.VALIDATION_TYPE_COMPREHENSIVE, False, 100 + 200 + 300),
    ],
)
def test_a_simulation_of_posterior_sbc_counts_for_two_fits(
    kind: sbc_pb2.ValidationType.ValueType, carry_over: bool, fits: int
) -> None:
    assert workload(kind, 100, carry_over=carry_over).fits == fits


def test_compiling_is_counted_once_however_large_the_run() -> None:
    # 100 s on the clock by two workers: each compiles for 40 s and then takes 1.2 s for each of 50 simulations.
    found = timing(100.0, [batch(50, 100.0, 40.0), batch(50, 100.0, 40.0)])
    assert found == Timing(seconds=100.0, busy=200.0, compiling=80.0, prior=1.2, posterior=None, slowest=1.0)
    assert found.predicted(Workload(100, 0)) == pytest.approx(100.0)
    assert found.predicted(Workload(1000, 0)) == pytest.approx(40.0 + 600.0)
    assert found.predicted(Workload(1000, 0), compiled=True) == pytest.approx(600.0)
    assert found.bound(Workload(1000, 0)) == found.predicted(Workload(1000, 0))  # all shards went alike


def test_the_first_run_of_a_model_compiles_and_the_next_need_not() -> None:
    first = timing(50.0, [batch(64, 45.0, 42.0), batch(36, 5.0, 3.0)])
    assert first is not None
    own = cost_message(Measured(sbc_pb2.COST_BASIS_SAME_MODEL, [first], "model 'm' over 24 months"), Workload(500, 0))
    assert own.seconds_median == pytest.approx(25.0)
    # 2 s for 36 simulations was the slowest: .0556 s instead of .05
    assert own.seconds_90 == pytest.approx(45.0 + 500 / 18)
    assert "compiling is left out" in own.explanation
    # Programs of another model are not those of this one; nor are those of another part.
    other = cost_message(Measured(sbc_pb2.COST_BASIS_SIMILAR_MODELS, [first], "models"), Workload(500, 0))
    assert other.seconds_median == pytest.approx(45.0 + 25.0)
    part = cost_message(Measured(sbc_pb2.COST_BASIS_SAME_MODEL, [first], "models"), Workload(0, 250))
    assert part.seconds_median == pytest.approx(45.0 + 25.0)


def test_prior_and_posterior_simulations_are_timed_apart_where_a_run_had_both() -> None:
    both = timing(50.0, [batch(10, 10.0), batch(10, 40.0, posterior=True)])
    assert both is not None
    assert both.predicted(Workload(20, 5)) == pytest.approx(20.0 + 20.0)
    # One that had no posterior part is taken for two fits, and says so.
    prior = timing(10.0, [batch(10, 10.0)])
    assert prior is not None
    assert prior.predicted(Workload(20, 5)) == pytest.approx(20.0 + 10.0)
    subject = "model 'm' over 24 months"
    for timings, seconds, caveat in (([prior], 30.0, True), ([prior, both], 40.0, False)):
        told = cost_message(Measured(sbc_pb2.COST_BASIS_SAME_MODEL, timings, subject), Workload(20, 5))
        assert told.seconds_median == pytest.approx(seconds)
        assert (told.runs, told.fits) == (1, 30)
        assert ("posterior SBC is taken for 2 fits" in told.explanation) == caveat


def test_the_bound_takes_every_shard_to_be_the_slowest() -> None:
    found = timing(30.0, [batch(10, 10.0), batch(10, 20.0)])
    assert found is not None
    # 1.5 s for each simulation, 2 s in the slower shard
    assert found.slowest == pytest.approx(2.0 / 1.5)
    assert found.predicted(Workload(40, 0)) == pytest.approx(60.0)
    assert found.bound(Workload(40, 0)) == pytest.approx(80.0)


def test_without_a_run_the_cost_is_unknown_and_a_pilot_is_offered() -> None:
    assert timing(10.0, []) is None
    message = cost_message(NOTHING, Workload(500, 0))
    assert message.basis == sbc_pb2.COST_BASIS_UNKNOWN
    assert (message.fits, message.runs) == (500, 0)
    assert not message.HasField("seconds_median")
    assert not message.HasField("seconds_90")
    assert "A QUICK run of 100 simulations measures it" in message.explanation


def test_few_runs_give_a_bound_and_many_their_own_spread() -> None:
    def told(*seconds: float) -> sbc_pb2.SbcCost:
        timings = [Timing(each, each, 0.0, each / 100, None, 1.5) for each in seconds]
        measured = Measured(sbc_pb2.COST_BASIS_SAME_MODEL, timings, "model 'm' over 24 months")
        return cost_message(measured, Workload(100, 0))

    one = told(10.0)
    assert (one.runs, one.seconds_median, one.seconds_90) == (1, pytest.approx(10.0), pytest.approx(15.0))
    assert "is a bound instead" in one.explanation
    # of ten runs half took at most the fifth, and nine at most the ninth
    ten = told(*range(1, 11))
    assert (ten.runs, ten.seconds_median, ten.seconds_90) == (10, pytest.approx(5.0), pytest.approx(9.0))
    assert "the 10 newest finished runs of model 'm' over 24 months" in ten.explanation
