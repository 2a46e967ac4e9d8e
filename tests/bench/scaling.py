"""Cost against the size of the data on one core: weeks of national data, and a panel of geos."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from tests.bench import gradient, machine, probe, single
from tests.bench.cases import case, panel_case

__all__: list[str] = []

_SEED = Seed.of(1400)


def measure(geos: int, weeks: int, simulations: int, data_sets: int) -> dict[str, Any]:
    """The row of one size of the data, in a fresh process: gradients, single fits and an SBC run."""
    enable_float64()
    model = case(15, weeks) if geos == 1 else panel_case(geos, weeks)
    settings = FitSettings.simulation(len(model.parameter_names))
    ids = np.arange(simulations)
    found = gradient.rate(model, 256, "float32", closed=True)
    fits = single.fits(model, data_sets)
    probe.compile_levels(model, settings)
    start, cpu = time.perf_counter(), time.process_time()
    ledger, levels = probe.run_simulations(model, _SEED, ids, settings)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return {
        "geos": geos,
        "weeks": weeks,
        "rows": model.n_observations,
        "parameters": len(model.parameter_names),
        "flop": gradient.flops(model),
        "gradients_per_second": found,
        "single": fits,
        "sbc": {
            "simulations": simulations,
            "seconds": seconds,
            "core_ms_per_simulation": 1000.0 * seconds / simulations,
            "cpu_ms_per_simulation": 1000.0 * cpu_seconds / simulations,
            "run_again": [float(np.mean(levels >= level)) for level in range(1, len(settings.schedules))],
            "not_ok": float(np.mean(~ledger.accepted)),
            "r_hat": machine.quantiles(ledger.r_hat.tolist(), median=0.5, max=1.0),
            "ess": machine.quantiles(np.nan_to_num(ledger.ess).tolist(), median=0.5, min=0.0),
        },
        "memory": machine.peak_memory(),
    }


def main() -> None:
    """Measure gradients, single fits and SBC by weeks and for a panel, one core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=main.__doc__)
    parser.add_argument("--weeks", type=int, nargs="*", default=[52, 104, 260, 520])
    parser.add_argument("--geos", type=int, nargs="*", default=[20], help="panels of 104 weeks a geo")
    # Multiples of the sampler's chunk, so that no lane is padding.
    parser.add_argument("--simulations", type=int, default=128)
    parser.add_argument("--panel-simulations", type=int, default=64)
    parser.add_argument("--data-sets", type=int, default=3, help="single fits")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    sizes = [(1, weeks, arguments.simulations) for weeks in arguments.weeks]
    sizes += [(geos, 104, arguments.panel_simulations) for geos in arguments.geos]
    rows = []
    for geos, weeks, simulations in sizes:
        row = machine.fresh(measure, geos, weeks, simulations, arguments.data_sets, core=machine.places(here)[-1])
        sbc = row["sbc"]
        print(
            f"{geos} x {weeks} rows, {row['parameters']} parameters: {row['gradients_per_second']['median']:.3g} "
            f"gradients/s; single fit {row['single']['median_seconds']:.2f} s; SBC {sbc['core_ms_per_simulation']:.1f} "
            f"core-ms, not ok {sbc['not_ok']:.1%}; {row['memory']['resident_mib']:.0f} MiB",
            flush=True,
        )
        rows.append(row)
    machine.write(arguments.output, "scaling", here, rows)


if __name__ == "__main__":
    main()
