"""Errors seeded in one side of the additive MMM are found: in the JAX model only, or in the NumPy simulator only.

Simulations after which the e-process failed the 15-parameter case with production settings, median and largest of
twenty seeds, of which the slow tests repeat three. The others take one seed and the first schedule alone: SHARD is more
than twice the largest number, so that every seed finds every error.

                                   simulator only   model only
adstock late by one week           5, 6             5, 6
adstock weights not normalised     16, 30           16, 27
slope of the Hill curve reversed   5, 5             5, 6
no prior on the intercept          6, 9             11, 16
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from numpy.typing import NDArray

from engine.arrays import Integers
from engine.distributions.distribution import Normal
from engine.inference.backend import Backend
from engine.inference.batch import BatchedHmc
from engine.inference.fit import BatchFit, Seed
from engine.inference.precision import enable_float64
from engine.inference.target import Target, differentiated
from engine.models import additive_simulator
from engine.models.additive_mmm import AdditiveMmm
from engine.models.additive_target import AdditiveTarget
from engine.models.protocol import PriorSample
from engine.models.saturation import FORMS, Saturation
from engine.sbc.e_process import evidence
from engine.sbc.interim import interim
from engine.sbc.ledger import RankLedger, concatenate
from engine.sbc.shard import run_shard
from engine.sbc.verdict import Outcome, Reason, verdict
from engine.sbc.verdict_rules import RULES
from tests.bench.cases import case

enable_float64()

Floats = NDArray[np.float64]

MODEL = case(15)
PRODUCTION = BatchedHmc.simulation(len(MODEL.parameter_names))
FIRST = dataclasses.replace(PRODUCTION, schedules=PRODUCTION.schedules[:1], last=None)
"""Leaves two to eight fits in a hundred, for which production has further schedules: as much again to compile."""
SHARD, MOST = 64, 256
RUNS = [
    pytest.param(FIRST, 1, id="first-1"),
    *(pytest.param(PRODUCTION, seed, id=f"production-{seed}", marks=pytest.mark.slow) for seed in (1, 2, 3)),
]
WIDE = Normal(0.0, 10.0)
"""An intercept that has lost its N(0, 1) prior, in effect: a hundred times the variance."""


class Error(enum.Enum):
    """What a programmer might get wrong in one of the two implementations."""

    LAG = "adstock late by one week"
    WEIGHTS = "adstock weights that do not sum to one"
    SLOPE = "k / (x + k) for x / (x + k)"
    INTERCEPT = "no prior on the intercept"


@dataclass(frozen=True)
class Pair:
    """A simulator and a target that should be of the same model."""

    simulator: AdditiveMmm
    target: Target

    @property
    def quantity_names(self) -> tuple[str, ...]:
        return self.simulator.quantity_names

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        return self.simulator.sample_prior(seed, simulations)

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        return inference.fit(self.target, self.simulator.target_units(y), seed, simulations)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class UnnormalisedTarget(AdditiveTarget):
    """Exposure over half-saturation is that of weights retention^lag as they are."""

    def _curves(self, theta: Array) -> list[Any]:
        _, retention, _ = self._split(theta)
        powers = jnp.exp(self._lags(theta)[:, None, None] * jnp.log(retention)) * self.active[:, :, None]
        totals = jnp.sum(powers, axis=0)
        curves = []
        for index, curve in enumerate(super()._curves(theta)):
            relative = curve.relative * totals[index]
            value = relative / (1.0 + relative)
            per_unit = self.to_incremental[index] / (self.kpi_sd * (self.weights @ value))
            curves.append(curve._replace(relative=relative, value=value, per_unit=per_unit))
        return curves

    def value_and_gradient(self, z: Array, y: Array) -> tuple[Array, Array]:
        return differentiated(self, z, y)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FallingTarget(AdditiveTarget):
    """The Hill curve with the sign of its slope turned round."""

    def _curves(self, theta: Array) -> list[Any]:
        curves = []
        for index, curve in enumerate(super()._curves(theta)):
            value = self.real_rows[:, None] / (1.0 + curve.relative)
            per_unit = self.to_incremental[index] / (self.kpi_sd * (self.weights @ value))
            curves.append(curve._replace(value=value, per_unit=per_unit))
        return curves

    def _slope(self, index: int, value: Array) -> Array:
        return -(value**2)


def wrong_target(error: Error) -> AdditiveTarget:
    """The model's target with an error; `LAG` and `INTERCEPT` change its arrays and run in the compiled program."""
    target = MODEL.target
    match error:
        case Error.LAG:
            late = jnp.concatenate([target.exposure[:, :1], target.exposure[:, :-1]], axis=1)
            return dataclasses.replace(target, exposure=late)
        case Error.INTERCEPT:
            return MODEL.with_priors({"intercept": WIDE}).target
    cls = UnnormalisedTarget if error is Error.WEIGHTS else FallingTarget
    return cls(**{field.name: getattr(target, field.name) for field in dataclasses.fields(target)})


