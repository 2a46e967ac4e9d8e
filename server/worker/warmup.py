"""Compile the programs of common models while a worker has nothing else to do, so that a first request is a fast one."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from engine.inference.settings import FitSettings, Schedule
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Table, prepare
from engine.models.protocol import Seed
from persistence import queue
from server.worker.models import DEFAULT_SHARE_PRIOR, DEFAULT_WEIGHTS

log = logging.getLogger(__name__)

ROWS = 104
"""Two years of weeks: the window when a request names none."""
QUIET_SECONDS = 5.0
"""So long nothing must have been asked for: requests come in bursts, and a program once begun is compiled to its end."""
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Step:
    """One program, or the few that belong together."""

    name: str
    run: Callable[[], None]


def steps(queues: Sequence[str], channels: Iterable[int]) -> Iterator[Step]:
    """What the queues need for models with so many channels: fits of one data set for calls, of simulations for shards.

    Schedules that share their shapes share their programs, so that each shape is run once.
    """
    for count in channels:
        model = common_model(count)
        for name in queues:
            single = name == queue.CALLS
            settings = FitSettings.single() if single else FitSettings.simulation(len(model.parameter_names))
            for schedule in {(s.chunk, s.dtype): s for s in reversed(settings.schedules)}.values():
                what = f"{name}: {count} channels, {schedule.chunk} data sets at a time"
                yield Step(what, partial(_compile, model, settings, schedule))


def common_model(channels: int) -> AdditiveMmm:
    """A national, weekly model with the defaults of the contract and two Fourier pairs; its numbers are made up."""
    rng = np.random.default_rng(0)
    names = [f"x{index + 1}" for index in range(channels)]
    columns = {name: rng.gamma(2.0, 1.0, ROWS) for name in names}
    columns["y"] = 10.0 + sum(columns.values()) + rng.normal(0.0, 1.0, ROWS)
    dates = np.datetime64("2020-01-06") + 7 * np.arange(ROWS)
    media = tuple(Channel(name, name, DEFAULT_SHARE_PRIOR, n_weights=DEFAULT_WEIGHTS) for name in names)
    return prepare(Table(dates, columns), AdditiveMmmSpec("y", media, fourier_pairs=2))


def _compile(model: AdditiveMmm, settings: FitSettings, schedule: Schedule) -> None:
    # One data set suffices: a chunk is filled up to its size. What comes out does not matter.
    alone = replace(settings, schedules=(schedule,))
    model.fit(model.observed[:, None], Seed.of(0), np.zeros(1, dtype=np.int64), alone)


class WarmUp:
    """Runs the steps one by one in a thread, each only when the worker is idle.

    Work that comes during a step is not held up by it but shares the machine with it until the step ends. Workers with
    the same cache directory take turns, so that they do not compile the same at once, nor take more than one core.
    """

    def __init__(self, steps: Iterable[Step], directory: Path, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._steps = steps
        self._directory = directory
        self._quiet_seconds = quiet_seconds
        self._working = 0
        self._last_work = time.monotonic()
        self._stopped = threading.Event()
        # A daemon: XLA cannot be interrupted, and a stop must not wait for it.
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)

    def start(self) -> None:
        """Begin as soon as the worker has been idle for a while."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further step."""
        self._stopped.set()

    @property
    def running(self) -> bool:
        """Whether the thread lives, and perhaps compiles."""
        return self._thread.is_alive()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No step begins in here, nor soon after."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._last_work = time.monotonic()

    def _run(self) -> None:
        try:
            with (self._directory / "warm-up.lock").open("wb") as lock:
                for step in self._steps:
                    if not self._turn(lock.fileno()):
                        return
                    begin = time.monotonic()
                    try:
                        step.run()
                        log.info("compiled in advance in %.1f s: %s", time.monotonic() - begin, step.name)
                    except Exception:  # a request that needs the program will say what is wrong with it
                        log.exception("could not compile in advance: %s", step.name)
                    finally:
                        fcntl.flock(lock, fcntl.LOCK_UN)
        except Exception:
            log.exception("the warm-up ended early; the worker does without it")

    def _turn(self, lock: int) -> bool:
        """Wait until this worker is idle and no other one warms up; False when the worker stops instead."""
        while not self._stopped.wait(LOOK_SECONDS):
            idle = not self._working and time.monotonic() - self._last_work >= self._quiet_seconds
            if idle and _locked(lock):
                return True
        return False


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
