"""A whole service in processes of its own, and clients of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from liftos.bayes import Client

from tests.postgres import copy_cluster, end_cluster

START_SECONDS = 90.0
SMALL = {"LIFTOS_BAYES_WORKERS": "1", "LIFTOS_BAYES_WARM_UP": "[]"}
"""The same on every machine, and nothing that takes the processor from the tests."""


@dataclass
class Service:
    """`liftos-bayes serve` on a data directory; stops by itself when this process is gone."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return (self.directory / "server.address").read_text().strip()

    @property
    def log(self) -> str:
        return (self.directory / "serve.log").read_text()

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "server.address").unlink(missing_ok=True)
        command = [sys.executable, "-m", "server.command.cli", "serve"]
        with (self.directory / "serve.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(self.directory), "--listen", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **SMALL, **self.environment},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not (self.directory / "server.address").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """The clean stop, for tests that are about it: a worker first finishes what it is at."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL supervisor, server and workers at once; the embedded Postgres is in a session of its own."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def end(self) -> None:
        """End every process of the service, whatever runs there in the background; nothing is to be read again."""
        if self.process is not None:
            self.kill()
        end_cluster(self.directory / "postgres")


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variable by which all services of a test run load what one of them has compiled."""
    return {"LIFTOS_BAYES_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("xla-cache"))}


@pytest.fixture(scope="session")
def new_service(compilation_cache: dict[str, str], postgres_template: Path) -> Callable[..., Service]:
    """Makes services over an initialised Postgres; who makes one starts and ends it."""

    def make(directory: Path, environment: dict[str, str] | None = None) -> Service:
        copy_cluster(postgres_template, directory.resolve() / "postgres")
        return Service(directory, {**compilation_cache, **(environment or {})})

    return make


@pytest.fixture
def make_service(new_service: Callable[..., Service]) -> Iterator[Callable[..., Service]]:
    """Makes services of a test's own and ends them with it, however it ends."""
    made: list[Service] = []

    def make(directory: Path, environment: dict[str, str] | None = None) -> Service:
        made.append(new_service(directory, environment))
        return made[-1]

    yield make
    for running in made:
        running.end()


@contextlib.contextmanager
def service_directory() -> Iterator[Path]:
    """A directory for a service that lives for more than one test.

    Not below pytest's own, which every other run of pytest closes to the user that Postgres runs as.
    """
    directory = Path(tempfile.mkdtemp(prefix="lb-service-")).resolve()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def service(compilation_cache: dict[str, str]) -> Iterator[Service]:
    """The service that most tests share; it has made its Postgres itself."""
    with service_directory() as directory:
        running = Service(directory, {"LIFTOS_BAYES_REFLECTION": "true", **compilation_cache})
        try:
            running.start()
            yield running
        finally:
            running.end()


@pytest.fixture(scope="module")
def mortal_service(new_service: Callable[..., Service]) -> Iterator[Service]:
    """A service that may be killed, with leases short enough for a test; not started."""
    with service_directory() as directory:
        made = new_service(directory, {"LIFTOS_BAYES_LEASE_SECONDS": "3", "LIFTOS_BAYES_STALLED_SECONDS": "4"})
        yield made
        made.end()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    """A client whose client_id nobody else has."""
    with Client.connect(service.address, client_id=f"test-{uuid.uuid4().hex[:12]}") as connected:
        yield connected
