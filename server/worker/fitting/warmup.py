"""Compile the programs of common models into the cache: `python -m server.worker.fitting.warmup`.

A process of its own, because compiled programs stay in memory (some 150 MB for each schedule of a model), which the
workers would all hold for models that nobody may ask about. A worker loads what it needs from the cache.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.protocol import Model
from server import logs
from server.lifeline import follow_parent
from server.settings import Settings
from server.worker.fitting.compiler import compile_clock, keep_compilations, use_one_thread
from server.worker.fitting.families.preparations import PREPARATIONS, load_preparations

log = logging.getLogger("server.worker.fitting.warmup")


@dataclass(frozen=True)
class Step:
    """The programs of one schedule for one model."""

    name: str
    model: Model
    settings: BatchedHmc

    def run(self) -> None:
        """Fit once. One data set suffices, as a chunk is filled up to its size; what comes out does not matter."""
        self.model.fit(self.model.observed[:, None], Seed.of(0), np.zeros(1, dtype=np.int64), self.settings)


def steps(channels: Iterable[int]) -> Iterator[Step]:
    """Every schedule of a single fit for each family's common models with so many channels, then those of simulations.

    NUTS, the last resort of both, is left out: it is rarely reached and takes as long to compile as all the rest.
    """
    models = [
        (count, preparation.common(count))
        for preparation in PREPARATIONS.values()
        if preparation.common
        for count in channels
    ]
    for what in ("one data set", "simulations"):
        for count, model in models:
            simulated = BatchedHmc.simulation(len(model.parameter_names))
            settings = BatchedHmc.single() if what == "one data set" else simulated
            for number, schedule in enumerate(settings.schedules, start=1):
                name = f"{model.family}, {count} channels, {what}, schedule {number}"
                yield Step(name, model, replace(settings, schedules=(schedule,), last=None))


def warm_up(todo: Iterable[Step]) -> None:
    """Run the steps one by one; one that fails is logged and the next begun."""
    forget: Callable[[], None] = jax.clear_caches
    for step in todo:
        begin = time.monotonic()
        try:
            with compile_clock() as clock:
                step.run()
        except Exception:  # a request that needs the program will say what is wrong with it
            log.exception("could not compile in advance: %s", step.name)
        else:
            log.info("%.1f s, %.1f s of them compiling: %s", time.monotonic() - begin, clock.seconds, step.name)
        forget()  # the programs lie in the cache's directory; here they would only take memory


def main() -> int:
    """Compile for the models of the settings; needs no database."""
    settings = Settings()
    logs.configure(settings.log_format)
    follow_parent()
    os.nice(19)  # only what the server and the workers leave
    load_preparations()
    use_one_thread()
    enable_float64()
    keep_compilations(settings.compilation_cache)
    warm_up(steps(settings.warm_up))
    return 0


if __name__ == "__main__":
    sys.exit(main())
