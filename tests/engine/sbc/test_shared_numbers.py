"""Random numbers that truths and noise share: simulators that use one key twice, and honest ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.arrays import Integers
from engine.distributions.distribution import HalfNormal, Normal, Uniform
from engine.errors import UnsupportedModel
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Purpose, Seed
from engine.inference.precision import enable_float64
from engine.models.conjugate_normal import ConjugateNormal, ConjugateNormalSpec
from engine.rules.sbc_presets import Part
from engine.sbc.ledger import RankLedger
from engine.sbc.shard import run_shard
from engine.sbc.shared_numbers import OBSERVATIONS, SharedNumbers, Untested, _permuted, _spread, shared_numbers
from engine.sbc.verdict import Outcome, Reason, verdict
from engine.sbc.verdict_rules import RULES
from tests.bench.cases import case

enable_float64()

Floats = NDArray[np.float64]
SETTINGS = BatchedHmc.simulation()
SPEC = ConjugateNormalSpec("roi[tv]", 1.0, 0.2, 24, Normal(1.0, 0.5))
HONEST = ConjugateNormal(SPEC)


@dataclass(frozen=True)
class OneKey(ConjugateNormal):
    """The noise comes from the stream that the truth was drawn from, from observation `first` on."""

    first: int = 0

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        noise = [seed.generator(int(i), Purpose.DATA).standard_normal(self.n_observations) for i in simulations]
        again = [seed.generator(int(i), Purpose.PRIOR).standard_normal(self.n_observations) for i in simulations]
        columns = np.array(noise).T
        columns[self.first :] = np.array(again).T[: self.n_observations - self.first]
        return parameters[self.spec.quantity] + self.unit_sd * columns


@dataclass(frozen=True)
class Coin(OneKey):
    """Only whether the noise is positive comes out."""

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        truth = parameters[self.spec.quantity]
        return np.asarray(super().simulate(parameters, seed, simulations) > truth, dtype=np.float64)


def ledger(model: ConjugateNormal, seed: Seed, simulations: int = 200, part: Part = Part.PRIOR) -> RankLedger:
    return run_shard(model, seed, np.arange(simulations), SETTINGS, part=part)


def result_of(model: ConjugateNormal, seed: Seed, simulations: int = 200, part: Part = Part.PRIOR) -> SharedNumbers:
    return shared_numbers(model, ledger(model, seed, simulations, part), seed, part, RULES.alpha_shared)


@pytest.mark.parametrize("simulations", [100, 1000])
def test_one_key_for_truth_and_noise_is_named_and_an_honest_simulator_is_not(simulations: int) -> None:
    for number in range(5):
        found = result_of(OneKey(SPEC), Seed.of(number), simulations)
        # The first number of the stream makes the truth and the noise of the first observation: ranks that agree.
        assert (found.quantity, found.observation) == ("roi[tv]", 0)
        assert found.correlation == pytest.approx(1.0)
        assert found.p == pytest.approx(0.001)
        honest = result_of(HONEST, Seed.of(number), simulations)
        assert honest.p is not None
        assert honest.p > 0.01


def test_one_shared_number_is_enough_and_says_where() -> None:
    last = result_of(OneKey(SPEC, first=23), Seed.of(3))
    assert (last.observation, last.p) == (23, pytest.approx(0.001))


def test_a_truth_that_is_the_size_of_the_noise_is_seen_by_its_distance() -> None:
    # A half-normal truth is the absolute value of the very number that is the noise: they do not correlate.
    found = result_of(OneKey(dataclasses.replace(SPEC, prior=HalfNormal(1.0))), Seed.of(4))
    assert (found.observation, found.far_truth, found.far_noise) == (0, False, True)
    assert found.correlation == pytest.approx(1.0, abs=0.02)
    assert found.p == pytest.approx(0.001)
    assert not result_of(OneKey(SPEC), Seed.of(4)).far_noise


def test_numbers_of_the_same_bits_made_in_another_way_are_not_seen() -> None:
    # As docs/sbc.md says: NumPy's uniform number is in no order with the normal number of the same bits.
    model = OneKey(dataclasses.replace(SPEC, prior=Uniform(0.0, 2.0)))
    found = [result_of(model, Seed.of(number)) for number in range(20)]
    assert sum(each.p is not None and each.p <= 0.001 for each in found) <= 1


def test_data_that_tie_are_ranked_by_their_ties() -> None:
    """A binary outcome of the very number that made the truth: ranks tie, and yet it is found."""
    found = result_of(Coin(SPEC), Seed.of(4))
    assert found.p == pytest.approx(0.001)
    assert abs(found.correlation) == pytest.approx(math.sqrt(0.75), abs=0.02)  # of a half and a whole ranking


@pytest.mark.parametrize("first", [0, 23])
def test_the_verdict_names_what_ranks_leave_unseen(first: int) -> None:
    model, seed = OneKey(SPEC, first=first), Seed.of(5)
    rows = ledger(model, seed, 100)
    found = shared_numbers(model, rows, seed, Part.PRIOR, RULES.alpha_shared)
    judged = verdict(rows, 100, shared_p=found.p)
    assert judged.outcome is Outcome.FAIL
    assert Reason.SHARED_RANDOM_NUMBERS in judged.reasons
    if first:
        assert verdict(rows, 100).outcome is Outcome.PASS  # one number of 24: the ranks are as good as uniform


@dataclass(frozen=True)
class OneKeyOfReplicates(ConjugateNormal):
    """Replicates repeat the uniform number that chose the truth among the draws, in their first observation."""

    def simulate(self, parameters: Mapping[str, Floats], seed: Seed, simulations: Integers) -> Floats:
        data = super().simulate(parameters, seed, simulations)
        data[0] = parameters[self.spec.quantity] + self.unit_sd * np.array(
            [seed.derived("truth").generator(int(i), Purpose.MCMC).standard_normal() for i in simulations]
        )
        return data

    def fit(self, y, seed, simulations, inference):  # type: ignore[no-untyped-def]
        """One draw for all, from the same stream."""
        fit = super().fit(y, seed, simulations, inference)
        if y.shape[0] == self.spec.n_observations == SPEC.n_observations:
            z = np.array([seed.generator(int(i), Purpose.MCMC).standard_normal() for i in simulations])
            draws = dict(fit.draws)
            draws["roi[tv]"] = np.broadcast_to((1.0 + 0.2 * z)[:, None, None], draws["roi[tv]"].shape)
            return dataclasses.replace(fit, draws=draws)
        return fit


def test_posterior_sbc_is_tested_with_its_own_streams() -> None:
    honest = result_of(HONEST, Seed.of(7), part=Part.POSTERIOR)
    assert honest.p is not None
    assert honest.p > 0.01
    shared = result_of(OneKeyOfReplicates(SPEC), Seed.of(7), part=Part.POSTERIOR)
    assert (shared.observation, shared.p) == (0, pytest.approx(0.001))


@pytest.mark.parametrize(("error", "expected"), [(0.0, None), (1e-3, Untested.OTHER_TRUTHS)])
def test_a_ledger_of_other_truths_is_not_judged(error: float, expected: Untested | None) -> None:
    rows, seed = ledger(HONEST, Seed.of(1)), Seed.of(1)
    other = dataclasses.replace(rows, truth=rows.truth + error)
    assert shared_numbers(HONEST, other, seed, Part.PRIOR, 0.001).untested is expected
    elsewhere = shared_numbers(HONEST, rows, Seed.of(2), Part.PRIOR, 0.001)
    assert (elsewhere.p, elsewhere.untested) == (None, Untested.OTHER_TRUTHS)


@dataclass(frozen=True)
class OtherNoise(ConjugateNormal):
    """Draws its data with other noise than it simulates with when it is asked to."""

    def sample_prior(self, seed, simulations):  # type: ignore[no-untyped-def]
        drawn = super().sample_prior(seed, simulations)
        return dataclasses.replace(drawn, y=drawn.y[::-1])


@dataclass(frozen=True)
class NotSimulated(ConjugateNormal):
    """Cannot be simulated from at given parameters."""

    def simulate(self, parameters, seed, simulations):  # type: ignore[no-untyped-def]
        raise UnsupportedModel("only from the prior")


@dataclass(frozen=True)
class Silent(ConjugateNormal):
    """Data without noise."""

    def simulate(self, parameters, seed, simulations):  # type: ignore[no-untyped-def]
        return np.zeros((self.n_observations, len(simulations))) + parameters[self.spec.quantity]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (OtherNoise(SPEC), Untested.OTHER_NOISE),
        (NotSimulated(SPEC), Untested.NOT_SIMULATED),
        (Silent(SPEC), Untested.NO_VARIATION),
    ],
)
def test_what_cannot_be_tested_is_told(model: ConjugateNormal, reason: Untested) -> None:
    rows = ledger(HONEST, Seed.of(1), 50)
    found = shared_numbers(model, rows, Seed.of(1), Part.PRIOR, 0.001)
    assert (found.p, found.untested) == (None, reason)


def test_a_model_of_fifteen_parameters_is_tested_over_all_of_them() -> None:
    model = case(15)
    seed, ids = Seed.of(11), np.arange(100)
    drawn = model.sample_prior(seed, ids)
    names, shape = model.quantity_names, (100, len(model.quantity_names))
    rows = RankLedger(
        simulations=ids,
        quantities=names,
        ranks=np.zeros(shape, dtype=np.int32),
        n_draws=np.full(100, 99, dtype=np.int32),
        v=np.full(shape, 0.5),
        ties=np.zeros(shape),
        status=np.zeros(100, dtype=np.uint8),
        r_hat=np.ones(100),
        ess=np.full(100, 400.0),
        mean=np.zeros(shape),
        sd=np.ones(shape),
        truth=np.column_stack([drawn.quantities[name] for name in names]),
    )
    honest = shared_numbers(model, rows, seed, Part.PRIOR, 0.001)
    assert honest.simulations == 100
    assert honest.p is not None
    assert honest.p > 0.01


def test_of_many_observations_the_first_and_some_of_the_others_are_looked_at() -> None:
    assert _spread(7).tolist() == list(range(7))
    few = _spread(10 * OBSERVATIONS)
    assert few.size == OBSERVATIONS == np.unique(few).size
    assert few[: OBSERVATIONS // 2].tolist() == list(range(OBSERVATIONS // 2))
    assert few[-1] == 10 * OBSERVATIONS - 1


def standard(rng: np.random.Generator, rows: int, simulations: int) -> Floats:
    ranks = np.stack([rng.permutation(simulations) for _ in range(rows)]) - (simulations - 1) / 2
    return np.asarray(ranks / np.linalg.norm(ranks, axis=1, keepdims=True))


@pytest.mark.parametrize("level", [0.001, 0.0002])
def test_the_p_value_can_reach_the_level(level: float) -> None:
    left = standard(np.random.default_rng(0), 2, 100)
    assert _permuted(left, left, 1.0, level) <= level * (1 + 1e-9)
    assert _permuted(left, standard(np.random.default_rng(1), 3, 100), 0.0, level) == 1.0  # ten of ten


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_error_rate_is_the_level_and_the_power_is_full() -> None:
    """2000 honest runs of 100 simulations at level .01 reject 1 %, and every run of one shared number at .001 is found.

    Binomial standard error .0022. The p-value is sequential: its law is uniform up to 1/l, so the rate is the level.
    """
    rejected = 0
    for number in range(2000):
        rejected += (result_of(HONEST, Seed.of(1_000_000 + number), 100).p or 1.0) <= 0.01
    assert rejected / 2000 == pytest.approx(0.01, abs=3 * 0.0022)
    for simulations, repetitions in ((100, 200), (1000, 20)):
        for number in range(repetitions):
            found = result_of(OneKey(SPEC, first=23), Seed.of(2_000_000 + number), simulations)
            assert found.p is not None
            assert found.p <= 0.001 + 1e-12
