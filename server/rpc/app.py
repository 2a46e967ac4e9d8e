"""The gRPC server: servicers, health, reflection, start and graceful stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from liftos.bayes.v1 import (
    attribution_pb2,
    attribution_pb2_grpc,
    conflict_pb2,
    conflict_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    elicitation_pb2,
    elicitation_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    prior_update_pb2,
    prior_update_pb2_grpc,
    sbc_pb2,
    sbc_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
)

from persistence.database import Database
from persistence.listen import JobListener
from persistence.migrate import SUPPORTED_REVISIONS
from server.contract.errors import WrongSchema
from server.contract.families.registry import load_families
from server.rpc.attribution_service import AttributionServicer
from server.rpc.conflict_service import ConflictServicer
from server.rpc.dataset_service import DatasetServicer
from server.rpc.elicitation_service import ElicitationServicer
from server.rpc.guard import HARD_MESSAGE_BYTES, Guard
from server.rpc.model_service import ModelServicer
from server.rpc.prior_update_service import PriorUpdateServicer
from server.rpc.sbc_service import SbcServicer
from server.rpc.system_service import SystemServicer
from server.rpc.waiting import Calls
from server.settings import Settings

log = logging.getLogger(__name__)

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (dataset_pb2, "DatasetService"),
        (model_pb2, "ModelService"),
        (elicitation_pb2, "ElicitationService"),
        (conflict_pb2, "ConflictService"),
        (sbc_pb2, "SbcService"),
        (prior_update_pb2, "PriorUpdateService"),
        (attribution_pb2, "AttributionService"),
        (system_pb2, "SystemService"),
    )
)


class BayesServer:
    """One server process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database_url)
        self.listener = JobListener(settings.database_url)
        self.guard = Guard()
        self.health = health.aio.HealthServicer()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Check the schema, listen, and report SERVING; returns the port."""
        load_families()
        revision = await self.database.schema_revision()
        if revision not in SUPPORTED_REVISIONS:
            raise WrongSchema(
                f"schema revision {revision!r}, but this version runs on {sorted(SUPPORTED_REVISIONS)}; "
                "run `liftos-bayes migrate`"
            )
        self.listener.start()
        server = grpc.aio.server(
            interceptors=[self.guard],
            options=[
                ("grpc.max_receive_message_length", HARD_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        calls = Calls(self.database, self.listener, self.settings)
        dataset_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetServicer(self.database), server)
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(self.database, calls), server)
        elicitation_pb2_grpc.add_ElicitationServiceServicer_to_server(ElicitationServicer(self.database, calls), server)
        conflict_pb2_grpc.add_ConflictServiceServicer_to_server(ConflictServicer(self.database, calls), server)
        sbc_pb2_grpc.add_SbcServiceServicer_to_server(
            SbcServicer(self.database, calls, self.settings, self.guard), server
        )
        prior_update_pb2_grpc.add_PriorUpdateServiceServicer_to_server(
            PriorUpdateServicer(self.database, calls), server
        )
        attribution_pb2_grpc.add_AttributionServiceServicer_to_server(AttributionServicer(self.database, calls), server)
        system_pb2_grpc.add_SystemServiceServicer_to_server(SystemServicer(self.database, self.settings), server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        if self.settings.reflection:
            reflection.enable_server_reflection([*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        self.port = server.add_insecure_port(self.settings.listen)
        await server.start()
        self._server = server
        for service in ("", *SERVICES):
            await self.health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("listening on port %d", self.port)
        return self.port

    async def stop(self) -> None:
        """Drain: health first, then running calls up to the grace, then everything else."""
        if self._server is not None:
            await self.health.enter_graceful_shutdown()
            self.guard.draining.set()
            await self._server.stop(self.settings.drain_seconds)
            self._server = None
        await self.listener.close()
        await self.database.close()


async def run_server(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = BayesServer(settings)
    try:
        port = await server.start()
        if ready is not None:
            ready(port)
        await stop.wait()
    finally:
        await server.stop()
