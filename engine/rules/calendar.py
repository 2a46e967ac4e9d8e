"""Calendar months: which rows the last of them cover, and where a period of daily, weekly or monthly data ends."""

from __future__ import annotations

import numpy as np

from engine.arrays import Dates, Integers

DAYS_PER_MONTH = 365.25 / 12
"""Of a month on average, where a length in days is told in months."""
MONTH_DAYS = 28
"""Rows at least this far apart are months (or quarters)."""
ONE_DAY = np.timedelta64(1, "D")


def months_before(day: np.datetime64, months: int) -> np.datetime64:
    """The same day of the month `months` earlier, or that month's last day where the day does not exist."""
    moved: np.datetime64 = _moved(day, np.array([-months]))[0]
    return moved


def months_from(first: np.datetime64, count: int) -> Dates:
    """The same day [count] of a month and of those that follow it, or their last day where the day does not exist."""
    return _moved(first, np.arange(count))


def _moved(day: np.datetime64, months: Integers) -> Dates:
    month = day.astype("datetime64[M]")
    moved = month + months.astype("timedelta64[M]")
    last = (moved + np.timedelta64(1, "M")).astype("datetime64[D]") - ONE_DAY
    same = moved.astype("datetime64[D]") + (day.astype("datetime64[D]") - month.astype("datetime64[D]"))
    return np.asarray(np.minimum(same, last))


def end_of(dates: Dates) -> np.datetime64:
    """The day after the last of the periods that begin at these dates [T], strictly increasing; a lone one is a day.

    Months differ in length, so that the end of a monthly or quarterly period is found by the calendar.
    """
    spacing = int(np.median(np.diff(dates).astype(np.int64))) if len(dates) > 1 else 1
    if spacing >= MONTH_DAYS:
        return months_before(dates[-1], -round(spacing / DAYS_PER_MONTH))
    return np.datetime64(dates[-1] + np.timedelta64(spacing, "D"))


def first_of_last(dates: Dates, months: int) -> int:
    """Index of the first of these dates [T], strictly increasing, that lies in the last `months` calendar months.

    The months end with the last period, and a row belongs when its date is not before their start: 24 months of weeks
    are 104 rows.
    """
    return int(np.searchsorted(dates, months_before(end_of(dates), months), side="left"))
