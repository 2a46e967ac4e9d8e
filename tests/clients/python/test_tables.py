"""Tables from Python values and CSV files to bytes."""

from __future__ import annotations

import array
import datetime
from pathlib import Path
from typing import Any

import liftos.bayes as lb
import numpy as np
import pytest
from liftos.bayes import tables
from liftos.bayes.v1 import common_pb2, dataset_pb2

UUID = "01234567-89ab-cdef-0123-456789abcdef"
ROLES = tables.Roles("t", "y")
DAYS = ["2024-01-01", "2024-01-08"]
# 2024-01-01 is day 19,723 and 2024-01-08 day 19,730 since 1970-01-01.
EXPECTED = np.array([19723, 19730], "<i4").tobytes() + np.array([1.0, 2.0], "<f8").tobytes()


def _bytes(columns: tables.Columns, roles: tables.Roles = ROLES) -> bytes:
    ready = tables.upload("acme", "d", columns, roles, request_id=UUID)
    return b"".join(chunk.data for chunk in ready.content.chunks())


@pytest.mark.parametrize(
    "dates",
    [
        DAYS,
        tuple(DAYS),
        [datetime.date(2024, 1, 1), datetime.date(2024, 1, 8)],
        [datetime.datetime(2024, 1, 1, 23, 59), "2024-01-08T12:00:00+02:00"],
        np.array(DAYS, "datetime64[D]"),
        np.array(DAYS, "datetime64[ns]"),
        np.array(DAYS),
    ],
)
def test_dates_may_come_in_any_usual_form(dates: Any) -> None:
    assert _bytes({"t": dates, "y": [1.0, 2.0]}) == EXPECTED


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 2],
        (1.0, 2.0),
        range(1, 3),
        ["1", " 2.0"],
        array.array("d", [1, 2]),
        array.array("f", [1, 2]),
        np.array([1.0, 2.0]),
        np.array([1, 2], dtype=np.int32),
        np.array([1.0, 2.0], dtype=">f8"),
        np.array([1.0, 9.0, 2.0, 9.0])[::2],
        np.array([1.0, 2.0], dtype=np.float32),
        np.array([True, 2], dtype=object),
    ],
)
def test_numbers_may_come_in_any_usual_form(numbers: Any) -> None:
    assert _bytes({"t": DAYS, "y": numbers}) == EXPECTED


def test_a_column_with_to_numpy_is_taken_through_it() -> None:
    class Series:
        def __init__(self, values: Any) -> None:
            self.values = values

        def to_numpy(self) -> Any:
            return self.values

        def __len__(self) -> int:
            return len(self.values)

        def __iter__(self) -> Any:
            raise AssertionError("the array is at hand")

    columns = {"t": Series(np.array(DAYS, "datetime64[ns]")), "y": Series(np.array([1.0, 2.0]))}
    assert _bytes(columns) == EXPECTED  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"t": ["yesterday", DAYS[1]], "y": [1, 2]}, "columns[0].values[0]"),
        ({"t": [DAYS[0], None], "y": [1, 2]}, "columns[0].values[1]"),
        ({"t": np.array([DAYS[0], "NaT"], "datetime64[D]"), "y": [1, 2]}, "columns[0].values[1]"),
        ({"t": [1, 2], "y": [1, 2]}, "columns[0].values[0]"),
        ({"t": DAYS, "y": [1, "n/a"]}, "columns[1].values[1]"),
        ({"t": DAYS, "y": [1, ""]}, "columns[1].values[1]"),
        ({"t": DAYS, "y": [None, 1]}, "columns[1].values[0]"),
        ({"t": DAYS, "y": [1, 10**400]}, "columns[1].values[1]"),
        ({"t": DAYS, "y": [1, 2, 3]}, "columns[1]"),
        ({"t": DAYS}, "columns[1].name"),
    ],
)
def test_a_bad_cell_is_named(columns: Any, field: str) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        _bytes(columns)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    "geos",
    [
        ["b", "a", "b"],
        ("b", " a", "b "),
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
    ],
)
def test_geos_become_codes_into_their_names_in_order_of_appearance(geos: Any) -> None:
    roles = tables.Roles("t", "y", geo="g")
    ready = tables.upload(
        "acme", "d", {"t": [*DAYS[:1] * 2, DAYS[1]], "y": [1, 2, 3], "g": geos}, roles, request_id=UUID
    )
    column = ready.header.columns[2]
    assert (column.role, column.element_type) == (dataset_pb2.COLUMN_ROLE_GEO, common_pb2.ELEMENT_TYPE_INT32)
    assert list(column.categories) == ["b", "a"]
    content = b"".join(chunk.data for chunk in ready.content.chunks())
    assert content[-12:] == np.array([0, 1, 0], "<i4").tobytes()


@pytest.mark.parametrize("geos", [[7, 12], np.array([7, 12]), ["7", "12"]])
def test_geos_may_be_numbered(geos: Any) -> None:
    roles = tables.Roles("t", "y", geo="g")
    ready = tables.upload("acme", "d", {"t": DAYS[:1] * 2, "y": [1, 2], "g": geos}, roles, request_id=UUID)
    assert list(ready.header.columns[2].categories) == ["7", "12"]


@pytest.mark.parametrize("bad", [None, 1.5, float("nan"), "", "  "])
def test_a_geo_without_a_name_is_refused_with_its_cell(bad: Any) -> None:
    with pytest.raises(lb.InvalidArgument) as caught:
        _bytes({"t": DAYS, "y": [1, 2], "g": ["a", bad]}, tables.Roles("t", "y", geo="g"))
    assert [violation.field for violation in caught.value.violations] == ["columns[2].values[1]"]


