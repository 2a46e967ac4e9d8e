"""One line for every attempt at a job or a shard, however it ends, with nothing of its content."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from liftos.bayes.v1 import elicitation_pb2, sbc_pb2
from sqlalchemy import update

from engine.errors import EngineError, InvalidInput
from persistence import idempotency, jobs
from persistence.database import Database, StorageUnavailable
from persistence.lookup import ensure_client
from persistence.tables import Job, RegisteredModel, SbcShard, SbcValidation
from server.contract.job_kinds import JobKind
from server.logs import JsonFormatter, TextFormatter
from server.settings import Settings
from server.worker.context import WorkerContext
from server.worker.retries import MAX_ATTEMPTS
from server.worker.sbc import shards
from server.worker.sbc.shards import run_shard
from server.worker.short_jobs import run_call

SECRET = "half-of-our-sales"
REQUEST_ID = str(uuid.UUID(int=7))


@pytest.fixture
def context(database: Database, caplog: pytest.LogCaptureFixture) -> WorkerContext:
    caplog.set_level(logging.INFO, "server.worker")
    models: Any = None
    return WorkerContext(database, Settings(), models)


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The fields of the only line about a job, its seconds (which are checked) left out."""
    (record,) = [record for record in caplog.records if record.getMessage() == "job"]
    assert record.levelname == "INFO"
    for formatter in (TextFormatter(), JsonFormatter()):
        assert SECRET not in formatter.format(record)
    fields = dict(record.fields)  # type: ignore[attr-defined]
    assert 0 <= fields.pop("seconds") < 30
    return fields


async def new_call(database: Database, request_id: str = REQUEST_ID, **values: Any) -> uuid.UUID:
    request = elicitation_pb2.AddBeliefRequest(request_id=request_id, client_id="acme", session_id=SECRET)
    async with database.session() as session:
        await ensure_client(session, "acme")
        if request_id:
            await idempotency.remember(session, "acme", "ADD_BELIEF", request_id, "f")
        job = await jobs.create(session, "acme", "ADD_BELIEF", request.SerializeToString())
        if request_id:
            await idempotency.attach(session, "acme", "ADD_BELIEF", request_id, job_pk=job.pk)
        if values:
            await session.execute(update(Job).where(Job.pk == job.pk).values(**values))
    return job.pk


async def handle(context: WorkerContext, job_pk: uuid.UUID, handler: Callable[[], Awaitable[None]]) -> None:
    """Run the job by a handler that does no more than `handler`."""

    async def compute(context: WorkerContext, job: Job) -> Any:
        await handler()

        async def commit(session: Any) -> Any:
            return elicitation_pb2.AddBeliefResponse()

        return commit

    await run_call(context, {JobKind.ADD_BELIEF: compute}, job_pk)


async def nothing() -> None:
    """Nothing goes wrong."""


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


def called(job_pk: uuid.UUID, attempt: int = 1, **changes: Any) -> dict[str, Any]:
    fields = {"kind": "ADD_BELIEF", "client": "acme", "request": REQUEST_ID, "job": str(job_pk), "attempt": attempt}
    return fields | changes


async def test_a_job_that_succeeds_leaves_its_kind_client_and_request(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    job_pk = await new_call(database)
    await handle(context, job_pk, nothing)
    assert line(caplog) == called(job_pk, state="SUCCEEDED")
    caplog.clear()
    await handle(context, job_pk, nothing)  # delivered twice: the second finds nothing to do
    assert not [record for record in caplog.records if record.getMessage() == "job"]


async def test_a_job_without_a_request_identifier_leaves_the_rest(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    job_pk = await new_call(database, request_id="")
    await handle(context, job_pk, nothing)
    expected = called(job_pk, state="SUCCEEDED")
    del expected["request"]
    assert line(caplog) == expected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InvalidInput("statement", SECRET), "INVALID_FIELD"),
        (EngineError(SECRET), "COMPUTATION_FAILED"),
        (RuntimeError(SECRET), "INTERNAL"),
    ],
)
async def test_a_job_that_fails_leaves_its_reason_and_not_the_message(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture, error: Exception, reason: str
) -> None:
    job_pk = await new_call(database)
    await handle(context, job_pk, raising(error))
    assert line(caplog) == called(job_pk, state="FAILED", reason=reason)
    incidents = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(incidents) == (reason == "INTERNAL")


