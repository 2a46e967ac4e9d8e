"""`python -m tests.bench [PART ...]`: measure the engine and its rivals, one process after another, and write it down.

Every part writes `PART-BACKEND.json`; at the end `tables.md` and the plots are made of the files that are there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import machine, render
from tests.bench.cases import SIZES

__all__: list[str] = []

PARTS = (
    "throughput",
    "rivals",
    "single",
    "conflict",
    "latency",
    "gradient",
    "scaling",
    "precision",
    "accuracy",
    "calibration",
    "comparison",
    "verdicts",
    "conflict_calibration",
    "conflict_estimators",
    "worlds",
)

_QUICK: Mapping[str, Sequence[str]] = {
    "throughput": ("--parameters", "5", "--simulations", "100", "--large", "--repeats", "1"),
    "single": ("--parameters", "5", "--data-sets", "2"),
    "conflict": ("--parameters", "5", "--data-sets", "2"),
    "latency": ("--parameters", "5", "--calls", "3"),
    "gradient": ("--parameters", "5", "--lanes", "8", "256"),
    "scaling": ("--weeks", "52", "--geos", "2", "--simulations", "64", "--data-sets", "1"),
    "precision": ("--parameters", "5", "--simulations", "64"),
    "accuracy": ("--data-sets", "simulated", "--draws", "200"),
    "calibration": ("--repetitions", "20"),
    "comparison": ("--problems", "normal", "--simulations", "8"),
    "verdicts": ("--data-sets", "pymc_mmm_example", "--draws", "200"),
    "conflict_calibration": ("--data-sets", "20", "--from-draws", "5"),
    "conflict_estimators": ("--seeds", "1"),
    "worlds": ("--worlds", "1", "--kinds", "MONTHLY"),
}
"""Arguments of a smoke run; a part without an entry here is told otherwise."""

_RIVALS = (("simuk", "float64"), ("simuk", "float32"), ("nuts", "float64"), ("nuts", "float32"), ("nutpie", "float64"))
_RIVAL_SEED = 1030
"""Seed of the rivals' data sets: those of the first run of 1000 simulations in `throughput`."""


def rivals(output: Path, sizes: Sequence[int], simulations: int, few: int) -> None:
    """Measure every rival at every size, each in a process on one core while the other cores idle.

    simuk, the slowest by far, gets `few` simulations.
    """
    here = machine.describe()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measurement.json"
        for parameters in sizes:
            for rival, precision in _RIVALS:
                options = {
                    "--parameters": parameters,
                    "--simulations": few if rival == "simuk" else simulations,
                    "--precision": precision,
                    "--seed": _RIVAL_SEED,
                    "--json": path,
                }
                words = [word for name, value in options.items() for word in (name, str(value))]
                with machine.on_core(machine.cores()[-1]):
                    subprocess.run([sys.executable, "-m", "tests.bench.rivals", rival, *words], check=True)
                rows.append({"seed": _RIVAL_SEED, **json.loads(path.read_text())})
                machine.write(output, "rivals", here, rows)


def main() -> int:
    """Run all parts or those named, then render what was measured; returns how many parts failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a smoke run of tiny sizes, for no figures")
    parser.add_argument("--output", type=Path, help="folder; default docs/performance, .bench for a smoke run")
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    output = arguments.output or Path(".bench" if arguments.quick else "docs/performance")
    failed = []
    for part in parts:
        print(f"\n== {part}", flush=True)
        try:
            if part == "rivals":
                rivals(
                    output,
                    [5] if arguments.quick else [size for size in SIZES if size in (15, 50)],
                    1 if arguments.quick else 8,
                    1 if arguments.quick else 4,
                )
            else:
                options = _QUICK[part] if arguments.quick else ()
                command = [sys.executable, "-m", f"tests.bench.{part}", *options, "--output", str(output)]
                subprocess.run(command, check=True)
        except subprocess.CalledProcessError as error:
            # The others are worth having all the same.
            print(f"{part} failed: {error}", file=sys.stderr)
            failed.append(part)
    print()
    print("\n".join(render.render(output)))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