def wrong_simulator(error: Error, monkeypatch: pytest.MonkeyPatch) -> AdditiveMmm:
    """The model, whose simulator has an error until the patch ends."""
    adstock = additive_simulator.adstock

    def late(exposure: Floats, retention: float) -> Floats:
        series = adstock(exposure, retention)
        return np.concatenate([series[:1], series[:-1]])

    def unnormalised(exposure: Floats, retention: float) -> Floats:
        return np.asarray(exposure @ retention ** np.arange(exposure.shape[1]))

    def falling(adstocked: Floats, half_saturation: float, _: float) -> Floats:
        return np.asarray(half_saturation / (adstocked + half_saturation))

    match error:
        case Error.LAG:
            monkeypatch.setattr(additive_simulator, "adstock", late)
        case Error.WEIGHTS:
            monkeypatch.setattr(additive_simulator, "adstock", unnormalised)
        case Error.SLOPE:
            monkeypatch.setitem(FORMS, Saturation.HILL, dataclasses.replace(FORMS[Saturation.HILL], value=falling))
        case Error.INTERCEPT:
            return MODEL.with_priors({"intercept": WIDE})
    return MODEL


def shard(pair: Pair, settings: BatchedHmc, seed: int, first: int) -> RankLedger:
    return run_shard(pair, Seed.of(seed), np.arange(first, first + SHARD), settings)


@cache
def unmodified_shard(settings: BatchedHmc, seed: int, first: int) -> RankLedger:
    return shard(Pair(MODEL, MODEL.target), settings, seed, first)


def unmodified(settings: BatchedHmc, seed: int, simulations: int) -> RankLedger:
    return concatenate([unmodified_shard(settings, seed, first) for first in range(0, simulations, SHARD)])


def until_found(pair: Pair, settings: BatchedHmc, seed: int) -> RankLedger:
    """The ledger when the interim report fails the run, shard by shard, or that of MOST simulations."""
    ledgers: list[RankLedger] = []
    for first in range(0, MOST, SHARD):
        ledgers.append(shard(pair, settings, seed, first))
        if interim(concatenate(ledgers), MOST).detected:
            break
    return concatenate(ledgers)


def simulations_needed(ledger: RankLedger) -> int:
    """Simulations after which the e-process had failed the run."""
    crossed = np.flatnonzero(evidence(ledger, worst_case=True).overall >= RULES.log_threshold)
    return int(crossed[0]) + 1 if crossed.size else len(ledger) + 1


FOUND_BY = {
    Error.LAG: {"sigma", "log_likelihood"},
    Error.WEIGHTS: {f"half_saturation[channel_{index}]" for index in (1, 2, 3)},
    Error.SLOPE: {"sigma", "log_likelihood", "total_media_share_of_outcome"},
    Error.INTERCEPT: {"log_prior"},  # two years of data outweigh the prior: nothing else could see it
}
COMPILES = {Error.WEIGHTS, Error.SLOPE}
MODEL_SIDE = [pytest.param(error, marks=pytest.mark.slow) if error in COMPILES else error for error in Error]


def check_found(error: Error, settings: BatchedHmc, seed: int, ledger: RankLedger) -> None:
    """The run has failed early and by the right quantities, and would not have without the error."""
    found = verdict(ledger, MOST)
    assert found.outcome is Outcome.FAIL
    assert found.reasons == (Reason.SEQUENTIAL_EVIDENCE,)
    assert set(found.failing) >= FOUND_BY[error]
    assert simulations_needed(ledger) <= SHARD
    right = verdict(unmodified(settings, seed, len(ledger)), len(ledger))
    assert right.outcome is not Outcome.FAIL


def check_right(settings: BatchedHmc, ledger: RankLedger) -> None:
    """Nothing speaks against the pair, and with production's settings it passes."""
    found = verdict(ledger, len(ledger))
    assert found.failing == ()
    assert found.outcome is Outcome.PASS or (settings is FIRST and found.reasons == (Reason.FAILED_FITS,)), found


@pytest.mark.parametrize(("settings", "seed"), RUNS)
@pytest.mark.parametrize("error", Error)
def test_an_error_in_the_simulator_only_is_found(
    error: Error, settings: BatchedHmc, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        ledger = until_found(Pair(wrong_simulator(error, patch), MODEL.target), settings, seed)
    check_found(error, settings, seed, ledger)


@pytest.mark.parametrize(("settings", "seed"), RUNS)
@pytest.mark.parametrize("error", MODEL_SIDE)
def test_an_error_in_the_model_only_is_found(error: Error, settings: BatchedHmc, seed: int) -> None:
    check_found(error, settings, seed, until_found(Pair(MODEL, wrong_target(error)), settings, seed))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        pytest.param(FIRST, Error.LAG, id="first-LAG"),
        *(pytest.param(PRODUCTION, error, id=f"production-{error.name}", marks=pytest.mark.slow) for error in Error),
    ],
)
def test_the_same_error_on_both_sides_is_another_model_and_passes(
    settings: BatchedHmc, error: Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So the two wrong implementations agree with each other, and what is found above is their difference from MODEL.
    pair = Pair(wrong_simulator(error, monkeypatch), wrong_target(error))
    check_right(settings, concatenate([shard(pair, settings, 1, first) for first in range(0, MOST, SHARD)]))


@pytest.mark.parametrize(
    ("settings", "simulations"),
    [
        pytest.param(FIRST, MOST, id="first-256"),
        pytest.param(PRODUCTION, 4 * MOST, id="production-1024", marks=pytest.mark.slow),
    ],
)
def test_the_unmodified_pair_passes(settings: BatchedHmc, simulations: int) -> None:
    """256 simulations find a posterior a quarter too narrow with power .8, 1024 one that is 14 % too narrow."""
    check_right(settings, unmodified(settings, 1, simulations))
