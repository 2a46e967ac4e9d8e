"""Decoding and checking the content of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes.v1 import common_pb2, dataset_pb2

from server.contract.errors import ServiceError
from server.records.content import Table, check_header, decode

TIME, KPI = dataset_pb2.COLUMN_ROLE_TIME, dataset_pb2.COLUMN_ROLE_KPI
EXPOSURE, REVENUE = dataset_pb2.COLUMN_ROLE_EXPOSURE, dataset_pb2.COLUMN_ROLE_REVENUE_PER_KPI
GEO, POPULATION = dataset_pb2.COLUMN_ROLE_GEO, dataset_pb2.COLUMN_ROLE_POPULATION
FLOAT, DATE = common_pb2.ELEMENT_TYPE_FLOAT64, common_pb2.ELEMENT_TYPE_DATE32
TYPES = {TIME: DATE, GEO: common_pb2.ELEMENT_TYPE_INT32}


def column(name: str, role: dataset_pb2.ColumnRole.ValueType, *categories: str) -> dataset_pb2.Column:
    return dataset_pb2.Column(name=name, role=role, element_type=TYPES.get(role, FLOAT), categories=categories)


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


@pytest.mark.parametrize("day", [1, 28, 29, 30, 31])
def test_rows_on_a_day_of_the_month_or_on_its_last_are_monthly(day: int) -> None:
    first = np.datetime64("2023-11") + np.arange(28)
    last = (first + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
    dates = np.minimum(first.astype("datetime64[D]") + (day - 1) * np.timedelta64(1, "D"), last)
    table = decode([column("d", TIME), column("y", KPI)], len(dates), content(dates, np.ones(len(dates))))
    assert (table.grain, table.month_day) == ("MONTHLY", day)


@pytest.mark.parametrize(
    ("change", "row", "said"),
    [
        ((4, "2024-03-14"), 4, "2024-03-14 is on day 14 of its month and others are on day 15"),
        ((4, "2024-03-16"), 4, "2024-03-16 is on day 16 of its month and others are on day 15"),
        ((4, "2024-04-01"), 4, "46 days from 2024-02-15 to 2024-04-01, but the rows are a month apart"),
    ],
)
def test_what_is_wrong_with_months_is_said_as_it_is(change: tuple[int, str], row: int, said: str) -> None:
    dates = months()
    dates[change[0]] = np.datetime64(change[1])
    with pytest.raises(ServiceError, match=said) as caught:
        decode([column("d", TIME), column("y", KPI)], len(dates), content(dates, np.ones(len(dates))))
    assert caught.value.violations[0].field == f"columns[0].values[{row}]"


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


PANEL = [column("g", GEO, "west", "east"), column("d", TIME), column("y", KPI), column("p", POPULATION)]
CODES = np.repeat([0, 1], 12)


def decoded(codes: np.ndarray, dates: np.ndarray, people: np.ndarray | None = None) -> Table:
    people = np.ones(len(dates)) if people is None else people
    raw = codes.astype("<i4").tobytes() + content(dates, np.arange(len(dates)), people)
    return decode(PANEL, len(dates), raw)


@pytest.mark.parametrize("kind", ["by geo", "by date", "mixed"])
def test_the_rows_of_the_geos_may_come_in_any_order(kind: str) -> None:
    dates = np.tile(days(7), 2)
    orders = {
        "by geo": np.arange(24),
        "by date": np.argsort(dates, kind="stable"),
        "mixed": np.concatenate([np.arange(12, 20), np.arange(12), np.arange(20, 24)]),
    }
    table = decoded(CODES[orders[kind]], dates[orders[kind]])
    assert (table.grain, str(table.first_date), str(table.last_date)) == ("WEEKLY", "2024-01-01", "2024-03-18")
    assert table.geos.labels is not None
    assert table.geos.labels.tolist() == np.array(["west", "east"])[CODES[orders[kind]]].tolist()
    assert set(table.columns) == {"y", "p"}


def test_national_data_have_no_geos() -> None:
    table = decode([column("d", TIME), column("y", KPI)], 12, content(days(7), np.ones(12)))
    assert table.geos.labels is None


def weeks_with(*changes: tuple[int, str]) -> np.ndarray:
    dates = np.tile(days(7), 2)
    for row, date in changes:
        dates[row] = np.datetime64(date)
    return dates


@pytest.mark.parametrize(
    ("codes", "dates", "field", "said"),
    [
        (
            np.delete(CODES, 15),
            np.delete(weeks_with(), 15),
            "columns[1].values[15]",
            "no row on 2024-01-22 in geo 'east'",
        ),
        (
            np.delete(CODES, 12),
            np.delete(weeks_with(), 12),
            "columns[1].values[12]",
            "no row on 2024-01-01 in geo 'east'",
        ),
        (
            np.delete(CODES, 11),
            np.delete(weeks_with(), 11),
            "columns[1].values[10]",
            "no row on 2024-03-18 in geo 'west'",
        ),
        (CODES, weeks_with((15, "2024-01-15")), "columns[1].values[15]", "2024-01-15 occurs twice in geo 'east'"),
        (CODES, weeks_with((15, "2024-01-08")), "columns[1].values[15]", "comes after 2024-01-15 in geo 'east'"),
        (CODES, weeks_with((15, "2024-01-23")), "columns[1].values[15]", "1 days from 2024-01-22 to 2024-01-23"),
        (np.delete(CODES, [3, 15]), np.delete(weeks_with(), [3, 15]), "columns[1].values[3]", "14 days"),
        (np.where(CODES == 1, 2, 0), weeks_with(), "columns[0].values[12]", "code 2 is none of the 2 categories"),
        (np.where(CODES == 1, -1, 0), weeks_with(), "columns[0].values[12]", "code -1 is none of the 2 categories"),
        (CODES[:12], weeks_with()[:12], "columns[0].categories[1]", "geo 'east' has no row"),
    ],
    ids=["missing", "first", "last", "twice", "disorder", "odd day", "gap", "unknown", "negative", "empty"],
)
def test_a_panel_that_is_not_balanced_is_refused_with_the_cell(
    codes: np.ndarray, dates: np.ndarray, field: str, said: str
) -> None:
    with pytest.raises(ServiceError, match=said) as caught:
        decoded(codes, dates)
    assert caught.value.reason == "INVALID_DATA"
    assert caught.value.violations[0].field == field


def test_a_population_is_positive_and_the_same_on_every_date_of_a_geo() -> None:
    people = np.repeat([3.0, 5.0], 12)
    assert decoded(CODES, weeks_with(), people).columns["p"].tolist() == people.tolist()
    for row, value in ((17, 6.0), (17, 0.0)):
        bad = people.copy()
        bad[row] = value
        with pytest.raises(ServiceError, match="in geo 'east'") as caught:
            decoded(CODES, weeks_with(), bad)
        assert caught.value.violations[0].field == "columns[3].values[17]"


def test_the_population_of_national_data_may_change() -> None:
    columns = [column("d", TIME), column("y", KPI), column("p", POPULATION)]
    assert decode(columns, 12, content(days(7), np.ones(12), np.arange(1.0, 13.0))).grain == "WEEKLY"


def test_a_header_of_a_panel_has_one_geo_column_with_different_labels() -> None:
    def refused(*columns: dataset_pb2.Column) -> str:
        with pytest.raises(ServiceError) as caught:
            check_header(dataset_pb2.DatasetHeader(columns=columns, row_count=10))
        assert caught.value.reason == "INVALID_FIELD"
        return caught.value.violations[0].field

    assert check_header(dataset_pb2.DatasetHeader(columns=PANEL, row_count=10)) == 10 * (4 + 4 + 8 + 8)
    assert refused(*PANEL, column("h", GEO, "a")) == "header.columns"
    assert refused(*PANEL, column("q", POPULATION)) == "header.columns"
    assert refused(column("g", GEO), *PANEL[1:]) == "header.columns[0].categories"
    assert refused(column("g", GEO, "a", "b", "a"), *PANEL[1:]) == "header.columns[0].categories[2]"
    assert refused(column("g", GEO, "a", ""), *PANEL[1:]) == "header.columns[0].categories[1]"
    as_number = column("g", GEO, "a", "b")
    as_number.element_type = FLOAT
    assert refused(as_number, *PANEL[1:]) == "header.columns[0].element_type"
