"""Canaries: wrong on purpose, and noticed."""

from __future__ import annotations

import numpy as np
import pytest

from engine.distributions.distribution import Normal
from engine.errors import UnsupportedModel
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.conjugate_normal import ConjugateNormal, ConjugateNormalSpec
from engine.rules.quantity_names import LOG_LIKELIHOOD
from engine.rules.sbc_presets import Part
from engine.sbc.canary import KEPT, applies, broken
from engine.sbc.ranked_quantities import ranked_quantities
from engine.sbc.shard import run_shard
from engine.sbc.verdict import Outcome, verdict
from tests.bench.cases import case

enable_float64()

SEED = Seed.of(12)
SETTINGS = BatchedHmc.simulation()
UNIT = ConjugateNormal(ConjugateNormalSpec("mu", 0.4, 10**-0.5, 10, Normal(0.0, 1.0)))
CANARIES = [part for part in Part if part.is_canary]


@pytest.mark.parametrize("canary", [part for part in CANARIES if applies(part, UNIT)])
def test_every_canary_is_noticed_on_the_conjugate_model(canary: Part) -> None:
    ledger = run_shard(UNIT, SEED, np.arange(256), SETTINGS, quantities=ranked_quantities(UNIT), part=canary)
    found = verdict(ledger, 256)
    assert found.outcome is Outcome.FAIL, found.sentence


def test_an_inference_that_ignores_data_shows_in_the_log_likelihood_and_not_in_the_parameter() -> None:
    # methods/sbc.md §10: P(log likelihood of a draw < the truth's) = .8654 for the prior, .6499 for half the data.
    for canary, expected in ((Part.CANARY_PRIOR_AS_POSTERIOR, 0.8654), (Part.CANARY_HALF_DATA, 0.6499)):
        ledger = run_shard(UNIT, SEED, np.arange(4000), SETTINGS, part=canary)
        assert ledger.quantities[1] == LOG_LIKELIHOOD
        share = (ledger.ranks[:, 1] / ledger.n_draws).mean()
        assert share == pytest.approx(expected, abs=4 * 0.35 / np.sqrt(4000))
        found = verdict(ledger, 4000)
        assert "mu" not in found.failing


def test_the_narrow_posterior_has_four_fifths_of_the_sd_around_the_same_mean() -> None:
    right = run_shard(UNIT, SEED, np.arange(300), SETTINGS)
    narrow = run_shard(UNIT, SEED, np.arange(300), SETTINGS, part=Part.CANARY_NARROW_POSTERIOR)
    # 49 draws: an sd has an error of a tenth
    assert (narrow.sd[:, 0] / right.sd[:, 0]).mean() == pytest.approx(0.8, abs=4 * 0.1 / np.sqrt(300) + 0.01)
    assert np.abs(narrow.mean[:, 0] - right.mean[:, 0]).max() < 5 * 0.8 * np.sqrt(1 / 11 / KEPT)
    assert np.array_equal(narrow.truth[:, 0], right.truth[:, 0])


def test_quantities_of_a_broken_fit_are_those_of_the_right_model_at_its_draws() -> None:
    sample = UNIT.sample_prior(SEED, np.arange(2))
    fit = broken(UNIT, Part.CANARY_HALF_DATA).fit(sample.y, SEED, np.arange(2), SETTINGS)
    assert fit.draws["mu"].shape == (2, 1, KEPT)
    again = UNIT.evaluate({"mu": fit.draws["mu"][1, 0]}, np.repeat(sample.y[:, 1:], KEPT, axis=1))
    assert np.array_equal(fit.draws[LOG_LIKELIHOOD][1, 0], again[LOG_LIKELIHOOD])


def test_a_lag_is_only_wrong_where_exposure_carries_over() -> None:
    assert not applies(Part.CANARY_LAGGED_MEDIA, UNIT)
    with pytest.raises(UnsupportedModel, match="no carry-over"):
        broken(UNIT, Part.CANARY_LAGGED_MEDIA)
    model = case(5)
    late = model.lagged(1)
    assert np.array_equal(late.design.exposure[1:], model.design.exposure[:-1])
    assert not late.design.exposure[0].any()


def test_the_lag_of_a_panel_stays_within_each_geo() -> None:
    from tests.bench.cases import panel_case

    model = panel_case(2, weeks=20)
    late = model.lagged(1).design.exposure
    assert not late[0].any()
    assert not late[20].any()
    assert np.array_equal(late[21:], model.design.exposure[20:-1])


@pytest.mark.slow
@pytest.mark.parametrize("canary", CANARIES)
def test_every_canary_is_noticed_on_an_mmm(canary: Part) -> None:
    """256 simulations of 15 parameters."""
    model = case(15)
    names = ranked_quantities(model, dependence=True)
    ledger = run_shard(model, SEED, np.arange(256), BatchedHmc.simulation(15), quantities=names, part=canary)
    found = verdict(ledger, 256)
    assert found.outcome is Outcome.FAIL, found.sentence
