"""Random marketing worlds for other tools at their defaults: the files they are given, and a table of what they say.

python -m tests.bench.peer_worlds write DIRECTORY
ENVIRONMENT/bin/python tests/bench/peers/with_NAME.py DIRECTORY     (each in an environment of its own; see there)
python -m tests.bench.peer_worlds table DIRECTORY
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.inference.precision import enable_float64
from tests.bench.worlds import BEFORE, NOW, measured, worlds
from tests.worlds import Kind

__all__: list[str] = []

KINDS = (Kind.PLAIN, Kind.HISTORY, Kind.LATE, Kind.TOGETHER, Kind.DRIVER)
PLACES = (0, 4, 6, 10)
"""Of the worlds of each kind: one of each true curve, with 3 channels over 56 rows and 5 over 104 in turn."""


def write(directory: Path) -> None:
    """One archive a world: dates, exposure [C, T], kpi, control, shares [C]."""
    directory.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        made = worlds(kind, 12)
        for place in PLACES:
            world = made[place]
            np.savez(
                directory / f"{kind.name.lower()}_{place}.npz",
                dates=world.dates.astype("datetime64[D]").astype(str),
                exposure=world.exposure,
                kpi=world.kpi,
                control=world.control,
                shares=world.shares,
                kind=kind.value,
                curve=world.curve.value,
            )


def ours(directory: Path) -> None:
    """The same worlds by this service, at the defaults of now and of before."""
    enable_float64()
    with (directory / "ours.jsonl").open("w") as file:
        for kind in KINDS:
            made = worlds(kind, 12)
            for place in PLACES:
                for variant in (BEFORE, NOW):
                    row = measured(made[place], place, variant)
                    file.write(json.dumps(row | {"peer": f"this service, {variant}"}) + "\n")


def table(directory: Path) -> str:
    """Coverage of the 95 % intervals, bias and width of the total by peer, a line each."""
    rows = [json.loads(line) for path in sorted(directory.glob("*.jsonl")) for line in path.read_text().splitlines()]
    lines = []
    for peer in dict.fromkeys(row["peer"] for row in rows):
        own = [row for row in rows if row["peer"] == peer]
        totals: list[dict[str, Any]] = [row["total"] for row in own]
        shares = [share for row in own for share in row["shares"]]
        lines.append(
            f"{peer}: {len(own)} files; covered: total {_covered(totals)}, shares {_covered(shares)}; bias "
            f"{np.mean([t['mean'] - t['truth'] for t in totals]):+.3f}, width "
            f"{np.mean([t['high'] - t['low'] for t in totals]):.3f}; {np.median([row['seconds'] for row in own]):.0f} s"
        )
    return "\n".join(lines)


def _covered(intervals: Sequence[dict[str, Any]]) -> str:
    return f"{sum(i['low'] <= i['truth'] <= i['high'] for i in intervals)} of {len(intervals)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, fit them here, or show the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peer_worlds", description=__doc__)
    parser.add_argument("what", choices=["write", "ours", "table"])
    parser.add_argument("directory", type=Path)
    given = parser.parse_args(arguments)
    if given.what == "table":
        print(table(given.directory))
    else:
        {"write": write, "ours": ours}[given.what](given.directory)


if __name__ == "__main__":
    main()
