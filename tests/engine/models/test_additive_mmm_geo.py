"""The additive MMM of a geo panel: per-capita scaling, adstock within geos, recovery, national data as one geo."""

import csv
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.conflict.induced import prior_draws
from engine.distributions.distribution import Beta, LogNormal, Normal
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import (
    AdditiveMmm,
    AdditiveMmmSpec,
    Channel,
    Control,
    Parameterisation,
    Table,
    Window,
    prepare,
)
from engine.models.conformance import check

enable_float64()

SEED = Seed.of(20240502)
POPULATION = {"north": 2.0e6, "south": 0.5e6, "west": 1.0e6}
MERIDIAN = Path(__file__).parents[3] / ".." / "shared" / "data" / "meridian_geo_media.csv"


def columns_of(population: float, rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    tv = np.where(rng.random(rows) < 0.5, 0.0, population * rng.gamma(2.0, 0.5, rows))
    return {
        "sales": population * (1e-3 + 1e-4 * rng.normal(size=rows)),
        "tv": tv,
        "tv_spend": 0.001 * tv,
        "search": population * rng.gamma(3.0, 0.1, rows),
        "price": rng.normal(size=rows),
        "margin": rng.uniform(1.0, 3.0, rows),
        "population": np.full(rows, population),
    }


def panel(geos: tuple[str, ...] = ("north", "south", "west"), rows: int = 40) -> Table:
    rng = np.random.default_rng(5)
    parts = [columns_of(POPULATION[geo], rows, rng) for geo in geos]
    weeks = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(rows)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Table(np.tile(weeks, len(geos)), columns, np.repeat(geos, rows))


def reordered(table: Table, order: np.ndarray, **changes: np.ndarray) -> Table:
    columns = {name: changes.get(name, values)[order] for name, values in table.columns.items()}
    return Table(table.dates[order], columns, None if table.geos is None else table.geos[order])


def spec(**changes: object) -> AdditiveMmmSpec:
    channels = (
        Channel(
            "tv",
            "tv",
            LogNormal(0.0, 0.5),
            spend="tv_spend",
            parameterise_by=Parameterisation.ROI,
            n_weights=4,
        ),
        Channel("search", "search", Beta(2.0, 8.0), n_weights=3),
    )
    made = AdditiveMmmSpec("sales", channels, (Control("price", "price"),), fourier_pairs=1, population="population")
    return replace(made, **changes)


def model(**changes: object) -> AdditiveMmm:
    return prepare(panel(), spec(revenue_per_kpi="margin", **changes))


def test_a_panel_passes_the_conformance_test() -> None:
    report = check(model(), simulations=50)
    assert report.ok, report.failures


def test_a_panel_has_an_intercept_per_geo_with_a_fixed_prior() -> None:
    made = model()
    names = [name for name in made.parameter_names if name.startswith("geo[")]
    assert names == ["geo[north]", "geo[south]", "geo[west]"]
    assert all(made.prior_of(name) == Normal(0.0, 1.0) for name in names)
    assert made.with_priors({"geo[west]": Normal(0.5, 0.1)}).priors["geo[west]"] == Normal(0.5, 0.1)
    block = dict(zip(made.design.block_names, made.design.block.T, strict=True))
    np.testing.assert_array_equal(block["geo[south]"], np.repeat([0.0, 1.0, 0.0], 40))


def test_the_scaling_is_per_head_over_the_rows_of_all_geos() -> None:
    # methods/mmm.md §3.4 and §3.5, with the mean of the positive per-capita exposures
    table, design = panel(), model().design
    people = table.columns["population"]
    sales, tv = table.columns["sales"] / people, table.columns["tv"] / people
    assert (design.kpi_mean, design.kpi_sd) == pytest.approx((sales.mean(), sales.std()))
    np.testing.assert_allclose(design.exposure[:, 0, 0], tv / tv[tv > 0.0].mean())
    np.testing.assert_allclose(design.weights, table.columns["margin"] * people)
    assert design.total_outcome == pytest.approx(table.columns["margin"] @ table.columns["sales"])
    assert design.spend[0] == pytest.approx(table.columns["tv_spend"].sum())
    assert design.scalers["population[south]"] == 0.5e6


def added_by_row(made: AdditiveMmm, parameters: dict[str, np.ndarray], media: str, channel: int) -> np.ndarray:
    """Outcome [N, S] that the simulator says a channel adds: with it minus without it."""
    removed = parameters | {media: np.full_like(parameters[media], 1e-300)}
    added = made.expected(parameters) - made.expected(removed)
    # Media enter around their mean effect per head; a week without carry-over shows how far zero lies below it.
    silent = np.flatnonzero(made.design.exposure[:, channel].sum(axis=1) == 0.0)[0]
    people = made.design.population[:, None]
    margin = made.design.weights[:, None] / people
    return margin * (added - added[silent] / people[silent] * people)


def test_the_incremental_outcome_is_the_sum_over_all_geos_of_what_a_channel_adds() -> None:
    made = model()
    sample = made.sample_prior(SEED, np.arange(3))
    added = added_by_row(made, dict(sample.parameters), "roi[tv]", 0)
    np.testing.assert_allclose(added.sum(axis=0), sample.quantities["incremental_outcome[tv]"], rtol=1e-9)


def test_the_incremental_outcome_of_a_geo_is_what_the_channel_adds_there() -> None:
    made = model()
    sample = made.sample_prior(SEED, np.arange(50))
    by_geo = made.incremental_by_geo("tv", sample.parameters)
    added = added_by_row(made, dict(sample.parameters), "roi[tv]", 0)
    np.testing.assert_allclose(by_geo, added.reshape(3, 40, 50).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(by_geo.sum(axis=0), sample.quantities["incremental_outcome[tv]"], rtol=1e-14)


def test_the_geos_divide_a_channel_as_their_responses_by_hand() -> None:
    # Adstock, saturation and weights of methods/mmm.md §3.1, §3.2 and §3.4 written out, from the table alone.
    made, table = model(), panel()
    retention, half = 0.6, 0.8
    parameters = {name: np.full(1, 0.1) for name in made.parameter_names}
    parameters |= {"retention[search]": np.array([retention]), "half_saturation[search]": np.array([half])}
    scale = float(np.mean(table.columns["search"] / table.columns["population"]))
    weights = retention ** np.arange(3) / np.sum(retention ** np.arange(3))
    expected = []
    for geo, people in POPULATION.items():
        rows = table.geos == geo
        exposure = table.columns["search"][rows] / people / scale
        before = np.full(2, exposure[:3].mean())  # what is unknown is what it was on average at first
        adstocked = np.convolve(np.concatenate([before, exposure]), weights, mode="valid")
        expected.append(np.sum(table.columns["margin"][rows] * people * adstocked / (adstocked + half)))
    found = made.incremental_by_geo("search", parameters)[:, 0]
    np.testing.assert_allclose(found / found.sum(), np.array(expected) / np.sum(expected), rtol=1e-12)


def test_many_draws_are_divided_among_the_geos_like_few() -> None:
    # More than are held at a time: 120 rows times 5000 draws.
    made = model()
    parameters = prior_draws(made, SEED, 5000)
    some = {name: values[4000:4010] for name, values in parameters.items()}
    whole = made.incremental_by_geo("tv", parameters)
    np.testing.assert_allclose(whole[:, 4000:4010], made.incremental_by_geo("tv", some), rtol=1e-12)


def test_outcome_and_spend_of_the_geos_are_those_of_their_rows() -> None:
    design, table = model().design, panel()
    assert design.geo_names == ("north", "south", "west")
    for index, geo in enumerate(design.geo_names):
        rows = table.geos == geo
        columns = {name: values[rows] for name, values in table.columns.items()}
        assert design.geo_outcome[index] == pytest.approx(columns["margin"] @ columns["sales"])
        assert design.geo_spend[index, 0] == pytest.approx(columns["tv_spend"].sum())
    assert np.all(np.isnan(design.geo_spend[:, 1]))
    assert design.geo_spend.sum(axis=0)[0] == pytest.approx(design.spend[0])


def test_national_data_have_no_geos_and_a_model_divides_its_own_channels_only() -> None:
    made = model()
    assert prepare(panel(("north",)), spec()).design.geo_names == ()
    with pytest.raises(UnsupportedQuantity, match="no such channel"):
        made.incremental_by_geo("radio", made.sample_prior(SEED, np.arange(1)).parameters)


def test_errors_are_proportional_to_population() -> None:
    made = model()
    sample = made.sample_prior(SEED, np.arange(400))
    z = (sample.y - made.expected(sample.parameters)) / sample.parameters["sigma"] / made.design.kpi_sd
    per_geo = z.reshape(3, 40, 400).std(axis=(1, 2))
    np.testing.assert_allclose(per_geo, list(POPULATION.values()), rtol=0.03)


def test_adstock_does_not_cross_from_one_geo_into_the_next() -> None:
    table = panel()
    late = np.zeros(table.n_rows)
    late[39] = 1.0  # north's last week; the next row is south's first
    lags = prepare(reordered(table, np.arange(table.n_rows), tv=late), spec()).design.exposure[:, 0]
    assert np.argwhere(lags).tolist() == [[39, 0]]


def test_lead_in_rows_are_those_of_the_same_geo() -> None:
    window = Window(6)
    whole = model().design
    made = prepare(panel(), spec(revenue_per_kpi="margin"), window)
    report = made.window
    assert (report.geos, report.periods, report.rows) == (3, 26, 78)
    assert (report.lead_in_rows, report.edge_affected_rows) == (3, 0)
    assert made.n_observations == 78
    inside = whole.exposure.reshape(3, 40, 2, 4)[:, -26:].reshape(78, 2, 4)
    scale = [whole.scalers[f"media_scale[{c}]"] / made.scalers[f"media_scale[{c}]"] for c in ("tv", "search")]
    np.testing.assert_allclose(made.design.exposure, inside * np.array(scale)[:, None])
    edge = model().window
    assert (edge.lead_in_rows, edge.edge_affected_rows) == (0, 3)  # of each geo


@pytest.mark.parametrize("population", ["population", None])
def test_a_panel_of_one_geo_is_the_national_model(population: str | None) -> None:
    table = panel(("south",))
    national = prepare(Table(table.dates, table.columns), spec())
    alone = prepare(table, spec(population=population))
    assert alone.parameter_names == national.parameter_names
    assert alone.scalers == national.scalers
    for field in ("kpi", "population", "exposure", "weights", "block"):
        np.testing.assert_array_equal(getattr(alone.design, field), getattr(national.design, field))


def test_equal_geos_together_say_what_one_of_them_says_of_a_share() -> None:
    table = panel(("south",))
    twice = Table(
        np.tile(table.dates, 2),
        {name: np.tile(values, 2) for name, values in table.columns.items()},
        np.repeat(["a", "b"], table.n_rows),
    )
    one, two = prepare(table, spec()), prepare(twice, spec())
    theta = {name: values[:1] for name, values in one.sample_prior(SEED, np.arange(1)).parameters.items()}
    both = dict(theta) | {"geo[a]": np.zeros(1), "geo[b]": np.zeros(1)}
    np.testing.assert_allclose(two.expected(both), np.tile(one.expected(theta), (2, 1)))
    assert two.design.total_outcome == pytest.approx(2 * one.design.total_outcome)


@pytest.mark.parametrize("kind", ["by date", "geos backwards", "interleaved"])
def test_the_order_of_the_geos_does_not_matter(kind: str) -> None:
    table = panel()
    orders = {
        "by date": np.argsort(table.dates, kind="stable"),
        "geos backwards": np.arange(120).reshape(3, 40)[::-1].ravel(),
        "interleaved": np.concatenate([np.arange(40, 100), np.arange(40), np.arange(100, 120)]),
    }
    straight, other = prepare(table, spec()), prepare(reordered(table, orders[kind]), spec())
    assert other.scalers == straight.scalers
    assert other.parameter_names == straight.parameter_names
    for field in ("kpi", "population", "exposure", "weights", "block"):
        np.testing.assert_array_equal(getattr(other.design, field), getattr(straight.design, field))


def test_without_a_population_the_mean_kpi_is_the_size_of_a_geo() -> None:
    design = prepare(panel(), spec(population=None)).design
    means = panel().columns["sales"].reshape(3, 40).mean(axis=1)
    np.testing.assert_allclose(design.population[::40], means / means.mean())
    # So that the geos' levels per head agree, and their own intercepts have little to do.
    np.testing.assert_allclose((design.kpi / design.population).reshape(3, 40).mean(axis=1), means.mean())


@pytest.mark.parametrize(
    ("column", "rows", "value", "population", "field"),
    [
        ("population", slice(50, 51), 3e6, "population", "population"),
        ("population", slice(40, 80), 0.0, "population", "population"),
        ("sales", slice(40, 80), -1.0, None, "kpi"),
        ("price", slice(0, 0), 0.0, "people", "population"),
    ],
)
def test_a_size_that_cannot_be_is_refused_with_its_field(
    column: str, rows: slice, value: float, population: str | None, field: str
) -> None:
    table = panel()
    values = table.columns[column].copy()
    values[rows] = value
    with pytest.raises(InvalidInput) as error:
        prepare(reordered(table, np.arange(120), **{column: values}), spec(population=population))
    assert error.value.field == field


def test_a_panel_of_few_dates_is_refused_however_many_rows_it_has() -> None:
    with pytest.raises(InvalidInput) as error:
        prepare(panel(rows=7), spec())
    assert error.value.field == "data_period_months"


@pytest.mark.slow  # of two geos by default: end_to_end/test_geo_model.py
def test_three_geos_give_back_the_share_that_they_were_simulated_with() -> None:
    rng = np.random.default_rng(11)
    weeks = 104
    people = np.array(list(POPULATION.values()))[:, None]
    tv = np.where(rng.random((3, weeks)) < 0.4, 0.0, rng.gamma(2.0, 50.0, (3, weeks)))  # per head
    carried = np.stack([np.convolve(x, 0.5 ** np.arange(8) / (0.5 ** np.arange(8)).sum())[:weeks] for x in tv])
    effect = 0.6 * carried / (carried + 80.0)
    level = np.array([1.0, 1.3, 0.8])[:, None]
    season = 0.1 * np.sin(2 * np.pi * 7 * np.arange(weeks) / 365.25)
    sales = people * (level + season + effect + 0.08 * rng.normal(size=(3, weeks)))
    share = float((people * effect).sum() / sales.sum())
    dates = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(weeks)
    columns = {"sales": sales, "tv": people * tv, "population": people + np.zeros_like(sales)}
    table = Table(
        np.tile(dates, 3), {name: values.ravel() for name, values in columns.items()}, np.repeat(list("abc"), weeks)
    )
    channel = Channel("tv", "tv", Beta(1.0, 3.0))
    made = prepare(table, AdditiveMmmSpec("sales", (channel,), fourier_pairs=1, population="population"))
    fit = made.fit(made.observed[:, None], SEED, np.array([0]), BatchedHmc.single())
    assert fit.diagnostics.ok[0]
    draws = fit.draws["share_of_outcome[tv]"].ravel()
    low, high = np.quantile(draws, [0.025, 0.975])
    assert low < share < high
    assert draws.std() < 0.15 * share  # far narrower than the prior: the panel does speak
    levels = {name: fit.draws[f"geo[{name}]"].mean() for name in "abc"}
    assert levels["c"] < levels["a"] < levels["b"]


@pytest.mark.skipif(not MERIDIAN.exists(), reason="the shared development data are not beside this repository")
def test_the_meridian_panel_prepares_and_has_finite_densities() -> None:
    with MERIDIAN.open() as file:
        rows = list(csv.DictReader(file))
    numeric = [name for name in rows[0] if name not in ("geo", "time")]
    table = Table(
        np.array([row["time"] for row in rows], dtype="datetime64[D]"),
        {name: np.array([float(row[name]) for row in rows]) for name in numeric},
        np.array([row["geo"] for row in rows]),
    )
    channels = tuple(
        Channel(
            f"c{i}",
            f"Channel{i}_impression",
            LogNormal(0.2, 0.9),
            f"Channel{i}_spend",
            Parameterisation.ROI,
        )
        for i in range(4)
    )
    controls = tuple(Control(name, f"{name}_score_control") for name in ("competitor_activity", "sentiment"))
    made = prepare(
        table,
        AdditiveMmmSpec(
            "conversions",
            channels,
            controls,
            revenue_per_kpi="revenue_per_conversion",
            population="population",
        ),
        Window(24),
    )
    assert (made.window.geos, made.window.periods, made.n_observations) == (20, 104, 2080)
    sample = made.sample_prior(SEED, np.arange(20))
    z, y = jnp.asarray(made.coordinates(sample.parameters)), jnp.asarray(made.target_units(sample.y))
    value, gradient = jax.jit(jax.value_and_grad(lambda p: jnp.sum(made.target.log_likelihood(p, y))))(z)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    assert all(np.all(np.isfinite(values)) for values in sample.quantities.values())
