"""Decoding and checking the content of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes.v1 import common_pb2, dataset_pb2

from server.errors import ServiceError
from server.table import check_header, decode

TIME, KPI = dataset_pb2.COLUMN_ROLE_TIME, dataset_pb2.COLUMN_ROLE_KPI
EXPOSURE, REVENUE = dataset_pb2.COLUMN_ROLE_EXPOSURE, dataset_pb2.COLUMN_ROLE_REVENUE_PER_KPI
FLOAT, DATE = common_pb2.ELEMENT_TYPE_FLOAT64, common_pb2.ELEMENT_TYPE_DATE32


def column(name: str, role: dataset_pb2.ColumnRole.ValueType) -> dataset_pb2.Column:
    return dataset_pb2.Column(name=name, role=role, element_type=DATE if role == TIME else FLOAT)


def content(dates: np.ndarray, *values: np.ndarray) -> bytes:
    return dates.astype("datetime64[D]").astype("<i4").tobytes() + b"".join(v.astype("<f8").tobytes() for v in values)


def days(step: int, n: int = 12) -> np.ndarray:
    return np.datetime64("2024-01-01") + np.timedelta64(step, "D") * np.arange(n)


def months(n: int = 12, day: int = 15) -> np.ndarray:
    first = np.datetime64("2023-11", "M") + np.timedelta64(1, "M") * np.arange(n)
    return first.astype("datetime64[D]") + np.timedelta64(day - 1, "D")


@pytest.mark.parametrize(
    ("dates", "grain"), [(days(1), "DAILY"), (days(7), "WEEKLY"), (months(), "MONTHLY"), (days(7, 1), None)]
)
def test_the_grain_is_inferred_from_the_dates(dates: np.ndarray, grain: str | None) -> None:
    values = np.arange(1.0, len(dates) + 1)
    table = decode([column("d", TIME), column("y", KPI)], len(dates), content(dates, values))
    assert table.grain == grain
    assert table.columns["y"].tolist() == values.tolist()
    assert table.first_date.isoformat() == str(dates[0])


@pytest.mark.parametrize(
    ("dates", "row"),
    [
        (np.delete(days(1), 4), 4),
        (np.delete(days(7), 4), 4),
        (np.delete(months(), 4), 4),
        (days(3), 1),
        (days(7)[::-1], 1),
    ],
)
def test_gaps_and_disorder_are_refused_with_the_row(dates: np.ndarray, row: int) -> None:
    values = np.ones(len(dates))
    with pytest.raises(ServiceError) as caught:
        decode([column("d", TIME), column("y", KPI)], len(dates), content(dates, values))
    assert caught.value.reason == "INVALID_DATA"
    assert caught.value.violations[0].field == f"columns[0].values[{row}]"


@pytest.mark.parametrize(
    ("role", "value", "accepted"),
    [
        (EXPOSURE, 0.0, True),
        (EXPOSURE, -1.0, False),
        (EXPOSURE, np.inf, False),
        (REVENUE, 0.0, False),
        (dataset_pb2.COLUMN_ROLE_CONTROL, -1.0, True),
        (dataset_pb2.COLUMN_ROLE_CONTROL, np.nan, False),
    ],
)
def test_each_role_has_its_range(role: dataset_pb2.ColumnRole.ValueType, value: float, accepted: bool) -> None:
    values = np.ones(12)
    values[5] = value
    columns = [column("d", TIME), column("y", KPI), column("x", role)]
    raw = content(days(7), np.ones(12), values)
    if accepted:
        decode(columns, 12, raw)
        return
    with pytest.raises(ServiceError) as caught:
        decode(columns, 12, raw)
    assert caught.value.violations[0].field == "columns[2].values[5]"


def test_an_exposure_that_is_always_zero_is_refused() -> None:
    columns = [column("d", TIME), column("y", KPI), column("x", EXPOSURE)]
    with pytest.raises(ServiceError, match="zero in every row"):
        decode(columns, 12, content(days(7), np.ones(12), np.zeros(12)))


def test_a_header_announces_its_size_and_refuses_twins_and_wrong_types() -> None:
    columns = [column("d", TIME), column("y", KPI), column("x", EXPOSURE)]
    assert check_header(dataset_pb2.DatasetHeader(columns=columns, row_count=10)) == 10 * (4 + 8 + 8)
    with pytest.raises(ServiceError) as caught:
        check_header(dataset_pb2.DatasetHeader(columns=[*columns, column("x", EXPOSURE)], row_count=10))
    assert caught.value.violations[0].field == "header.columns[3].name"
    columns[1].element_type = DATE
    with pytest.raises(ServiceError) as caught:
        check_header(dataset_pb2.DatasetHeader(columns=columns, row_count=10))
    assert caught.value.violations[0].field == "header.columns[1].element_type"
