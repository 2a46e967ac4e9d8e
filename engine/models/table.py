"""A table of dated columns, of one series or of a panel of geos, and the trailing window that a model is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.arrays import Dates, Floats
from engine.errors import InvalidInput
from engine.rules.calendar import first_of_last


@dataclass(frozen=True)
class Table:
    """One row per geo and period: dates [N] as datetime64[D], columns of N finite numbers, perhaps geos [N].

    Without `geos` (national data) the rows are one series, sorted by date: one geo without a name. With them (text, or
    numbers that are then read as text) the table is a balanced panel: every geo has the same dates, and each geo's rows
    come sorted by date, whatever the order of the geos. The rows are kept sorted by (geo, date), so that N = G * T, and
    `geo_names` [G] tells the order of the geos.
    """

    dates: Dates
    columns: Mapping[str, Floats]
    geos: NDArray[Any] | None = None
    geo_names: tuple[str, ...] = field(default=("",), init=False)

    def __post_init__(self) -> None:
        dates = np.asarray(self.dates).astype("datetime64[D]")
        if dates.ndim != 1 or dates.size < 2:
            raise InvalidInput("table.dates", "must hold at least 2 dates")
        if np.any(np.isnat(dates)):
            raise InvalidInput("table.dates", "must not be missing")
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in self.columns.items()}
        for name, values in columns.items():
            if values.shape != dates.shape:
                raise InvalidInput(f"table.columns[{name}]", f"must hold {dates.size} numbers, one per date")
            if not np.all(np.isfinite(values)):
                raise InvalidInput(f"table.columns[{name}]", "must be finite")
        if self.geos is None:
            _check_increasing(dates, "")
        else:
            geos = np.asarray(self.geos)
            names, codes = np.unique(geos, return_inverse=True)
            geo_names = tuple(str(name) for name in names)
            if geos.shape != dates.shape or "" in geo_names:
                raise InvalidInput("table.geos", f"must hold {dates.size} names that are not empty, one per date")
            order = np.argsort(codes, kind="stable")
            dates = dates[order]
            columns = {name: values[order] for name, values in columns.items()}
            _check_balanced(dates, codes[order], geo_names)
            object.__setattr__(self, "geos", geos[order])
            object.__setattr__(self, "geo_names", geo_names)
        object.__setattr__(self, "dates", dates)
        object.__setattr__(self, "columns", columns)

    @property
    def n_rows(self) -> int:
        """N."""
        return int(self.dates.size)

    @property
    def periods(self) -> Dates:
        """The dates [T] that every geo has."""
        return self.dates[: self.n_rows // len(self.geo_names)]

    @property
    def spacing(self) -> int:
        """Days from one period to the next, the median."""
        return int(np.median(np.diff(self.periods).astype(np.int64)))

    def column(self, name: str, field: str) -> Floats:
        """The column [N], or InvalidInput at the caller's `field` when there is none."""
        if name not in self.columns:
            raise InvalidInput(field, f"the table has no column {name!r}")
        return self.columns[name]

    def by_geo(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the rows [N] as [G, T]."""
        return values.reshape(len(self.geo_names), -1)

    def without_last(self, months: int) -> Table:
        """The table without the rows that `Window(months)` would take, for an analysis that must not see them."""
        kept = Window(months).first_row(self.periods)
        if kept < 2:
            raise InvalidInput("hold_out_months", f"leaves {kept} periods of {self.periods.size}")
        rows = self.by_geo(np.arange(self.n_rows))[:, :kept].reshape(-1)
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Table(self.dates[rows], columns, None if self.geos is None else self.geos[rows])

    def since(self, first: int, values: NDArray[Any]) -> NDArray[Any]:
        """Values [N] without those of every geo's first `first` periods."""
        return self.by_geo(values)[:, first:].reshape(-1)


def _check_increasing(dates: Dates, where: str) -> None:
    if np.any(np.diff(dates) <= np.timedelta64(0, "D")):
        raise InvalidInput("table.dates", f"must be strictly increasing{where}")


def _check_balanced(dates: Dates, codes: NDArray[np.intp], geo_names: tuple[str, ...]) -> None:
    """Refuse a panel, sorted by geo, in which a geo has a date twice or lacks one that another geo has."""
    periods = np.unique(dates)
    if periods.size < 2:
        raise InvalidInput("table.dates", "must hold at least 2 dates")
    for geo, own in zip(geo_names, np.split(dates, np.flatnonzero(np.diff(codes)) + 1), strict=True):
        _check_increasing(own, f" within geo {geo!r}")
        if own.size < periods.size:
            missing = np.setdiff1d(periods, own)[0]
            raise InvalidInput("table.geos", f"{geo!r} has no row on {missing}: every geo must have the same dates")


@dataclass(frozen=True)
class Window:
    """The last `data_period_months` calendar months of the data (engine.rules.calendar); None takes every row."""

    data_period_months: int | None = None

    def __post_init__(self) -> None:
        if self.data_period_months is not None and self.data_period_months < 1:
            raise InvalidInput("data_period_months", "must be at least 1")

    def first_row(self, dates: Dates) -> int:
        """Index of the first of these dates [T], strictly increasing, that is inside."""
        if self.data_period_months is None:
            return 0
        return first_of_last(dates, self.data_period_months)


@dataclass(frozen=True)
class WindowReport:
    """Which rows were used: `periods` dates of each of `geos` geos (1 for national data).

    Of each geo, `lead_in_rows` before the window feed the adstock only, and `edge_affected_rows` at the start of the
    window lack part of their media history: it stands in for what is unknown that exposure was what it was on average
    in the first rows, and the first `skipped_rows` of them do not enter the likelihood. `constant_controls` do not vary
    inside the window: their coefficients stay at their priors. Nothing was spent on the `unpaid` channels, so that they
    have no ROI.
    """

    first_date: np.datetime64
    last_date: np.datetime64
    periods: int
    geos: int = 1
    lead_in_rows: int = 0
    edge_affected_rows: int = 0
    skipped_rows: int = 0
    constant_controls: tuple[str, ...] = ()
    unpaid: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Observations inside the window, `periods` of each geo."""
        return self.periods * self.geos
