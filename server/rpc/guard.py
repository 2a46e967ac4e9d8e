"""The interceptor that stands before every handler: draining, size, rules of the contract, errors, and the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from liftos.bayes import rules
from liftos.bayes.v1 import options_pb2

from server.contract.errors import Reason, ServiceError, invalid_fields
from server.records.failures import explained
from server.rpc.call_log import CallLine, unknown_method

MAX_MESSAGE_BYTES = 4 << 20
"""Largest message. gRPC's own limit is set higher, so that the refusal can carry a reason."""
HARD_MESSAGE_BYTES = 4 * MAX_MESSAGE_BYTES
"""gRPC's own limit: beyond it the transport refuses the message unread."""

Context = grpc.aio.ServicerContext[Any, Any]


class Guard(grpc.aio.ServerInterceptor):
    """Checks what comes in and translates what goes wrong; an uncaught exception never reaches a caller as text."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of the contract's own methods; health and reflection pass as they are."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if not method.startswith("/liftos.bayes."):
            return handler
        if handler is None:
            unknown_method(method)
            return None
        if not _has_scope(method):
            return _denied(method)
        arguments = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._stream_unary(handler.stream_unary, method), **arguments)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._unary_stream(handler.unary_stream, method), **arguments)
        return grpc.unary_unary_rpc_method_handler(self._unary_unary(handler.unary_unary, method), **arguments)

    def _check(self, request: Message) -> None:
        if self.draining.is_set():
            raise ServiceError(Reason.DRAINING, "the server is draining; call again")
        size = request.ByteSize()
        if size > MAX_MESSAGE_BYTES:
            raise ServiceError(
                Reason.LIMIT_EXCEEDED,
                f"the message has {size} bytes, at most {MAX_MESSAGE_BYTES} are accepted",
                metadata={"limit": "max_message_bytes"},
            )
        if violations := rules.check(request):
            raise invalid_fields(violations)

    def _unary_unary(self, behaviour: Any, method: str) -> Any:
        async def call(request: Message, context: Context) -> Any:
            CallLine(context, method).read(request)
            try:
                self._check(request)
                return await behaviour(request, context)
            except Exception as error:
                await _abort(context, error)

        return call

    def _unary_stream(self, behaviour: Any, method: str) -> Any:
        async def call(request: Message, context: Context) -> AsyncIterator[Any]:
            CallLine(context, method).read(request)
            try:
                self._check(request)
                async for response in behaviour(request, context):
                    yield response
            except Exception as error:
                await _abort(context, error)

        return call

    def _stream_unary(self, behaviour: Any, method: str) -> Any:
        async def checked(requests: AsyncIterator[Message], line: CallLine) -> AsyncIterator[Message]:
            async for request in requests:
                line.read(request)
                self._check(request)
                yield request

        async def call(requests: AsyncIterator[Message], context: Context) -> Any:
            line = CallLine(context, method)
            try:
                return await behaviour(checked(requests, line), context)
            except Exception as error:
                await _abort(context, error)

        return call


def _has_scope(method: str) -> bool:
    service, _, name = method.removeprefix("/").rpartition("/")
    try:
        descriptor = Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return False
    return int(descriptor.GetOptions().Extensions[options_pb2.scope]) != options_pb2.SCOPE_UNSPECIFIED


def _denied(method: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def call(_: Any, context: Context) -> None:
        CallLine(context, method)
        await _abort(context, ServiceError(Reason.PERMISSION_DENIED, f"{method} has no scope", metadata={"scope": ""}))

    return grpc.unary_unary_rpc_method_handler(call)


async def _abort(context: Context, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    await context.abort_with_status(explained(error).status())
