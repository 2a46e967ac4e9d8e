"""Where a benchmark runs: fresh processes on cores of their own, what the machine is, memory, and the result files."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import psutil

__all__ = ["age", "backend", "cores", "describe", "fresh", "on_core", "peak_memory", "places", "quantiles", "write"]

T = TypeVar("T")

Row = dict[str, Any]

_THREADS = "NPROC"
"""Size of XLA's thread pool on the CPU."""


def cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Processes started inside have one core and one XLA thread; None changes nothing.

    They inherit both when they start: threads that a library starts while it is imported would escape a later change.
    Outside Linux there is one thread and no fixed core.
    """
    if core is None:
        yield
        return
    before, allowed = os.environ.get(_THREADS), cores()
    os.environ[_THREADS] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, allowed)
        os.environ.pop(_THREADS)
        if before is not None:
            os.environ[_THREADS] = before


def fresh(function: Callable[..., T], *arguments: Any, core: int | None = None) -> T:
    """What the function returns in a process of its own, so that nothing is compiled and no memory used before."""
    context = multiprocessing.get_context("spawn")
    with on_core(core), ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def age() -> float:
    """Seconds since this process was started: the interpreter and the imports, when nothing else was done."""
    return time.time() - psutil.Process().create_time()


def peak_memory() -> Row:
    """Largest memory of this process so far in MiB: resident, and on the device where it has memory of its own."""
    import jax

    return {"resident_mib": _resident_peak(), "device_mib": _device_memory(jax.local_devices()[0])}


def _resident_peak() -> float:
    # On Linux ru_maxrss includes what the parent had when it started this process; the kernel's own figure does not.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _device_memory(device: Any) -> float | None:
    found = device.memory_stats()
    return None if found is None or "peak_bytes_in_use" not in found else found["peak_bytes_in_use"] / 2**20


def describe() -> Row:
    """The machine in words, found by a process of its own: a device has memory for one process only."""
    command = [sys.executable, "-m", "tests.bench.machine"]
    found: Row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found | {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "cores": len(cores())}


def backend(machine: Mapping[str, Any]) -> str:
    """cpu, gpu or another backend of JAX: part of a result file's name."""
    return str(machine["backend"])


def places(machine: Mapping[str, Any]) -> list[int | None]:
    """One entry per process of a run: its core on the CPU, None for the one process that has a device."""
    return [*cores()] if backend(machine) == "cpu" else [None]


def _describe_here() -> Row:
    import jax
    import jaxlib
    import numpy

    device = jax.local_devices()[0]
    return {
        "cpu": _cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "numpy": numpy.__version__,
        "backend": jax.default_backend(),
        "device": device.device_kind,
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def quantiles(values: Sequence[float], **levels: float) -> Row:
    """Named quantiles of values, those that are not numbers counted as infinite."""
    import numpy as np

    known = np.where(np.isnan(values), np.inf, values)
    # A quantile between two infinite values would be NaN.
    return {name: float(np.quantile(known, at, method="nearest")) for name, at in levels.items()}


def write(output: Path, part: str, machine: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write one part's rows to `PART-BACKEND.json` in a folder, that of an earlier run replaced."""
    output.mkdir(parents=True, exist_ok=True)
    content = {"part": part, "machine": dict(machine), "rows": list(rows)}
    path = output / f"{part}-{backend(machine)}.json"
    path.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """The value with None for every number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    print(json.dumps(_describe_here()))
