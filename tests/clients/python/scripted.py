"""A scripted service: every RPC of the contract, answered and broken off as a test says."""

from __future__ import annotations

import datetime
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from liftos.bayes import rules, tables
from liftos.bayes.v1 import common_pb2, dataset_pb2, sbc_pb2

Code = grpc.StatusCode
UUID = "01234567-89ab-cdef-0123-456789abcdef"


class Refusal(Exception):
    """What a scripted handler raises in order to end a call with a status and details."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str = "",
        message: str = "",
        violations: tuple[tuple[str, str], ...] = (),
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
        domain: str = "liftos.bayes",
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, list[Any]()
        if reason:
            self.details.append(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {}))
        if violations:
            bad = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in violations]
            self.details.append(error_details_pb2.BadRequest(field_violations=bad))
        if retry_after is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromTimedelta(datetime.timedelta(seconds=retry_after))
            self.details.append(info)

    def abort(self, context: grpc.ServicerContext) -> None:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        if self.details:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, self.message)


class Service(grpc.GenericRpcHandler):
    """Every RPC of the contract; answers with an empty response unless the test sets a handler."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.on: dict[str, Callable[..., Any]] = {}

    def named(self, name: str) -> list[Any]:
        """The requests of one RPC."""
        return [request for seen, request in self.seen if seen == name]

    def service(self, details: Any) -> Any:
        path, _, name = details.method.removeprefix("/").rpartition("/")
        method = descriptor_pool.Default().FindServiceByName(path).methods_by_name[name]
        request_type, response_type = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

        def start(context: grpc.ServicerContext, request: Any) -> None:
            self.headers = dict(context.invocation_metadata())  # type: ignore[arg-type]
            self.seen.append((name, request))

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            if not method.client_streaming:
                start(context, request)
            try:
                return self.on.get(name, lambda *_: response_type())(request, context)
            except Refusal as refusal:
                refusal.abort(context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            start(context, request)
            try:
                yield from self.on[name](request, context)
            except Refusal as refusal:
                refusal.abort(context)

        codec: Any = {
            "request_deserializer": request_type.FromString,
            "response_serializer": response_type.SerializeToString,
        }
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(unary, **codec)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **codec)
        return grpc.unary_unary_rpc_method_handler(unary, **codec)


def refuse(*refusals: Refusal, then: Any) -> Callable[..., Any]:
    """A handler that refuses a few times and answers `then`."""
    left = list(refusals)

    def handler(_: Any, __: Any) -> Any:
        if left:
            raise left.pop(0)
        return then

    return handler


class Uploads:
    """The dataset service: commits each chunk, breaks where it is told to."""

    def __init__(self, service: Service) -> None:
        self.headers: list[dataset_pb2.DatasetHeader] = []
        self.stored = bytearray()
        self.sealed = False
        self.breaks: list[int] = []
        self.received = 0
        self.lose_answer = False
        self.broken = Refusal(Code.UNAVAILABLE)
        service.on |= {"UploadDataset": self.upload, "GetUpload": self.offset}

    def upload(self, requests: Iterator[Any], _: Any) -> Any:
        header = next(requests).header
        self.headers.append(header)
        sizes = [8 if column.element_type == common_pb2.ELEMENT_TYPE_FLOAT64 else 4 for column in header.columns]
        total = sum(sizes) * header.row_count
        for request in requests:
            assert rules.check(request) == []
            chunk = request.chunk
            if self.breaks and self.breaks[0] <= len(self.stored):
                self.breaks.pop(0)
                raise self.broken
            if chunk.offset != len(self.stored):
                raise Refusal(Code.INVALID_ARGUMENT, "INVALID_FIELD", violations=(("chunk.offset", "go on"),))
            assert zlib.crc32(chunk.data) == chunk.crc32
            assert len(chunk.data) <= tables.CHUNK_BYTES
            self.stored += chunk.data
            self.received += 1
        assert len(self.stored) == total
        self.sealed = True
        if self.lose_answer:
            self.lose_answer = False
            raise Refusal(Code.UNAVAILABLE)
        sha256 = hashlib.sha256(self.stored).hexdigest()
        return dataset_pb2.UploadDatasetResponse(
            dataset=dataset_pb2.Dataset(
                dataset_id=header.dataset_id, columns=header.columns, row_count=header.row_count, sha256=sha256
            )
        )

    def offset(self, *_: Any) -> Any:
        if not self.stored:
            raise Refusal(Code.NOT_FOUND, "NOT_FOUND")
        return dataset_pb2.GetUploadResponse(committed_offset=len(self.stored), sealed=self.sealed)


