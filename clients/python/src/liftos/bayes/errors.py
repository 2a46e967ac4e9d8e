"""What the client raises: one exception base, a subclass for each gRPC code, with reason and field violations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from liftos.bayes.rules import Violation

DOMAIN = "liftos.bayes"
_DETAILS_KEY = "grpc-status-details-bin"


class LiftosBayesError(Exception):
    """A call failed, or a request was refused before it left.

    Attributes:
        code: the gRPC status code.
        reason: name of an `ErrorReason` of the contract without its prefix, for example `STALE_ETAG`; empty when the
            failure came from the transport and not from the service.
        message: explanation for a person.
        violations: the fields to blame, with their paths.
        metadata: what the reason's comment in `errors.proto` promises, for example `job_id`.
        retry_after: seconds that the service asks to wait before another attempt; None if it does not say.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        violations: Iterable[Violation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        label = f"{self.code.name} ({self.reason})" if self.reason else self.code.name
        lines = [f"{label}: {self.message}" if self.message else label]
        lines += [f"  {v.field}: {v.description}" for v in self.violations if v.description not in self.message]
        return "\n".join(lines)


class InvalidArgument(LiftosBayesError):
    """The request is wrong by itself; see `violations`. Raised by the client too, before anything is sent."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(LiftosBayesError):
    """There is no such resource for this client."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(LiftosBayesError):
    """The chosen identifier is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(LiftosBayesError):
    """The resource is not in a state that allows this; `reason` says which."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(LiftosBayesError):
    """The etag is stale: read again and decide anew."""

    code = grpc.StatusCode.ABORTED


class PermissionDenied(LiftosBayesError):
    """The principal may not do this, or not for this client."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unauthenticated(LiftosBayesError):
    """The caller did not identify itself as the deployment requires."""

    code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhausted(LiftosBayesError):
    """A message is over the limit or a quota is used up; see `retry_after`."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(LiftosBayesError):
    """The service could not be reached, also after the client's own retries."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(LiftosBayesError):
    """Not within the timeout. With reason STILL_RUNNING the work goes on and the same `request_id` finds it."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unimplemented(LiftosBayesError):
    """This part of the contract is not there yet."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(LiftosBayesError):
    """A defect of the service; `metadata["incident_id"]` is what to quote in a report."""

    code = grpc.StatusCode.INTERNAL


class Cancelled(LiftosBayesError):
    """The call was cancelled, or the client was closed."""

    code = grpc.StatusCode.CANCELLED


class _ByCode:
    kinds: ClassVar[dict[grpc.StatusCode, type[LiftosBayesError]]] = {
        kind.code: kind for kind in LiftosBayesError.__subclasses__()
    }


def of_code(code: grpc.StatusCode, message: str, **details: Any) -> LiftosBayesError:
    """The exception for a status code; codes without a class of their own give the base with that code."""
    return _ByCode.kinds.get(code, LiftosBayesError)(message, code=code, **details)


def invalid_argument(violations: Iterable[Violation]) -> InvalidArgument:
    """The error that the server would answer with for these violations."""
    listed = tuple(violations)
    message = "; ".join(f"{v.field}: {v.description}" for v in listed[:5])
    return InvalidArgument(message, reason="INVALID_FIELD", violations=listed)


def from_rpc_error(error: grpc.RpcError) -> LiftosBayesError:
    """Translate an error of the sync or the async gRPC API, with the details that travel in its trailing metadata.

    Details of another domain than the service's (a proxy's, say) do not become the reason.
    """
    call: Any = error  # grpc raises objects that are calls as well; RpcError alone declares nothing
    code: grpc.StatusCode = call.code() or grpc.StatusCode.UNKNOWN
    reason, metadata = "", {}
    violations: list[Violation] = []
    retry_after: float | None = None
    for detail in _details(call):
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(request):
                violations += [Violation(v.field, v.description) for v in request.field_violations]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        except DecodeError:  # a damaged detail must not hide the error that it belongs to
            continue
    return of_code(
        code,
        call.details() or "",
        reason=reason,
        violations=violations,
        metadata=metadata,
        retry_after=retry_after,
    )


def _details(call: Any) -> list[Any]:
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            try:
                status.ParseFromString(value)
            except DecodeError:
                return []
            return list(status.details)
    return []
