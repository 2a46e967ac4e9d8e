"""Throughput of the SBC engine on all cores: simulate, fit, rank, with the quality of the fits beside every time.

One process a core, as the service's workers run; one process in all where the device is no CPU. What every process
pays once (interpreter, imports, compilation) is timed apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.sbc.ledger import RankLedger, concatenate
from engine.sbc.verdict import verdict
from tests.bench import machine, probe
from tests.bench.cases import SIZES, case

__all__: list[str] = []

_LEVELS = len(FitSettings.simulation().schedules) + 1
"""The schedules and NUTS."""


def _seed_of(simulations: int, repeat: int) -> int:
    """Seed of a timed run: none below 1000, on which things were tuned, and no two runs of one size share data."""
    return 1000 + 10 * round(float(np.log10(simulations))) + repeat


@dataclass(frozen=True)
class _Cold:
    """Seconds that a process pays once: until its imports are done; its first shard; every schedule compiled."""

    start: float
    first_shard: float
    levels: float


@dataclass(frozen=True)
class _Share:
    """One process's part of a run."""

    seconds: float
    cpu_seconds: float
    ledger: RankLedger
    levels: NDArray[np.int64]
    memory: dict[str, Any]


def _work(parameters: int, pipe: Connection, barrier: Any) -> None:
    """Serve runs (seed, ids) from the pipe until None comes."""
    started = machine.age()
    enable_float64()
    begun = time.perf_counter()
    model = case(parameters)
    settings = FitSettings.simulation(len(model.parameter_names))
    probe.run_simulations(model, Seed.of(999), np.arange(probe.SHARD), settings)
    shard_done = time.perf_counter()
    # Few simulations need the last schedule, so that the first shard need not have compiled it.
    probe.compile_levels(model, settings)
    pipe.send(_Cold(started, shard_done - begun, time.perf_counter() - shard_done))
    while (task := pipe.recv()) is not None:
        seed, ids = task
        barrier.wait(timeout=60.0)
        begun, cpu = time.perf_counter(), time.process_time()
        ledger, levels = probe.run_simulations(model, Seed.of(seed), ids, settings)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        pipe.send(_Share(seconds, cpu, ledger, levels, machine.peak_memory()))


def measure(
    parameters: int, simulations: Sequence[int], repeats: int, places: Sequence[int | None]
) -> list[dict[str, Any]]:
    """One row per number of simulations, all from the same processes, one per place."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(places))
    pipes = []
    for core in places:
        ours, theirs = context.Pipe()
        with machine.on_core(core):
            context.Process(target=_work, args=(parameters, theirs, barrier), daemon=True).start()
        theirs.close()  # so that a worker that died is noticed
        pipes.append(ours)
    cold = [pipe.recv() for pipe in pipes]
    rows = []
    for count in simulations:
        runs, ledgers = [], []
        for repeat in range(repeats):
            seed = _seed_of(count, repeat)
            for pipe, ids in zip(pipes, np.array_split(np.arange(count), len(pipes)), strict=True):
                pipe.send((seed, ids))
            run, ledger = _run(seed, [pipe.recv() for pipe in pipes])
            runs.append(run)
            # The same ids of another seed are other simulations.
            ledgers.append(dataclasses.replace(ledger, simulations=ledger.simulations + repeat * count))
        seconds = statistics.median(run["seconds"] for run in runs)
        cpu_seconds = statistics.median(run["cpu_seconds"] for run in runs)
        row = {
            "parameters": parameters,
            "simulations": count,
            "processes": len(pipes),
            "seconds": seconds,
            "simulations_per_second": count / seconds,
            "core_ms_per_simulation": 1000.0 * seconds * len(pipes) / count,
            "cpu_ms_per_simulation": 1000.0 * cpu_seconds / count,
            "cold": {name: max(getattr(one, name) for one in cold) for name in ("start", "first_shard", "levels")},
            "runs": runs,
            "pooled": _uniformity(concatenate(ledgers)),
        }
        print(_line(row), flush=True)
        rows.append(row)
    for pipe in pipes:
        pipe.send(None)
    return rows


def _run(seed: int, shares: Sequence[_Share]) -> tuple[dict[str, Any], RankLedger]:
    """What one run took and how good its fits were, and its ledger."""
    ledger = concatenate([share.ledger for share in shares])
    levels = np.concatenate([share.levels for share in shares])
    run = {
        "seed": seed,
        "seconds": max(share.seconds for share in shares),
        "cpu_seconds": sum(share.cpu_seconds for share in shares),
        "run_again": [float(np.mean(levels >= level)) for level in range(1, _LEVELS)],
        "not_ok": float(np.mean(~ledger.accepted)),
        "r_hat": machine.quantiles(ledger.r_hat.tolist(), median=0.5, q95=0.95, max=1.0),
        "ess": machine.quantiles(np.nan_to_num(ledger.ess).tolist(), median=0.5, q05=0.05, min=0.0),
        "kept_draws": {"median": float(np.median(ledger.n_draws)), "min": int(ledger.n_draws.min())},
        "memory": [share.memory for share in shares],
        **_uniformity(ledger),
    }
    return run, ledger


def _uniformity(ledger: RankLedger) -> dict[str, Any]:
    """The exact test of uniform ranks, over all quantities."""
    found = verdict(ledger, len(ledger))
    p = [quantity.p for quantity in found.quantities if quantity.p is not None]
    adjusted = [quantity.p_holm for quantity in found.quantities if quantity.p_holm is not None]
    return {
        "simulations": len(ledger),
        "quantities": len(ledger.quantities),
        "smallest_p": min(p, default=None),
        "smallest_p_holm": min(adjusted, default=None),
        "outcome": found.outcome.value,
        "reasons": [reason.value for reason in found.reasons],
    }


def _line(row: Mapping[str, Any]) -> str:
    runs = row["runs"]
    each = ", ".join(f"{run['seconds']:.2f}" for run in runs)
    p = ", ".join("none" if run["smallest_p_holm"] is None else f"{run['smallest_p_holm']:.3f}" for run in runs)
    worst = {"not_ok": max(run["not_ok"] for run in runs)}
    worst |= {"r_hat": max(run["r_hat"]["max"] for run in runs), "ess": min(run["ess"]["min"] for run in runs)}
    return (
        f"{row['parameters']} parameters, {row['simulations']} simulations, {row['processes']} processes: "
        f"{row['seconds']:.2f} s ({each}), {row['core_ms_per_simulation']:.2f} core-ms each; "
        f"not ok {worst['not_ok']:.2%}; R-hat max {worst['r_hat']:.3f}; ESS min {worst['ess']:.0f}; "
        f"smallest Holm p {p}; cold {sum(row['cold'].values()):.0f} s"
    )


def main() -> None:
    """Time SBC runs on all cores."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.throughput", description=main.__doc__)
    parser.add_argument("--parameters", type=int, nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--simulations", type=int, nargs="+", default=[100, 1000])
    parser.add_argument(
        "--large", type=int, nargs="*", choices=tuple(SIZES), default=[15], help="sizes that also run 10000 simulations"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows: list[dict[str, Any]] = []
    for parameters in arguments.parameters:
        counts = arguments.simulations + ([10_000] if parameters in arguments.large else [])
        rows += measure(parameters, counts, arguments.repeats, machine.places(here))
        machine.write(arguments.output, "throughput", here, rows)


if __name__ == "__main__":
    main()
