"""The content of a data set: its layout, its rules and the columns as arrays."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2, dataset_pb2

from server.errors import invalid_data, invalid_field, unimplemented
from server.wire import dtype_of, label

MAX_DATASET_BYTES = 1 << 30
_SINGLE_ROLES = (dataset_pb2.COLUMN_ROLE_TIME, dataset_pb2.COLUMN_ROLE_KPI)
_NOT_NEGATIVE = (dataset_pb2.COLUMN_ROLE_EXPOSURE, dataset_pb2.COLUMN_ROLE_SPEND)
_POSITIVE = (dataset_pb2.COLUMN_ROLE_REVENUE_PER_KPI, dataset_pb2.COLUMN_ROLE_POPULATION)


@dataclass(frozen=True)
class Table:
    """Columns of a data set by name, each of shape [rows], and the dates as datetime64[D]."""

    dates: npt.NDArray[np.datetime64]
    columns: Mapping[str, npt.NDArray[np.float64]]
    grain: str | None
    """Label of the `TimeGrain` value, None when a single row does not tell."""

    @property
    def first_date(self) -> datetime.date:
        """Date of the first row."""
        return _day(self.dates[0])

    @property
    def last_date(self) -> datetime.date:
        """Date of the last row."""
        return _day(self.dates[-1])


def _day(value: np.datetime64) -> datetime.date:
    day = value.astype("datetime64[D]").astype(object)
    assert isinstance(day, datetime.date)
    return day


def check_header(header: dataset_pb2.DatasetHeader) -> int:
    """Check the columns of a header against each other; return the size of the content in bytes.

    Raises ServiceError INVALID_FIELD naming the column, UNIMPLEMENTED for geo panels, INVALID_FIELD for too much data.
    """
    seen: dict[str, int] = {}
    for index, column in enumerate(header.columns):
        path = f"header.columns[{index}]"
        if column.name in seen:
            raise invalid_field(f"{path}.name", f"{column.name!r} is the name of column {seen[column.name]} already")
        seen[column.name] = index
        if column.role == dataset_pb2.COLUMN_ROLE_GEO:
            raise unimplemented("a geo panel", f"{path}.role")
        wanted = (
            common_pb2.ELEMENT_TYPE_DATE32
            if column.role == dataset_pb2.COLUMN_ROLE_TIME
            else common_pb2.ELEMENT_TYPE_FLOAT64
        )
        if column.element_type != wanted:
            role = dataset_pb2.ColumnRole.Name(column.role)
            raise invalid_field(f"{path}.element_type", f"{role} columns are {common_pb2.ElementType.Name(wanted)}")
    for single in _SINGLE_ROLES:
        count = sum(column.role == single for column in header.columns)
        if count != 1:
            raise invalid_field(
                "header.columns", f"exactly one column of role {label(dataset_pb2.ColumnRole, single)}, found {count}"
            )
    total = sum(dtype_of(column.element_type).itemsize for column in header.columns) * header.row_count
    if total > MAX_DATASET_BYTES:
        raise invalid_field("header.row_count", f"{total} bytes of content, at most {MAX_DATASET_BYTES}")
    return total


def decode(columns: Sequence[dataset_pb2.Column], row_count: int, content: bytes) -> Table:
    """Decode content and check every rule of the data; raises ServiceError INVALID_DATA with the path of the cell."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    offset = 0
    for column in columns:
        dtype = dtype_of(column.element_type)
        arrays[column.name] = np.frombuffer(content, dtype, row_count, offset)
        offset += dtype.itemsize * row_count
    time_index = next(i for i, c in enumerate(columns) if c.role == dataset_pb2.COLUMN_ROLE_TIME)
    dates = arrays.pop(columns[time_index].name).astype("datetime64[D]")
    grain = _check_dates(time_index, dates)
    for index, column in enumerate(columns):
        if index != time_index:
            _check_column(index, column, arrays[column.name], dates)
    return Table(dates, {name: array.astype(np.float64, copy=False) for name, array in arrays.items()}, grain)


def _cell(column: int, row: int) -> str:
    return f"columns[{column}].values[{row}]"


def _check_dates(index: int, dates: npt.NDArray[np.datetime64]) -> str | None:
    """Check order, spacing and gaps; return the label of the grain."""
    if len(dates) < 2:
        return None
    steps = np.diff(dates).astype(int)
    if (duplicate := _first(steps == 0)) is not None:
        raise invalid_data(_cell(index, duplicate + 1), f"date {dates[duplicate + 1]} occurs twice")
    if (backward := _first(steps < 0)) is not None:
        raise invalid_data(_cell(index, backward + 1), f"date {dates[backward + 1]} comes after {dates[backward]}")
    usual = int(np.median(steps))
    if usual in (1, 7):
        gap = _first(steps != usual)
        if gap is not None:
            raise invalid_data(
                _cell(index, gap + 1),
                f"{steps[gap]} days from {dates[gap]} to {dates[gap + 1]}, but the rows are {usual} days apart: "
                "there must be no gap",
            )
        grain = dataset_pb2.TIME_GRAIN_DAILY if usual == 1 else dataset_pb2.TIME_GRAIN_WEEKLY
    else:
        months = dates.astype("datetime64[M]")
        in_month = (dates - months).astype(int)
        gap = _first((np.diff(months).astype(int) != 1) | (np.diff(in_month) != 0))
        if gap is not None:
            raise invalid_data(
                _cell(index, gap + 1),
                f"{dates[gap]} is followed by {dates[gap + 1]}: the rows must be a day, seven days or a calendar month "
                "apart, without a gap",
            )
        grain = dataset_pb2.TIME_GRAIN_MONTHLY
    return label(dataset_pb2.TimeGrain, grain)


def _check_column(
    index: int, column: dataset_pb2.Column, values: npt.NDArray[Any], dates: npt.NDArray[np.datetime64]
) -> None:
    def refuse(bad: npt.NDArray[np.bool_], what: str) -> None:
        if (row := _first(bad)) is not None:
            role = label(dataset_pb2.ColumnRole, column.role)
            raise invalid_data(
                _cell(index, row), f"{role} column {column.name!r} is {what} on {dates[row]} (row {row})"
            )

    refuse(np.isnan(values), "NaN")
    refuse(np.isinf(values), "infinite")
    if column.role in _NOT_NEGATIVE:
        refuse(values < 0, "negative")
    if column.role in _POSITIVE:
        refuse(values <= 0, "not positive")
    if column.role == dataset_pb2.COLUMN_ROLE_EXPOSURE and not values.any():
        raise invalid_data(f"columns[{index}]", f"EXPOSURE column {column.name!r} is zero in every row")


def _first(mask: npt.NDArray[np.bool_]) -> int | None:
    """Index of the first true element, None if there is none."""
    return int(np.argmax(mask)) if mask.any() else None
