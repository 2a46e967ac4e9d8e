"""Time of the short calls through the client: recommending an update of a stored analysis, and deciding on SBC."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from liftos.bayes import Client, share_of_outcome, usd

from tests.bench import machine
from tests.bench.cases import SIZES
from tests.bench.conflict import BELIEVED, register
from tests.end_to_end.conftest import Service

__all__: list[str] = []

_STRATEGIES = ("evidence_weighted", "full_bayesian", "conservative")


def measure(parameters: int, calls: int, directory: Path) -> list[dict[str, Any]]:
    """One row for each kind of call, of a service that has computed nothing before."""
    service = Service(directory)
    service.start()
    try:
        with Client.connect(service.address, client_id="bench", timeout=600) as client:
            name = register(client, parameters, 0, directory)
            very_first = _seconds(
                lambda: client.elicitation.fit_prior("share_of_outcome", mean=0.5, plus_minus=0.1, meaning="sd")
            )
            first_decision = _seconds(lambda: client.sbc.check_necessity(model_id=name))
            client.elicitation.create(name, model_id=name, client_confidence=0.7)
            client.elicitation.add_belief(
                name, "belief", share_of_outcome(BELIEVED), mean=0.5, plus_minus=0.1, meaning="sd"
            )
            client.elicitation.confirm(name)
            client.conflicts.analyze(name, without_causes=True)
            rows = [_row("FitPrior, the very first call", parameters, very_first, [very_first])]
            for strategy in _STRATEGIES:
                took = [
                    _seconds(lambda of=strategy: client.updates.propose(name, update_strategy=of))
                    for _ in range(calls + 1)
                ]
                rows.append(_row(f"UpdatePriors, {strategy}", parameters, took[0], took[1:]))
            # A finished run is what a decision takes the cost from.
            client.sbc.run(model_id=name, validation_type="quick", seed=1).result()
            # Another amount each time, so that every decision is a new one and has to be stored.
            took = [
                _seconds(
                    lambda dollars=dollars: client.sbc.check_necessity(
                        model_id=name, bayes_factor=12.0, business_impact=usd(dollars), client_confidence=0.7
                    )
                )
                for dollars in range(calls)
            ]
            rows.append(_row("CheckSbcNecessity", parameters, first_decision, took))
    finally:
        service.stop()
    return rows


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _row(call: str, parameters: int, first: float, took: list[float]) -> dict[str, Any]:
    return {
        "call": call,
        "parameters": parameters,
        "calls": len(took),
        "first_seconds": first,
        "seconds": machine.quantiles(took, median=0.5, **{"90": 0.9}, max=1.0),
    }


def main() -> None:
    """Time the short calls of a service with one worker for calls and all cores at its disposal."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency", description=main.__doc__)
    parser.add_argument("--parameters", type=int, nargs="+", choices=tuple(SIZES), default=[15])
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows = []
    for parameters in arguments.parameters:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(parameters, arguments.calls, Path(folder))
    for row in rows:
        seconds = row["seconds"]
        print(
            f"{row['call']}, {row['parameters']} parameters, {row['calls']} calls: median {seconds['median']:.3f} s, "
            f"90 % {seconds['90']:.3f} s, worst {seconds['max']:.3f} s; first {row['first_seconds']:.3f} s",
            flush=True,
        )
    machine.write(arguments.output, "latency", here, rows)


if __name__ == "__main__":
    main()
