"""One line for every call, whatever ends it, with nothing of its content."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from liftos.bayes.v1 import (
    conflict_pb2,
    conflict_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    sbc_pb2,
    sbc_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)

from server.contract.errors import not_found
from server.logs import JsonFormatter, TextFormatter
from server.rpc.guard import HARD_MESSAGE_BYTES, Guard

SECRET = "half-of-our-sales"
REQUEST_ID = str(uuid.UUID(int=7))


class Systems(system_pb2_grpc.SystemServiceServicer):
    async def GetServerInfo(self, request: Any, context: Any) -> Any:
        return system_pb2.GetServerInfoResponse()


class Conflicts(conflict_pb2_grpc.ConflictServiceServicer):
    """Answers as the name of the session says."""

    async def AnalyzeConflict(self, request: Any, context: Any) -> Any:
        match request.session_id:
            case "waits":
                await asyncio.sleep(60)
            case "fails":
                raise ValueError(SECRET)
            case "missing":
                raise not_found("session", SECRET, "session_id")
        return conflict_pb2.AnalyzeConflictResponse()


class Runs(sbc_pb2_grpc.SbcServiceServicer):
    """Streams three events; then it ends, fails, waits, or goes on as fast as they are read."""

    async def WatchSbcRun(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(3):
            yield sbc_pb2.WatchSbcRunResponse()
        if request.run_id == "fails":
            raise ValueError(SECRET)
        if request.run_id == "waits":
            await asyncio.sleep(60)
        while request.run_id == "goes-on":
            yield sbc_pb2.WatchSbcRunResponse()


class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    async def UploadDataset(self, requests: Any, context: Any) -> Any:
        async for _ in requests:
            pass
        return dataset_pb2.UploadDatasetResponse()


class Log(logging.Handler):
    """Collects records; `line` waits for the one that a call leaves when the server has done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    async def line(self) -> dict[str, Any]:
        """The fields of the only line, its seconds (which are checked) left out."""
        for _ in range(200):
            if self.records:
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # a second one would come now
        (record,) = self.records
        assert (record.levelname, record.getMessage()) == ("INFO", "call")
        for formatter in (TextFormatter(), JsonFormatter()):
            assert SECRET not in formatter.format(record)
        fields = dict(record.fields)  # type: ignore[attr-defined]
        assert 0 <= fields.pop("seconds") < 30
        return fields


@pytest.fixture
def log() -> Any:
    handler, logger = Log(), logging.getLogger("server.rpc.call_log")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
