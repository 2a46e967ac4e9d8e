"""Connections: to a running server, or for reading to the data directory of one that is stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from liftos.bayes import Client

from persistence import migrate
from persistence.embedded import EmbeddedPostgres
from server.command.serve import address_file
from server.rpc.app import BayesServer
from server.settings import Settings


@contextmanager
def opened(settings: Settings, target: str, client_id: str) -> Iterator[Client]:
    """A client of the server at `target`, of the one running on the data directory, or of one started for the while."""
    address = target or running(settings)
    if address:
        with Client.connect(address, client_id=client_id) as client:
            yield client
        return
    if not settings.database_url and not (settings.data_dir / "postgres").exists():
        raise SystemExit(
            f"no database in {settings.data_dir}; name a server with --target or a directory with --data-dir"
        )
    embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir.resolve() / "postgres")
    url = settings.database_url or embedded.start()  # type: ignore[union-attr]
    try:
        migrate.upgrade(url)
        with (
            _background(settings.model_copy(update={"database_url": url, "listen": "127.0.0.1:0"})) as port,
            Client.connect(f"127.0.0.1:{port}", client_id=client_id) as client,
        ):
            yield client
    finally:
        if embedded is not None:
            embedded.stop()


@contextmanager
def connected(settings: Settings, target: str, client_id: str) -> Iterator[Client]:
    """A client of the server at `target` or of the one running on the data directory, with its workers."""
    address = target or running(settings)
    if not address:
        raise SystemExit(
            f"no server runs on {settings.data_dir}; start `liftos-bayes serve` or name one with --target host:port"
        )
    with Client.connect(address, client_id=client_id) as client:
        yield client


def running(settings: Settings) -> str:
    """Address of the server that runs on the data directory, empty if there is none."""
    try:
        address = address_file(settings).read_text().strip()
    except FileNotFoundError:
        return ""
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=2)
        except grpc.FutureTimeoutError:
            return ""
    return address


@contextmanager
def _background(settings: Settings) -> Iterator[int]:
    """A server on a loop of its own thread; yields the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server", daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(_create(settings), loop).result()
    try:
        yield server.port
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _create(settings: Settings) -> BayesServer:
    server = BayesServer(settings)
    await server.start()
    return server
