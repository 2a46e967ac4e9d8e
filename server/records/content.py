"""The content of a data set: its layout, its rules and the columns as arrays."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2, dataset_pb2

from engine.rules.calendar import day_of_month, month_day, off_their_day
from persistence.tables import Dataset
from server.contract.errors import invalid_data, invalid_field
from server.contract.wire import dtype_of, from_json, label

MAX_DATASET_BYTES = 1 << 30
_COUNTS: Mapping[dataset_pb2.ColumnRole.ValueType, tuple[int, int]] = {
    dataset_pb2.COLUMN_ROLE_TIME: (1, 1),
    dataset_pb2.COLUMN_ROLE_KPI: (1, 1),
    dataset_pb2.COLUMN_ROLE_GEO: (0, 1),
    dataset_pb2.COLUMN_ROLE_POPULATION: (0, 1),
}
"""Least and greatest number of columns of a role; of the others there may be any number."""
_ELEMENT_TYPES = {
    dataset_pb2.COLUMN_ROLE_TIME: common_pb2.ELEMENT_TYPE_DATE32,
    dataset_pb2.COLUMN_ROLE_GEO: common_pb2.ELEMENT_TYPE_INT32,
}
"""Element types of roles; that of every other role is FLOAT64."""
_NOT_NEGATIVE = (dataset_pb2.COLUMN_ROLE_EXPOSURE, dataset_pb2.COLUMN_ROLE_SPEND)
_POSITIVE = (dataset_pb2.COLUMN_ROLE_REVENUE_PER_KPI, dataset_pb2.COLUMN_ROLE_POPULATION)

_MONTH_DAYS = 28, 31
"""Shortest and longest calendar month."""


@dataclass(frozen=True)
class Geos:
    """The geo of each row as codes [rows] into `names`; national data are one geo without a name."""

    codes: npt.NDArray[np.int32]
    names: Sequence[str] = ("",)

    @property
    def panel(self) -> bool:
        """Whether there is a GEO column."""
        return self.names[0] != ""

    @property
    def labels(self) -> npt.NDArray[np.object_] | None:
        """The geo of each row by name [rows], None for national data."""
        return np.asarray(self.names, dtype=object)[self.codes] if self.panel else None

    def of(self, row: int) -> str:
        """Which geo a row is of, to end a sentence with; nothing for national data."""
        return f" in geo {self.names[self.codes[row]]!r}" if self.panel else ""


@dataclass(frozen=True)
class Table:
    """Columns of a data set by name, each of shape [rows], the dates as datetime64[D] and the geos.

    Rows are in the order of the upload: a geo's rows by date, the geos in any order.
    """

    dates: npt.NDArray[np.datetime64]
    columns: Mapping[str, npt.NDArray[np.float64]]
    geos: Geos
    grain: str | None
    """Label of the `TimeGrain` value, None when a single row does not tell."""

    @property
    def first_date(self) -> datetime.date:
        """Date of the first row; in a panel no geo has an earlier one."""
        return _day(self.dates[0])

    @property
    def last_date(self) -> datetime.date:
        """Date of the last row; in a panel no geo has a later one."""
        return _day(self.dates[-1])

    @property
    def month_day(self) -> int | None:
        """The day of the month that monthly rows are on, None for other grains."""
        monthly = label(dataset_pb2.TimeGrain, dataset_pb2.TIME_GRAIN_MONTHLY)
        return month_day(self.dates) if self.grain == monthly else None


def _day(value: np.datetime64) -> datetime.date:
    day = value.astype("datetime64[D]").astype(object)
    assert isinstance(day, datetime.date)
    return day


def check_header(header: dataset_pb2.DatasetHeader) -> int:
    """Check the columns of a header against each other; return the size of the content in bytes.

    Raises ServiceError INVALID_FIELD naming the column, or for too much data.
    """
    seen: dict[str, int] = {}
    for index, column in enumerate(header.columns):
        path = f"header.columns[{index}]"
        if column.name in seen:
            raise invalid_field(f"{path}.name", f"{column.name!r} is the name of column {seen[column.name]} already")
        seen[column.name] = index
        wanted = _ELEMENT_TYPES.get(column.role, common_pb2.ELEMENT_TYPE_FLOAT64)
        if column.element_type != wanted:
            role = dataset_pb2.ColumnRole.Name(column.role)
            raise invalid_field(f"{path}.element_type", f"{role} columns are {common_pb2.ElementType.Name(wanted)}")
        if column.role == dataset_pb2.COLUMN_ROLE_GEO:
            _check_categories(path, column.categories)
    for counted, (least, most) in _COUNTS.items():
        count = sum(column.role == counted for column in header.columns)
        if not least <= count <= most:
            how_many = "exactly" if least == most else "at most"
            role = label(dataset_pb2.ColumnRole, counted)
            raise invalid_field("header.columns", f"{how_many} one column of role {role}, found {count}")
    total = sum(dtype_of(column.element_type).itemsize for column in header.columns) * header.row_count
    if total > MAX_DATASET_BYTES:
        raise invalid_field("header.row_count", f"{total} bytes of content, at most {MAX_DATASET_BYTES}")
    return total


def _check_categories(path: str, categories: Sequence[str]) -> None:
    if not categories:
        raise invalid_field(f"{path}.categories", "a GEO column needs the labels of its codes")
    for code, name in enumerate(categories):
        if not name or name in categories[:code]:
            raise invalid_field(f"{path}.categories[{code}]", f"{name!r} is empty or the label of another code already")


def decode(columns: Sequence[dataset_pb2.Column], row_count: int, content: bytes) -> Table:
    """Decode content and check every rule of the data; raises ServiceError INVALID_DATA with the path of the cell."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    offset = 0
    for column in columns:
        dtype = dtype_of(column.element_type)
        arrays[column.name] = np.frombuffer(content, dtype, row_count, offset)
        offset += dtype.itemsize * row_count
    geos = _geos(columns, arrays, row_count)
    time_index = next(i for i, c in enumerate(columns) if c.role == dataset_pb2.COLUMN_ROLE_TIME)
    dates = arrays.pop(columns[time_index].name).astype("datetime64[D]")
    grain = _check_dates(time_index, dates, geos)
    for index, column in enumerate(columns):
        if column.name in arrays:
            _check_column(index, column, arrays[column.name], dates, geos)
    return Table(dates, {name: array.astype(np.float64, copy=False) for name, array in arrays.items()}, geos, grain)