@pytest.mark.parametrize("error", [None, EngineError(SECRET)])
async def test_an_attempt_that_has_lost_its_lease_says_that_it_does_not_count(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    job_pk = await new_call(database)

    async def lose() -> None:
        async with database.session() as session:
            await session.execute(update(Job).where(Job.pk == job_pk).values(attempt=2))
        if error is not None:
            raise error

    await handle(context, job_pk, lose)
    reason = {} if error is None else {"reason": "COMPUTATION_FAILED"}
    assert line(caplog) == called(job_pk, state="DROPPED", **reason)


async def test_an_attempt_that_the_database_breaks_off_is_interrupted(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    job_pk = await new_call(database)
    with pytest.raises(StorageUnavailable):
        await handle(context, job_pk, raising(StorageUnavailable(SECRET)))
    assert line(caplog) == called(job_pk, state="INTERRUPTED", reason="STORAGE_UNAVAILABLE")


async def test_a_job_that_kills_its_workers_leaves_the_line_of_its_last_attempt(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    job_pk = await new_call(database, attempt=MAX_ATTEMPTS)
    await handle(context, job_pk, raising(AssertionError("is not called")))
    assert line(caplog) == called(job_pk, MAX_ATTEMPTS + 1, state="FAILED", reason="COMPUTATION_FAILED")
    async with database.session() as session:
        assert (await session.get_one(Job, job_pk)).state == "FAILED"


async def new_run(database: Database) -> SbcValidation:
    """A run of two shards."""
    request = sbc_pb2.RunSbcRequest(request_id=REQUEST_ID, client_id="acme", spec=sbc_pb2.SbcRunSpec(model_id=SECRET))
    async with database.session() as session:
        await ensure_client(session, "acme")
        model = RegisteredModel(client_id="acme", model_id="m", family="f", spec={}, parameter_count=1, model_hash="h")
        session.add(model)
        job = await jobs.create(session, "acme", "SBC_RUN", request.SerializeToString(), total=20)
        await session.flush()
        run = SbcValidation(
            client_id="acme",
            model_pk=model.pk,
            job_pk=job.pk,
            validation_type="STANDARD",
            num_simulations=20,
            data_period_months=24,
            seed=1,
            alpha=0.05,
            shard_size=10,
            certificate_key="key",
            parts=[{"part": "PRIOR", "planned": [20], "quantities": None, "reported": 0}],
        )
        session.add(run)
        await session.flush()
        for ordinal in range(2):
            session.add(
                SbcShard(validation_pk=run.pk, ordinal=ordinal, first_simulation=10 * ordinal, n_simulations=10)
            )
    return run


def instead(monkeypatch: pytest.MonkeyPatch, compute: Any, report: Any = None) -> None:
    """Replace the numerics of a shard, and its report, by what returns or raises the given."""

    def stands_for(outcome: Any) -> Any:
        async def run(*_: Any) -> Any:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return run

    monkeypatch.setattr(shards, "run_key", stands_for("key"))
    monkeypatch.setattr(shards, "_compute", stands_for(compute))
    monkeypatch.setattr(shards, "_report", stands_for(report))


@pytest.mark.parametrize(
    ("compute", "report", "ending"),
    [
        (True, None, {"state": "SUCCEEDED"}),
        (False, None, {"state": "DROPPED"}),
        (EngineError(SECRET), None, {"state": "FAILED", "reason": "COMPUTATION_FAILED"}),
        (True, RuntimeError(SECRET), {"state": "FAILED", "reason": "INTERNAL"}),
    ],
)
async def test_a_shard_leaves_one_line_about_its_attempt(
    database: Database,
    context: WorkerContext,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    compute: Any,
    report: Any,
    ending: dict[str, str],
) -> None:
    run = await new_run(database)
    instead(monkeypatch, compute, report)
    await run_shard(context, run.pk, 1)
    fields = {"kind": "SBC_RUN", "client": "acme", "request": REQUEST_ID, "job": str(run.job_pk)}
    assert line(caplog) == fields | {"shard": 1, "attempt": 1} | ending


async def test_a_shard_that_the_database_breaks_off_is_interrupted(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await new_run(database)
    instead(monkeypatch, StorageUnavailable(SECRET))
    with pytest.raises(StorageUnavailable):
        await run_shard(context, run.pk, 0)
    assert (found := line(caplog))["state"] == "INTERRUPTED"
    assert (found["shard"], found["reason"]) == (0, "STORAGE_UNAVAILABLE")


async def test_a_failed_attempt_at_a_shard_that_another_worker_has_does_not_count(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await new_run(database)
    instead(monkeypatch, True)

    async def lose(*_: Any) -> bool:
        async with database.session() as session:
            await session.execute(update(SbcShard).where(SbcShard.validation_pk == run.pk).values(attempt=5))
        raise EngineError(SECRET)

    monkeypatch.setattr(shards, "_compute", lose)
    await run_shard(context, run.pk, 0)
    assert (found := line(caplog))["state"] == "DROPPED"
    assert found["reason"] == "COMPUTATION_FAILED"
    assert SECRET not in caplog.text
    async with database.session() as session:
        assert (await session.get_one(Job, run.job_pk)).state == "RUNNING"


async def test_a_delivery_of_a_shard_that_another_worker_has_is_no_attempt(
    database: Database, context: WorkerContext, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await new_run(database)
    instead(monkeypatch, True)
    await run_shard(context, run.pk, 0)
    caplog.clear()
    await run_shard(context, run.pk, 0)  # the lease of the first is still running
    assert not [record for record in caplog.records if record.getMessage() == "job"]
