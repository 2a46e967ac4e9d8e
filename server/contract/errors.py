"""Errors that leave the service: reasons, field violations and their gRPC status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from liftos.bayes.rules import Violation
from liftos.bayes.v1.errors_pb2 import ErrorReason
from sqlalchemy.exc import IntegrityError

DOMAIN = "liftos.bayes"

# The code that the comment of each ErrorReason value in errors.proto states.
CODES: Mapping[str, int] = {
    "INVALID_FIELD": code_pb2.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": code_pb2.INVALID_ARGUMENT,
    "INVALID_PAGE_TOKEN": code_pb2.INVALID_ARGUMENT,
    "INVALID_CURSOR": code_pb2.INVALID_ARGUMENT,
    "INVALID_DATA": code_pb2.INVALID_ARGUMENT,
    "NOT_FOUND": code_pb2.NOT_FOUND,
    "ALREADY_EXISTS": code_pb2.ALREADY_EXISTS,
    "STALE_ETAG": code_pb2.ABORTED,
    "INVALID_STATE": code_pb2.FAILED_PRECONDITION,
    "DATA_ALREADY_USED": code_pb2.FAILED_PRECONDITION,
    "IN_USE": code_pb2.FAILED_PRECONDITION,
    "INSUFFICIENT_DATA": code_pb2.FAILED_PRECONDITION,
    "NO_EVIDENCE": code_pb2.FAILED_PRECONDITION,
    "UNIMPLEMENTED": code_pb2.UNIMPLEMENTED,
    "LIMIT_EXCEEDED": code_pb2.RESOURCE_EXHAUSTED,
    "DRAINING": code_pb2.UNAVAILABLE,
    "STORAGE_UNAVAILABLE": code_pb2.UNAVAILABLE,
    "STILL_RUNNING": code_pb2.DEADLINE_EXCEEDED,
    "COMPUTATION_FAILED": code_pb2.FAILED_PRECONDITION,
    "INTERNAL": code_pb2.INTERNAL,
    "UNAUTHENTICATED": code_pb2.UNAUTHENTICATED,
    "PERMISSION_DENIED": code_pb2.PERMISSION_DENIED,
}


UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION = "23505", "23503"


class ServiceError(Exception):
    """An error with a reason of the contract; the only kind whose text reaches a caller."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        violations: Iterable[Violation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        ErrorReason.Value(f"ERROR_REASON_{reason}")  # a reason outside the contract is a defect, found by any test
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})

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
        if self.reason in {"DRAINING", "STORAGE_UNAVAILABLE"}:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.seconds = 1
            packed.append(_pack(retry))
        rpc = status_pb2.Status(code=CODES[self.reason], message=self.message, details=packed)
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
    return ServiceError("INVALID_FIELD", message, violations=listed)


def invalid_data(field: str, description: str) -> ServiceError:
    """The content of an upload breaks a rule."""
    return ServiceError("INVALID_DATA", f"{field}: {description}", violations=[Violation(field, description)])


def not_found(resource_type: str, resource_id: str, field: str) -> ServiceError:
    """No such resource for this client; another client's resource looks the same."""
    return ServiceError(
        "NOT_FOUND",
        f"there is no {resource_type} {resource_id!r}",
        violations=[Violation(field, f"no such {resource_type}")],
        metadata={"resource_type": resource_type, "resource_id": resource_id},
    )


def already_exists(resource_type: str, resource_id: str, field: str) -> ServiceError:
    """The identifier that the caller chose is taken."""
    return ServiceError(
        "ALREADY_EXISTS",
        f"{resource_type} {resource_id!r} exists already",
        violations=[Violation(field, "taken")],
        metadata={"resource_type": resource_type, "resource_id": resource_id},
    )


def came_second(error: IntegrityError) -> ServiceError | None:
    """Two calls at the same moment: the one that came second finds what the first has just written. None otherwise."""
    state = getattr(error.orig, "sqlstate", None)
    if state == UNIQUE_VIOLATION:
        return ServiceError("ALREADY_EXISTS", "another call has just created this resource")
    if state == FOREIGN_KEY_VIOLATION:
        return ServiceError("IN_USE", "another call has just taken up or deleted a resource that this one needs")
    return None


def unimplemented(feature: str, field: str) -> ServiceError:
    """A part of the contract that is not there yet."""
    return ServiceError(
        "UNIMPLEMENTED",
        f"{feature} is not implemented yet",
        violations=[Violation(field, f"{feature} is not implemented yet")],
        metadata={"feature": feature},
    )