def days(n: int) -> list[datetime.date]:
    return [datetime.date(1990, 1, 1) + datetime.timedelta(days=i) for i in range(n)]


class Content:
    """The content of a stored data set, in chunks that break where it is told to."""

    def __init__(self, service: Service, *, damage: bool = False) -> None:
        values = {"t": days(1000), "y": [float(i) for i in range(1000)]}
        ready = tables.upload("acme", "d", values, tables.Roles("t", "y"), request_id=UUID)
        self.whole = b"".join(chunk.data for chunk in ready.content.chunks())
        self.dataset = dataset_pb2.Dataset(
            columns=ready.header.columns, row_count=1000, sha256=hashlib.sha256(self.whole).hexdigest()
        )
        self.damage = damage
        self.breaks = [5000, 8000]
        service.on |= {"GetDataset": self.get, "ReadDataset": self.read}

    def get(self, *_: Any) -> Any:
        return dataset_pb2.GetDatasetResponse(dataset=self.dataset)

    def read(self, request: Any, _: Any) -> Iterator[Any]:
        for offset in range(request.offset, len(self.whole), 1000):
            if self.breaks and offset >= self.breaks[0]:
                self.breaks.pop(0)
                raise Refusal(Code.UNAVAILABLE)
            data = self.whole[offset : offset + 1000]
            crc32 = zlib.crc32(data) ^ int(self.damage)
            yield dataset_pb2.ReadDatasetResponse(chunk={"offset": offset, "data": data, "crc32": crc32})


class Run:
    """A run with a fixed history; a script says after which event a stream breaks, and how."""

    def __init__(
        self,
        service: Service,
        *,
        batches: int = 5,
        state: common_pb2.JobState.ValueType = common_pb2.JOB_STATE_SUCCEEDED,
    ) -> None:
        self.history = [sbc_pb2.SbcEvent(sequence=1, state_changed={"state": common_pb2.JOB_STATE_RUNNING})]
        for i in range(batches):
            self.history.append(sbc_pb2.SbcEvent(sequence=i + 2, batch_finished={"n_simulations": 20}))
        self.history.append(sbc_pb2.SbcEvent(sequence=batches + 2, state_changed={"state": state}))
        self.run = sbc_pb2.SbcRun(run_id="r", state=common_pb2.JOB_STATE_RUNNING)
        self.final = sbc_pb2.SbcRun(run_id="r", state=state, last_sequence=len(self.history))
        self.breaks: list[tuple[int, Refusal | None]] = []
        self.over = False
        service.on |= {
            "StartSbcRun": lambda *_: sbc_pb2.StartSbcRunResponse(run=self.run),
            "GetSbcRun": lambda *_: sbc_pb2.GetSbcRunResponse(run=self.final if self.over else self.run),
            "WatchSbcRun": self.watch,
        }

    def watch(self, request: Any, _: Any) -> Iterator[Any]:
        for event in self.history:
            if event.sequence <= request.after_sequence:
                continue
            if self.breaks and event.sequence > self.breaks[0][0]:
                _, refusal = self.breaks.pop(0)
                if refusal is not None:
                    raise refusal
                return
            self.over = event.sequence == len(self.history)
            yield sbc_pb2.WatchSbcRunResponse(event={"sequence": event.sequence - 1, "heartbeat": {}})
            yield sbc_pb2.WatchSbcRunResponse(event=event)
