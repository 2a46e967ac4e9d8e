"""Coverage on random marketing worlds whose truth is known, at the defaults and at those of before."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from engine.conflict.analysis import analyse_belief
from engine.conflict.channel_groups import inseparable
from engine.conflict.curve import EvidenceCurve
from engine.conflict.curve_average import average_curves
from engine.distributions.distribution import Beta, Distribution, LogNormal
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Saturation, Table, prepare
from tests.bench import machine
from tests.worlds import Curve, Kind, World, draw

__all__: list[str] = []

Row = dict[str, Any]

SHAPES = ((3, 56), (5, 104), (8, 104))
"""Channels and rows of a world; a shape is compiled once."""
DAILY, MONTHLY = (3, 240), (3, 56)
BEFORE, AVERAGE = "before", "average"
FORMS = {form.value: form for form in Saturation}
NOW = Saturation.HILL_SLOPE.value
VARIANTS = (BEFORE, *FORMS, AVERAGE)
BELIEVED = 3
"""So many channels of a world get a belief that is right: its median misses the truth by a draw from its own width."""
_WIDTH = 0.3
_SHORT = replace(BatchedHmc.single(), chains=8, draws=200, last=None, schedules=BatchedHmc.single().schedules[:2])
"""Half of the chains of a single fit and no NUTS: a quantile of .975 comes out to a fifth of a standard deviation."""


def model_of(world: World, variant: str) -> AdditiveMmm:
    """The model that the service builds of a world's file: `now`, with a single `curve`, or `before` 0.7.0.

    The defaults before were Beta(1, 3) on every share, LogNormal(0, .7) on the half-saturation of a Hill curve with
    slope 1, eight weights in every grain, and no exposure before the file.
    """
    columns = {name: world.exposure[index] for index, name in enumerate(world.names)}
    table = Table(world.dates, columns | {"y": world.kpi, "z": world.control})
    given: dict[str, Any] = {"saturation": Saturation.HILL if variant == BEFORE else FORMS[variant]}
    if variant == BEFORE:
        laws: dict[str, Distribution] = {
            "prior": Beta(1.0, 3.0),
            "retention_prior": Beta(2.0, 3.0),
            "half_saturation_prior": LogNormal(0.0, 0.7),
        }
        given |= laws | {"n_weights": 8}
    channels = tuple(Channel(name, name, **given) for name in world.names)
    model = prepare(table, AdditiveMmmSpec("y", channels, controls=(Control("z", "z"),)))
    if variant != BEFORE:
        return model
    exposure = model.design.exposure.copy()
    for lag in range(exposure.shape[2]):
        exposure[:lag, :, lag] = 0.0
    return replace(model, design=replace(model.design, exposure=exposure), row_weights=None)


def measured(world: World, seed: int, variant: str) -> Row:
    """What the answer says of every channel and of all together, beside the truth."""
    model, begin = model_of(world, NOW if variant == AVERAGE else variant), time.perf_counter()
    names = [f"share_of_outcome[{name}]" for name in world.names]
    if variant == AVERAGE:
        average = average_curves(model, Seed.of(seed))
        converged = all(not curve.reasons for curve in average.curves)
        # Of one seed the draws of all quantities are those of the same curves and positions.
        drawn = [average.draws_of(name, Seed.of(seed)) for name in names]
    else:
        fit = model.fit(model.observed[:, None], Seed.of(seed), np.zeros(1, dtype=np.int64), _SHORT)
        converged, drawn = bool(fit.diagnostics.ok[0]), [fit.draws[name][0] for name in names]
    seconds, rng = time.perf_counter() - begin, np.random.default_rng(seed)
    shares = dict(zip(world.names, drawn, strict=True))
    grouped = {name for group in inseparable(shares) for name in group}
    channels = []
    for index, (name, share) in enumerate(shares.items()):
        truth = float(world.shares[index])
        row: Row = {"truth": truth, "grouped": name in grouped, **_interval(share, truth)}
        if index < BELIEVED:
            belief = LogNormal(float(np.log(truth) + _WIDTH * rng.standard_normal()), _WIDTH)
            curve = EvidenceCurve.from_draws(share, model.prior_of(names[index]), 24.0)
            missed = () if converged else ("the sampler did not meet its thresholds",)
            row["finding"] = analyse_belief(belief, curve, draws=share, of_fit=missed).finding.value
        channels.append(row)
    total = np.sum(list(shares.values()), axis=0)
    return {
        "kind": world.kind.value,
        "curve": world.curve.value,
        "variant": variant,
        "channels": len(channels),
        "rows": int(world.kpi.size),
        "seed": seed,
        "converged": converged,
        "seconds": seconds,
        "total": {"truth": world.total, **_interval(total, world.total)},
        "shares": channels,
    }


def _interval(draws: np.ndarray[Any, Any], truth: float) -> Row:
    low, high = (float(end) for end in np.quantile(draws, [0.025, 0.975]))
    score = float(stats.gaussian_kde(np.log(np.ravel(draws))).logpdf(np.log(truth))[0])
    return {
        "mean": float(draws.mean()),
        "low": low,
        "high": high,
        "covered": low <= truth <= high,
        "log_score": score,
    }


def worlds(kind: Kind, number: int) -> list[World]:
    """So many worlds of a kind, over its shapes and the four curves in turn."""
    shapes = {Kind.DAILY: (DAILY,), Kind.MONTHLY: (MONTHLY,)}.get(kind, SHAPES)
    curves = list(Curve)
    return [
        draw(kind, curves[(index // len(shapes)) % len(curves)], *shapes[index % len(shapes)], seed=1000 + index)
        for index in range(number)
    ]


def told(rows: Sequence[Row]) -> list[str]:
    """Coverage, bias, width and false conflicts by kind of world and variant, a line each."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for key in (row["kind"], f"  {row['curve']}", "all"):
            groups.setdefault((key, row["variant"]), []).append(row)
    lines = []
    for (kind, variant), members in sorted(groups.items()):
        shares = [share for row in members for share in row["shares"]]
        told_alone = [share for share in shares if not share["grouped"]]
        findings = [share["finding"] for share in shares if "finding" in share]
        judged = [finding for finding in findings if finding != "unreliable"]
        totals = [row["total"] for row in members]
        lines.append(
            f"{kind:14} {variant:11} {len(members):4} worlds; covered: total {_rate(totals)}, shares {_rate(shares)}, "
            f"not grouped {_rate(told_alone)}; bias {np.mean([t['mean'] - t['truth'] for t in totals]):+.3f}, width "
            f"{np.mean([t['high'] - t['low'] for t in totals]):.3f}, log score "
            f"{np.mean([t['log_score'] for t in totals]):.2f} / {np.mean([s['log_score'] for s in shares]):.2f}; "
            f"conflict {judged.count('conflict')} of {len(judged)}, silent {judged.count('data_silent')}; converged "
            f"{np.mean([row['converged'] for row in members]):.2f}; "
            f"{np.median([row['seconds'] for row in members]):.1f} s"
        )
    return lines


def _rate(intervals: Sequence[Row]) -> str:
    return f"{100 * np.mean([i['covered'] for i in intervals]):.1f} %" if intervals else "–"


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit so many worlds of every kind with the defaults of now and others."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.worlds", description=main.__doc__)
    parser.add_argument("--worlds", type=int, default=64, help="of each kind")
    parser.add_argument("--kinds", nargs="*", choices=[kind.name for kind in Kind], default=[k.name for k in Kind])
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=[BEFORE, "hill", NOW])
    parser.add_argument("--name", default="worlds")
    parser.add_argument("--output", type=Path, default=Path("docs/performance"))
    given = parser.parse_args(arguments)
    enable_float64()
    here, rows = machine.describe(), []
    for kind in given.kinds:
        for seed, world in enumerate(worlds(Kind[kind], given.worlds)):
            rows += [measured(world, seed, variant) for variant in given.variants]
        machine.write(given.output, given.name, here, rows)
    print("\n".join(told(rows)))


if __name__ == "__main__":
    main()
