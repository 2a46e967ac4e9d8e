"""`liftos-bayes sbc`: start calibration runs, watch them, go on with them, and save their ledgers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from liftos.bayes import Client, SbcRunHandle
from liftos.bayes.v1 import sbc_pb2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from server.report import console, print_sbc
from server.settings import Settings
from server.show import running
from server.wire import from_array, label

COLUMNS = (
    "simulations",
    "status",
    "n_draws",
    "r_hat",
    "ess",
    "ranks",
    "v",
    "ties",
    "truth",
    "posterior_mean",
    "posterior_sd",
)


@contextmanager
def connected(settings: Settings, target: str, client_id: str) -> Iterator[Client]:
    """A client of the server at `target` or of the one running on the data directory, with its workers."""
    address = target or running(settings)
    if not address:
        raise SystemExit(
            f"no server runs on {settings.data_dir}; start `liftos-bayes serve` or name one with --target host:port"
        )
    with Client.connect(address, client_id=client_id) as client:
        yield client


def watch(handle: SbcRunHandle) -> sbc_pb2.SbcRun:
    """Show a live progress bar until the run ends, and return the run; what is interrupted here goes on there."""
    begun = handle.get()
    columns = (
        TextColumn("simulations"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("sbc", total=begun.progress.total, rate="compiling", note="")
        for event in handle.events():
            rate = f"{event.progress.rate_per_second:.1f}/s" if event.progress.HasField("rate_per_second") else ""
            progress.update(bar, completed=event.progress.done, total=event.progress.total, rate=rate or "compiling")
            if event.HasField("interim"):
                failing = ", ".join(q.quantity for q in event.interim.quantities if q.failing)
                note = f"miscalibrated: {failing}" if failing else ""
                progress.update(bar, note=note or f"log global e-value {event.interim.log_global_e_value:+.2f}")
    return handle.result()


def conclude(handle: SbcRunHandle) -> int:
    """Watch a run to its end and print the verdict; returns 0 for PASS and 1 for all else, as scripts want it."""
    run = watch(handle)
    print_sbc(run)
    return 0 if run.verdict.kind == sbc_pb2.VERDICT_KIND_PASS else 1


def save_ledger(client: Client, run: sbc_pb2.SbcRun, output: Path) -> int:
    """Write the ledgers of all parts into one NumPy archive with keys `PART.column`; returns how many simulations."""
    arrays: dict[str, Any] = {"alpha": np.array(run.alpha)}
    total = 0
    for part in run.parts:
        name = label(sbc_pb2.SbcPart, part.part)
        pages = list(client.sbc.ledger(run.run_id, part=name))
        if not pages:
            continue
        arrays[f"{name}.planned"] = np.array(part.planned)
        arrays[f"{name}.quantities"] = np.array(list(pages[0].quantities))
        for column in COLUMNS:
            arrays[f"{name}.{column}"] = np.concatenate([from_array(getattr(page, column)) for page in pages])
        total += len(arrays[f"{name}.simulations"])
    with output.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return total
