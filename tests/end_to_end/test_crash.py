"""A kill -9 of everything in the middle of a run loses no acknowledged write and counts nothing twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from liftos.bayes import Client
from liftos.bayes.v1 import common_pb2, sbc_pb2

from tests.end_to_end.examples import register_tv

SIMULATIONS = 3200
SEED = 77


@pytest.fixture
def own_service(make_service: Any, tmp_path: Path) -> Any:
    """A service that may be killed, with leases short enough for a test."""
    running = make_service(tmp_path / "s", {"LIFTOS_BAYES_LEASE_SECONDS": "3", "LIFTOS_BAYES_STALLED_SECONDS": "4"})
    running.start()
    return running


def verdict_of(client: Client, run_id: str, timeout: float = 240) -> sbc_pb2.SbcRun:
    return client.sbc.attach(run_id).result(timeout=timeout)


def test_a_run_survives_the_death_of_server_and_workers(own_service: Any) -> None:
    with Client.connect(own_service.address, client_id="crash") as client:
        register_tv(client)
        handle = client.sbc.run(model_id="tv", num_simulations=SIMULATIONS, seed=SEED)
        seen = []
        for event in handle.events():
            seen.append(event)
            if event.progress.done >= SIMULATIONS // 8:
                break
        own_service.kill()
        acknowledged = seen[-1]
    time.sleep(0.5)
    own_service.start()
    with Client.connect(own_service.address, client_id="crash") as client:
        run = client.sbc.get(handle.run_id)
        assert run.progress.done >= acknowledged.progress.done
        assert run.last_sequence >= acknowledged.sequence
        assert run.state == common_pb2.JOB_STATE_RUNNING
        replayed = list(client.sbc.attach(handle.run_id).events())
        assert [event.sequence for event in replayed] == list(range(1, len(replayed) + 1))
        assert [e.SerializeToString() for e in replayed[: len(seen)]] == [e.SerializeToString() for e in seen]
        finished = verdict_of(client, handle.run_id)
        assert finished.state == common_pb2.JOB_STATE_SUCCEEDED
        assert finished.verdict.n_simulations == SIMULATIONS
        batches = [e.batch_finished for e in replayed if e.HasField("batch_finished")]
        counted = sorted((b.first_simulation, b.n_simulations) for b in batches)
        assert sum(n for _, n in counted) == SIMULATIONS
        assert len({first for first, _ in counted}) == len(counted)
        # The same seed without a crash gives the very same ranks, and so the very same figures.
        undisturbed = client.sbc.run(model_id="tv", num_simulations=SIMULATIONS, seed=SEED).result(timeout=240)
        assert finished.verdict.quantities == undisturbed.verdict.quantities
