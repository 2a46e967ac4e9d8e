"""Posterior SBC: the paired model, its simulations, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from engine.distributions.distribution import Normal
from engine.errors import UnsupportedModel
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.conformance import check
from engine.models.conjugate_normal import ConjugateNormal, ConjugateNormalSpec
from engine.rules.sbc_presets import Part
from engine.sbc.contraction import contraction
from engine.sbc.ledger import Status
from engine.sbc.posterior import paired, sample_posterior
from engine.sbc.shard import run_shard
from engine.sbc.verdict import Outcome, verdict
from tests.bench.cases import case

enable_float64()

SEED = Seed.of(7)
SETTINGS = BatchedHmc.simulation()
# mu ~ N(0, 1) and ten unit-noise observations: the example of methods/sbc.md §8 and §10.
UNIT = ConjugateNormal(ConjugateNormalSpec("mu", 0.4, 10**-0.5, 10, Normal(0.0, 1.0)))


def test_ten_more_points_contract_the_posterior_by_the_figure_of_section_10() -> None:
    ledger = run_shard(UNIT, SEED, np.arange(400), SETTINGS, part=Part.POSTERIOR)
    # 1/11 → 1/21: relative contraction 1 - 11/21 = .47619; sd of 500 draws has an error of 3 %, the mean of 400 less.
    learnt = contraction(ledger.sd[:, 0], np.sqrt(1 / 11)).mean()
    assert learnt == pytest.approx(0.47619, abs=0.005)
    # Truths are independent draws of the first posterior, N(4/11, 1/11).
    truth = ledger.truth[:, 0]
    assert truth.mean() == pytest.approx(4.0 / 11.0, abs=4 * np.sqrt(1 / 11 / 400))
    assert truth.std() == pytest.approx(np.sqrt(1 / 11), rel=4 / np.sqrt(800))


def test_the_exact_inference_passes_and_one_that_forgets_the_real_data_fails() -> None:
    ledger = run_shard(UNIT, SEED, np.arange(400), SETTINGS, part=Part.POSTERIOR)
    assert verdict(ledger, 400).outcome is Outcome.PASS

    class Forgetful(ConjugateNormal):
        """Its fit of the pair sees the replicate only: as if the second fit had been given y' instead of (y, y')."""

        def paired(self) -> ConjugateNormal:
            pair = super().paired()
            return pair.restricted(np.arange(20) >= 10)

    forgetful = run_shard(Forgetful(UNIT.spec), SEED, np.arange(400), SETTINGS, part=Part.POSTERIOR)
    assert verdict(forgetful, 400).outcome is Outcome.FAIL


def test_simulations_depend_on_neither_the_shard_nor_each_other() -> None:
    whole, _ = sample_posterior(UNIT, SEED, np.arange(6), SETTINGS)
    part, _ = sample_posterior(UNIT, SEED, np.array([4]), SETTINGS)
    assert np.array_equal(whole.y[:, 4], part.y[:, 0])
    assert len(np.unique(whole.parameters["mu"])) == 6
    # The real data stand above their replicate.
    assert np.array_equal(whole.y[:10, 0], UNIT.observed)
    assert not np.array_equal(whole.y[10:, 0], UNIT.observed)


def test_a_model_without_a_conditional_replicate_is_refused_with_the_reason() -> None:
    class Autoregressive:
        family = "autoregressive/1"

    with pytest.raises(UnsupportedModel, match="autoregressive/1 does not define that"):
        paired(Autoregressive())  # type: ignore[arg-type]


def test_a_truth_from_a_failed_fit_is_a_failure_of_the_simulation() -> None:
    class Diverging(ConjugateNormal):
        def fit(self, y, seed, simulations, inference):  # type: ignore[no-untyped-def]
            found = super().fit(y, seed, simulations, inference)
            if y.shape[0] == 10:
                found.diagnostics.ok[0] = False
            return found

        def paired(self) -> ConjugateNormal:
            return UNIT.paired()

    ledger = run_shard(Diverging(UNIT.spec), SEED, np.arange(4), SETTINGS, part=Part.POSTERIOR)
    assert [Status(status) for status in ledger.status] == [Status.NOT_CONVERGED, Status.OK, Status.OK, Status.OK]


def test_a_fit_that_is_not_finite_costs_its_own_simulation_only() -> None:
    class Overflowing(ConjugateNormal):
        def fit(self, y, seed, simulations, inference):  # type: ignore[no-untyped-def]
            found = super().fit(y, seed, simulations, inference)
            if y.shape[0] == 10:
                found.draws["mu"][1] = np.nan
                found.diagnostics.nonfinite[1], found.diagnostics.ok[1] = True, False
            return found

        def paired(self) -> ConjugateNormal:
            return UNIT.paired()

    ledger = run_shard(Overflowing(UNIT.spec), SEED, np.arange(4), SETTINGS, part=Part.POSTERIOR)
    assert [Status(status) for status in ledger.status] == [Status.OK, Status.NONFINITE, Status.OK, Status.OK]
    whole = run_shard(UNIT, SEED, np.arange(4), SETTINGS, part=Part.POSTERIOR)
    assert np.array_equal(ledger.u[[0, 2, 3]], whole.u[[0, 2, 3]])


def test_the_paired_mmm_has_every_observation_twice() -> None:
    model = case(5)
    assert paired(model).n_observations == 2 * model.n_observations


@pytest.mark.slow
@pytest.mark.parametrize("what", ["paired", "restricted"])
def test_what_posterior_sbc_makes_of_an_mmm_conforms(what: str) -> None:
    model = case(5)
    made = paired(model) if what == "paired" else model.restricted(np.arange(model.n_observations) % 2 == 0)
    report = check(made, 50)
    assert report.ok, report.failures


def test_a_restricted_mmm_ignores_what_it_should() -> None:
    model = case(5)
    rows = np.arange(model.n_observations) % 2 == 0
    half = model.restricted(rows)
    sample = model.sample_prior(SEED, np.arange(2))
    elsewhere = sample.y + np.where(rows, 0.0, 1e3)[:, None]
    assert np.array_equal(half.target_units(sample.y), half.target_units(elsewhere))
    assert np.array_equal(
        half.evaluate(sample.parameters, sample.y)["log_likelihood"],
        half.evaluate(sample.parameters, elsewhere)["log_likelihood"],
    )


@pytest.mark.slow
def test_posterior_sbc_of_an_mmm_passes() -> None:
    """500 simulations of 15 parameters."""
    model = case(15)
    ledger = run_shard(model, SEED, np.arange(500), BatchedHmc.simulation(15), part=Part.POSTERIOR)
    found = verdict(ledger, 500)
    assert found.outcome is Outcome.PASS, found.sentence
