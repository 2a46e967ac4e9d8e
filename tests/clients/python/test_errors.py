"""Errors from what gRPC raises."""

from __future__ import annotations

import grpc
import liftos.bayes as lb
from google.protobuf import any_pb2
from google.rpc import status_pb2
from liftos.bayes import errors


def test_damaged_details_do_not_hide_the_error() -> None:
    class Call(grpc.RpcError):
        def __init__(self, details: bytes) -> None:
            self._details = details

        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.NOT_FOUND

        def details(self) -> None:
            return None

        def trailing_metadata(self) -> list[tuple[str, bytes]]:
            return [("grpc-status-details-bin", self._details)]

    broken = status_pb2.Status(
        details=[any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")]
    )
    for details in (b"\xff\xff", broken.SerializeToString()):
        assert isinstance(errors.from_rpc_error(Call(details)), lb.NotFound)