def test_the_geos_of_a_stored_panel_are_read_by_name() -> None:
    columns = {"t": DAYS[:1] * 2, "y": [1, 2], "g": ["west", "east"]}
    ready = tables.upload("acme", "d", columns, tables.Roles("t", "y", geo="g"), request_id=UUID)
    reader = tables.Reader(dataset_pb2.Dataset(columns=ready.header.columns, row_count=2))
    for chunk in ready.content.chunks():
        reader.add(chunk)
    assert reader.columns()["g"] == ["west", "east"]


def test_a_string_is_not_a_list_of_columns() -> None:
    with pytest.raises(lb.InvalidArgument, match="exposures: must be a list"):
        _bytes({"t": DAYS, "y": [1, 2]}, tables.Roles("t", "y", exposures="xy"))


def test_doubles_are_sent_from_where_they_lie() -> None:
    values = np.arange(100_000, dtype=float)
    part = tables._numbers(values, "columns[0]")
    assert np.shares_memory(np.frombuffer(part), values)


@pytest.mark.parametrize("offset", [0, 1, 262_143, 262_144, 799_999, 800_000, 800_002, 800_003])
def test_chunks_can_begin_at_any_byte(offset: int) -> None:
    values = np.arange(100_000, dtype=float)
    content = tables.Content([memoryview(values).cast("B"), memoryview(b"abc")])
    whole = values.tobytes() + b"abc"
    chunks = list(content.chunks(offset))
    assert b"".join(chunk.data for chunk in chunks) == whole[offset:]
    assert all(0 < len(chunk.data) <= tables.CHUNK_BYTES for chunk in chunks)
    starts = [chunk.offset for chunk in chunks]
    assert starts == list(range(offset, len(whole), tables.CHUNK_BYTES))


def test_a_csv_file_is_read_by_column_names(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('\ufefft, y ,"other, one"\n2024-01-01,1,a\n2024-01-08,2,"b,c"\n\n', encoding="utf-8")
    assert _bytes(tables.read_csv(path, ROLES)) == EXPECTED
    path.write_text("t;y\n2024-01-01;1\n2024-01-08;2\n")
    assert _bytes(tables.read_csv(path, ROLES, delimiter=";")) == EXPECTED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no column 't'"),
        ("t,z\n", "has no column 'y', only t, z"),
        ("t,y\n2024-01-01,1\n2024-01-08\n", r"row 1 \(line 3\) has 1 cells, the header has 2"),
        ("t,y,y\n", "column 'y' twice"),
    ],
)
def test_a_csv_file_of_another_shape_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(lb.InvalidArgument, match=problem):
        tables.read_csv(path, ROLES)


NUMBERED = {
    "week numbers": (np.arange(1, 9), "week or a month"),
    "week numbers as a list": (list(range(1, 9)), "week or a month"),
    "floats": (np.arange(1.0, 9.0), "the number 1.0"),
    "unsigned": (np.arange(1, 9, dtype=np.uint16), "the number 1"),
    "serial days of a spreadsheet": (44_564 + 7 * np.arange(8), "spreadsheet's serial day of 2022-01-03"),
    "years": (np.arange(1990, 1998), "for the year, 1990-01-01"),
    "YYYYMM": (np.array([202_101, 202_102]), "for the month, 2021-01-01"),
    "YYYYMMDD": (np.array([20_210_103, 20_210_110]), "for the day, 2021-01-03"),
    "YYYYMM as text": (["202101", "202102"], "for the month, 2021-01-01"),
    "a serial day as text": (["44564", "44571"], "the number 44564"),
    "an array": (array.array("q", [1, 2]), "the number 1"),
    "booleans": (np.array([True, False]), "not a date"),
    "lengths of time": (np.array([7, 14], dtype="timedelta64[D]"), "length of time"),
    "not there": (np.array(["NaT", "2024-01-08"], dtype="datetime64[D]"), "missing"),
    "NaN": (np.array([np.nan, 1.0]), "missing"),
    "None": ([None, "2024-01-08"], "missing"),
    "other words": (["next week", "2024-01-08"], "ISO 8601"),
}


@pytest.mark.parametrize("what", NUMBERED)
def test_numbers_and_what_is_not_there_are_no_dates(what: str) -> None:
    values, said = NUMBERED[what]
    numbers = [1.0] * len(values)
    with pytest.raises(lb.InvalidArgument, match="is not a date") as caught:
        tables.upload(
            "c", "d", {"t": values, "y": numbers, "x": numbers}, tables.Roles("t", "y", ["x"]), request_id="r"
        )
    assert "column 't' is the time column" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-01-01", "2024-02-01"],
        ["2024-01", "2024-02"],
        ["20240101", "20240201"],
        np.array(["2024-01-01", "2024-02-01"], dtype="datetime64[ns]"),
        np.array(["2024-01", "2024-02"], dtype="datetime64[M]"),
        [datetime.datetime(2024, 1, 1, 23, tzinfo=datetime.timezone(datetime.timedelta(hours=9))), "2024-02-01T08:00"],
    ],
    ids=["ISO", "months", "compact", "nanoseconds", "months of NumPy", "moments"],
)
def test_whatever_tells_a_day_is_a_date(dates: Any) -> None:
    numbers = [1.0, 2.0]
    made = tables.upload("c", "d", {"t": dates, "y": numbers}, tables.Roles("t", "y"), request_id="r")
    sent = b"".join(chunk.data for chunk in made.content.chunks())
    assert np.frombuffer(sent[:8], "<i4").astype("datetime64[D]").astype(str).tolist() == ["2024-01-01", "2024-02-01"]
