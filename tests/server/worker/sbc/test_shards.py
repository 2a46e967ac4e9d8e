"""Shards of a run: computed once each, reported in order, and a verdict at the end only."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from liftos.bayes.v1 import common_pb2, sbc_pb2

from engine.distributions.distribution import Normal
from engine.models.conjugate_normal import ConjugateNormalSpec, prepare
from persistence import jobs
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import Job, RegisteredModel, SbcShard, SbcValidation
from server.contract.wire import from_json
from server.records.runs import plan_run, start_run
from server.settings import Settings
from server.worker import retries
from server.worker.context import WorkerContext
from server.worker.fitting.prepared import ModelStore
from server.worker.sbc import shards
from server.worker.sbc.shards import _due, run_shard

TV = prepare(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Normal(0.5, 1.0)))
SIMULATIONS, SHARD = 12, 4


class Models:
    """Knows one model."""

    async def of_run(self, *_: object) -> Any:
        return TV


@pytest.fixture
async def run(database: Database) -> SbcValidation:
    """A run of 12 simulations in 3 shards, not begun."""
    async with database.session() as session:
        await ensure_client(session, "acme")
        session.add(
            RegisteredModel(
                client_id="acme", model_id="tv", family="conjugate_normal/1", spec={}, parameter_count=1, model_hash="h"
            )
        )
        await session.flush()
        spec = sbc_pb2.SbcRunSpec(model_id="tv", num_simulations=SIMULATIONS, seed=5)
        planned = await plan_run(session, "acme", spec, SHARD)
        await start_run(session, planned, sbc_pb2.StartSbcRunRequest(client_id="acme", spec=spec))
    return planned


@pytest.fixture
def context(database: Database) -> WorkerContext:
    return WorkerContext(database, Settings(), cast(ModelStore, Models()))


async def events_of(database: Database, run: SbcValidation) -> list[sbc_pb2.SbcEvent]:
    async with database.session() as session:
        return [sbc_pb2.SbcEvent.FromString(e.payload) for e in await jobs.events_after(session, run.job_pk, 0, 100)]


async def state_of(database: Database, run: SbcValidation) -> str:
    async with database.session() as session:
        return (await session.get_one(Job, run.job_pk)).state


async def test_shards_in_any_order_count_once_and_the_last_one_brings_the_verdict(
    database: Database, run: SbcValidation, context: WorkerContext
) -> None:
    for ordinal in (1, 0, 0, 2):  # the second is delivered twice
        assert await state_of(database, run) in ("QUEUED", "RUNNING")
        await run_shard(context, run.pk, ordinal)
    assert await state_of(database, run) == "SUCCEEDED"
    events = await events_of(database, run)
    batches = [event for event in events if event.HasField("batch_finished")]
    assert [event.batch_finished.first_simulation for event in batches] == [4, 0, 8]
    assert [event.progress.done for event in batches] == [4, 8, 12]
    # The first report is about both of the first two shards: before there was a gap.
    assert [event.interim.n_simulations for event in events if event.HasField("interim")] == [8, 12]
    (verdict,) = (event.verdict for event in events if event.HasField("verdict"))
    assert (verdict.kind, verdict.n_simulations) == (sbc_pb2.VERDICT_KIND_INCONCLUSIVE, SIMULATIONS)
    assert events[-1].state_changed.state == common_pb2.JOB_STATE_SUCCEEDED
    async with database.session() as session:
        stored = await session.get_one(SbcValidation, run.pk)
        assert from_json(stored.verdict or {}, sbc_pb2.SbcVerdict()) == verdict
    await run_shard(context, run.pk, 2)
    assert await events_of(database, run) == events


async def test_a_shard_of_a_run_that_has_ended_is_not_computed(
    database: Database, run: SbcValidation, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*_: object) -> Any:
        raise AssertionError("computed")

    monkeypatch.setattr(shards, "simulate", compute)
    async with database.session() as session:
        job = await session.get_one(Job, run.job_pk)
        job.state, job.end_time = "CANCELLED", datetime.datetime.now(datetime.UTC)
    await run_shard(context, run.pk, 0)
    async with database.session() as session:
        assert (await session.get_one(SbcShard, (run.pk, 0))).state == "QUEUED"


async def test_what_goes_wrong_in_a_shard_ends_the_run_with_the_reason(
    database: Database, run: SbcValidation, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(*_: object) -> Any:
        raise ZeroDivisionError("a secret of the data")

    monkeypatch.setattr(shards, "simulate", compute)
    await run_shard(context, run.pk, 0)
    assert await state_of(database, run) == "FAILED"
    last = (await events_of(database, run))[-1].state_changed
    assert last.state == common_pb2.JOB_STATE_FAILED
    assert last.error.reason == "INTERNAL"
    assert "secret" not in last.error.message


async def test_a_run_of_another_version_is_left_to_its_workers(
    database: Database, run: SbcValidation, context: WorkerContext
) -> None:
    async with database.session() as session:
        (await session.get_one(SbcValidation, run.pk)).certificate_key = "of other code"
    with pytest.raises(retries.OtherVersion):
        await run_shard(context, run.pk, 0)
    assert await state_of(database, run) == "QUEUED"


@pytest.mark.parametrize(
    ("prefix", "due"), [(0, False), (100, False), (109, False), (111, True), (196, True), (200, True)]
)
def test_a_report_is_due_at_a_tenth_more_simulations_than_the_last(prefix: int, due: bool) -> None:
    run = cast(SbcValidation, SimpleNamespace(parts=[{"part": "PRIOR", "reported": 100, "planned": [200]}]))
    assert _due(run, "PRIOR", prefix) == due


def test_a_report_is_due_at_the_end_however_little_is_new_and_never_for_a_canary() -> None:
    parts = [
        {"part": "PRIOR", "reported": 199, "planned": [100, 200]},
        {"part": "CANARY_HALF_DATA", "reported": 0, "planned": [200]},
    ]
    run = cast(SbcValidation, SimpleNamespace(parts=parts))
    assert _due(run, "PRIOR", 200)
    assert not _due(run, "CANARY_HALF_DATA", 200)
