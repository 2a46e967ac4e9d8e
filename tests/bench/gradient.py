"""Gradients per second on one core, written out and by autodiff, and how near they come to what the core can do."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.inference.compilation import jit_wide
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.inference.target import Target, cast, differentiated, log_density_and_gradient
from engine.models.additive_mmm import AdditiveMmm
from tests.bench import machine
from tests.bench.cases import SIZES, case

__all__ = ["flops", "peak", "rate"]

_REPEATS = 5
_LANES = 256  # 64 simulations of 4 chains: a chunk of the first schedule


def flops(model: AdditiveMmm) -> float:
    """Arithmetic operations of one gradient in closed form: N (C (4 W + 15) + 4 q + 10).

    N rows, C channels, W adstock weights, q columns of the linear part. Per row and channel: 4 W for the two products
    with the lagged exposure, 2 for the curve, 2 for its weighted sum, 4 for its effect, 2 for the strength, 5 for the
    slope and the pull on the curve. Per row: 4 q for the two products with the basis, 3 for the residual and 7 for
    sums of squares and the pull. A division counts as one. What does not grow with N is left out (powers, prior map).
    """
    rows, channels, weights = model.design.exposure.shape
    columns = model.design.block.shape[1]
    return float(rows * (channels * (4 * weights + 15) + 4 * columns + 10))


def rate(model: AdditiveMmm, lanes: int, dtype: str, *, closed: bool, seconds: float = 0.3) -> dict[str, float]:
    """Gradients per second, one per lane and evaluation; median, least and most of five measurements.

    Lanes are at truths drawn from the prior, each with the data simulated from it. As in the sampler, the coordinates
    are the carry of a loop: anything else would be fused into what is computed from them.
    """
    sample = model.sample_prior(Seed.of(1300), np.arange(lanes))
    z = jnp.asarray(model.coordinates(sample.parameters), dtype)
    y = jnp.asarray(model.target_units(sample.y), dtype)
    target = cast(model.target, dtype)

    def run(times: int) -> Array:
        return _repeated(target, y, z, jnp.asarray(times), closed)

    return {
        key: lanes * value for key, value in _per_second(lambda times: run(times).block_until_ready(), seconds).items()
    }


@partial(jit_wide, static_argnames="closed")
def _repeated(target: Target, y: Array, z: Array, times: Array, closed: bool) -> Array:
    def step(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        position, total = carry
        value, gradient = (log_density_and_gradient if closed else differentiated)(target, position, y)
        # Too little to move a lane, but the compiler does not know: every evaluation needs the one before.
        return position + 1e-12 * gradient, total + value

    result: Array = jax.lax.fori_loop(0, times, step, (z, jnp.zeros_like(z[0])))[1]
    return result


def _per_second(run: Callable[[int], Any], seconds: float) -> dict[str, float]:
    """Times per second that `run(times)` does its work, from runs of about so many seconds."""
    run(1)  # compiles
    times, took = 1, 0.0
    while took < 0.1 * seconds:
        times *= 4
        took = _seconds(run, times)
    times = max(1, round(times * seconds / took))
    rates = [times / _seconds(run, times) for _ in range(_REPEATS)]
    return {"median": statistics.median(rates), "least": min(rates), "most": max(rates)}


def _seconds(run: Callable[[int], Any], times: int) -> float:
    start = time.perf_counter()
    run(times)
    return time.perf_counter() - start


def peak(dtype: str, seconds: float = 0.2) -> dict[str, float]:
    """Most operations per second that XLA reaches: by chains of multiply-adds on a small array, and by a product.

    The best of several lengths and sizes, because which one keeps all of a core's units busy depends on the core.
    """
    chains = {
        f"{length} multiply-adds on {size}": 2.0
        * length
        * size
        * _per_second(_chain(length, size, dtype), seconds)["most"]
        for length in (8, 16, 32)
        for size in (1024, 4096)
    }
    product = {
        f"product of {size}": 2.0 * size**3 * _per_second(_product(size, dtype), seconds)["most"]
        for size in (256, 1024)
    }
    return {"chain": max(chains.values()), "product": max(product.values())}


def _chain(length: int, size: int, dtype: str) -> Callable[[int], Any]:
    @jax.jit
    def run(x: Array, factor: Array, term: Array, times: Array) -> Array:
        def step(_: Array, value: Array) -> Array:
            for _ in range(length):
                value = value * factor + term
            return value

        result: Array = jax.lax.fori_loop(0, times, step, x)
        return result

    factor, term = jnp.asarray(0.999, dtype), jnp.asarray(0.001, dtype)
    x = jnp.ones(size, dtype)
    return lambda times: run(x, factor, term, jnp.asarray(times)).block_until_ready()


def _product(size: int, dtype: str) -> Callable[[int], Any]:
    @jax.jit
    def run(x: Array, matrix: Array, times: Array) -> Array:
        result: Array = jax.lax.fori_loop(0, times, lambda _, value: matrix @ value, x)
        return result

    x, matrix = jnp.ones((size, size), dtype), jnp.full((size, size), 1.0 / size, dtype)
    return lambda times: run(x, matrix, jnp.asarray(times)).block_until_ready()


def measure(sizes: Sequence[int], lanes: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of all sizes, numbers of lanes, precisions and ways; only the sampler's own with other numbers of lanes."""
    enable_float64()
    peaks = {dtype: peak(dtype) for dtype in ("float32", "float64")}
    rows: list[dict[str, Any]] = [{"what": "peak", "dtype": dtype, **found} for dtype, found in peaks.items()]
    for parameters in sizes:
        model = case(parameters)
        operations = flops(model)
        for count in lanes:
            ways = [("float32", True)]
            if count == _LANES:
                ways += [("float64", True), ("float32", False), ("float64", False)]
            for dtype, closed in ways:
                found = rate(model, count, dtype, closed=closed)
                row = {
                    "what": "gradient",
                    "parameters": parameters,
                    "lanes": count,
                    "dtype": dtype,
                    "way": "closed form" if closed else "autodiff",
                    "gradients_per_second": found,
                    "flop": operations,
                    # Autodiff has another count of its own: its share is that of the useful operations.
                    "of_peak": found["median"] * operations / max(peaks[dtype].values()),
                }
                print(
                    f"{parameters} parameters, {count} lanes, {dtype}, {row['way']}: "
                    f"{found['median']:.3g} gradients/s, {row['of_peak']:.0%} of peak",
                    flush=True,
                )
                rows.append(row)
    return rows


def main() -> None:
    """Measure gradients per second on one core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gradient", description=main.__doc__)
    parser.add_argument("--parameters", type=int, nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--lanes", type=int, nargs="+", default=[8, 64, _LANES, 1024])
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows = machine.fresh(measure, arguments.parameters, arguments.lanes, core=machine.places(here)[-1])
    for row in rows:
        if row["what"] == "peak":
            print(f"peak {row['dtype']}: chain {row['chain'] / 1e9:.1f}, product {row['product'] / 1e9:.1f} GFLOP/s")
    machine.write(arguments.output, "gradient", here, rows)


if __name__ == "__main__":
    main()
