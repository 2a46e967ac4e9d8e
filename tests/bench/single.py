"""Time and quality of single fits, as conflict analysis makes them: cold, then warm on other data sets."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm
from tests.bench import machine, probe
from tests.bench.cases import SIZES, case

__all__ = ["fits"]

_SEED = Seed.of(1200)


def fits(model: AdditiveMmm, data_sets: int) -> dict[str, Any]:
    """Cold and warm seconds and the worst diagnostics of single fits of simulated data sets, in this process."""
    settings = FitSettings.single()
    ids = np.arange(data_sets)
    y = model.sample_prior(_SEED, ids).y

    def fit(index: int) -> tuple[float, Any]:
        start = time.perf_counter()
        found = model.fit(y[:, index : index + 1], _SEED, ids[index : index + 1], settings)
        return time.perf_counter() - start, found.diagnostics

    cold = fit(0)[0]
    start = time.perf_counter()
    probe.compile_levels(model, settings)
    levels = time.perf_counter() - start
    timed = [fit(index) for index in range(data_sets)]
    seconds = [took for took, _ in timed]
    found = [diagnostics for _, diagnostics in timed]
    ess = [float(np.minimum(one.ess_bulk, one.ess_tail)[0]) for one in found]
    return {
        "data_sets": data_sets,
        "cold": {"first_fit": cold, "levels": levels},
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "worst_seconds": max(seconds),
        "r_hat": machine.quantiles([float(one.r_hat[0]) for one in found], median=0.5, max=1.0),
        "ess": machine.quantiles(np.nan_to_num(ess).tolist(), median=0.5, min=0.0),
        "run_again": [
            float(np.mean([one.escalations[0] >= level for one in found]))
            for level in range(1, len(settings.schedules))
        ],
        "not_ok": float(np.mean([not one.ok[0] for one in found])),
    }


def measure(parameters: int, data_sets: int) -> dict[str, Any]:
    """The row of one size, in a fresh process."""
    start = machine.age()
    enable_float64()
    found = fits(case(parameters), data_sets)
    found["cold"]["start"] = start
    return {"parameters": parameters, **found, "memory": machine.peak_memory()}


def main() -> None:
    """Time single fits with every core at their disposal."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.single", description=main.__doc__)
    parser.add_argument("--parameters", type=int, nargs="+", choices=tuple(SIZES), default=[15, 50])
    parser.add_argument("--data-sets", type=int, default=12)
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows = []
    for parameters in arguments.parameters:
        row = machine.fresh(measure, parameters, arguments.data_sets)
        print(
            f"{parameters} parameters, {row['data_sets']} data sets: warm median {row['median_seconds']:.3f} s, worst "
            f"{row['worst_seconds']:.3f} s; cold {row['cold']['start']:.1f} + {row['cold']['first_fit']:.1f} s; "
            f"R-hat max {row['r_hat']['max']:.4f}; ESS min {row['ess']['min']:.0f}; not ok {row['not_ok']:.0%}",
            flush=True,
        )
        rows.append(row)
    machine.write(arguments.output, "single", here, rows)


if __name__ == "__main__":
    main()
