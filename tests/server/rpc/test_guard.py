"""The interceptor before every handler: what it lets through, and what callers see of errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from liftos.bayes.v1 import sbc_pb2, sbc_pb2_grpc, system_pb2, system_pb2_grpc

from server.contract.errors import Reason, ServiceError
from server.rpc.guard import HARD_MESSAGE_BYTES, Guard

SECRET = "postgres://user:hunter2@db/secrets"


class Broken(system_pb2_grpc.SystemServiceServicer):
    """Raises whatever it is told to."""

    def __init__(self) -> None:
        self.error: Exception = ValueError(SECRET)

    async def GetServerInfo(self, request: Any, context: Any) -> Any:
        raise self.error


class BrokenStream(sbc_pb2_grpc.SbcServiceServicer):
    async def WatchSbcRun(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield sbc_pb2.WatchSbcRunResponse()
        raise ValueError(SECRET)


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[grpc.aio.Channel, Guard, Broken]]:
    guard, broken = Guard(), Broken()
    options = [("grpc.max_receive_message_length", HARD_MESSAGE_BYTES)]
    server = grpc.aio.server(interceptors=[guard], options=options)
    system_pb2_grpc.add_SystemServiceServicer_to_server(broken, server)
    sbc_pb2_grpc.add_SbcServiceServicer_to_server(BrokenStream(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, guard, broken
    await server.stop(0)


async def failure(call: Any) -> tuple[grpc.StatusCode, str, error_details_pb2.ErrorInfo]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    info = error_details_pb2.ErrorInfo()
    packed = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    status_pb2.Status.FromString(packed).details[0].Unpack(info)
    return error.code(), str(error.details()) + str(info), info


async def test_an_uncaught_exception_reaches_the_caller_as_an_incident_and_not_as_text(guarded: Any) -> None:
    channel, _, _ = guarded
    stub = system_pb2_grpc.SystemServiceStub(channel)
    code, text, info = await failure(stub.GetServerInfo(system_pb2.GetServerInfoRequest()))
    assert (code, info.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in text
    assert len(info.metadata["incident_id"]) == 32


async def test_an_uncaught_exception_in_the_middle_of_a_stream_does_not_leak_either(guarded: Any) -> None:
    channel, _, _ = guarded
    call = sbc_pb2_grpc.SbcServiceStub(channel).WatchSbcRun(sbc_pb2.WatchSbcRunRequest(client_id="a", run_id="b"))
    await call.read()
    code, text, _ = await failure(call.read())
    assert code == grpc.StatusCode.INTERNAL
    assert "hunter2" not in text


async def test_a_rule_of_the_contract_is_checked_before_the_handler(guarded: Any) -> None:
    channel, _, _ = guarded
    call = sbc_pb2_grpc.SbcServiceStub(channel).WatchSbcRun(sbc_pb2.WatchSbcRunRequest(client_id="", run_id="b"))
    code, text, info = await failure(call.read())
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "client_id" in text


async def test_a_draining_server_asks_the_caller_to_try_another(guarded: Any) -> None:
    channel, guard, _ = guarded
    guard.draining.set()
    stub = system_pb2_grpc.SystemServiceStub(channel)
    code, _, info = await failure(stub.GetServerInfo(system_pb2.GetServerInfoRequest()))
    assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


@pytest.mark.parametrize("reason", Reason)
async def test_every_reason_arrives_with_its_code_and_its_metadata(guarded: Any, reason: Reason) -> None:
    channel, _, broken = guarded
    broken.error = ServiceError(reason, "text", metadata={"key": "value"})
    stub = system_pb2_grpc.SystemServiceStub(channel)
    code, _, info = await failure(stub.GetServerInfo(system_pb2.GetServerInfoRequest()))
    assert (code.value[0], info.reason, dict(info.metadata)) == (reason.code, reason.value, {"key": "value"})
