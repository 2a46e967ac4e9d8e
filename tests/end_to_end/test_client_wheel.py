"""The client's wheel alone, in an empty environment, runs the flow against the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

FLOW = """
import importlib.util, sys
from liftos.bayes import Client, share_of_outcome
from liftos.bayes.v1 import common_pb2
for absent in ("jax", "numpy", "server", "engine", "persistence", "sqlalchemy"):
    assert importlib.util.find_spec(absent) is None, absent
with Client.connect(sys.argv[1], client_id="wheel") as client:
    client.models.register_summary(
        "tv", estimand=share_of_outcome("TV"), estimate=0.25, standard_error=0.05, n_months=24,
        reference_prior=common_pb2.Distribution(normal=common_pb2.Normal(mean=0.5, sd=1.0)),
    )
    client.elicitation.create("beliefs", model_id="tv", client_confidence=0.7)
    client.elicitation.add_belief("beliefs", "tv", share_of_outcome("TV"), mean=0.5, plus_minus=0.1, meaning="sd")
    client.elicitation.confirm("beliefs")
    conflict = client.conflicts.analyze("beliefs")
    run = client.sbc.run(model_id="tv", num_simulations=200, seed=1)
    progress = [event.progress.done for event in run.events()]
    verdict = run.result(timeout=120).verdict
    update = client.updates.propose("beliefs", update_strategy="evidence_weighted")
    update = client.updates.accept(update, decided_by="Ann")
    print(conflict.conflict, progress[-1], verdict.kind, update.state)
"""


def test_the_client_wheel_alone_runs_the_flow(service: Any, tmp_path: Path) -> None:
    environment = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet"]
    subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), str(ROOT / "clients/python")], check=True)
    done = subprocess.run(
        [str(python), "-c", FLOW, service.address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "200", "1", "2"]  # conflict, all simulations, PASS, ACCEPTED
