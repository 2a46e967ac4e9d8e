"""What operators rely on: health, reflection, clean stops, and results that can be read after a restart."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from liftos.bayes import Client, share_of_outcome
from liftos.bayes.v1 import common_pb2

from tests.end_to_end.examples import register_tv

SERVICES = [
    f"liftos.bayes.v1.{name}Service"
    for name in ("Dataset", "Model", "Elicitation", "Conflict", "Sbc", "PriorUpdate", "Attribution", "System")
]


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server.command.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def workers(supervisor: psutil.Process) -> list[psutil.Process]:
    """The live worker processes of a service."""
    found = []
    for child in supervisor.children():
        with contextlib.suppress(psutil.Error):  # it may die while it is looked at
            if "server.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those of the processes that are still there after a while."""
    return psutil.wait_procs(processes, timeout=seconds)[1]


def test_every_service_reports_that_it_serves(service: Any) -> None:
    with grpc.insecure_channel(service.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICES):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, name


def test_reflection_lists_the_services_where_it_is_switched_on(service: Any) -> None:
    with grpc.insecure_channel(service.address) as channel:
        listed = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert set(SERVICES) <= set(listed)


def test_a_stop_leaves_no_process_behind_and_the_results_can_be_read_again(make_service: Any, tmp_path: Path) -> None:
    running = make_service(tmp_path / "s")
    running.start()
    with Client.connect(running.address, client_id="ops") as client:
        with (
            pytest.raises(Exception, match=r"UNIMPLEMENTED|unimplemented"),
            grpc.insecure_channel(running.address) as channel,
        ):  # reflection is off by default
            ProtoReflectionDescriptorDatabase(channel).get_services()
        register_tv(client)
        client.elicitation.create("beliefs", model_id="tv", client_confidence=0.7)
        client.elicitation.add_belief("beliefs", "tv", share_of_outcome("TV"), mean=0.5, plus_minus=0.1, meaning="sd")
        client.elicitation.confirm("beliefs")
        analysis = client.conflicts.analyze("beliefs")
    family = psutil.Process(running.process.pid).children(recursive=True)
    assert family
    running.stop()
    assert running.process.returncode == 0, running.log[-3000:]
    assert gone(family, 10) == []
    called = re.findall(
        r" INFO \S+ call method=\S+/AnalyzeConflict client=ops code=OK seconds=\S+ request=(\S+)\n", running.log
    )
    done = re.findall(r" INFO \S+ job kind=ANALYZE_CONFLICT client=ops state=SUCCEEDED .*request=(\S+) ", running.log)
    assert len(called) == 1
    assert called == done
    shown = cli("show", "conflict", analysis.analysis_id, "--client", "ops", "--data-dir", str(tmp_path / "s"))
    assert shown.returncode == 0, shown.stderr
    assert "12." in shown.stdout
    assert "STRONG" in shown.stdout
    missing = cli("show", "sbc", "nothing", "--client", "ops", "--data-dir", str(tmp_path / "s"))
    assert missing.returncode == 1
    assert "NOT_FOUND" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_servers_and_workers_end_when_their_supervisor_is_killed(make_service: Any, tmp_path: Path) -> None:
    running = make_service(tmp_path / "s")
    running.start()
    supervisor = psutil.Process(running.process.pid)
    children = [c for c in supervisor.children() if "server" in " ".join(c.cmdline())]
    assert len(children) == 3  # server, worker for calls, worker for shards
    supervisor.send_signal(signal.SIGKILL)
    running.process.wait(10)
    assert gone(children, 40) == []
    running.start()  # the embedded Postgres is attached to or started again
    running.stop()


def test_a_worker_that_dies_is_started_again(make_service: Any, tmp_path: Path) -> None:
    running = make_service(tmp_path / "s")
    running.start()
    supervisor = psutil.Process(running.process.pid)
    worker = workers(supervisor)[0]
    worker.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = workers(supervisor)
        if len(found) == 2 and worker not in found:
            break
        time.sleep(0.2)
    else:
        pytest.fail("the worker did not come back")
    running.stop()


@pytest.mark.slow
def test_the_warm_up_gives_way_and_does_not_hold_up_a_stop(make_service: Any, tmp_path: Path) -> None:
    running = make_service(tmp_path / "s", {"LIFTOS_BAYES_WARM_UP": "[1]"})
    running.start()
    deadline = time.monotonic() + 60
    while not list((tmp_path / "s/xla-cache").glob("*")):  # from now on it compiles, which nothing can interrupt
        assert time.monotonic() < deadline, running.log[-3000:]
        time.sleep(0.2)
    family = psutil.Process(running.process.pid).children(recursive=True)
    (warm_up,) = (process for process in family if "server.worker.fitting.warmup" in process.cmdline())
    assert warm_up.nice() == 19
    begin = time.monotonic()
    running.stop()
    assert time.monotonic() - begin < 15
    assert running.process.returncode == 0
    assert gone(family, 10) == []


def test_a_run_goes_on_after_the_death_of_postgres(make_service: Any, tmp_path: Path) -> None:
    running = make_service(tmp_path / "s", {"LIFTOS_BAYES_LEASE_SECONDS": "3", "LIFTOS_BAYES_STALLED_SECONDS": "4"})
    running.start()
    with Client.connect(running.address, client_id="ops") as client:
        register_tv(client)
        handle = client.sbc.run(model_id="tv", num_simulations=3200, seed=5)
        next(event for event in handle.events() if event.HasField("batch_finished"))
        pid = int((tmp_path / "s/postgres/postgres/postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        run = handle.result(timeout=120)
    assert run.state == common_pb2.JOB_STATE_SUCCEEDED, run.error
    assert run.verdict.n_simulations == 3200
    running.stop()


def test_a_service_that_cannot_start_ends_with_an_error(make_service: Any, service: Any, tmp_path: Path) -> None:
    # The port is taken by the session's service.
    command = [sys.executable, "-m", "server.command.cli", "serve", "--data-dir", str(tmp_path / "s")]
    done = subprocess.run(
        [*command, "--listen", service.address], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode != 0
    assert "giving up" in done.stderr


def test_the_configuration_is_printed_without_secrets() -> None:
    done = cli("config", LIFTOS_BAYES_DATABASE_URL="postgresql://user:hunter2@db/x")
    assert done.returncode == 0
    assert "hunter2" not in done.stdout
    assert '"database_url": "(set)"' in done.stdout


def test_a_server_refuses_a_database_without_the_schema(empty_database_url: str) -> None:
    done = cli("server", "--listen", "127.0.0.1:0", LIFTOS_BAYES_DATABASE_URL=empty_database_url)
    assert done.returncode != 0
    assert "schema revision None" in done.stderr
