"""Time of conflict analyses through the client, each on a data set that the service has not seen before."""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from liftos.bayes import Client, channel, share_of_outcome

from tests.bench import machine
from tests.bench.cases import SIZES, table
from tests.end_to_end.conftest import Service

__all__ = ["BELIEVED", "register"]

_FIRST_SEED = 1500
BELIEVED = "channel_1"
"""The channel that beliefs are about."""


def measure(parameters: int, data_sets: int, directory: Path) -> dict[str, Any]:
    """Seconds of every analysis, the first of which finds a worker that has compiled nothing."""
    service = Service(directory)
    service.start()
    try:
        with Client.connect(service.address, client_id="bench") as client:
            found = [_analyse(client, parameters, index, directory) for index in range(data_sets + 1)]
    finally:
        service.stop()
    (cold, _), *warm = found
    seconds = [one["seconds"] for _, one in warm]
    again = [one["again_seconds"] for _, one in warm]
    return {
        "parameters": parameters,
        "data_sets": data_sets,
        "cold_seconds": cold,
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "worst_seconds": max(seconds),
        "again_median_seconds": statistics.median(again),
        "again_worst_seconds": max(again),
        "r_hat": machine.quantiles([one["r_hat"] for _, one in warm], median=0.5, max=1.0),
        "ess": machine.quantiles([one["ess"] for _, one in warm], median=0.5, min=0.0),
    }


def register(client: Client, parameters: int, index: int, directory: Path) -> str:
    """Upload a data set of its own and register the model on it; returns the id of both."""
    size, name = SIZES[parameters], f"set-{index}"
    data = table(parameters, seed=_FIRST_SEED + index)
    path = directory / f"{name}.csv"
    channels = [f"channel_{number + 1}" for number in range(size.channels)]
    controls = [f"control_{number + 1}" for number in range(size.controls)]
    columns = ["kpi", *channels, *controls]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["week", *columns])
        writer.writerows(zip(data.dates.astype(str), *(data.columns[column] for column in columns), strict=True))
    client.datasets.upload_csv(name, path, time="week", kpi="kpi", exposures=channels, controls=controls)
    client.models.register_mmm(
        name,
        dataset_id=name,
        # As before there was another default, so that the figures can be compared.
        channels=[channel(name, saturation="hill") for name in channels],
        parameterise_by="share_of_outcome",
        controls=controls,
        fourier_pairs=size.fourier_pairs,
        trend=size.trend,
    )
    return name


def _analyse(client: Client, parameters: int, index: int, directory: Path) -> tuple[float, dict[str, float]]:
    """Upload, register and believe; the seconds of the analysis, and of that of a second belief; worst diagnostics."""
    name = register(client, parameters, index, directory)
    took = []
    for session, mean in ((name, 0.5), (f"{name}-again", 0.4)):
        client.elicitation.create(session, model_id=name, client_confidence=0.7)
        client.elicitation.add_belief(
            session, "belief", share_of_outcome(BELIEVED), mean=mean, plus_minus=0.1, meaning="sd"
        )
        client.elicitation.confirm(session)
        start = time.perf_counter()
        # The refits that look for other causes of a strong conflict are timed by the part `verdicts`.
        analysis = client.conflicts.analyze(session, timeout=600, without_causes=True)
        took.append(time.perf_counter() - start)
        if analysis.reference_fit_reused is (session == name):
            raise RuntimeError(f"{session}: the first analysis fits, and no other does")
    diagnostics = analysis.diagnostics
    ess = min(diagnostics.min_ess_bulk, diagnostics.min_ess_tail)
    first, again = took
    return first, {"seconds": first, "again_seconds": again, "r_hat": diagnostics.max_r_hat, "ess": ess}


def main() -> None:
    """Time conflict analyses of a service with one worker for calls and all cores at its disposal."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.conflict", description=main.__doc__)
    parser.add_argument("--parameters", type=int, nargs="+", choices=tuple(SIZES), default=[15, 50])
    parser.add_argument("--data-sets", type=int, default=30)
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows = []
    for parameters in arguments.parameters:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(parameters, arguments.data_sets, Path(folder))
        print(
            f"{parameters} parameters, {row['data_sets']} data sets: median {row['median_seconds']:.2f} s, worst "
            f"{row['worst_seconds']:.2f} s; first {row['cold_seconds']:.0f} s; R-hat max {row['r_hat']['max']:.4f}; "
            f"ESS min {row['ess']['min']:.0f}",
            flush=True,
        )
        rows.append(row)
    machine.write(arguments.output, "conflict", here, rows)


if __name__ == "__main__":
    main()
