"""How a process runs JAX: on one thread, with programs that outlive it, and counting what compiling them took."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jax
from jax import monitoring

COMPILE_EVENTS = frozenset(
    {"/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"}
)
"""What JAX reports of every program: lowering it, and compiling it or reading it from the persistent cache.

Tracing is left out: its reports lie within each other, and may contain a whole compilation. A version of JAX that
reports under other names makes the count 0, nothing else."""


def use_one_thread() -> None:
    """Have XLA compute on one thread unless NPROC says otherwise; called before anything is computed.

    The operations are too small to be cut over cores: a pool of two threads makes them slower than one. Further cores
    are for further processes.
    """
    os.environ.setdefault("NPROC", "1")


def keep_compilations(directory: Path) -> None:
    """Keep every compiled program in `directory`, which is made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    update: Callable[[str, object], None] = jax.config.update
    update("jax_compilation_cache_dir", str(directory.resolve()))
    # The many small programs count: together they take as long to compile as the large ones to load.
    update("jax_persistent_cache_min_compile_time_secs", 0.0)
    update("jax_persistent_cache_min_entry_size_bytes", -1)


class _Spent(threading.local):
    seconds = 0.0


_spent = _Spent()


@functools.cache
def _start_listening() -> None:
    monitoring.register_event_duration_secs_listener(_listen)


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    if event in COMPILE_EVENTS:
        _spent.seconds += duration_secs


@dataclass
class CompileClock:
    """Seconds that went into compiling; 0 until the clock has stopped."""

    seconds: float = 0.0


@contextmanager
def compile_clock() -> Iterator[CompileClock]:
    """Count the seconds in which this thread compiles; those of other threads do not count."""
    _start_listening()
    before, clock = _spent.seconds, CompileClock()
    try:
        yield clock
    finally:
        clock.seconds = _spent.seconds - before
