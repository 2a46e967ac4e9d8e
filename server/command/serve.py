"""`liftos-bayes serve`: embedded Postgres, migration, one server and its workers, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from persistence import migrate
from persistence.embedded import EmbeddedPostgres, EmbeddedPostgresError
from server.lifeline import LIFELINE
from server.settings import Settings

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
STOP_SECONDS = 30.0
QUICK_SECONDS = 15.0
"""A process that ends sooner never worked: a used port, a wrong configuration."""
MAX_QUICK_DEATHS = 3
POSTGRES_LOOK_SECONDS = 1.0


def address_file(settings: Settings) -> Path:
    """File in which a running server of this data directory tells its address."""
    return settings.data_dir / "server.address"


@dataclass
class Child:
    """One process of the service; started again when it ends, unless it is to run `once`."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    give_up: Callable[[], None]
    once: bool = False
    process: asyncio.subprocess.Process | None = None
    stopping: bool = False
    _task: asyncio.Task[None] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process and watch over it."""
        self._task = asyncio.create_task(self._watch(), name=self.name)

    async def _watch(self) -> None:
        quick_deaths = 0
        while not self.stopping:
            begin = time.monotonic()
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self.arguments, stdin=asyncio.subprocess.PIPE, env=self.environment
            )
            code = await self.process.wait()
            if self.stopping:
                return
            if self.once:
                log.info("%s ended with code %d", self.name, code)
                return
            quick_deaths = quick_deaths + 1 if time.monotonic() - begin < QUICK_SECONDS else 0
            if quick_deaths >= MAX_QUICK_DEATHS:
                log.critical("%s ended with code %d %d times in a row; giving up", self.name, code, quick_deaths)
                self.give_up()
                return
            log.error("%s ended with code %d; starting it again", self.name, code)
            await asyncio.sleep(RESTART_SECONDS)

    async def stop(self) -> None:
        """Ask the process to stop, and end it if it does not."""
        self.stopping = True
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
            except TimeoutError:
                log.error("%s did not stop within %.0f s; killing it", self.name, STOP_SECONDS)
                self.process.kill()
                await self.process.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def children(settings: Settings, database_url: str, give_up: Callable[[], None]) -> list[Child]:
    """The processes beside the database, in the order they are started."""
    environment = {
        **os.environ,
        LIFELINE: "1",
        "LIFTOS_BAYES_DATABASE_URL": database_url,
        "LIFTOS_BAYES_DATA_DIR": str(settings.data_dir),
        "LIFTOS_BAYES_LISTEN": settings.listen,
    }
    server = Child(
        "server", ["server.command.cli", "server", "--address-file", str(address_file(settings))], environment, give_up
    )
    # Short calls have a worker of their own, so that they never wait behind a shard of a long run.
    calls = Child("worker (calls)", ["server.worker", "calls"], environment, give_up)
    shards = [
        Child(f"worker (shards {index})", ["server.worker", "shards"], environment, give_up)
        for index in range(settings.workers)
    ]
    warm_up = (
        [Child("warm-up", ["server.worker.fitting.warmup"], environment, give_up, once=True)]
        if settings.warm_up
        else []
    )
    return [server, calls, *shards, *warm_up]


async def serve(settings: Settings, started: Callable[[], None] | None = None) -> None:
    """Run the whole service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir.resolve() / "postgres")
    running: list[Child] = []
    failed = owner = False
    watch: asyncio.Task[None] | None = None

    def give_up() -> None:
        nonlocal failed
        failed = True
        stop.set()

    try:
        # Only now is the directory known to be ours: another service may be running on it.
        url = settings.database_url or await asyncio.to_thread(embedded.start)  # type: ignore[union-attr]
        address_file(settings).unlink(missing_ok=True)
        owner = True
        await asyncio.to_thread(migrate.upgrade, url)
        for child in children(settings, url, give_up):
            child.start()
            running.append(child)
        if embedded is not None:
            watch = asyncio.create_task(_keep_postgres(embedded))
        if started is not None:
            started()
        await stop.wait()
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        for child in reversed(running):
            await child.stop()
        if owner:
            address_file(settings).unlink(missing_ok=True)
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)
    if failed:
        raise SystemExit(1)


async def _keep_postgres(embedded: EmbeddedPostgres) -> None:
    """Start the embedded Postgres again when it has died; servers and workers reconnect by themselves."""
    while True:
        await asyncio.sleep(POSTGRES_LOOK_SECONDS)
        try:
            if await asyncio.to_thread(embedded.ensure_running):
                log.error("the embedded Postgres had died and was started again")
        except EmbeddedPostgresError:
            log.exception("the embedded Postgres has died and does not start; trying again")