def _geos(columns: Sequence[dataset_pb2.Column], arrays: dict[str, npt.NDArray[Any]], row_count: int) -> Geos:
    """Take the GEO column out of the arrays: its codes must be those of its labels, and each label must occur."""
    index = next((i for i, c in enumerate(columns) if c.role == dataset_pb2.COLUMN_ROLE_GEO), None)
    if index is None:
        return Geos(np.zeros(row_count, np.int32))
    codes, names = arrays.pop(columns[index].name), tuple(columns[index].categories)
    if (row := _first((codes < 0) | (codes >= len(names)))) is not None:
        raise invalid_data(_cell(index, row), f"code {codes[row]} is none of the {len(names)} categories (row {row})")
    if (unused := _first(np.bincount(codes, minlength=len(names)) == 0)) is not None:
        raise invalid_data(f"columns[{index}].categories[{unused}]", f"geo {names[unused]!r} has no row")
    return Geos(codes, names)


def _cell(column: int, row: int) -> str:
    return f"columns[{column}].values[{row}]"


def _check_dates(index: int, dates: npt.NDArray[np.datetime64], geos: Geos) -> str | None:
    """Check order, spacing and gaps, and that every geo has the same dates; return the label of the grain."""
    by_geo = np.argsort(geos.codes, kind="stable")
    steps = np.diff(dates[by_geo]).astype(int)
    same = np.diff(geos.codes[by_geo]) == 0
    if (duplicate := _first(same & (steps == 0))) is not None:
        row = int(by_geo[duplicate + 1])
        raise invalid_data(_cell(index, row), f"date {dates[row]} occurs twice{geos.of(row)}")
    if (backward := _first(same & (steps < 0))) is not None:
        row, before = int(by_geo[backward + 1]), int(by_geo[backward])
        raise invalid_data(_cell(index, row), f"date {dates[row]} comes after {dates[before]}{geos.of(row)}")
    periods, rows = np.unique(dates, return_index=True)
    grain = _check_spacing(index, periods, rows)
    counts = np.bincount(geos.codes)
    if (short := _first(counts < len(periods))) is not None:
        own = np.flatnonzero(geos.codes == short)
        missing = np.setdiff1d(periods, dates[own])[0]
        row = int(own[min(np.searchsorted(dates[own], missing), len(own) - 1)])  # where it should stand, or the last
        raise invalid_data(
            _cell(index, row), f"there is no row on {missing}{geos.of(row)}: every geo must have the same dates"
        )
    return grain


