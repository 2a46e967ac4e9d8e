"""Runs of calibration as the service answers for them: which may be cancelled, resumed, extended and watched."""

from __future__ import annotations

import datetime
import uuid
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from liftos.bayes.v1 import common_pb2, sbc_pb2
from sqlalchemy import func, select

from persistence import jobs
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import RegisteredModel, SbcShard, SbcValidation
from persistence.tables.sbc import SbcResult
from server.contract.errors import ServiceError
from server.contract.wire import from_array
from server.rpc import sbc_service
from server.rpc.guard import Guard
from server.rpc.sbc_service import SbcServicer
from server.rpc.waiting import Calls
from server.settings import Settings

CONTEXT = cast(Any, None)  # no method of these asks for it


@pytest.fixture
async def servicer(database: Database) -> SbcServicer:
    async with database.session() as session:
        await ensure_client(session, "acme")
        session.add(
            RegisteredModel(
                client_id="acme", model_id="tv", family="conjugate_normal/1", spec={}, parameter_count=1, model_hash="h"
            )
        )
    return SbcServicer(database, cast(Calls, SimpleNamespace()), Settings(), Guard())


async def started(servicer: SbcServicer, **spec: Any) -> sbc_pb2.SbcRun:
    asked = sbc_pb2.SbcRunSpec(model_id="tv", num_simulations=200, seed=5, **spec)
    request = sbc_pb2.StartSbcRunRequest(client_id="acme", spec=asked)
    return (await servicer.StartSbcRun(request, CONTEXT)).run


async def ended(servicer: SbcServicer, run: sbc_pb2.SbcRun, state: str, verdict: str | None) -> None:
    async with servicer.database.session() as session:
        row = await session.get_one(SbcValidation, run.run_id)
        job = await jobs.lock(session, row.job_pk)
        job.state, job.end_time, job.error_reason = state, datetime.datetime.now(datetime.UTC), "COMPUTATION_FAILED"
        row.verdict_kind = verdict


def cancel(run: sbc_pb2.SbcRun) -> sbc_pb2.CancelSbcRunRequest:
    return sbc_pb2.CancelSbcRunRequest(client_id="acme", run_id=run.run_id, request_id=str(uuid.uuid4()))


def resume(run: sbc_pb2.SbcRun) -> sbc_pb2.ResumeSbcRunRequest:
    return sbc_pb2.ResumeSbcRunRequest(client_id="acme", run_id=run.run_id)


def extend(run: sbc_pb2.SbcRun, more: int = 100) -> sbc_pb2.ExtendSbcRunRequest:
    return sbc_pb2.ExtendSbcRunRequest(client_id="acme", run_id=run.run_id, additional_simulations=more)


async def test_a_run_is_only_planned_by_a_validation_and_stored_otherwise(servicer: SbcServicer) -> None:
    spec = sbc_pb2.SbcRunSpec(model_id="tv", num_simulations=200)
    request = sbc_pb2.StartSbcRunRequest(client_id="acme", spec=spec, validate_only=True)
    planned = (await servicer.StartSbcRun(request, CONTEXT)).run
    assert (planned.run_id, planned.progress.total) == ("", 200)
    run = await started(servicer, canaries=True)
    assert run.progress.total == 4 * 200  # a summary has three canaries
    async with servicer.database.session() as session:
        assert await session.scalar(select(func.count()).select_from(SbcValidation)) == 1
        assert await session.scalar(select(func.sum(SbcShard.n_simulations))) == 4 * 200


async def test_a_run_is_cancelled_once_and_what_has_ended_otherwise_is_not(servicer: SbcServicer) -> None:
    run = await started(servicer)
    first = (await servicer.CancelSbcRun(cancel(run), CONTEXT)).run
    assert (first.state, first.verdict.kind) == (common_pb2.JOB_STATE_CANCELLED, sbc_pb2.VERDICT_KIND_CANCELLED)
    assert (await servicer.CancelSbcRun(cancel(run), CONTEXT)).run.last_sequence == first.last_sequence
    await ended(servicer, run, "SUCCEEDED", "PASS")
    with pytest.raises(ServiceError, match="has ended: SUCCEEDED"):
        await servicer.CancelSbcRun(cancel(run), CONTEXT)


