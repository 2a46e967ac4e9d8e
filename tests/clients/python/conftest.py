"""A scripted service that listens on this machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from liftos.bayes import calls

from tests.clients.python.scripted import Service


class Relay(grpc.GenericRpcHandler):
    """Hands every call to the service of the test that is running."""

    service_now: Service

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self.service_now.service(details)


@pytest.fixture(scope="session")
def listening() -> Iterator[tuple[Relay, str]]:
    """One server for all tests, and its address."""
    relay = Relay()
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[relay])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield relay, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def target(listening: tuple[Relay, str], service: Service) -> str:
    relay, address = listening
    relay.service_now = service
    return address


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of bayes.test by an authority that nobody knows, beside its key `key.pem`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    made = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bayes.test"
    command += f" -addext subjectAltName=DNS:bayes.test -keyout {made.with_name('key.pem')} -out {made}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return made


@pytest.fixture
def tls_target(service: Service, certificate: Path) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[service])
    key = certificate.with_name("key.pem").read_bytes()
    credentials = grpc.ssl_server_credentials([(key, certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backoff of the clients, shortened; its true length has its own test."""
    slow = calls.Backoff.next
    monkeypatch.setattr(calls.Backoff, "next", lambda self, error: slow(self, error) / 50)
