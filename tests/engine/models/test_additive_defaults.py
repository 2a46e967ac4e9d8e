"""Defaults at work on a table: priors that know neither units nor the number of channels, and an unknown history."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from engine.conflict.induced import prior_draws
from engine.distributions.distribution import Beta
from engine.errors import InvalidInput
from engine.inference.batch import BatchedHmc
from engine.inference.diagnostics import ess_bulk
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Parameterisation, Table, Window, prepare
from engine.rules.additive_defaults import TOTAL_MEDIA_MEAN, TOTAL_MEDIA_SD
from engine.rules.cautions import CautionKind
from tests.worlds import Curve, Kind, draw

enable_float64()

MONDAY = np.datetime64("2022-01-03")


def table(channels: int, kpi: float = 1.0, spend: float = 1.0, weekday: int = 0) -> Table:
    rng = np.random.default_rng(2)
    dates = MONDAY + (weekday + 7 * np.arange(80))
    media = {f"x{index}": spend * rng.gamma(2.0, 5.0, 80) for index in range(channels)}
    return Table(dates, {"y": kpi * (100.0 + rng.normal(0.0, 5.0, 80)), **media})


def model(made: Table, sampled: Parameterisation = Parameterisation.SHARE_OF_OUTCOME, **changes: object) -> AdditiveMmm:
    names = [name for name in made.columns if name != "y"]
    channels = tuple(Channel(name, name, spend=name, parameterise_by=sampled) for name in names)
    return prepare(made, AdditiveMmmSpec("y", tuple(replace(channel, **changes) for channel in channels)))


def total(made: AdditiveMmm) -> np.ndarray:
    draws = prior_draws(made, Seed.of(1), 100_000)
    return np.sum([made.derive(f"share_of_outcome[{name}]", draws) for name in made.channel_names], axis=0)


@pytest.mark.parametrize("channels", [1, 4, 12])
@pytest.mark.parametrize("sampled", list(Parameterisation))
def test_media_bring_the_stated_part_a_priori_for_any_number_of_channels(
    channels: int, sampled: Parameterisation
) -> None:
    brought = total(model(table(channels), sampled))
    assert brought.mean() == pytest.approx(TOTAL_MEDIA_MEAN, abs=0.005)
    assert brought.std() == pytest.approx(TOTAL_MEDIA_SD, abs=0.015)


@pytest.mark.parametrize(("kpi", "spend"), [(1e-6, 1.0), (1e6, 1e-6), (1.0, 1e6)])
def test_no_share_depends_on_units_in_either_parametrisation(kpi: float, spend: float) -> None:
    for sampled in Parameterisation:
        plain, scaled = model(table(3), sampled), model(table(3, kpi, spend), sampled)
        for name in plain.channel_names:
            one, other = (made.prior_of(f"share_of_outcome[{name}]") for made in (plain, scaled))
            np.testing.assert_allclose(other.ppf([0.025, 0.5, 0.975]), one.ppf([0.025, 0.5, 0.975]), rtol=1e-9)
        # The likelihood is that of the scaled KPI, and so are all of its inputs.
        np.testing.assert_allclose(scaled.design.exposure, plain.design.exposure, rtol=1e-9)
        np.testing.assert_allclose(
            scaled.target_units(scaled.observed[:, None]), plain.target_units(plain.observed[:, None]), atol=1e-9
        )


def test_the_weekday_of_weekly_data_and_the_order_of_channels_change_nothing_but_the_order() -> None:
    monday, friday = model(table(3)), model(table(3, weekday=4))
    assert dict(monday.priors) == dict(friday.priors)
    np.testing.assert_array_equal(monday.design.exposure, friday.design.exposure)
    made = table(3)
    turned = model(Table(made.dates, {name: made.columns[name] for name in ("y", "x2", "x0", "x1")}))
    for name, prior in monday.priors.items():
        assert turned.priors[name] == prior
    np.testing.assert_array_equal(turned.design.exposure[:, 1:], monday.design.exposure[:, :2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"kpi": 1e6}, id="KPI in millionths"),
        pytest.param({"kpi": 1e-6}, id="KPI in millions"),
        pytest.param({"spend": 1e6}, id="spend and exposure"),
        pytest.param({"spend": 1e-6}, id="spend and exposure in millions"),
        pytest.param({"weekday": 4}, id="another weekday"),
        pytest.param({"order": -1}, id="channels in the other order"),
    ],
)
def test_a_fit_says_the_same_in_other_units_on_another_weekday_and_in_another_order(
    change: dict[str, float], fitted: dict[str, np.ndarray]
) -> None:
    other = shares_of(**change)
    for name, draws in fitted.items():
        error = np.hypot(*(float(d.std()) / math.sqrt(float(ess_bulk(d))) for d in (draws, other[name])))
        assert abs(float(draws.mean() - other[name].mean())) < 4.0 * error
        assert float(other[name].std() / draws.std()) == pytest.approx(1.0, abs=0.15)


def shares_of(kpi: float = 1.0, spend: float = 1.0, weekday: int = 0, order: int = 1) -> dict[str, np.ndarray]:
    """Draws [chains, draws] of the shares of two channels that do something."""
    made = table(2, 1.0, 1.0, weekday)
    columns = {"y": kpi * (made.columns["y"] + 2.0 * made.columns["x0"] + 1.0 * made.columns["x1"])}
    columns |= {name: spend * made.columns[name] for name in ("x0", "x1")[::order]}
    moved = model(Table(made.dates, columns))
    settings = replace(BatchedHmc.single(), schedules=BatchedHmc.single().schedules[:1], last=None)
    fit = moved.fit(moved.observed[:, None], Seed.of(3), np.zeros(1, dtype=np.int64), settings)
    assert fit.diagnostics.r_hat[0] < 1.03
    return {name: fit.draws[f"share_of_outcome[{name}]"][0] for name in ("x0", "x1")}


@pytest.fixture(scope="module")
def fitted() -> dict[str, np.ndarray]:
    return shares_of()


def test_own_priors_of_some_channels_leave_the_others_what_they_were() -> None:
    made = table(4)
    channels = tuple(Channel(f"x{i}", f"x{i}", Beta(2.0, 8.0) if i == 0 else None) for i in range(4))
    mixed = prepare(made, AdditiveMmmSpec("y", channels))
    assert mixed.priors["share_of_outcome[x0]"] == Beta(2.0, 8.0)
    assert mixed.priors["share_of_outcome[x1]"] == model(made).priors["share_of_outcome[x1]"]


def test_a_constant_exposure_stays_constant_where_the_file_begins_with_the_window() -> None:
    made = table(1)
    flat = Table(made.dates, {**made.columns, "x0": np.full(80, 500.0)})
    design = model(flat, n_weights=13).design
    np.testing.assert_allclose(design.exposure, 1.0)
    # With nothing to see in it the likelihood is the same at every share, whatever the carry-over.
    prepared = model(flat, n_weights=13)
    draws = prior_draws(prepared, Seed.of(3), 50)
    fixed = {name: np.full(50, values[0]) for name, values in draws.items() if "x0" not in name}
    y = np.repeat(prepared.observed[:, None], 50, axis=1)
    likelihood = prepared.evaluate(draws | fixed, y)["log_likelihood"]
    np.testing.assert_allclose(likelihood, likelihood[0], rtol=1e-9)


def test_a_late_start_has_no_history_and_lead_in_rows_are_used_as_they_are() -> None:
    made = table(2)
    late = np.where(np.arange(80) < 30, 0.0, made.columns["x0"])
    started = Table(made.dates, {**made.columns, "x0": late})
    assert not np.any(model(started).design.exposure[:30, 0])
    spec = model(made).spec
    windowed = prepare(made, spec, Window(12))
    first = 80 - windowed.window.periods
    assert (windowed.window.lead_in_rows, windowed.window.skipped_rows) == (7, 0)
    scale = windowed.scalers["media_scale[x0]"]
    lagged = [made.columns["x0"][first - lag] / scale for lag in range(8)]
    np.testing.assert_allclose(windowed.design.exposure[0, 0], lagged)


def test_a_window_in_which_a_channel_paused_is_refused_as_such() -> None:
    made = table(2)
    paused = Table(made.dates, {**made.columns, "x0": np.where(np.arange(80) < 20, made.columns["x0"], 0.0)})
    with pytest.raises(InvalidInput, match="leaves channel 'x0' without exposure, which it had until") as caught:
        prepare(paused, model(paused).spec, Window(12))
    assert caught.value.field == "data_period_months"
    assert str(made.dates[19]) in caught.value.message
    # The window that the message names is the shortest that can be fitted.
    months = int(re.search(r"take (\d+) months", caught.value.message)[1])  # type: ignore[index]
    assert prepare(paused, model(paused).spec, Window(months)).channel_names == ("x0", "x1")
    with pytest.raises(InvalidInput, match="without exposure"):
        prepare(paused, model(paused).spec, Window(months - 1))


def test_a_channel_on_which_nothing_was_spent_has_no_roi_and_changes_nothing_else() -> None:
    made = table(2)
    columns = {**made.columns, "paid": made.columns["x1"], "owned": np.zeros(80)}
    channels = (Channel("x0", "x0", spend="owned"), Channel("x1", "x1", spend="paid"))
    found = prepare(Table(made.dates, columns), AdditiveMmmSpec("y", channels))
    assert "roi[x1]" in found.quantity_names
    assert not any("x0" in name for name in found.quantity_names if name.startswith("roi["))
    assert [caution.names for caution in found.cautions() if caution.kind is CautionKind.NO_SPEND] == [("x0",)]
    priced = (replace(channels[0], parameterise_by=Parameterisation.ROI), channels[1])
    with pytest.raises(InvalidInput, match="no ROI: sample the share") as caught:
        prepare(Table(made.dates, columns), AdditiveMmmSpec("y", priced))
    assert caught.value.field == "channels[x0].spend"


def test_rows_whose_carry_over_is_unknown_are_no_evidence_up_to_a_quarter() -> None:
    short, long = model(table(1)), model(table(1), n_weights=40)
    assert (short.window.edge_affected_rows, short.window.skipped_rows) == (7, 7)
    assert (long.window.edge_affected_rows, long.window.skipped_rows) == (39, 20)
    y = short.observed[:, None].copy()
    before = short.target.log_likelihood(np.zeros((short.target.dimension, 1)), short.target_units(y))
    y[:7] *= 3.0
    after = short.target.log_likelihood(np.zeros((short.target.dimension, 1)), short.target_units(y))
    np.testing.assert_allclose(before, after)


def test_carry_over_windows_are_tried_until_the_evidence_stops_rising() -> None:
    # Daily rows with a half-life of ten days, and a window of eight days.
    rng, days, keep = np.random.default_rng(15), 400, 0.5**0.1
    exposure = rng.gamma(0.6, 100.0, days + 100) * (np.sin(np.arange(days + 100) / 40) > -0.2)
    stock = np.zeros(days + 100)
    for day in range(1, days + 100):
        stock[day] = keep * stock[day - 1] + (1.0 - keep) * exposure[day]
    effect = (stock / (stock + stock.mean()))[100:]
    kpi = 750.0 + 250.0 * effect / effect.mean() + rng.normal(0.0, 40.0, days)
    daily = Table(MONDAY + np.arange(days), {"y": kpi, "x": exposure[100:]})
    spec = AdditiveMmmSpec("y", (Channel("x", "x", n_weights=8),), fourier_pairs=0)
    found = [a for a in prepare(daily, spec).alternatives(daily) if a.kind.value == "adstock_window"]
    assert {a.subject for a in found} == {"4 days", "64 days"} or {a.subject for a in found} == {"4 days", "32 days"}
    world = draw(Kind.PLAIN, Curve.HILL, 2, 104, 3)
    weekly = Table(world.dates, {"y": world.kpi, "a": world.exposure[0], "b": world.exposure[1]})
    right = prepare(weekly, AdditiveMmmSpec("y", (Channel("a", "a"), Channel("b", "b"))))
    subjects = {a.subject for a in right.alternatives(weekly) if a.kind.value == "adstock_window"}
    assert subjects == {"4 weeks", "16 weeks"}
