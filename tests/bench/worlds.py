"""Coverage on random marketing worlds whose truth is known, at the defaults and at those of before."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.conflict.analysis import analyse_belief
from engine.conflict.channel_groups import inseparable
from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import Beta, Distribution, LogNormal
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, prepare
from tests.bench import machine
from tests.worlds import Curve, Kind, World, draw

__all__: list[str] = []

Row = dict[str, Any]

SHAPES = ((3, 56), (5, 104), (8, 104))
"""Channels and rows of a world; a shape is compiled once."""
DAILY, MONTHLY = (3, 240), (3, 56)
BELIEVED = 3
"""So many channels of a world get a belief that is right: its median misses the truth by a draw from its own width."""
_WIDTH = 0.3
_SHORT = replace(BatchedHmc.single(), chains=8, draws=200, last=None, schedules=BatchedHmc.single().schedules[:2])
"""Half of the chains of a single fit and no NUTS: a quantile of .975 comes out to a fifth of a standard deviation."""


def model_of(world: World, *, before: bool) -> AdditiveMmm:
    """The model that the service builds of a world's file by default, now or `before` the defaults of 0.7.0.

    Those were Beta(1, 3) on every share, LogNormal(0, .7) on the half-saturation, eight weights in every grain, and no
    exposure before the file.
    """
    columns = {name: world.exposure[index] for index, name in enumerate(world.names)}
    table = Table(world.dates, columns | {"y": world.kpi, "z": world.control})
    old: dict[str, Any] = {}
    if before:
        laws: dict[str, Distribution] = {
            "prior": Beta(1.0, 3.0),
            "retention_prior": Beta(2.0, 3.0),
            "half_saturation_prior": LogNormal(0.0, 0.7),
        }
        old = laws | {"n_weights": 8}
    channels = tuple(Channel(name, name, **old) for name in world.names)
    model = prepare(table, AdditiveMmmSpec("y", channels, controls=(Control("z", "z"),)))
    if not before:
        return model
    exposure = model.design.exposure.copy()
    for lag in range(exposure.shape[2]):
        exposure[:lag, :, lag] = 0.0
    return replace(model, design=replace(model.design, exposure=exposure), row_weights=None)


def measured(world: World, seed: int, *, before: bool) -> Row:
    """What the answer says of every channel and of all together, beside the truth."""
    model, begin = model_of(world, before=before), time.perf_counter()
    fit = model.fit(model.observed[:, None], Seed.of(seed), np.zeros(1, dtype=np.int64), _SHORT)
    seconds, rng = time.perf_counter() - begin, np.random.default_rng(seed)
    shares = {name: fit.draws[f"share_of_outcome[{name}]"][0] for name in world.names}
    grouped = {name for group in inseparable(shares) for name in group}
    channels = []
    for index, (name, share) in enumerate(shares.items()):
        truth = float(world.shares[index])
        row: Row = {"truth": truth, "grouped": name in grouped, **_interval(share, truth)}
        if index < BELIEVED:
            belief = LogNormal(float(np.log(truth) + _WIDTH * rng.standard_normal()), _WIDTH)
            curve = EvidenceCurve.from_draws(share, model.prior_of(f"share_of_outcome[{name}]"), 24.0)
            missed = () if fit.diagnostics.ok[0] else ("the sampler did not meet its thresholds",)
            row["finding"] = analyse_belief(belief, curve, draws=share, of_fit=missed).finding.value
        channels.append(row)
    total = np.sum(list(shares.values()), axis=0)
    return {
        "kind": world.kind.value,
        "curve": world.curve.value,
        "defaults": "before" if before else "now",
        "channels": len(channels),
        "rows": int(world.kpi.size),
        "seed": seed,
        "converged": bool(fit.diagnostics.ok[0]),
        "seconds": seconds,
        "total": {"truth": world.total, **_interval(total, world.total)},
        "shares": channels,
    }


def _interval(draws: np.ndarray[Any, Any], truth: float) -> Row:
    low, high = (float(end) for end in np.quantile(draws, [0.025, 0.975]))
    return {"mean": float(draws.mean()), "low": low, "high": high, "covered": low <= truth <= high}


def worlds(kind: Kind, number: int) -> list[World]:
    """So many worlds of a kind, over its shapes and the four curves in turn."""
    shapes = {Kind.DAILY: (DAILY,), Kind.MONTHLY: (MONTHLY,)}.get(kind, SHAPES)
    curves = list(Curve)
    return [
        draw(kind, curves[(index // len(shapes)) % len(curves)], *shapes[index % len(shapes)], seed=1000 + index)
        for index in range(number)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit so many worlds of every kind at both defaults."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.worlds", description=main.__doc__)
    parser.add_argument("--worlds", type=int, default=64, help="of each kind")
    parser.add_argument("--kinds", nargs="*", choices=[kind.name for kind in Kind], default=[k.name for k in Kind])
    parser.add_argument("--output", type=Path, default=Path("docs/performance"))
    given = parser.parse_args(arguments)
    enable_float64()
    here, rows = machine.describe(), []
    for kind in given.kinds:
        for seed, world in enumerate(worlds(Kind[kind], given.worlds)):
            for before in (False, True):
                rows.append(measured(world, seed, before=before))
        machine.write(given.output, "worlds", here, rows)


if __name__ == "__main__":
    main()
