"""The line that the log gets of every call: method, client, status, seconds and request identifier, nothing else."""

from __future__ import annotations

import logging
import time
from typing import Any

import grpc
from google.protobuf.message import Message

from server.logs import note

log = logging.getLogger(__name__)


class CallLine:
    """Writes the line of one call when the call has ended, whatever ended it."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> None:
        self.method = method.removeprefix("/")
        self.client_id = self.request_id = ""
        self.begin = time.monotonic()
        context.add_done_callback(self._write)  # type: ignore[arg-type]  # the stub asks for a class, gRPC calls it

    def read(self, request: Message) -> None:
        """Take the identifiers from a message of the caller; those of an upload are in its header."""
        source = getattr(request, "header", request)
        self.client_id = self.client_id or getattr(source, "client_id", "")
        self.request_id = self.request_id or getattr(source, "request_id", "")

    def _write(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        note(
            log,
            "call",
            method=self.method,
            client=self.client_id,
            code=_code(context).name,
            seconds=round(time.monotonic() - self.begin, 3),
            request=self.request_id,
        )


def unknown_method(method: str) -> None:
    """Write the line of a call whose method nobody serves."""
    note(log, "call", method=method.removeprefix("/"), code=grpc.StatusCode.UNIMPLEMENTED.name, seconds=0.0)


def _code(context: grpc.aio.ServicerContext[Any, Any]) -> grpc.StatusCode:
    """The status of a call that has ended; gRPC has none for one that ended before its answer."""
    if not context.done():
        return grpc.StatusCode.DEADLINE_EXCEEDED if context.time_remaining() == 0 else grpc.StatusCode.CANCELLED
    return context.code() or grpc.StatusCode.OK
