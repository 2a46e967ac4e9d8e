"""Whether float32 changes what SBC says: ranks and p-values of the sampler's schedules against the same in float64.

Two runs on the same data with the same random numbers part after a few transitions, since chains are chaotic: ranks
can agree only as far as those of two runs with other random numbers do. That third run is the yardstick.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.sbc.ledger import RankLedger
from engine.sbc.shard import MAX_DRAWS
from engine.sbc.verdict import verdict
from tests.bench import machine, probe
from tests.bench.cases import SIZES, case

__all__: list[str] = []

_SEED, _OTHER_CHAINS = Seed.of(1100), Seed.of(1101)


def measure(parameters: int, simulations: int) -> list[dict[str, Any]]:
    """One row per run (as shipped, float64, float64 with other chains) and one per comparison of ranks."""
    enable_float64()
    model = case(parameters)
    shipped = FitSettings.simulation(len(model.parameter_names))
    exact = dataclasses.replace(
        shipped, schedules=tuple(dataclasses.replace(schedule, dtype="float64") for schedule in shipped.schedules)
    )
    ids = np.arange(simulations)
    rows: list[dict[str, Any]] = []
    ledgers: dict[str, RankLedger] = {}
    for name, settings, chains in (
        ("float32", shipped, None),
        ("float64", exact, None),
        ("float64, other chains", exact, _OTHER_CHAINS),
    ):
        probe.compile_levels(model, settings)
        start = time.perf_counter()
        ledger, levels = probe.run_simulations(model, _SEED, ids, settings, chains=chains)
        seconds = time.perf_counter() - start
        found = verdict(ledger, simulations)
        ledgers[name] = ledger
        rows.append(
            {
                "what": "run",
                "run": name,
                "parameters": parameters,
                "simulations": simulations,
                "seconds": seconds,
                "run_again": [float(np.mean(levels >= level)) for level in range(1, len(settings.schedules))],
                "not_ok": found.failure_rate,
                "r_hat": machine.quantiles(ledger.r_hat.tolist(), median=0.5, q95=0.95, max=1.0),
                "ess": machine.quantiles(np.nan_to_num(ledger.ess).tolist(), median=0.5, q05=0.05, min=0.0),
                "outcome": found.outcome.value,
                "reasons": [reason.value for reason in found.reasons],
                "p": {quantity.quantity: quantity.p for quantity in found.quantities},
                "smallest_p_holm": min((q.p_holm for q in found.quantities if q.p_holm is not None), default=None),
            }
        )
    for first, second in (("float64", "float32"), ("float64", "float64, other chains")):
        rows.append({"what": "ranks", "runs": [first, second], **_agreement(ledgers[first], ledgers[second])})
    return rows


def _agreement(one: RankLedger, other: RankLedger) -> dict[str, Any]:
    """How near the ranks of the simulations are that kept all 99 draws in both runs, by quantity and over them."""
    rows = (one.n_draws == MAX_DRAWS) & (other.n_draws == MAX_DRAWS) & one.accepted & other.accepted
    a, b = one.ranks[rows].astype(np.float64), other.ranks[rows].astype(np.float64)
    apart = np.abs(a - b)
    by_quantity = {
        name: {
            "equal": float(np.mean(apart[:, column] == 0.0)),
            "within_1": float(np.mean(apart[:, column] <= 1.0)),
            "within_5": float(np.mean(apart[:, column] <= 5.0)),
            "correlation": float(np.corrcoef(a[:, column], b[:, column])[0, 1]),
        }
        for column, name in enumerate(one.quantities)
    }
    return {
        "simulations": int(rows.sum()),
        "draws": MAX_DRAWS,
        "mean": {
            figure: float(np.mean([found[figure] for found in by_quantity.values()]))
            for figure in ("equal", "within_1", "within_5", "correlation")
        },
        # Positive where the first run ranks truths higher: over all simulations it is 0 for equal posteriors.
        "mean_shift_in_ranks": {
            name: {"mean": float(shift.mean()), "error": float(shift.std(ddof=1) / np.sqrt(shift.size))}
            for name, shift in zip(one.quantities, (a - b).T, strict=True)
        },
        "by_quantity": by_quantity,
    }


def main() -> None:
    """Compare the ranks and p-values of float32 with those of float64 on one core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.precision", description=main.__doc__)
    parser.add_argument("--parameters", type=int, choices=tuple(SIZES), default=15)
    parser.add_argument("--simulations", type=int, default=512)
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows = machine.fresh(measure, arguments.parameters, arguments.simulations, core=machine.places(here)[-1])
    for row in rows:
        if row["what"] == "run":
            p = row["smallest_p_holm"]
            print(
                f"{row['run']}: {row['seconds']:.1f} s, not ok {row['not_ok']:.1%}, {row['outcome']}, smallest Holm p "
                f"{'none' if p is None else f'{p:.3f}'}"
            )
        else:
            mean = row["mean"]
            print(
                f"ranks of {' and '.join(row['runs'])}: equal {mean['equal']:.1%}, within 1 {mean['within_1']:.1%}, "
                f"within 5 {mean['within_5']:.1%}, correlation {mean['correlation']:.4f}"
            )
    machine.write(arguments.output, "precision", here, rows)


if __name__ == "__main__":
    main()
