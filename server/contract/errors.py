"""Errors that leave the service: reasons, field violations and their gRPC status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from liftos.bayes.rules import Violation

DOMAIN = "liftos.bayes"


class Reason(StrEnum):
    """A reason of the contract, named as its ErrorReason, with the gRPC code that the comment there states."""

    code: int

    def __new__(cls, name: str, code: int) -> Reason:
        """A member that is its name and carries the code."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.code = code
        return member

    INVALID_FIELD = "INVALID_FIELD", code_pb2.INVALID_ARGUMENT
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED", code_pb2.INVALID_ARGUMENT
    INVALID_PAGE_TOKEN = "INVALID_PAGE_TOKEN", code_pb2.INVALID_ARGUMENT
    INVALID_CURSOR = "INVALID_CURSOR", code_pb2.INVALID_ARGUMENT
    INVALID_DATA = "INVALID_DATA", code_pb2.INVALID_ARGUMENT
    NOT_FOUND = "NOT_FOUND", code_pb2.NOT_FOUND
    ALREADY_EXISTS = "ALREADY_EXISTS", code_pb2.ALREADY_EXISTS
    STALE_ETAG = "STALE_ETAG", code_pb2.ABORTED
    INVALID_STATE = "INVALID_STATE", code_pb2.FAILED_PRECONDITION
    DATA_ALREADY_USED = "DATA_ALREADY_USED", code_pb2.FAILED_PRECONDITION
    IN_USE = "IN_USE", code_pb2.FAILED_PRECONDITION
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA", code_pb2.FAILED_PRECONDITION
    NO_EVIDENCE = "NO_EVIDENCE", code_pb2.FAILED_PRECONDITION
    UNIMPLEMENTED = "UNIMPLEMENTED", code_pb2.UNIMPLEMENTED
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED", code_pb2.RESOURCE_EXHAUSTED
    DRAINING = "DRAINING", code_pb2.UNAVAILABLE
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE", code_pb2.UNAVAILABLE
    STILL_RUNNING = "STILL_RUNNING", code_pb2.DEADLINE_EXCEEDED
    COMPUTATION_FAILED = "COMPUTATION_FAILED", code_pb2.FAILED_PRECONDITION
    INTERNAL = "INTERNAL", code_pb2.INTERNAL
    UNAUTHENTICATED = "UNAUTHENTICATED", code_pb2.UNAUTHENTICATED
    PERMISSION_DENIED = "PERMISSION_DENIED", code_pb2.PERMISSION_DENIED


TRY_AGAIN = frozenset({Reason.DRAINING, Reason.STORAGE_UNAVAILABLE})
"""Reasons that another call a second later may not meet."""


class ServiceError(Exception):
    """An error with a reason of the contract; the only kind whose text reaches a caller."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: Iterable[Violation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})

    def at_rest(self) -> tuple[str, str | None]:
        """Message and field as a job keeps them: those of the first violation, where there is one."""
        if not self.violations:
            return self.message, None
        return self.violations[0].description, self.violations[0].field

    def status(self) -> grpc.Status:
        """The gRPC status with its details."""
        details = [error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)]
        packed = [_pack(detail) for detail in details]
        if self.violations:
            packed.append(
                _pack(
                    error_details_pb2.BadRequest(
                        field_violations=[
                            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=v.description)
                            for v in self.violations
                        ]
                    )
                )
            )
        if self.reason in TRY_AGAIN:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.seconds = 1
            packed.append(_pack(retry))
        rpc = status_pb2.Status(code=self.reason.code, message=self.message, details=packed)
        status: grpc.Status = rpc_status.to_status(rpc)
        return status


class WrongSchema(RuntimeError):
    """The database has a schema that this version cannot run on."""


def _pack(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed


def invalid_field(field: str, description: str) -> ServiceError:
    """One field breaks a rule that the contract's options cannot express."""
    return invalid_fields([Violation(field, description)])


def invalid_fields(violations: Iterable[Violation]) -> ServiceError:
    """Fields break rules of the contract."""
    listed = tuple(violations)
    message = "; ".join(f"{v.field}: {v.description}" for v in listed[:5])
    return ServiceError(Reason.INVALID_FIELD, message, violations=listed)


def invalid_data(field: str, description: str) -> ServiceError:
    """The content of an upload breaks a rule."""
    return ServiceError(Reason.INVALID_DATA, f"{field}: {description}", violations=[Violation(field, description)])


def not_found(resource_type: str, resource_id: str, field: str) -> ServiceError:
    """No such resource for this client; another client's resource looks the same."""
    return ServiceError(
        Reason.NOT_FOUND,
        f"there is no {resource_type} {resource_id!r}",
        violations=[Violation(field, f"no such {resource_type}")],
        metadata={"resource_type": resource_type, "resource_id": resource_id},
    )


def already_exists(resource_type: str, resource_id: str, field: str) -> ServiceError:
    """The identifier that the caller chose is taken."""
    return ServiceError(
        Reason.ALREADY_EXISTS,
        f"{resource_type} {resource_id!r} exists already",
        violations=[Violation(field, "taken")],
        metadata={"resource_type": resource_type, "resource_id": resource_id},
    )


def unimplemented(feature: str, field: str) -> ServiceError:
    """A part of the contract that is not there yet."""
    return ServiceError(
        Reason.UNIMPLEMENTED,
        f"{feature} is not implemented yet",
        violations=[Violation(field, f"{feature} is not implemented yet")],
        metadata={"feature": feature},
    )