async def server() -> AsyncIterator[tuple[grpc.aio.Channel, Guard, grpc.aio.Server]]:
    guard = Guard()
    server = grpc.aio.server(interceptors=[guard], options=[("grpc.max_receive_message_length", HARD_MESSAGE_BYTES)])
    system_pb2_grpc.add_SystemServiceServicer_to_server(Systems(), server)
    conflict_pb2_grpc.add_ConflictServiceServicer_to_server(Conflicts(), server)
    sbc_pb2_grpc.add_SbcServiceServicer_to_server(Runs(), server)
    dataset_pb2_grpc.add_DatasetServiceServicer_to_server(Datasets(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, guard, server
    await server.stop(0)


def analyze(channel: grpc.aio.Channel, session_id: str, client_id: str = "acme", timeout: float | None = None) -> Any:
    request = conflict_pb2.AnalyzeConflictRequest(request_id=REQUEST_ID, client_id=client_id, session_id=session_id)
    return conflict_pb2_grpc.ConflictServiceStub(channel).AnalyzeConflict(request, timeout=timeout)


def watch(channel: grpc.aio.Channel, run_id: str, client_id: str = "acme") -> Any:
    request = sbc_pb2.WatchSbcRunRequest(client_id=client_id, run_id=run_id)
    return sbc_pb2_grpc.SbcServiceStub(channel).WatchSbcRun(request)


def analysis(code: str, client: str = "acme") -> dict[str, Any]:
    return {
        "method": "liftos.bayes.v1.ConflictService/AnalyzeConflict",
        "client": client,
        "code": code,
        "request": REQUEST_ID,
    }


def watched(code: str) -> dict[str, Any]:
    return {"method": "liftos.bayes.v1.SbcService/WatchSbcRun", "client": "acme", "code": code}


async def test_a_call_that_succeeds_leaves_its_method_client_and_request(server: Any, log: Log) -> None:
    await analyze(server[0], "fine")
    assert await log.line() == analysis("OK")


async def test_a_call_without_a_client_leaves_its_method(server: Any, log: Log) -> None:
    await system_pb2_grpc.SystemServiceStub(server[0]).GetServerInfo(system_pb2.GetServerInfoRequest())
    assert await log.line() == {"method": "liftos.bayes.v1.SystemService/GetServerInfo", "code": "OK"}


@pytest.mark.parametrize(
    ("session", "code"), [(SECRET + "!", "INVALID_ARGUMENT"), ("missing", "NOT_FOUND"), ("fails", "INTERNAL")]
)
async def test_a_call_that_is_refused_or_fails_leaves_its_status_and_not_why(
    server: Any, log: Log, session: str, code: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await analyze(server[0], session)
    assert await log.line() == analysis(code)


async def test_a_draining_server_leaves_a_line_too(server: Any, log: Log) -> None:
    server[1].draining.set()
    with pytest.raises(grpc.aio.AioRpcError):
        await analyze(server[0], "fine")
    assert await log.line() == analysis("UNAVAILABLE")


async def test_a_call_that_its_caller_cancels_leaves_a_line(server: Any, log: Log) -> None:
    call = analyze(server[0], "waits")
    await asyncio.sleep(0.2)
    call.cancel()
    assert await log.line() == analysis("CANCELLED")


async def test_a_call_whose_deadline_strikes_is_not_said_to_be_cancelled(server: Any, log: Log) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await analyze(server[0], "waits", timeout=0.3)
    assert await log.line() == analysis("DEADLINE_EXCEEDED")


async def test_a_call_that_the_end_of_the_server_breaks_off_leaves_a_line(server: Any, log: Log) -> None:
    call = analyze(server[0], "waits")
    await asyncio.sleep(0.2)
    await server[2].stop(0.1)
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert await log.line() == analysis("CANCELLED")


@pytest.mark.parametrize(("run", "code"), [("ends", "OK"), ("fails", "INTERNAL")])
async def test_a_stream_leaves_one_line_when_it_ends(server: Any, log: Log, run: str, code: str) -> None:
    call = watch(server[0], run)
    for _ in range(3):
        await call.read()
    if code == "OK":
        assert await call.read() is grpc.aio.EOF
    else:
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
    assert await log.line() == watched(code)


@pytest.mark.parametrize("run", ["waits", "goes-on"])
async def test_a_stream_leaves_one_line_when_its_reader_goes_away(server: Any, log: Log, run: str) -> None:
    call = watch(server[0], run)
    await call.read()
    await asyncio.sleep(0.1)
    assert log.records == []
    call.cancel()
    assert await log.line() == watched("CANCELLED")


async def test_a_stream_that_is_refused_leaves_a_line(server: Any, log: Log) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await watch(server[0], "x" * 200).read()
    assert await log.line() == watched("INVALID_ARGUMENT")


@pytest.mark.parametrize(("offset", "code"), [(0, "OK"), (-1, "INVALID_ARGUMENT")])
async def test_an_upload_leaves_one_line_with_the_identifiers_of_its_header(
    server: Any, log: Log, offset: int, code: str
) -> None:
    columns = [
        dataset_pb2.Column(name="date", role=dataset_pb2.COLUMN_ROLE_TIME, element_type=1),
        dataset_pb2.Column(name=SECRET, role=dataset_pb2.COLUMN_ROLE_KPI, element_type=1),
    ]
    header = dataset_pb2.DatasetHeader(
        client_id="acme", dataset_id="d", request_id=REQUEST_ID, columns=columns, row_count=1, sha256="0" * 64
    )
    chunk = dataset_pb2.DatasetChunk(offset=offset, data=SECRET.encode())

    async def parts() -> AsyncIterator[Any]:
        yield dataset_pb2.UploadDatasetRequest(header=header)
        yield dataset_pb2.UploadDatasetRequest(chunk=chunk)

    call = dataset_pb2_grpc.DatasetServiceStub(server[0]).UploadDataset(parts())
    if code == "OK":
        await call
    else:
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    method = "liftos.bayes.v1.DatasetService/UploadDataset"
    assert await log.line() == {"method": method, "client": "acme", "code": code, "request": REQUEST_ID}


@pytest.mark.parametrize("method", ["SbcService/Nonsense", "Nonsense/Nonsense\n"])
async def test_a_method_that_nobody_serves_leaves_a_line(server: Any, log: Log, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server[0].unary_unary(f"/liftos.bayes.v1.{method}")(SECRET.encode())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert await log.line() == {"method": f"liftos.bayes.v1.{method}", "code": "UNIMPLEMENTED"}


async def test_a_client_that_is_no_identifier_cannot_forge_a_line(server: Any, log: Log) -> None:
    forged = "x\n2026-01-01 00:00:00,000 INFO server.rpc.call_log call client=victim code=OK"
    with pytest.raises(grpc.aio.AioRpcError):
        await analyze(server[0], "fine", client_id=forged)
    assert await log.line() == analysis("INVALID_ARGUMENT", client=forged)
    line = TextFormatter().format(log.records[0])
    assert "\n" not in line
    assert 'client=victim code=OK" code=INVALID_ARGUMENT' in line