def _check_spacing(index: int, dates: npt.NDArray[np.datetime64], rows: npt.NDArray[np.intp]) -> str | None:
    """Check the spacing of the dates that occur, each first in one of `rows`; return the label of the grain."""
    if len(dates) < 2:
        return None
    steps = np.diff(dates).astype(int)
    # The most frequent one: one gap, or one date that was mistyped, says nothing of the others.
    lengths, counts = np.unique(steps, return_counts=True)
    usual = int(lengths[np.argmax(counts)])
    if usual in (1, 7):
        gap = _first(steps != usual)
        if gap is not None:
            raise invalid_data(
                _cell(index, rows[gap + 1]),
                f"{steps[gap]} days from {dates[gap]} to {dates[gap + 1]}, but the rows are {usual} days apart: "
                "there must be no gap",
            )
        grain = dataset_pb2.TIME_GRAIN_DAILY if usual == 1 else dataset_pb2.TIME_GRAIN_WEEKLY
    else:
        if not _MONTH_DAYS[0] <= usual <= _MONTH_DAYS[1]:
            raise invalid_data(
                _cell(index, rows[1]),
                f"the rows are {usual} days apart (most of them): they must be a day, seven days or a calendar month "
                "apart",
            )
        gap = _first(np.diff(dates.astype("datetime64[M]")).astype(int) != 1)
        if gap is not None:
            raise invalid_data(
                _cell(index, rows[gap + 1]),
                f"{steps[gap]} days from {dates[gap]} to {dates[gap + 1]}, but the rows are a month apart: every "
                "calendar month must have one",
            )
        if (odd := _first(off_their_day(dates))) is not None:
            day = month_day(dates[~off_their_day(dates)])
            raise invalid_data(
                _cell(index, rows[odd]),
                f"{dates[odd]} is on day {day_of_month(dates[odd])} of its month and others are on day {day}: monthly "
                "rows must be on one day of the month, or on its last where the month is shorter",
            )
        grain = dataset_pb2.TIME_GRAIN_MONTHLY
    return label(dataset_pb2.TimeGrain, grain)


def _check_column(
    index: int, column: dataset_pb2.Column, values: npt.NDArray[Any], dates: npt.NDArray[np.datetime64], geos: Geos
) -> None:
    def refuse(bad: npt.NDArray[np.bool_], what: str) -> None:
        if (row := _first(bad)) is not None:
            role = label(dataset_pb2.ColumnRole, column.role)
            raise invalid_data(
                _cell(index, row), f"{role} column {column.name!r} is {what} on {dates[row]}{geos.of(row)} (row {row})"
            )

    refuse(np.isnan(values), "NaN")
    refuse(np.isinf(values), "infinite")
    if column.role in _NOT_NEGATIVE:
        refuse(values < 0, "negative")
    if column.role in _POSITIVE:
        refuse(values <= 0, "not positive")
    if column.role == dataset_pb2.COLUMN_ROLE_POPULATION and geos.panel:
        _, first_rows = np.unique(geos.codes, return_index=True)
        refuse(values != values[first_rows][geos.codes], "another than on the first date")
    if column.role == dataset_pb2.COLUMN_ROLE_EXPOSURE and not values.any():
        raise invalid_data(f"columns[{index}]", f"EXPOSURE column {column.name!r} is zero in every row")


def _first(mask: npt.NDArray[np.bool_]) -> int | None:
    """Index of the first true element, None if there is none."""
    return int(np.argmax(mask)) if mask.any() else None


def stored_columns(row: Dataset) -> list[dataset_pb2.Column]:
    """The columns of a data set as messages."""
    return [from_json(column, dataset_pb2.Column()) for column in row.columns]
