"""Waiting for news of jobs: one LISTEN connection for all watchers of a process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import psycopg

from persistence.database import conninfo
from persistence.identifiers import parse_uuid
from persistence.jobs import NOTIFY_CHANNEL

_log = logging.getLogger(__name__)
_PROBE_SECONDS = 15.0
_MAX_BACKOFF_SECONDS = 5.0


class Wake:
    """Tells one watcher that there may be news; any number of notifications between two waits count as one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the watcher."""
        self._event.set()

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 - False instead of an exception is the point
        """Wait at most `timeout` seconds; True when woken, False when the time is over."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class JobListener:
    """One connection outside the pool that listens for all jobs and wakes the watchers of each.

    It reconnects by itself and then wakes everybody, since notifications were lost meanwhile. A watcher that reads
    first and waits afterwards misses nothing; it should still look from time to time (poll) while the database is away.
    """

    def __init__(self, url: str) -> None:
        self._conninfo = conninfo(url)
        self._wakes: defaultdict[uuid.UUID, set[Wake]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to listen; `subscribe` does it as well."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._listen(), name="job-listener")

    async def close(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def subscribe(self, job_pk: uuid.UUID) -> AsyncIterator[Wake]:
        """A `Wake` for the news of one job."""
        self.start()
        wake = Wake()
        self._wakes[job_pk].add(wake)
        try:
            yield wake
        finally:
            self._wakes[job_pk].discard(wake)
            if not self._wakes[job_pk]:
                del self._wakes[job_pk]

    async def _listen(self) -> None:
        backoff = 0.1
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, connect_timeout=10, application_name="liftos-bayes-listen"
                )
                async with connection:
                    await connection.execute(f"listen {NOTIFY_CHANNEL}")
                    backoff = 0.1
                    self._wake_all()
                    await self._receive(connection)
            except (psycopg.Error, OSError) as error:
                _log.warning("the listening connection was lost (%s), trying again in %.1f s", error, backoff)
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF_SECONDS)

    async def _receive(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            async for notification in connection.notifies(timeout=_PROBE_SECONDS):
                job_pk = parse_uuid(notification.payload)
                for wake in self._wakes.get(job_pk, ()) if job_pk is not None else ():
                    wake.set()
            # A connection whose other end has vanished is only noticed by using it.
            await connection.execute("select 1")

    def _wake_all(self) -> None:
        for wakes in self._wakes.values():
            for wake in wakes:
                wake.set()
