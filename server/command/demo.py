"""`liftos-bayes demo`: the main job on a real data set, against a service that is started for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liftos.bayes import Client, share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2, dataset_pb2, model_pb2, prior_update_pb2, sbc_pb2
from rich.rule import Rule

from server.command.calibration_runs import watch
from server.command.printing import console, print_attribution, print_conflict, print_messages, print_sbc, print_update
from server.command.serve import address_file
from server.contract.wire import label
from server.settings import Settings

START_SECONDS = 120.0
MONTHS = 42
"""More than the data set has, so the window is all of it."""
TRUE_SHARE = 0.2905
"""Share of the KPI that channel x1 really has over all 179 weeks: the data set is simulated (examples/)."""


def run(settings: Settings, data: Path, simulations: int) -> None:
    """Start the service on the data directory, play the story, stop the service; SystemExit if a step fails."""
    began = time.monotonic()
    client_id = f"acme-{time.strftime('%Y%m%d-%H%M%S')}"
    with _service(settings) as address, Client.connect(address, client_id=client_id) as client:
        info = client.system.info()
        console.print(f"liftos-bayes {info.server_version} on {address}, schema {info.schema_revision}")
        play(client, data, simulations)
    console.print(Rule())
    console.print(
        f"The whole story took {time.monotonic() - began:.0f} s. The results are stored; read them again with"
    )
    where = settings.data_dir.resolve()
    console.print(f"  {sys.argv[0]} show report --client {client_id} --data-dir {where}", soft_wrap=True)


def register(client: Client, data: Path) -> tuple[dataset_pb2.Dataset, model_pb2.Model]:
    """The example data set as `weekly`, and the model that the story is about, with the defaults, as `mmm`."""
    dataset = client.datasets.upload_csv(
        "weekly", data, time="date_week", kpi="y", exposures=["x1", "x2"], controls=["event_1", "event_2"]
    )
    model = client.models.register_mmm(
        "mmm",
        dataset_id="weekly",
        channels=["x1", "x2"],
        parameterise_by="share_of_outcome",
        controls=["event_1", "event_2"],
        fourier_pairs=2,
    )
    return dataset, model


def play(client: Client, data: Path, simulations: int) -> None:
    """The story, against any server."""
    console.print(Rule("1. Data and model"))
    dataset, model = register(client, data)
    dates = f"{dataset.dates.first_date} to {dataset.dates.last_date}"
    console.print(f"{dataset.row_count} weeks from {dates}, SHA-256 {dataset.sha256[:12]}…")
    console.print(f"Model {model.model_id!r} with {model.parameter_count} parameters.")
    before = model.prior_predictive.total_media_share
    console.print(f"A priori all media bring {100 * before.mean:.0f} % ± {100 * before.sd:.0f} % of the outcome.")
    for warning in model.warnings:
        console.print(warning)

    console.print(Rule("2. What the client believes"))
    client.elicitation.create("beliefs", model_id="mmm", client_confidence=0.7)
    belief = client.elicitation.add_belief(
        "beliefs",
        "x1-half",
        share_of_outcome("x1"),
        mean=0.5,
        plus_minus=0.1,
        meaning="interval_half_width",
        level=0.95,
        wording="x1 brings half of our sales, give or take ten per cent; I would bet 19 to 1 on it",
        stated_by="head of marketing",
    )
    console.print(f"“{belief.wording}”")
    for note in belief.notes:
        console.print(note)
    client.elicitation.confirm("beliefs")

    console.print(Rule("3. Can the data challenge the belief?"))
    # The search for other causes fits a dozen changed models, which takes minutes before anything is compiled.
    analysis = client.conflicts.analyze("beliefs", data_period_months=MONTHS, without_causes=True, timeout=600)
    print_conflict(analysis)

    console.print(Rule("4. Is the model behind the answer calibrated?"))
    if analysis.sbc_necessity.decision == sbc_pb2.NECESSITY_DECISION_ESSENTIAL:
        proposed = _propose(client)
        for blocker in proposed.release_blockers:
            console.print(f"Until then no update is released: {blocker}")
    finished = _calibrate(client, simulations)
    print_sbc(finished)

    console.print(Rule("5. What the belief should become"))
    update = _propose(client)
    if update.releasable and any(belief.changed for belief in update.beliefs):
        update = client.updates.accept(
            update, decided_by="analyst", reason="contradicted by the data; the model is calibrated"
        )
    print_update(update)

    console.print(Rule("6. Attribution: prior, data and updated answer side by side"))
    attribution = client.attribution.analyze(
        "mmm", session_id="beliefs", include_bayesian_validation=True, data_period_months=MONTHS, timeout=300
    )
    print_attribution(attribution)
    console.print(Rule("A message for the client, ready to be sent"))
    print_messages(analysis.communications[:1])

    console.print(Rule("Summary"))
    conflict = analysis.beliefs[0]
    wide = next(interval for interval in conflict.data_side.intervals if interval.level > 0.9)
    covers = wide.lower <= TRUE_SHARE <= wide.upper
    console.print(conflict.explanation)
    console.print(
        f"The data set is simulated, so the truth is known: x1 brought {100 * TRUE_SHARE:.1f} %. "
        f"The 95 % interval of the data side {'covers' if covers else 'MISSES'} it."
    )
    console.print(
        f"Finding {label(conflict_pb2.Finding, conflict.finding)}, "
        f"severity {label(conflict_pb2.Severity, conflict.severity)}; "
        f"calibration {label(sbc_pb2.VerdictKind, finished.verdict.kind)}; "
        f"update {label(prior_update_pb2.UpdateState, update.state)}."
    )


def _propose(client: Client) -> prior_update_pb2.PriorUpdate:
    return client.updates.propose("beliefs", update_strategy="evidence_weighted")


def _calibrate(client: Client, simulations: int) -> sbc_pb2.SbcRun:
    """Run SBC with a live progress bar."""
    handle = client.sbc.run(model_id="mmm", num_simulations=simulations, data_period_months=MONTHS, seed=20181)
    finished = watch(handle)
    if finished.state != common_pb2.JOB_STATE_SUCCEEDED:
        raise SystemExit(
            f"the calibration run ended {label(common_pb2.JobState, finished.state)}: {finished.error.message}"
        )
    return finished


@contextmanager
def _service(settings: Settings) -> Iterator[str]:
    """A service in processes of its own; yields its address and stops it at the end."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    address = address_file(settings)
    address.unlink(missing_ok=True)
    log = settings.data_dir / "serve.log"
    arguments = ["serve", "--data-dir", str(settings.data_dir), "--listen", settings.listen]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.command.cli", *arguments],
            stdout=output,
            stderr=output,
            # The demo would end before anything compiled for other models could be of use.
            env={**os.environ, "LIFTOS_BAYES_WARM_UP": "[]"},
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not address.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the service did not start; see {log}")
            time.sleep(0.1)
        yield address.read_text().strip()
    finally:
        process.terminate()
        process.wait(60)
