"""What is stored beside the draws of a fit."""

from __future__ import annotations

import numpy as np
import pytest

from engine.models.additive_mmm import AdditiveMmmSpec, Channel, Table, prepare
from engine.priors.distribution import Beta
from server.worker.fits import _facts


def test_the_months_of_a_panel_are_those_of_its_dates() -> None:
    rng = np.random.default_rng(0)
    weeks = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(104)
    columns = {"y": rng.normal(10.0, 1.0, 312), "x": rng.gamma(2.0, 1.0, 312)}
    spec = AdditiveMmmSpec("y", (Channel("x", "x", Beta(1.0, 3.0), n_weights=4),))
    panel = _facts(prepare(Table(np.tile(weeks, 3), columns, np.repeat(["a", "b", "c"], 104)), spec))
    national = _facts(prepare(Table(weeks, {name: values[:104] for name, values in columns.items()}), spec))
    # 728 days
    assert panel["months"] == national["months"] == pytest.approx(728 / 30.4375)
    assert (panel["geos"], national["geos"]) == (3, 1)
    assert panel["edge_rows"] == national["edge_rows"] == 3
