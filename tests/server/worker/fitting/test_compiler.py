"""How a worker process compiles, and what it says about it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from server.worker.fitting.compiler import compile_clock


def new_program() -> Callable[[], object]:
    """A function that compiles when it is first called."""
    program = jax.jit(lambda x: jnp.sin(x) * 2.0)
    return lambda: program(jnp.ones(3)).block_until_ready()


def test_the_first_run_of_a_program_compiles_and_the_second_does_not() -> None:
    run = new_program()
    with compile_clock() as first:
        run()
    with compile_clock() as second:
        run()
    assert 0.0 < first.seconds < 60.0
    assert second.seconds == 0.0


def test_what_another_thread_compiles_does_not_count() -> None:
    seconds = []

    def other() -> None:
        with compile_clock() as clock:
            new_program()()
        seconds.append(clock.seconds)

    with compile_clock() as own:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seconds[0] > 0.0
    assert own.seconds == 0.0


def test_a_clock_counts_up_to_an_error() -> None:
    try:
        with compile_clock() as clock:
            new_program()()
            raise ValueError
    except ValueError:
        assert clock.seconds > 0.0


PROCESS = """
import os, sys
from pathlib import Path
from server.worker.fitting.compiler import compile_clock, keep_compilations, use_one_thread
use_one_thread()
keep_compilations(Path(sys.argv[1]))
import jax, jax.numpy as jnp
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
with compile_clock() as clock:
    jax.jit(lambda x: jnp.sin(x) * 2.0)(jnp.ones(3)).block_until_ready()
print(os.environ["NPROC"], len(hits), clock.seconds)
"""


def process(cache: Path, **environment: str) -> tuple[str, int, float]:
    """NPROC, programs found in the cache and seconds spent on getting programs, of a process with one small program."""
    given = {name: value for name, value in os.environ.items() if name != "NPROC"} | environment
    command = [sys.executable, "-c", PROCESS, str(cache)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=100, check=True)
    threads, hits, seconds = done.stdout.split()
    return threads, int(hits), float(seconds)


def test_a_process_runs_on_one_thread_and_leaves_even_small_programs_to_the_next(tmp_path: Path) -> None:
    threads, hits, seconds = process(tmp_path / "cache")
    assert (threads, hits) == ("1", 0)
    assert seconds > 0.0
    threads, hits, seconds = process(tmp_path / "cache", NPROC="2")
    assert threads == "2"
    assert hits > 0
    assert seconds > 0.0  # loading counts too
