"""What operators rely on: health, reflection, clean stops, and that no crash loses or doubles anything.

The tests that kill share one service, which each of them finds running and may leave in ruins.
"""

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


SIMULATIONS = 1600
SEED = 77


@pytest.fixture
def mortal(mortal_service: Any) -> Any:
    """The service that may be killed, started if it is not running."""
    if mortal_service.process is None or mortal_service.process.poll() is not None:
        mortal_service.start()
    return mortal_service


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


def test_a_worker_that_dies_is_started_again(mortal: Any) -> None:
    supervisor = psutil.Process(mortal.process.pid)
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


def test_a_run_goes_on_after_the_death_of_postgres(mortal: Any) -> None:
    with Client.connect(mortal.address, client_id="postgres") as client:
        register_tv(client)
        handle = client.sbc.run(model_id="tv", num_simulations=SIMULATIONS, seed=5)
        next(event for event in handle.events() if event.HasField("batch_finished"))
        pid = int((mortal.directory / "postgres/postgres/postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)
        run = handle.result(timeout=120)
    assert run.state == common_pb2.JOB_STATE_SUCCEEDED, run.error
    assert run.verdict.n_simulations == SIMULATIONS


def test_servers_and_workers_end_when_their_supervisor_is_killed(mortal: Any) -> None:
    supervisor = psutil.Process(mortal.process.pid)
    children = [c for c in supervisor.children() if "server" in " ".join(c.cmdline())]
    assert len(children) == 3  # server, worker for calls, worker for shards
    supervisor.send_signal(signal.SIGKILL)
    mortal.process.wait(10)
    assert gone(children, 40) == []
    mortal.start()  # the embedded Postgres is attached to or started again


def test_a_run_survives_the_death_of_server_and_workers_and_counts_nothing_twice(mortal: Any) -> None:
    with Client.connect(mortal.address, client_id="crash") as client:
        register_tv(client)
        handle = client.sbc.run(model_id="tv", num_simulations=SIMULATIONS, seed=SEED)
        seen = []
        for event in handle.events():
            seen.append(event)
            if event.progress.done >= SIMULATIONS // 8:
                break
        mortal.kill()
        acknowledged = seen[-1]
    time.sleep(0.5)
    mortal.start()
    with Client.connect(mortal.address, client_id="crash") as client:
        run = client.sbc.get(handle.run_id)
        assert run.progress.done >= acknowledged.progress.done
        assert run.last_sequence >= acknowledged.sequence
        assert run.state == common_pb2.JOB_STATE_RUNNING
        replayed = list(client.sbc.attach(handle.run_id).events())
        assert [event.sequence for event in replayed] == list(range(1, len(replayed) + 1))
        assert [e.SerializeToString() for e in replayed[: len(seen)]] == [e.SerializeToString() for e in seen]
        finished = client.sbc.attach(handle.run_id).result(timeout=240)
        assert finished.state == common_pb2.JOB_STATE_SUCCEEDED
        assert finished.verdict.n_simulations == SIMULATIONS
        batches = [e.batch_finished for e in replayed if e.HasField("batch_finished")]
        counted = sorted((b.first_simulation, b.n_simulations) for b in batches)
        assert sum(n for _, n in counted) == SIMULATIONS
        assert len({first for first, _ in counted}) == len(counted)
        # The same seed without a crash gives the very same ranks, and so the very same figures.
        again = client.sbc.run(model_id="tv", num_simulations=SIMULATIONS, seed=SEED, fresh=True)
        undisturbed = again.result(timeout=240)
        assert undisturbed.run_id != finished.run_id
        assert finished.verdict.quantities == undisturbed.verdict.quantities


def test_a_stop_leaves_no_process_behind_and_the_results_can_be_read_again(mortal: Any) -> None:
    running = mortal
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
    shown = cli("show", "conflict", analysis.analysis_id, "--client", "ops", "--data-dir", str(running.directory))
    assert shown.returncode == 0, shown.stderr
    assert "12." in shown.stdout
    assert "STRONG" in shown.stdout
    missing = cli("show", "sbc", "nothing", "--client", "ops", "--data-dir", str(running.directory))
    assert missing.returncode == 1
    assert "NOT_FOUND" in missing.stderr
    assert "Traceback" not in missing.stderr


@pytest.mark.slow
def test_the_warm_up_gives_way_and_does_not_hold_up_a_stop(make_service: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"  # not that of the other services, in which the programs may be
    running = make_service(
        tmp_path / "s", {"LIFTOS_BAYES_WARM_UP": "[1]", "LIFTOS_BAYES_COMPILATION_CACHE_DIR": str(cache)}
    )
    running.start()
    deadline = time.monotonic() + 60
    while not list(cache.glob("*")):  # from now on it compiles, which nothing can interrupt
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


def test_a_service_that_cannot_start_ends_with_an_error(make_service: Any, service: Any, tmp_path: Path) -> None:
    make_service(tmp_path / "s")  # an initialised Postgres; the port is taken by the session's service
    command = [sys.executable, "-m", "server.command.cli", "serve", "--data-dir", str(tmp_path / "s")]
    small = {"LIFTOS_BAYES_WORKERS": "1", "LIFTOS_BAYES_WARM_UP": "[]"}
    done = subprocess.run(
        [*command, "--listen", service.address],
        env={**os.environ, **small},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
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
