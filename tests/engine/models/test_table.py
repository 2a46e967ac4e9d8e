"""Tables and calendar windows."""

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.models.table import Table, Window, months_before


@pytest.mark.parametrize(
    ("date", "months", "expected"),
    [
        ("2021-08-30", 24, "2019-08-30"),
        ("2021-03-31", 1, "2021-02-28"),
        ("2020-03-31", 1, "2020-02-29"),
        ("2020-01-15", 13, "2018-12-15"),
    ],
)
def test_months_are_calendar_months_with_the_day_clamped(date: str, months: int, expected: str) -> None:
    assert months_before(np.datetime64(date), months) == np.datetime64(expected)


def test_24_months_of_months_are_24_rows() -> None:
    dates = (np.datetime64("2018-01") + np.timedelta64(1, "M") * np.arange(40)).astype("datetime64[D]")
    assert 40 - Window(24).first_row(dates) == 24


def test_a_window_longer_than_the_data_takes_every_row() -> None:
    dates = np.datetime64("2021-01-04") + np.timedelta64(7, "D") * np.arange(20)
    assert Window(24).first_row(dates) == 0


@pytest.mark.parametrize("dates", [["2021-01-11", "2021-01-04"], ["2021-01-04", "2021-01-04"], ["2021-01-04"]])
def test_unsorted_repeated_or_too_few_dates_are_refused(dates: list[str]) -> None:
    with pytest.raises(InvalidInput):
        Table(np.array(dates, dtype="datetime64[D]"), {})


def test_missing_numbers_are_refused_with_the_column() -> None:
    dates = np.array(["2021-01-04", "2021-01-11"], dtype="datetime64[D]")
    with pytest.raises(InvalidInput) as error:
        Table(dates, {"y": np.array([1.0, np.nan])})
    assert error.value.field == "table.columns[y]"
