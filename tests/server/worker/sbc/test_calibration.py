"""Ledger rows between engine and store, and the messages made of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from liftos.bayes.v1 import sbc_pb2

from engine.distributions.distribution import Normal
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.models.conjugate_normal import ConjugateNormalSpec, prepare
from engine.models.protocol import CarryOver
from engine.rules.sbc_presets import Part
from engine.sbc.interim import interim
from engine.sbc.judgement import PartRecord, judge
from engine.sbc.ledger import RankLedger
from engine.sbc.ranked_quantities import ranked_quantities
from engine.sbc.shard import run_shard
from persistence.tables import SbcValidation
from persistence.tables.sbc import INFERENCE_METHODS
from server.contract.families.registry import registered
from server.worker.sbc.calibration import (
    backend_of,
    interim_message,
    judged,
    ledger_of,
    rows_of,
    shared_tests,
    verdict_message,
)
from tests.bench.cases import case
from tests.engine.sbc.test_shared_numbers import OneKey

MODEL = prepare(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Normal(0.5, 1.0)))


def ledger(n: int = 100, part: Part = Part.PRIOR) -> RankLedger:
    return run_shard(MODEL, Seed.of(1), np.arange(n), BatchedHmc.simulation(), 99, ranked_quantities(MODEL), part=part)


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
    parts = {Part.PRIOR: ledger(), Part.CANARY_PRIOR_AS_POSTERIOR: ledger(100, Part.CANARY_PRIOR_AS_POSTERIOR)}
    found = judge([PartRecord(part, rows, (100,)) for part, rows in parts.items()])
    message = verdict_message(found, {part.value: rows for part, rows in parts.items()}, 0.05, MODEL, {})
    assert message.kind == sbc_pb2.VERDICT_KIND_PASS
    assert not message.named_reasons
    assert [q.adjusted_p_value for q in message.quantities] == sorted(q.adjusted_p_value for q in message.quantities)
    by_name = {q.quantity: q for q in message.quantities}
    assert set(by_name) == {"share_of_outcome[TV]", "log_likelihood", "log_prior", "log_joint"}
    share = by_name["share_of_outcome[TV]"]
    # 24 unit observations with se .05 against a prior sd of 1: contraction 1 - .0025 / 1.0025
    assert abs(share.contraction - (1 - 0.05**2 / (1 + 0.05**2))) < 1e-4  # the posterior sd is that of the draws
    assert (share.part, share.failing, share.HasField("worst_case_p_value")) == (sbc_pb2.SBC_PART_PRIOR, False, False)
    # z of a calibrated normal posterior is N(0, 1): five standard errors at n = 100
    assert abs(share.z_mean) < 0.5
    assert abs(share.z_sd - 1.0) < 0.36
    assert not by_name["log_likelihood"].HasField("contraction")
    assert 0 < message.detectable_sd_factor < 1 < message.detectable_sd_factor_above
    (canary,) = message.canaries
    assert canary.detected
    assert (canary.canary, canary.n_simulations) == (sbc_pb2.SBC_PART_CANARY_PRIOR_AS_POSTERIOR, 100)
    assert canary.quantity in ("log_likelihood", "log_joint")

    running = interim_message(interim(parts[Part.PRIOR], 100), Part.PRIOR)
    assert running.n_simulations == 100
    assert running.running_verdict == sbc_pb2.VERDICT_KIND_UNSPECIFIED


def test_a_key_that_is_used_twice_fails_the_run_by_name_and_is_told_with_its_place() -> None:
    run = SbcValidation(
        seed=1, alpha=0.05, validation_type="STANDARD", parts=[{"part": "PRIOR", "planned": [100, 120]}]
    )
    seen = {}
    for model in (MODEL, OneKey(MODEL.spec, first=23)):
        rows = run_shard(model, Seed.of(1), np.arange(120), BatchedHmc.simulation())
        tests = shared_tests(run, {"PRIOR": rows}, model)
        assert tests[Part.PRIOR].simulations == 100  # once, at the number that was planned first
        judgement = judged(run, {"PRIOR": rows}, tests)
        seen[type(model)] = verdict_message(judgement, {"PRIOR": rows}, 0.05, model, tests)
    honest, message = seen[type(MODEL)], seen[OneKey]
    assert honest.kind == sbc_pb2.VERDICT_KIND_PASS
    assert honest.shared_numbers[0].p_value > 0.01
    assert message.kind == sbc_pb2.VERDICT_KIND_FAIL
    assert sbc_pb2.VERDICT_REASON_SHARED_RANDOM_NUMBERS in message.named_reasons
    assert message.reasons == ["Truths depend on the noise of their data, so that both used the same random numbers."]
    (test,) = message.shared_numbers
    assert (test.quantity, test.observation, test.untested) == ("share_of_outcome[TV]", 23, 0)
    assert test.p_value <= test.level == pytest.approx(0.001)
    assert "the noise of observation 23" in test.explanation
    # Nothing to test before the first planned number is there, nor in canaries.
    assert shared_tests(run, {"PRIOR": rows.rows(rows.simulations < 99)}, MODEL) == {}


def test_the_server_knows_which_families_carry_over() -> None:
    # It plans canaries without the engine.
    mmm = case(5)
    assert isinstance(mmm, CarryOver)
    assert registered(mmm.family).carry_over
    assert not isinstance(MODEL, CarryOver)
    assert not registered(MODEL.family).carry_over


@pytest.mark.parametrize("method", INFERENCE_METHODS)
def test_every_method_has_an_inference_of_its_own(method: str) -> None:
    names = {other: backend_of(other, 15).name for other in INFERENCE_METHODS}
    assert [other for other in names if names[other] == names[method]] == [method]
