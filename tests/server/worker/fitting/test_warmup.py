"""Programs of common models, compiled before somebody asks for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
import pytest
from liftos.bayes.v1 import model_pb2

from engine.distributions.distribution import LogNormal, Uniform
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, Window, prepare
from server.contract.period import DEFAULT_MONTHS
from server.worker.fitting import warmup
from server.worker.fitting.compiler import compile_clock
from server.worker.fitting.families.additive_preparation import ROWS, SATURATIONS, common_model
from server.worker.fitting.warmup import Step, steps, warm_up

enable_float64()


def requested(controls: int) -> AdditiveMmm:
    """A model that somebody might ask about: four years of data, other names and priors, spend, an odd window."""
    rng = np.random.default_rng(7)
    weeks = 208
    columns = {"tv": rng.gamma(2.0, 1.0, weeks), "cost": rng.gamma(2.0, 1.0, weeks)}
    columns["sales"] = 50.0 + 3.0 * columns["tv"] + rng.normal(0.0, 1.0, weeks)
    columns |= {f"price{index}": rng.normal(size=weeks) for index in range(controls)}
    channel = Channel(
        "tv",
        "tv",
        LogNormal(-2.0, 0.7),
        spend="cost",
        retention_prior=Uniform(0.0, 1.0),
        saturation=SATURATIONS[model_pb2.SATURATION_UNSPECIFIED],
    )
    spec = AdditiveMmmSpec("sales", (channel,), tuple(Control(name, name) for name in columns if "price" in name))
    dates = np.datetime64("2019-03-04") + 7 * np.arange(weeks)
    return prepare(Table(dates, columns), spec, Window(DEFAULT_MONTHS))


def test_after_the_warm_up_a_model_of_the_same_shape_compiles_nothing() -> None:
    first = next(steps([1]))
    first.run()
    for controls in (0, 2):  # with intercept, trend and two Fourier pairs both fill eight columns
        model = requested(controls)
        with compile_clock() as clock:
            fit = model.fit(model.observed[:, None], Seed.of(1), np.zeros(1, dtype=np.int64), first.settings)
        assert clock.seconds == 0.0
        assert set(fit.draws) == set(model.quantity_names)


def test_the_window_of_the_common_model_is_that_of_a_request_that_names_none() -> None:
    assert requested(0).n_observations == ROWS == common_model(1).n_observations


def test_every_schedule_is_run_alone_and_the_fits_of_calls_come_first() -> None:
    todo = list(steps([2, 1]))
    single = BatchedHmc.single()
    models = [len(step.model.spec.channels) for step in todo]
    assert models == [2] * 3 + [1] * 3 + [2] * 3 + [1] * 3
    assert [step.settings for step in todo[:3]] == [
        replace(single, schedules=(schedule,), last=None) for schedule in single.schedules
    ]
    simulated = {step.settings.schedules for step in todo[6:]}
    assert simulated == {(schedule,) for schedule in BatchedHmc.simulation().schedules}
    assert len({step.name for step in todo}) == len(todo)


def test_a_step_that_fails_is_told_and_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def run(step: Step) -> None:
        if step.name == "second":
            raise RuntimeError("no memory")
        ran.append(step.name)

    monkeypatch.setattr(Step, "run", run)
    monkeypatch.setattr(jax, "clear_caches", lambda: ran.append("cleared"))  # other tests need what they have compiled
    model, settings = common_model(1), BatchedHmc.single()

    def todo() -> Iterator[Step]:
        yield from (Step(name, model, settings) for name in ("first", "second", "third"))

    with caplog.at_level(logging.INFO, logger=warmup.log.name):
        warm_up(todo())
    assert ran == ["first", "cleared", "cleared", "third", "cleared"]
    assert "could not compile in advance: second" in caplog.text
