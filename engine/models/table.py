"""A table of dated columns and the trailing calendar window that a model is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput

Floats = NDArray[np.float64]
Dates = NDArray[np.datetime64]


@dataclass(frozen=True)
class Table:
    """Rows sorted by date, one per period: dates [T] as datetime64[D], columns of T finite numbers."""

    dates: Dates
    columns: Mapping[str, Floats]

    def __post_init__(self) -> None:
        dates = np.asarray(self.dates).astype("datetime64[D]")
        if dates.ndim != 1 or dates.size < 2:
            raise InvalidInput("table.dates", "must hold at least 2 dates")
        if np.any(np.isnat(dates)):
            raise InvalidInput("table.dates", "must not be missing")
        if np.any(np.diff(dates) <= np.timedelta64(0, "D")):
            raise InvalidInput("table.dates", "must be strictly increasing")
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in self.columns.items()}
        for name, values in columns.items():
            if values.shape != dates.shape:
                raise InvalidInput(f"table.columns[{name}]", f"must hold {dates.size} numbers, one per date")
            if not np.all(np.isfinite(values)):
                raise InvalidInput(f"table.columns[{name}]", "must be finite")
        object.__setattr__(self, "dates", dates)
        object.__setattr__(self, "columns", columns)

    @property
    def n_rows(self) -> int:
        """T."""
        return int(self.dates.size)

    def column(self, name: str, field: str) -> Floats:
        """The column, or InvalidInput at the caller's `field` when there is none."""
        if name not in self.columns:
            raise InvalidInput(field, f"the table has no column {name!r}")
        return self.columns[name]


@dataclass(frozen=True)
class Window:
    """The last `data_period_months` calendar months of the data; None takes every row.

    The end is the end of the last period (its date plus the usual spacing of the dates), the start lies the given
    number of months earlier, and a row belongs when its date is not before the start: 24 months of weeks are 104 rows.
    """

    data_period_months: int | None = None

    def __post_init__(self) -> None:
        if self.data_period_months is not None and self.data_period_months < 1:
            raise InvalidInput("data_period_months", "must be at least 1")

    def first_row(self, dates: Dates) -> int:
        """Index of the first row inside."""
        if self.data_period_months is None:
            return 0
        spacing = int(np.median(np.diff(dates).astype(np.int64)))
        # Months differ in length, so that the end of a monthly (or quarterly) period is found by the calendar.
        months = round(spacing / 30.44) if spacing >= 28 else 0
        end = months_before(dates[-1], -months) if months else dates[-1] + np.timedelta64(spacing, "D")
        return int(np.searchsorted(dates, months_before(end, self.data_period_months), side="left"))


def months_before(date: np.datetime64, months: int) -> np.datetime64:
    """The same day of the month `months` earlier, or that month's last day where the day does not exist."""
    day = date.astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    start = (month - np.timedelta64(months, "M")).astype("datetime64[D]")
    following = (month - np.timedelta64(months - 1, "M")).astype("datetime64[D]")
    earlier: np.datetime64 = min(start + (day - month.astype("datetime64[D]")), following - np.timedelta64(1, "D"))
    return earlier
