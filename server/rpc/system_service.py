"""SystemService: versions and limits."""

from __future__ import annotations

from typing import Any

import grpc
from liftos.bayes.v1 import system_pb2, system_pb2_grpc

from persistence.database import Database
from server.contract.families.family import MAX_PARAMETERS
from server.contract.families.registry import FAMILIES
from server.contract.version import SERVER_VERSION
from server.records.content import MAX_DATASET_BYTES
from server.records.runs import MAX_SIMULATIONS
from server.rpc.guard import MAX_MESSAGE_BYTES
from server.settings import Settings


class SystemServicer(system_pb2_grpc.SystemServiceServicer):
    """The service about itself."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings

    async def GetServerInfo(
        self, request: system_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> system_pb2.GetServerInfoResponse:
        """Return versions and limits."""
        return system_pb2.GetServerInfoResponse(
            server_version=SERVER_VERSION,
            contract="liftos.bayes.v1",
            schema_revision=await self.database.schema_revision() or "",
            colour=self.settings.colour,
            model_families=sorted(FAMILIES),
            limits=system_pb2.Limits(
                max_message_bytes=MAX_MESSAGE_BYTES,
                max_parameters=MAX_PARAMETERS,
                max_simulations=MAX_SIMULATIONS,
                max_dataset_bytes=MAX_DATASET_BYTES,
                max_unary_seconds=self.settings.max_unary_seconds,
            ),
        )
