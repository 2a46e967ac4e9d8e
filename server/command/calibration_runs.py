"""`liftos-bayes sbc`: start calibration runs, watch them, go on with them, and save their ledgers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
import typer
from liftos.bayes import Client, SbcRunHandle, usd
from liftos.bayes.v1 import common_pb2, sbc_pb2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from server.command.printing import console, evidence_in_words, print_sbc
from server.contract.wire import from_array, label

COLUMNS = [
    field.name
    for field in sbc_pb2.ReadSbcLedgerResponse.DESCRIPTOR.fields
    if field.message_type == common_pb2.NumericArray.DESCRIPTOR
]
"""The columns of a ledger, as the contract has them."""


def changed_thresholds(
    client: Client, complexity: int | None, bayes_factor: float | None, impact: str | None, confidence: float | None
) -> dict[str, Any]:
    """The thresholds of the policy in force, those replaced that are given; the impact in dollars."""
    now = next(client.sbc.policies(page_size=1)).thresholds
    return {
        "model_complexity": now.model_complexity if complexity is None else complexity,
        "bayes_factor": now.bayes_factor if bayes_factor is None else bayes_factor,
        "business_impact": now.business_impact if impact is None else usd(impact),
        "client_confidence": now.client_confidence if confidence is None else confidence,
    }


def stated_truths(stated: Sequence[str]) -> dict[str, float]:
    """The truths of `NAME=VALUE`; BadParameter for what is not of that form."""
    truths = {}
    for each in stated:
        name, equals, value = each.rpartition("=")
        try:
            truths[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE")
    return truths


def watch(handle: SbcRunHandle) -> sbc_pb2.SbcRun:
    """Show a live progress bar until the run ends, and return the run; what is interrupted here goes on there."""
    begun = handle.get()
    # Escaped: names of quantities hold brackets, which would be read as markup.
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console.print(f"SBC run {handle.run_id}")
    try:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("sbc", total=begun.progress.total, rate="waiting or compiling", note="")
            for event in handle.events():
                now = event.progress
                rate = "waiting or compiling"
                if now.HasField("rate_per_second"):
                    rate = f"{now.rate_per_second:.1f}/s, {now.eta_seconds:.0f} s to go"
                progress.update(bar, completed=now.done, total=now.total, rate=rate)
                if event.HasField("interim"):
                    progress.update(bar, note=evidence_in_words(event.interim))
    except KeyboardInterrupt:
        console.print(f"The run goes on without you: `sbc watch {handle.run_id}`, or `sbc cancel {handle.run_id}`.")
        raise
    return handle.result()


EXIT_STATUS = {
    sbc_pb2.VERDICT_KIND_PASS: 0,
    sbc_pb2.VERDICT_KIND_FAIL: 3,
    sbc_pb2.VERDICT_KIND_INCONCLUSIVE: 4,
    sbc_pb2.VERDICT_KIND_CANCELLED: 5,
}
"""What scripts get for a verdict; 1 and 2 are errors of the service and of the command line."""


def conclude(handle: SbcRunHandle) -> int:
    """Watch a run to its end and print the verdict; returns its exit status."""
    run = watch(handle)
    print_sbc(run)
    # A report on a fixed truth has no verdict: it is there.
    return EXIT_STATUS[run.verdict.kind] if run.HasField("verdict") else 0


def save_ledger(client: Client, run: sbc_pb2.SbcRun, output: BinaryIO) -> int:
    """Write the ledgers of all parts into one NumPy archive with keys `PART.column`; returns how many simulations."""
    kind = label(sbc_pb2.ValidationType, run.validation_type)
    arrays: dict[str, Any] = {"alpha": np.array(run.alpha), "validation_type": np.array(kind)}
    total = 0
    names = [label(sbc_pb2.SbcPart, part.part) for part in run.parts]
    # The one figure that the verdict takes from the model, not from the ledger.
    for test in run.verdict.shared_numbers:
        if test.HasField("p_value"):
            arrays[f"{label(sbc_pb2.SbcPart, test.part)}.shared_p"] = np.array(test.p_value)
    arrays["parts"] = np.array(names)
    for name, part in zip(names, run.parts, strict=True):
        pages = list(client.sbc.ledger(run.run_id, part=name))
        if not pages:
            continue
        arrays[f"{name}.planned"] = np.array(part.planned)
        arrays[f"{name}.quantities"] = np.array(list(pages[0].quantities))
        for column in COLUMNS:
            arrays[f"{name}.{column}"] = np.concatenate([from_array(getattr(page, column)) for page in pages])
        total += len(arrays[f"{name}.simulations"])
    np.savez_compressed(output, **arrays)
    return total
