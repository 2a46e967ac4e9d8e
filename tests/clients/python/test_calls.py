"""How calls are made: headers, backoff and where a token may go."""

from __future__ import annotations

import liftos.bayes as lb
import pytest
from liftos.bayes import calls
from liftos.bayes.v1 import model_pb2

from tests.clients.python.scripted import Service


def test_the_backoff_doubles_within_its_limit_and_honours_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    backoff = calls.Backoff(limit=5)
    waits = [backoff.next(lb.Unavailable("")) for _ in range(12)]
    for n, wait in enumerate(waits):
        full = min(0.1 * 2**n, 5)
        assert full / 2 <= wait <= full
    assert backoff.next(lb.Unavailable("", retry_after=30)) == 30


@pytest.mark.parametrize(
    ("target", "loopback"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.9.1:1", True),
        ("localhost:1", True),
        ("localhost", True),
        ("[::1]:1", True),
        ("unix:/run/bayes.sock", True),
        ("unix-abstract:bayes", True),
        ("dns:///localhost:1", True),
        ("dns:///bayes.example:1", False),
        ("dns://127.0.0.1/bayes.example:1", False),
        ("ipv4:127.0.0.1:1", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:1", False),
        ("ipv6:[::1]:1", True),
        ("bayes.example:1", False),
        ("127.0.0.1.evil.example:1", False),
        ("localhost.evil.example:1", False),
        ("10.0.0.1:1", False),
        ("0.0.0.0:1", False),
        ("xds:///localhost", False),
    ],
)
def test_only_this_machine_is_loopback(target: str, loopback: bool) -> None:
    assert calls.is_loopback(target) is loopback


def test_headers_travel_with_every_form_of_a_call(service: Service, target: str) -> None:
    with lb.Client.connect(target, client_id="acme", token="secret") as client:
        method, request = client.stubs.models.GetModel, model_pb2.GetModelRequest()
        for call in (method, method.with_call, lambda sent: method.future(sent).result()):
            service.headers = {}
            call(request)
            assert service.headers["authorization"] == "Bearer secret"
