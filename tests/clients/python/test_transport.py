"""The end of a call that is under way."""

from __future__ import annotations

import asyncio
import threading
from concurrent import futures
from typing import Any

import liftos.bayes as lb
import pytest
from liftos.bayes.v1 import model_pb2

from tests.clients.python.scripted import Service


def _hang(service: Service) -> tuple[threading.Event, threading.Event]:
    """Let GetModel hang: events for when it was entered and for letting it go."""
    entered, release = threading.Event(), threading.Event()

    def handler(*_: Any) -> Any:
        entered.set()
        release.wait(5)
        return model_pb2.GetModelResponse()

    service.on["GetModel"] = handler
    return entered, release


async def test_closing_an_async_client_ends_a_call_with_an_error_and_not_with_a_cancellation(
    service: Service, target: str
) -> None:
    entered, release = _hang(service)
    other = lb.AsyncClient.connect(target, client_id="acme")
    task = asyncio.create_task(other.models.get("m"))
    await asyncio.to_thread(entered.wait, 5)
    await other.close()
    with pytest.raises(lb.Cancelled):
        await task
    release.set()


async def test_cancelling_a_task_stays_a_cancellation(service: Service, target: str) -> None:
    entered, release = _hang(service)
    async with lb.AsyncClient.connect(target, client_id="acme") as other:
        task = asyncio.create_task(other.models.get("m"))
        await asyncio.to_thread(entered.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    release.set()


def test_closing_a_client_ends_a_call_of_another_thread_with_an_error(service: Service, target: str) -> None:
    entered, release = _hang(service)
    other = lb.Client.connect(target, client_id="acme")
    with futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(other.models.get, "m")
        assert entered.wait(5)
        other.close()
        with pytest.raises(lb.Cancelled):
            call.result(5)
        release.set()