@pytest.mark.parametrize(
    ("state", "verdict", "resumed", "extended"),
    [
        ("CANCELLED", "CANCELLED", True, "resume it first"),
        ("FAILED", None, True, "cannot be extended"),
        ("SUCCEEDED", "PASS", "cannot be resumed", True),
        ("SUCCEEDED", "INCONCLUSIVE", "cannot be resumed", True),
        ("SUCCEEDED", "FAIL", "cannot be resumed", "a FAIL is final"),
    ],
)
async def test_what_stopped_early_goes_on_and_what_has_no_fail_grows(
    servicer: SbcServicer, state: str, verdict: str | None, resumed: bool | str, extended: bool | str
) -> None:
    run = await started(servicer)
    for call, request, allowed in (
        (servicer.ResumeSbcRun, resume(run), resumed),
        (servicer.ExtendSbcRun, extend(run), extended),
    ):
        await ended(servicer, run, state, verdict)
        if isinstance(allowed, str):
            with pytest.raises(ServiceError, match=allowed):
                await call(request, CONTEXT)
        else:
            after = (await call(request, CONTEXT)).run
            assert after.state == common_pb2.JOB_STATE_QUEUED
            assert not after.HasField("error")


async def test_a_run_of_another_version_can_be_read_and_cannot_go_on(
    servicer: SbcServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await started(servicer)
    await ended(servicer, run, "CANCELLED", "CANCELLED")

    async def other(*_: object) -> str:
        return "another key"

    monkeypatch.setattr(sbc_service, "run_key", other)
    with pytest.raises(ServiceError, match="another version"):
        await servicer.ResumeSbcRun(resume(run), CONTEXT)
    request = sbc_pb2.GetSbcRunRequest(client_id="acme", run_id=run.run_id)
    assert (await servicer.GetSbcRun(request, CONTEXT)).run.state == common_pb2.JOB_STATE_CANCELLED


async def test_a_run_does_not_grow_beyond_the_limit(servicer: SbcServicer) -> None:
    run = await started(servicer)
    await ended(servicer, run, "SUCCEEDED", "PASS")
    with pytest.raises(ServiceError, match="more than 100000"):
        await servicer.ExtendSbcRun(extend(run, 100_000), CONTEXT)


async def test_a_cursor_beyond_the_last_event_is_refused_and_says_where_that_is(servicer: SbcServicer) -> None:
    run = await started(servicer)
    request = sbc_pb2.WatchSbcRunRequest(client_id="acme", run_id=run.run_id, after_sequence=run.last_sequence + 1)
    with pytest.raises(ServiceError) as caught:
        await anext(servicer.WatchSbcRun(request, CONTEXT))
    assert (caught.value.reason, caught.value.metadata) == ("INVALID_CURSOR", {"last_sequence": "1"})


def test_a_page_of_the_ledger_has_a_row_for_each_simulation_and_nan_for_what_a_failed_fit_lacks() -> None:
    common: dict[str, Any] = {"n_draws": 99, "ranks": [3, 4], "v": [0.5, 0.5], "ties": [0.0, 0.0], "truth": [1.0, 2.0]}
    rows = [
        SbcResult(simulation=7, status=0, r_hat=1.0, ess=400.0, posterior_mean=[1, 2], posterior_sd=[1, 1], **common),
        SbcResult(
            simulation=8, status=3, r_hat=None, ess=None, posterior_mean=[None, 2], posterior_sd=[1, 1], **common
        ),
    ]
    page = sbc_service._ledger_message("PRIOR", ["a", "b"], rows)
    assert from_array(page.simulations).tolist() == [7, 8]
    assert from_array(page.ranks).shape == (2, 2)
    assert np.isnan(from_array(page.r_hat)).tolist() == [False, True]
    assert np.isnan(from_array(page.posterior_mean)).tolist() == [[False, False], [True, False]]
