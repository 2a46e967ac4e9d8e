"""Calendar months: the same day of another month, the end of a period, the rows of the last months."""

import numpy as np
import pytest

from engine.rules.calendar import (
    day_of_month,
    end_of,
    first_of_last,
    month_day,
    months_before,
    months_between,
    months_from,
    off_their_day,
)

DAY = np.timedelta64(1, "D")


def days(first: str, step: int, count: int) -> np.ndarray:
    return np.datetime64(first) + step * DAY * np.arange(count)


@pytest.mark.parametrize(
    ("date", "months", "expected"),
    [
        ("2021-08-30", 24, "2019-08-30"),
        ("2021-03-31", 1, "2021-02-28"),
        ("2020-03-31", 1, "2020-02-29"),
        ("2020-02-29", 12, "2019-02-28"),
        ("2020-01-15", 13, "2018-12-15"),
        ("2020-01-31", -1, "2020-02-29"),
    ],
)
def test_months_are_calendar_months_with_the_day_clamped(date: str, months: int, expected: str) -> None:
    assert months_before(np.datetime64(date), months) == np.datetime64(expected)


def test_months_that_begin_at_a_months_end_keep_to_their_month() -> None:
    found = months_from(np.datetime64("2019-12-31"), 4).astype(str).tolist()
    assert found == ["2019-12-31", "2020-01-31", "2020-02-29", "2020-03-31"]


@pytest.mark.parametrize(
    ("dates", "end"),
    [
        (days("2020-02-25", 1, 5), "2020-03-01"),
        (days("2020-02-24", 7, 3), "2020-03-16"),
        (months_from(np.datetime64("2020-01-01"), 2), "2020-03-01"),
        (months_from(np.datetime64("2021-01-29"), 2), "2021-03-29"),
        (months_from(np.datetime64("2020-12-31"), 3), "2021-03-31"),
        (months_from(np.datetime64("2020-12-28"), 3), "2021-03-28"),
        (months_from(np.datetime64("2021-01-01"), 7)[::3], "2021-10-01"),
        (days("2020-02-29", 1, 1), "2020-03-01"),
    ],
    ids=["days", "weeks", "months", "short month", "month ends", "28th", "quarters", "one day"],
)
def test_the_last_period_ends_where_a_following_one_would_begin(dates: np.ndarray, end: str) -> None:
    assert end_of(dates) == np.datetime64(end)


@pytest.mark.parametrize(
    ("dates", "months", "rows"),
    [
        (days("2020-01-06", 7, 209), 24, 104),
        (months_from(np.datetime64("2018-01-01"), 40), 24, 24),
        (months_from(np.datetime64("2018-01-01"), 40)[::3], 24, 8),
        (days("2019-01-01", 1, 425), 12, 366),  # up to 29 February 2020
        (days("2021-01-04", 7, 20), 24, 20),
    ],
    ids=["weeks", "months", "quarters", "leap year", "longer than the data"],
)
def test_rows_of_the_last_months(dates: np.ndarray, months: int, rows: int) -> None:
    assert len(dates) - first_of_last(dates, months) == rows


def monthly(day: int, first: str = "2019-01", count: int = 62) -> np.ndarray:
    """Dates on a day of the month, or on the month's last."""
    months = np.datetime64(first) + np.arange(count)
    last = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - DAY
    return np.minimum(months.astype("datetime64[D]") + (day - 1) * DAY, last)


@pytest.mark.parametrize("day", [1, 15, 28, 29, 30, 31])
def test_months_of_any_day_are_months_whichever_is_the_first_and_the_last(day: int) -> None:
    every = monthly(day)
    for start in range(14):
        for count in (25, 30, 37, 48):
            dates = every[start : start + count]
            assert not off_their_day(dates).any()
            assert dates.size - first_of_last(dates, 24) == 24
            assert dates.size - first_of_last(dates, 6) == 6
            assert np.array_equal(months_between(dates[0], dates[-1], month_day(dates)), dates)
            assert end_of(dates) == every[start + count]
            found = months_between(dates[0], dates[-1])
            assert found.size == dates.size
            # Two ends on the last day of a short month leave open whether the day is the 28th or the 31st.
            assert np.array_equal(found, dates) or (found == monthly(31)[start : start + count]).all()
            if day in (1, 15, 31):
                np.testing.assert_array_equal(found, dates)


def test_a_date_off_the_day_of_its_series_is_found() -> None:
    dates = monthly(31, count=6)
    dates[3] -= DAY
    np.testing.assert_array_equal(np.flatnonzero(off_their_day(dates)), [3])
    later = monthly(15, count=6)
    later[3] += DAY  # later than all others, which are not in the wrong for it
    np.testing.assert_array_equal(np.flatnonzero(off_their_day(later)), [3])
    np.testing.assert_array_equal(day_of_month(monthly(31, "2020-01", 4)), [31, 29, 31, 30])


def test_a_series_can_be_told_to_be_on_a_later_day_than_its_first_month_has() -> None:
    found = months_from(np.datetime64("2021-02-28"), 3, 31).astype(str).tolist()
    assert found == ["2021-02-28", "2021-03-31", "2021-04-30"]
