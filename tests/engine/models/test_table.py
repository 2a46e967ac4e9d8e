"""Tables and their trailing window."""

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.models.table import Table, Window


@pytest.mark.parametrize("dates", [["2021-01-11", "2021-01-04"], ["2021-01-04", "2021-01-04"], ["2021-01-04"]])
def test_unsorted_repeated_or_too_few_dates_are_refused(dates: list[str]) -> None:
    with pytest.raises(InvalidInput):
        Table(np.array(dates, dtype="datetime64[D]"), {})


def test_missing_numbers_are_refused_with_the_column() -> None:
    dates = np.array(["2021-01-04", "2021-01-11"], dtype="datetime64[D]")
    with pytest.raises(InvalidInput) as error:
        Table(dates, {"y": np.array([1.0, np.nan])})
    assert error.value.field == "table.columns[y]"


WEEKS = np.datetime64("2021-01-04") + np.timedelta64(7, "D") * np.arange(4)
LATER = WEEKS + np.timedelta64(1, "D")


def test_a_panel_is_kept_by_geo_and_date_whatever_the_order_of_the_geos() -> None:
    dates = np.repeat(WEEKS, 2)
    table = Table(dates, {"y": np.arange(8.0)}, np.array(["b", "a"] * 4))
    assert table.geo_names == ("a", "b")
    assert table.geos is not None
    assert table.geos.tolist() == ["a"] * 4 + ["b"] * 4
    np.testing.assert_array_equal(table.periods, WEEKS)
    np.testing.assert_array_equal(table.by_geo(table.dates), [WEEKS, WEEKS])
    np.testing.assert_array_equal(table.by_geo(table.columns["y"]), [[1, 3, 5, 7], [0, 2, 4, 6]])
    np.testing.assert_array_equal(table.since(3, table.columns["y"]), [7, 6])


def test_codes_of_geos_are_read_as_labels() -> None:
    table = Table(np.tile(WEEKS, 2), {}, np.repeat([7, 3], 4))  # type: ignore[arg-type]
    assert table.geo_names == ("3", "7")


def test_national_data_are_one_geo_without_a_name() -> None:
    table = Table(WEEKS, {"y": np.arange(4.0)})
    assert table.geo_names == ("",)
    np.testing.assert_array_equal(table.periods, WEEKS)
    np.testing.assert_array_equal(table.since(1, table.columns["y"]), [1, 2, 3])


@pytest.mark.parametrize(
    ("dates", "geos", "field", "said"),
    [
        (np.delete(np.tile(WEEKS, 2), 5), ["a"] * 4 + ["b"] * 3, "table.geos", "'b' has no row on 2021-01-11"),
        (np.delete(np.tile(WEEKS, 2), 3), ["a"] * 3 + ["b"] * 4, "table.geos", "'a' has no row on 2021-01-25"),
        (
            np.concatenate([WEEKS, LATER]),
            ["a"] * 4 + ["b"] * 4,
            "table.geos",
            "'a' has no row on 2021-01-05",
        ),
        (np.insert(np.tile(WEEKS, 2), 5, WEEKS[0]), ["a"] * 4 + ["b"] * 5, "table.dates", "within geo 'b'"),
        (np.concatenate([WEEKS, WEEKS[::-1]]), ["a"] * 4 + ["b"] * 4, "table.dates", "within geo 'b'"),
        (np.tile(WEEKS[:1], 2), ["a", "b"], "table.dates", "at least 2 dates"),
        (np.tile(WEEKS, 2), ["a"] * 4 + [""] * 4, "table.geos", "not empty"),
        (np.tile(WEEKS, 2), ["a"] * 4, "table.geos", "8 names"),
    ],
    ids=["missing", "missing at the end", "other dates", "twice", "unsorted", "one date", "no label", "too few"],
)
def test_an_unbalanced_panel_is_refused_with_its_field(
    dates: np.ndarray, geos: list[str], field: str, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as error:
        Table(dates, {}, np.array(geos))
    assert error.value.field == field


@pytest.mark.parametrize("geos", [None, ("north", "south")])
def test_what_is_held_out_and_the_window_of_as_many_months_are_disjoint_and_leave_no_gap(
    geos: tuple[str, ...] | None,
) -> None:
    weeks = np.datetime64("2022-01-03") + 7 * np.arange(120)
    dates = weeks if geos is None else np.tile(weeks, 2)
    values = np.arange(float(dates.size))
    table = Table(dates, {"y": values}, None if geos is None else np.repeat(geos, 120))
    kept = table.without_last(7)
    first = Window(7).first_row(weeks)
    assert kept.periods.tolist() == weeks[:first].tolist()
    taken = table.since(first, table.columns["y"])
    assert sorted([*kept.columns["y"], *taken]) == values.tolist()


def test_a_hold_out_of_everything_is_refused_by_its_name() -> None:
    weeks = np.datetime64("2022-01-03") + 7 * np.arange(20)
    with pytest.raises(InvalidInput, match="leaves 0 periods of 20") as caught:
        Table(weeks, {"y": np.ones(20)}).without_last(12)
    assert caught.value.field == "hold_out_months"
