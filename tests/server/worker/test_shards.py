"""Ledger rows between engine and store, and the messages made of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from liftos.bayes.v1 import sbc_pb2

from engine.inference.settings import FitSettings
from engine.models.conjugate_normal import ConjugateNormalSpec, prepare
from engine.models.protocol import Seed
from engine.priors.distribution import Normal, Uniform
from engine.sbc.interim import interim
from engine.sbc.shard import run_shard
from engine.sbc.verdict import verdict
from server.worker.shards import interim_message, ledger_of, ranked_quantities, rows_of, verdict_message

MODEL = prepare(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Normal(0.5, 1.0)))


def ledger(n: int = 100):
    return run_shard(MODEL, Seed.of(1), np.arange(n), FitSettings.simulation(), 99, ranked_quantities(MODEL))


def test_a_ledger_survives_the_store_unchanged() -> None:
    original = ledger()
    stored = [SimpleNamespace(**vars(row)) for row in rows_of(original)]
    again = ledger_of(stored, original.quantities)  # type: ignore[arg-type]
    for name in ("simulations", "ranks", "n_draws", "v", "ties", "status", "r_hat", "ess", "mean", "sd", "truth"):
        assert np.array_equal(getattr(again, name), getattr(original, name), equal_nan=True), name


def test_a_number_that_is_not_finite_becomes_absent_and_not_an_error() -> None:
    original = ledger(20)
    original.mean[3, 0] = np.inf
    row = rows_of(original)[3]
    assert np.isnan(row.posterior_mean[0])


def test_verdict_and_interim_messages_carry_the_figures_of_the_engine() -> None:
    rows = ledger()
    report, judged = interim(rows, 100), verdict(rows, 100)
    message = verdict_message(judged, rows, report, MODEL)
    assert message.kind == sbc_pb2.VERDICT_KIND_PASS
    assert [q.adjusted_p_value for q in message.quantities] == sorted(q.adjusted_p_value for q in message.quantities)
    by_name = {q.quantity: q for q in message.quantities}
    share = by_name["share_of_outcome[TV]"]
    # 24 unit observations with se .05 against a prior sd of 1: contraction 1 - .0025 / 1.0025
    assert abs(share.contraction - (1 - 0.05**2 / (1 + 0.05**2))) < 1e-4  # the posterior sd is that of the draws
    assert not by_name["log_likelihood"].HasField("contraction")
    assert 0 < message.detectable_sd_factor < 1
    running = interim_message(report)
    assert running.n_simulations == 100
    assert running.running_verdict == sbc_pb2.VERDICT_KIND_UNSPECIFIED


def test_a_flat_log_prior_is_not_ranked() -> None:
    flat = prepare(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Uniform(0.0, 1.0)))
    assert ranked_quantities(flat) == ("share_of_outcome[TV]", "log_likelihood")


def test_the_data_dependent_quantity_is_ranked_and_multiples_of_parameters_are_not() -> None:
    assert "log_likelihood" in ranked_quantities(MODEL)
    assert len(set(ranked_quantities(MODEL))) == len(ranked_quantities(MODEL))
