"""Calendar months: which rows the last of them cover, and where a period of daily, weekly or monthly data ends."""

from __future__ import annotations

import numpy as np

from engine.arrays import Dates, Flags, Integers

DAYS_PER_MONTH = 365.25 / 12
"""Of a month on average, where a length in days is told in months."""
MONTH_DAYS = 28
"""Rows at least this far apart are months (or quarters)."""
ONE_DAY = np.timedelta64(1, "D")
_LAST_DAY = 31


def months_before(day: np.datetime64, months: int) -> np.datetime64:
    """The same day of the month `months` earlier, or that month's last day where the day does not exist."""
    moved: np.datetime64 = _moved(day, np.array([-months]))[0]
    return moved


def months_from(first: np.datetime64, count: int, day: int | None = None) -> Dates:
    """The same day [count] of a month and of those that follow it, or their last day where the day does not exist.

    `day` of the month, from 1 on, is that of `first` unless given: after 28 February may come 28 or 31 March.
    """
    return _on_day(_month(first) + np.arange(count).astype("timedelta64[M]"), day or int(day_of_month(first)))


def months_between(first: np.datetime64, last: np.datetime64, day: int | None = None) -> Dates:
    """The dates [T] of monthly data from their first and last, both included.

    All fall on one `day` of the month, or on its last day where that does not exist. Where it is not given, two last
    days of a month are taken for the ends of all.
    """
    ends = np.array([first, last], dtype="datetime64[D]")
    at_end = np.all(ends == _on_day(ends.astype("datetime64[M]"), _LAST_DAY))
    count = int((_month(last) - _month(first)).astype(int)) + 1
    return months_from(first, count, day or (_LAST_DAY if at_end else month_day(ends)))


def day_of_month(dates: Dates | np.datetime64) -> Integers:
    """The day of the month, from 1 on, of dates of any shape."""
    days = np.asarray(dates).astype("datetime64[D]")
    return np.asarray((days - days.astype("datetime64[M]")).astype(np.int64) + 1)


def month_day(dates: Dates) -> int:
    """The day of the month that monthly dates [T] are on: the latest, as a shorter month has its last day instead."""
    return int(day_of_month(dates).max())


def off_their_day(dates: Dates) -> Flags:
    """Which of the dates [T] of monthly data are not on the day of the month that most of them are on.

    Or on the last day of a month that has no such day: 30 January, 28 February, 30 March.
    """
    months = dates.astype("datetime64[M]")
    # One date that was mistyped shall not put all others in the wrong.
    days = np.unique(day_of_month(dates))
    fits = [dates == _on_day(months, int(day)) for day in days]
    return np.asarray(~max(fits, key=lambda flags: int(flags.sum())))


def _month(day: np.datetime64) -> np.datetime64:
    month: np.datetime64 = day.astype("datetime64[M]")
    return month


def _moved(day: np.datetime64, months: Integers) -> Dates:
    return _on_day(_month(day) + months.astype("timedelta64[M]"), int(day_of_month(day)))


def _on_day(months: Dates, day: int) -> Dates:
    last = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - ONE_DAY
    return np.asarray(np.minimum(months.astype("datetime64[D]") + (day - 1) * ONE_DAY, last))


def end_of(dates: Dates) -> np.datetime64:
    """The day after the last of the periods that begin at these dates [T], strictly increasing; a lone one is a day.

    Months differ in length, so that the end of a monthly or quarterly period is found by the calendar: after 28
    February comes 31 March where the series is on the last days of months.
    """
    spacing = int(np.median(np.diff(dates).astype(np.int64))) if len(dates) > 1 else 1
    if spacing >= MONTH_DAYS:
        steps = round(spacing / DAYS_PER_MONTH)
        following = _month(dates[-1]) + np.timedelta64(steps, "M")
        return np.datetime64(_on_day(np.array([following]), month_day(dates))[0])
    return np.datetime64(dates[-1] + np.timedelta64(spacing, "D"))


def months_holding(dates: Dates, index: int) -> int:
    """The least number of last calendar months of these dates [T] that holds the date at an index."""
    months = 1
    while first_of_last(dates, months) > index:
        months += 1
    return months


def first_of_last(dates: Dates, months: int) -> int:
    """Index of the first of these dates [T], strictly increasing, that lies in the last `months` calendar months.

    The months end with the last period, and a row belongs when its date is not before their start: 24 months of weeks
    are 104 rows.
    """
    return int(np.searchsorted(dates, months_before(end_of(dates), months), side="left"))
