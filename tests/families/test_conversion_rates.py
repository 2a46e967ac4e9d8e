"""A family that the service does not know, registered as a plug-in would: everything works that it can do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import struct_pb2
from liftos.bayes import AsyncClient, InvalidArgument, Unimplemented, coefficient
from liftos.bayes.v1 import conflict_pb2, model_pb2, sbc_pb2

from engine.distributions.distribution import Gamma
from engine.inference.precision import enable_float64
from engine.models.conformance import check
from engine.models.table import WindowReport
from persistence.queue import CALLS, SHARDS
from server.contract.families import registry
from server.contract.families.registry import FAMILIES
from server.rpc.app import BayesServer
from server.settings import Settings
from server.worker.__main__ import work
from server.worker.fitting.families import preparations
from server.worker.fitting.families.preparations import PREPARATIONS, load_preparations
from tests.families.conversion_rates import FAMILY, THEIR_PREPARATION, THEIRS, ConversionRates

enable_float64()

RATE, WEEKS = 0.05, 60
FIRST = np.datetime64("2024-01-01")


def weeks() -> tuple[np.ndarray, np.ndarray]:
    """Clicks and conversions, one for twenty clicks."""
    rng = np.random.default_rng(0)
    clicks = rng.gamma(4.0, 25.0, WEEKS).round()
    return clicks, rng.poisson(RATE * clicks).astype(float)


def test_the_family_conforms() -> None:
    clicks, conversions = weeks()
    window, rows = WindowReport(FIRST, FIRST + np.timedelta64(7 * (WEEKS - 1), "D"), WEEKS), np.ones(WEEKS, dtype=bool)
    model = ConversionRates("coefficient[clicks]", clicks, conversions, Gamma(2.0, 40.0), window, rows)
    assert check(model).failures == ()


@pytest.fixture
def plugged_in() -> Iterator[None]:
    """Both halves, for as long as the test runs."""
    registry.register(THEIRS)
    preparations.register(THEIR_PREPARATION)
    yield
    del FAMILIES[FAMILY], PREPARATIONS[FAMILY]


def test_a_family_with_one_half_only_starts_nothing() -> None:
    load_preparations()
    registry.register(THEIRS)
    try:
        with pytest.raises(RuntimeError, match=f"only one half is registered: {FAMILY}"):
            load_preparations()
    finally:
        del FAMILIES[FAMILY]


@pytest.mark.usefixtures("plugged_in")
def test_an_id_is_taken_once() -> None:
    registry.register(THEIRS)  # the same again is no harm
    with pytest.raises(ValueError, match="already"):
        registry.register(type(THEIRS)())


def test_installed_families_are_found_by_their_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "conversion_rates-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: conversion-rates\nVersion: 1\n")
    module = "tests.families.conversion_rates"
    (installed / "entry_points.txt").write_text(
        f"[{registry.PLUGINS}]\nconversion_rates = {module}:THEIRS\n"
        f"[{preparations.PLUGINS}]\nconversion_rates = {module}:THEIR_PREPARATION\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        load_preparations()
        assert FAMILIES[FAMILY] is THEIRS
        assert PREPARATIONS[FAMILY] is THEIR_PREPARATION
    finally:
        FAMILIES.pop(FAMILY, None)
        PREPARATIONS.pop(FAMILY, None)


@pytest.fixture
async def client(database_url: str, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """A client of a server and a worker in this process."""
    settings = Settings(database_url=database_url, data_dir=tmp_path, listen="127.0.0.1:0", drain_seconds=0.1)
    server = BayesServer(settings)
    port = await server.start()
    worker = asyncio.create_task(work(settings, [CALLS, SHARDS]))
    try:
        async with AsyncClient.connect(f"127.0.0.1:{port}", client_id="acme") as connected:
            clicks, conversions = weeks()
            columns = {"week": FIRST + 7 * np.arange(WEEKS), "clicks": clicks, "conversions": conversions}
            await connected.datasets.upload("d", columns, time="week", kpi="conversions", exposures=["clicks"])
            yield connected
    finally:
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
        await server.stop()


def spec(exposure: str = "clicks") -> model_pb2.ModelSpec:
    options = struct_pb2.Struct()
    options.update({"exposure": exposure, "prior_mean": 0.05})
    return model_pb2.ModelSpec(dataset_id="d", custom=model_pb2.CustomModelSpec(family=FAMILY, options=options))


async def test_what_the_family_can_do_works_and_the_rest_is_refused_in_words(
    client: AsyncClient, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(Unimplemented, match="custom model family"):
        await client.models.register("m", spec())
    request.getfixturevalue("plugged_in")
    assert FAMILY in (await client.system.info()).model_families
    with pytest.raises(InvalidArgument) as refused:
        await client.models.register("m", spec("views"))
    assert refused.value.violations[0].field == "spec.custom.options.exposure"
    model = await client.models.register("m", spec())
    assert model.parameter_count == 1

    await client.elicitation.create("s", model_id="m", client_confidence=0.9)
    about = coefficient("clicks")
    await client.elicitation.add_belief("s", "seven-of-a-hundred", about, mean=0.067, plus_minus=0.003, meaning="sd")
    feedback = await client.elicitation.feedback("s")
    assert feedback.predictive.observed_highest == weeks()[1].max()
    assert [threshold.lower > 0.05 for threshold in feedback.thresholds] == [True]
    await client.elicitation.confirm("s")

    analysis = await client.conflicts.analyze("s")
    (belief,) = analysis.beliefs
    assert belief.conflict
    assert belief.severity == conflict_pb2.SEVERITY_STRONG
    clicks, conversions = weeks()
    assert belief.data_side.mean == pytest.approx(conversions.sum() / clicks.sum(), rel=0.01)
    assert not belief.causes  # there is no other model of the same data
    assert analysis.diagnostics.inference == "exact"
    assert (analysis.provenance.window.first_date, analysis.provenance.n_observations) == ("2024-01-01", WEEKS)

    with pytest.raises(InvalidArgument, match="'roi' is neither") as refused:
        await client.sbc.run(model_id="m", further_quantities=["log_prior", "roi"])
    assert refused.value.violations[0].field == "spec.further_quantities[1]"
    run = await client.sbc.run(model_id="m", validation_type="comprehensive", num_simulations=64, seed=1)
    finished = await run.result()
    assert finished.verdict.kind != sbc_pb2.VERDICT_KIND_FAIL
    assert {one.quantity for one in finished.verdict.quantities} >= {"coefficient[clicks]", "log_likelihood"}
    canaries = [one.canary for one in finished.verdict.canaries]
    assert len(canaries) == 3
    assert sbc_pb2.SBC_PART_CANARY_LAGGED_MEDIA not in canaries  # nothing acts with a delay

    with pytest.raises(Unimplemented, match=f"attribution of {FAMILY}"):
        await client.attribution.analyze("m")
