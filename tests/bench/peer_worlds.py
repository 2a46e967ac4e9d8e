"""Random marketing worlds for other tools at their defaults: the files they are given, and a table of what they say.

python -m tests.bench.peer_worlds write DIRECTORY
python -m tests.bench.peer_worlds peers DIRECTORY   (each in an environment of its own, made in a temporary folder)
python -m tests.bench.peer_worlds ours DIRECTORY    (or taken from a run of tests.bench.worlds: --rows FILE)
python -m tests.bench.peer_worlds table DIRECTORY --output docs/performance/peer_worlds.jsonl

Each step but the first goes on where an earlier one stopped. The peers need minutes a file and about 2 GiB each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.inference.precision import enable_float64
from tests.bench.worlds import NOW, measured, worlds
from tests.worlds import Kind, World

__all__: list[str] = []

Row = dict[str, Any]

KINDS = (Kind.PLAIN, Kind.HISTORY, Kind.LATE, Kind.TOGETHER, Kind.DRIVER)
PLACES = (0, 4, 6, 10)
"""Of the worlds of each kind: one of each true curve, with 3 channels over 56 rows and 5 over 104 in turn."""
PEERS = {
    "pymc_marketing": ("pymc-marketing==1.3.0", "pymc==6.3.2", "arviz==1.3.0", "numpyro==0.22.0"),
    "meridian": ("google-meridian==2.1.0",),
}
"""What the environment of each runner in `tests/bench/peers` holds."""


def files() -> Iterator[tuple[str, int, World]]:
    """Name of the file, place among the worlds of its kind, and world; one true curve after the other."""
    made = {kind: worlds(kind, max(PLACES) + 1) for kind in KINDS}
    for place in PLACES:
        for kind in KINDS:
            yield f"{kind.name.lower()}_{place}", place, made[kind][place]


def write(directory: Path) -> None:
    """One archive a world: dates, exposure [C, T], kpi, control, shares [C]."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, _, world in files():
        np.savez(
            directory / f"{name}.npz",
            dates=world.dates.astype("datetime64[D]").astype(str),
            exposure=world.exposure,
            kpi=world.kpi,
            control=world.control,
            shares=world.shares,
            kind=world.kind.value,
            curve=world.curve.value,
        )


def peers(directory: Path, python: str, limit: float) -> None:
    """Every peer on every file, one process after the other, none longer than the limit in seconds."""
    names = [name for name, _, _ in files()]
    with tempfile.TemporaryDirectory() as folder:
        for peer, pins in PEERS.items():
            own = Path(folder) / peer
            subprocess.run([python, "-m", "venv", str(own)], check=True)
            own_python = str(own / "bin" / "python")
            install = [own_python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins]
            subprocess.run(install, check=True)
            script = Path(__file__).parent / "peers" / f"with_{peer}.py"
            try:
                subprocess.run(
                    ["nice", "-n", "10", own_python, str(script), str(directory), *names], check=True, timeout=limit
                )
            except subprocess.TimeoutExpired:
                print(f"{peer}: stopped after {limit:.0f} s; another call goes on")


def ours(directory: Path, variant: str, rows: Path | None) -> None:
    """The same worlds by this service: fitted here, or found among the rows of a run of `tests.bench.worlds`."""
    enable_float64()
    result, peer = directory / "ours.jsonl", f"this service, {variant}"
    known = _read(result)
    done = {(row["peer"], row["file"]) for row in known}
    found = {
        (row["kind"], row["seed"]): row
        for row in (json.loads(rows.read_text())["rows"] if rows is not None else ())
        if row["variant"] == variant
    }
    for name, place, world in files():
        if (peer, name) in done:
            continue
        if rows is None:
            row = measured(world, place, variant)
        elif (world.kind.value, place) in found:
            row = found[world.kind.value, place]
            if row["total"]["truth"] != world.total:
                raise ValueError(f"{rows} was made of other worlds: {name} has total {world.total}")
        else:
            continue
        with result.open("a") as file:
            file.write(json.dumps(row | {"peer": peer, "file": name}) + "\n")


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: Sequence[Row]) -> str:
    """A line of Markdown by peer: coverage of the 95 % intervals, bias and width, ± one standard error.

    Shares of one file are not independent: their error counts files.
    """
    head = "peer", "files", "total covered", "shares covered", "bias of the total", "mean error of a share"
    head = (*head, "width: total", "share", "R-hat above 1.05 (worst)", "files with divergences", "seconds a file")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for peer in dict.fromkeys(row["peer"] for row in rows):
        own = [row for row in rows if row["peer"] == peer]
        totals = [row["total"] for row in own]
        shares = [row["shares"] for row in own]
        every = [share for of_file in shares for share in of_file]
        r_hats = [row["r_hat"] for row in own if "r_hat" in row]
        diverged = [row["divergences"] > 0 for row in own if "divergences" in row]
        cells = (
            peer,
            str(len(own)),
            _coverage([[total] for total in totals]),
            _coverage(shares),
            _mean([total["mean"] - total["truth"] for total in totals]),
            f"{100 * np.mean([abs(share['mean'] - share['truth']) for share in every]):.1f} %",
            f"{100 * np.mean([total['high'] - total['low'] for total in totals]):.0f} %",
            f"{100 * np.mean([share['high'] - share['low'] for share in every]):.1f} %",
            f"{sum(r_hat > 1.05 for r_hat in r_hats)} ({max(r_hats):.2f})" if r_hats else "–",
            str(sum(diverged)) if diverged else "–",
            f"{np.median([row['seconds'] for row in own]):.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _coverage(of_files: Sequence[Sequence[Row]]) -> str:
    covered = [sum(i["low"] <= i["truth"] <= i["high"] for i in intervals) for intervals in of_files]
    numbers = np.asarray([len(intervals) for intervals in of_files])
    rate = sum(covered) / numbers.sum()
    error = np.sqrt(((covered - rate * numbers) ** 2).sum()) / numbers.sum()
    return f"{sum(covered)} of {numbers.sum()}, {100 * rate:.0f} ± {100 * error:.0f} %"


def _mean(values: Sequence[float]) -> str:
    error = f" ± {100 * np.std(values, ddof=1) / np.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):+.1f}{error} %"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files, have them fitted, or show the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peer_worlds", description=__doc__)
    parser.add_argument("what", choices=["write", "peers", "ours", "table"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--python", default="python3.12", help="that the peers run on")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds for each peer")
    parser.add_argument("--variant", default=NOW, help="of ours, as in tests.bench.worlds")
    parser.add_argument("--rows", type=Path, help="result file of tests.bench.worlds to take ours from")
    parser.add_argument("--common", action="store_true", help="only files that every peer has fitted")
    parser.add_argument("--output", type=Path, help="file for all rows, one a line")
    given = parser.parse_args(arguments)
    match given.what:
        case "write":
            write(given.directory)
        case "peers":
            peers(given.directory, given.python, given.limit)
        case "ours":
            ours(given.directory, given.variant, given.rows)
        case _:
            rows = [row for path in sorted(given.directory.glob("*.jsonl")) for row in _read(path)]
            if given.output is not None:
                given.output.write_text("".join(json.dumps(row) + "\n" for row in rows))
            if given.common:
                fitted = [
                    {row["file"] for row in rows if row["peer"] == peer} for peer in {row["peer"] for row in rows}
                ]
                rows = [row for row in rows if row["file"] in set.intersection(*fitted)]
            print(table(rows))


if __name__ == "__main__":
    main()
