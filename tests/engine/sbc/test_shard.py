"""Shards: a mock model with exact conjugate draws, and mocks that are wrong."""

import dataclasses

import numpy as np
import pytest

from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import BatchFit, FitDiagnostics, Purpose, Seed
from engine.models.protocol import PriorSample
from engine.sbc.ledger import RankLedger, Status, concatenate
from engine.sbc.shard import run_shard, statuses
from engine.sbc.verdict import Outcome, verdict

SEED = Seed.of(20_240_101)
SETTINGS = BatchedHmc.simulation()


@dataclasses.dataclass(frozen=True)
class MockModel:
    """mu ~ N(0, 1), ten unit-noise observations, independent exact draws; `sd_factor` makes them wrong."""

    sd_factor: float = 1.0
    ess: float = 400.0
    nan_draws: bool = False
    quantity_names: tuple[str, ...] = ("mu", "log_likelihood", "log_prior")

    def _quantities(self, mu, y):
        loglik = -0.5 * ((y - mu[..., None]) ** 2).sum(axis=-1) - 5 * np.log(2 * np.pi)
        return {"mu": mu, "log_likelihood": loglik, "log_prior": -0.5 * mu**2 - 0.5 * np.log(2 * np.pi)}

    def sample_prior(self, seed, simulations):
        mu = np.array([seed.generator(i, Purpose.PRIOR).normal() for i in simulations])
        noise = np.array([seed.generator(i, Purpose.DATA).normal(size=10) for i in simulations])
        y = mu[:, None] + noise
        return PriorSample({"mu": mu}, y.T, self._quantities(mu, y))

    def fit(self, y, seed, simulations, settings):
        s, shape = len(simulations), (settings.chains, settings.draws)
        z = np.array([seed.generator(i, Purpose.MCMC).normal(size=shape) for i in simulations])
        mu = y.sum(axis=0)[:, None, None] / 11 + self.sd_factor * z / np.sqrt(11)
        if self.nan_draws:
            mu[0, :, ::2] = np.nan
        draws = self._quantities(mu, y.T[:, None, None, :])
        zeros = np.zeros(s, dtype=np.int64)
        ess = np.full(s, self.ess)
        ok = np.isfinite(mu).all(axis=(1, 2))
        return BatchFit(draws, FitDiagnostics(np.ones(s), ess, 2 * ess, zeros, zeros, ok, ~ok))


def test_exact_conjugate_draws_pass_and_wrong_ones_fail():
    exact = run_shard(MockModel(), SEED, np.arange(200), SETTINGS)
    assert verdict(exact, 200).outcome is Outcome.PASS
    assert exact.quantities == ("mu", "log_likelihood", "log_prior")
    np.testing.assert_allclose(exact.sd[:, 0], np.sqrt(1 / 11), rtol=0.2)
    assert not exact.ties.any()
    assert np.all(exact.n_draws == 99)
    narrow = verdict(run_shard(MockModel(sd_factor=0.5), SEED, np.arange(200), SETTINGS), 200)
    assert narrow.outcome is Outcome.FAIL
    assert "mu" in narrow.failing


def test_rows_depend_on_neither_the_shard_nor_the_quantities_nor_the_order():
    whole = run_shard(MockModel(), SEED, np.arange(8), SETTINGS)
    parts = concatenate(
        [
            run_shard(MockModel(), SEED, [7, 5, 6], SETTINGS),
            run_shard(MockModel(), SEED, [0, 1, 2, 3, 4], SETTINGS),
        ]
    )
    for field in dataclasses.fields(RankLedger):
        np.testing.assert_array_equal(getattr(parts, field.name), getattr(whole, field.name))
    one = run_shard(MockModel(), SEED, np.arange(8), SETTINGS, quantities=("log_likelihood",))
    np.testing.assert_array_equal(one.u[:, 0], whole.u[:, 1])


def test_kept_draws_follow_the_worst_effective_sample_size():
    ledger = run_shard(MockModel(ess=57.3), SEED, [0, 1], SETTINGS)
    assert ledger.n_draws.tolist() == [57, 57]
    assert ledger.ess.tolist() == [57.3, 57.3]
    assert run_shard(MockModel(), SEED, [0], SETTINGS, max_draws=19).n_draws.tolist() == [19]


def test_draws_that_are_not_numbers_keep_their_row_as_ties():
    ledger = run_shard(MockModel(nan_draws=True), SEED, [0, 1], SETTINGS)
    assert ledger.status.tolist() == [Status.NONFINITE, Status.OK]
    # half of the draws are NaN; the thinned ones are chosen without regard to that
    assert ledger.ties[0, 0] == pytest.approx(0.5, abs=0.05)
    assert np.isnan(ledger.mean[0, 0])
    assert np.isfinite(ledger.u).all()


class HalfDefined(MockModel):
    """A derived quantity, the logarithm of mu, is no number in half of the truths and draws."""

    quantity_names = ("mu", "log_mu", "log_likelihood", "log_prior")

    def _quantities(self, mu, y):
        with np.errstate(invalid="ignore"):
            return super()._quantities(mu, y) | {"log_mu": np.log(mu)}


def test_a_quantity_that_is_no_number_fails_its_simulation_where_it_is_ranked():
    made = HalfDefined(quantity_names=HalfDefined.quantity_names)
    ledger = run_shard(made, SEED, np.arange(40), SETTINGS)
    undefined = ~np.isfinite(ledger.truth[:, 1])
    assert 10 < undefined.sum() < 30
    assert set(ledger.status[undefined]) == {Status.NONFINITE}
    # A truth that is one beside a draw that is none has failed too; what has not is defined everywhere.
    assert np.all(np.isfinite(ledger.mean[ledger.accepted]))
    assert ledger.accepted.any()
    without = run_shard(made, SEED, np.arange(40), SETTINGS, quantities=("mu",))
    assert without.accepted.all()


def test_status_comes_from_the_diagnostics_only():
    found = statuses(
        FitDiagnostics(
            r_hat=np.ones(6),
            ess_bulk=np.ones(6),
            ess_tail=np.ones(6),
            divergences=np.array([0, 0, 3, 0, 3, 3]),
            escalations=np.array([0, 1, 2, 2, 0, 2]),
            ok=np.array([True, True, False, False, True, False]),
            nonfinite=np.array([False, False, False, False, False, True]),
        )
    )
    assert [Status(value) for value in found] == [
        Status.OK,
        Status.RETRIED,
        Status.DIVERGENT,
        Status.NOT_CONVERGED,
        Status.OK,
        Status.NONFINITE,
    ]


def test_unknown_quantities_and_bad_ids_are_refused():
    with pytest.raises(UnsupportedQuantity):
        run_shard(MockModel(), SEED, [0], SETTINGS, quantities=("tau",))
    for bad in ([], [1, 1], [-1]):
        with pytest.raises(InvalidInput):
            run_shard(MockModel(), SEED, bad, SETTINGS)
