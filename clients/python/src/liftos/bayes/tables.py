"""Tables on their way to the service and back: columns as little-endian bytes, chunks with checksums, CSV files."""

from __future__ import annotations

import array
import csv
import datetime
import hashlib
import math
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat, SupportsIndex, TypeAlias

import grpc
from liftos.bayes.errors import LiftosBayesError, invalid_argument, of_code
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import common_pb2, dataset_pb2
from liftos.bayes.values import python_values

CHUNK_BYTES = 256 << 10
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_SPREADSHEET_EPOCH = datetime.date(1899, 12, 30)
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_COMPACT = re.compile(r"[0-9]{8}")
_NUMBER = re.compile(r"[-+]?[0-9]+\.?[0-9]*")
_MISSING = frozenset({"", "None", "NaT", "<NA>", "nan", "NaN", "NA", "--"})
"""How a value that is not there is printed: None, NaN, those of NumPy and pandas, an empty cell."""
_SWAP = sys.byteorder == "big"  # the wire is little-endian
_TYPE_CODES: Mapping[int, str] = {
    common_pb2.ELEMENT_TYPE_FLOAT64: "d",
    common_pb2.ELEMENT_TYPE_INT32: "i",
    common_pb2.ELEMENT_TYPE_INT64: "q",
    common_pb2.ELEMENT_TYPE_DATE32: "i",
    common_pb2.ELEMENT_TYPE_UINT8: "B",
}


class Sized(Protocol):
    """What a column may be: a list, a tuple, an array, a NumPy array, a pandas or polars series, …"""

    def __len__(self) -> int:
        """Number of rows."""

    def __iter__(self) -> Iterator[Any]:
        """The values in the order of the rows."""


Columns: TypeAlias = Mapping[str, Sized]
Path: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True)
class Roles:
    """Which column of a table means what; columns that are not named are not uploaded."""

    time: str
    kpi: str
    exposures: Sequence[str] = ()
    spend: Sequence[str] = ()
    controls: Sequence[str] = ()
    revenue_per_kpi: str | None = None
    population: str | None = None
    geo: str | None = None

    def columns(self) -> list[tuple[str, dataset_pb2.ColumnRole.ValueType]]:
        """Names with roles, in the order of the upload. Raises InvalidArgument if a list of names is one string."""
        for field in ("exposures", "spend", "controls"):
            if isinstance(getattr(self, field), str):
                raise invalid_argument([Violation(field, "must be a list of column names, not one string")])
        named = [(self.time, dataset_pb2.COLUMN_ROLE_TIME), (self.kpi, dataset_pb2.COLUMN_ROLE_KPI)]
        named += [(name, dataset_pb2.COLUMN_ROLE_EXPOSURE) for name in self.exposures]
        named += [(name, dataset_pb2.COLUMN_ROLE_SPEND) for name in self.spend]
        named += [(name, dataset_pb2.COLUMN_ROLE_CONTROL) for name in self.controls]
        if self.revenue_per_kpi is not None:
            named.append((self.revenue_per_kpi, dataset_pb2.COLUMN_ROLE_REVENUE_PER_KPI))
        if self.population is not None:
            named.append((self.population, dataset_pb2.COLUMN_ROLE_POPULATION))
        if self.geo is not None:
            named.append((self.geo, dataset_pb2.COLUMN_ROLE_GEO))
        return named


class Content:
    """The bytes of a data set, column after column, without a copy of the columns."""

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts = parts
        self.size = sum(part.nbytes for part in parts)

    def sha256(self) -> str:
        """Digest of the content, hexadecimal; the server computes the same when it seals."""
        digest = hashlib.sha256()
        for part in self._parts:
            digest.update(part)
        return digest.hexdigest()

    def chunks(self, offset: int = 0) -> Iterator[dataset_pb2.DatasetChunk]:
        """The content from `offset` on in pieces of at most `CHUNK_BYTES`, each with its CRC-32."""
        start, pending = 0, bytearray()
        for part in self._parts:
            position = max(offset - start, 0)
            start += part.nbytes
            while position < part.nbytes:
                taken = part[position : position + CHUNK_BYTES - len(pending)]
                position += taken.nbytes
                pending += taken
                if len(pending) == CHUNK_BYTES:
                    yield _chunk(offset, bytes(pending))
                    offset += len(pending)
                    pending.clear()
        if pending:
            yield _chunk(offset, bytes(pending))


def _chunk(offset: int, data: bytes) -> dataset_pb2.DatasetChunk:
    return dataset_pb2.DatasetChunk(offset=offset, data=data, crc32=zlib.crc32(data))


@dataclass(frozen=True)
class Upload:
    """A data set that is ready to go on the wire."""

    header: dataset_pb2.DatasetHeader
    content: Content

    def messages(self, offset: int) -> Iterator[dataset_pb2.UploadDatasetRequest]:
        """The header and the chunks from `offset` on."""
        yield dataset_pb2.UploadDatasetRequest(header=self.header)
        for chunk in self.content.chunks(offset):
            yield dataset_pb2.UploadDatasetRequest(chunk=chunk)


def upload(
    client_id: str,
    dataset_id: str,
    columns: Columns,
    roles: Roles,
    *,
    units: Mapping[str, str] | None = None,
    request_id: str,
) -> Upload:
    """Encode the columns that `roles` names.

    Numbers become float64, dates (ISO strings, `date`, `datetime`, `datetime64`; the time of day is ignored) days since
    1970-01-01, geos (text or whole numbers) codes into their names in order of appearance. A number is never a date,
    whatever holds it: week numbers, years, YYYYMM and the serial days of spreadsheets look alike. Raises
    InvalidArgument with `columns[i].values[row]` for a value that is none of these.
    """
    named = roles.columns()
    parts: list[memoryview] = []
    described: list[dataset_pb2.Column] = []
    rows: int | None = None
    for index, (name, role) in enumerate(named):
        path = f"columns[{index}]"
        if name not in columns:
            known = ", ".join(map(str, list(columns)[:20]))
            raise invalid_argument([Violation(f"{path}.name", f"there is no column {name!r} among {known}")])
        element_type = common_pb2.ELEMENT_TYPE_FLOAT64
        categories: list[str] = []
        if role == dataset_pb2.COLUMN_ROLE_TIME:
            element_type, part = common_pb2.ELEMENT_TYPE_DATE32, _dates(columns[name], path, name)
        elif role == dataset_pb2.COLUMN_ROLE_GEO:
            element_type = common_pb2.ELEMENT_TYPE_INT32
            part, categories = _codes(columns[name], path)
        else:
            part = _numbers(columns[name], path)
        length = part.nbytes // array.array(_TYPE_CODES[element_type]).itemsize
        if rows is not None and length != rows:
            raise invalid_argument([Violation(path, f"column {name!r} has {length} rows, {named[0][0]!r} has {rows}")])
        rows = length
        parts.append(part)
        with python_values():
            described.append(
                dataset_pb2.Column(
                    name=name,
                    role=role,
                    element_type=element_type,
                    unit=(units or {}).get(name, ""),
                    categories=categories,
                )
            )
    content = Content(parts)
    with python_values():
        header = dataset_pb2.DatasetHeader(
            client_id=client_id,
            dataset_id=dataset_id,
            request_id=request_id,
            columns=described,
            row_count=rows or 0,
            sha256=content.sha256(),
        )
    return Upload(header, content)


def read_csv(path: Path, roles: Roles, *, encoding: str = "utf-8-sig", delimiter: str = ",") -> Columns:
    """Read the columns that `roles` names from a CSV file with a header line.

    Dates must be ISO 8601: 2024-01-31, 20240131, or 2024-01 for the first of a month. An empty or non-numeric cell is
    refused by `upload` with its row; rows count from 0 without the header. Raises InvalidArgument for a missing or
    ambiguous column and for a row with too few or too many cells.
    """
    names = [name for name, _ in roles.columns()]
    with open(path, newline="", encoding=encoding) as file:
        lines = csv.reader(file, delimiter=delimiter)
        head = [name.strip() for name in next(lines, [])]
        if missing := [name for name in names if name not in head]:
            problem = f"{os.fspath(path)} has no column {missing[0]!r}, only {', '.join(head[:20])}"
            raise invalid_argument([Violation("columns", problem)])
        if twice := [name for name in names if head.count(name) > 1]:
            raise invalid_argument([Violation("columns", f"{os.fspath(path)} has column {twice[0]!r} twice")])
        positions = {name: head.index(name) for name in names}
        cells: dict[str, list[str]] = {name: [] for name in names}
        row = 0
        for line in lines:
            if not line:  # a blank line, often the last one
                continue
            if len(line) != len(head):
                problem = f"row {row} (line {lines.line_num}) has {len(line)} cells, the header has {len(head)}"
                raise invalid_argument([Violation("columns", problem)])
            for name, position in positions.items():
                cells[name].append(line[position])
            row += 1
    return cells


def _plain(values: Any) -> Any:
    """The NumPy array behind a series, where there is one; NumPy itself is never imported here."""
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def _numbers(values: Any, path: str) -> memoryview:
    """Float64 bytes of a column; a buffer of C doubles is taken as it is."""
    values = _plain(values)
    try:
        view = memoryview(values)
    except TypeError:  # a list, a tuple, a buffer of another kind
        view = None
    if view is not None and view.format == "d" and view.ndim == 1 and view.c_contiguous and not _SWAP:
        return view.cast("B")
    return _packed("d", values, path, _number)


def _number(value: Any) -> float:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty")
    return float(value)


def _dates(values: Any, path: str, name: str) -> memoryview:
    """Days since 1970-01-01 of the column with this name, as int32 bytes."""

    def day(value: Any) -> int:
        try:
            return _day(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(_no_date(value, name)) from None

    # As Python's own values, where a library has them: its array of moments with a time zone may be in UTC, where a
    # midnight is another day, and one of numbers does not show what is missing.
    for convert in ("to_pylist", "to_list"):
        if hasattr(values, convert):
            return _packed("i", getattr(values, convert)(), path, day)
    return _packed("i", _plain(values), path, day)


def _day(value: Any) -> int:
    """Days since 1970-01-01; TypeError, ValueError or OverflowError for what is no date."""
    if _kind(value) == "M":  # a NumPy datetime64; NaT becomes None
        value = value.astype("datetime64[D]").item()
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        value = _moment(value.strip())
    if isinstance(value, datetime.date):  # datetime is one
        return value.toordinal() - _EPOCH
    raise TypeError("not a date")


def _kind(value: Any) -> str:
    """NumPy's letter for the type of one of its scalars; empty for a value of another library, or of none."""
    return str(getattr(getattr(value, "dtype", None), "kind", ""))


def _moment(text: str) -> datetime.date:
    """The moment that a text in ISO 8601 tells; digits alone are one only if they are YYYYMMDD."""
    if _MONTH.fullmatch(text):
        text += "-01"
    elif text.isdigit() and not _COMPACT.fullmatch(text):
        raise ValueError("a number")
    return datetime.datetime.fromisoformat(text)


def _no_date(value: Any, name: str) -> str:
    """Why a value in the column of dates is none, and what to give instead."""
    column = f"column {name!r} is the time column"
    text = str(value.decode(errors="replace") if isinstance(value, bytes) else value).strip()
    if text in _MISSING:
        return f"is not a date but missing: {column}, which needs one in every row"
    if isinstance(value, datetime.timedelta) or _kind(value) == "m":
        return f"is not a date but a length of time, {text}: {column}"
    if isinstance(value, str | bytes) and not _NUMBER.fullmatch(text):
        return f"is not a date in ISO 8601, for example 2024-01-31: {text[:40]!r} ({column})"
    if isinstance(value, SupportsFloat | str | bytes):
        number = float(value)
        hint = _hint(int(number)) if math.isfinite(number) and number == int(number) else ""
        return f"is not a date but the number {text[:40]}{hint}: {column}; give dates, or text in ISO 8601"
    kind = type(value).__name__
    start = "; give the day on which it starts" if hasattr(value, "start_time") else ""
    return f"is not a date but a {kind}{start}: {column}"


def _hint(number: int) -> str:
    """What a whole number in the place of a date may have been meant to be, in brackets; empty for one without a clue.

    It stays a guess, which is why no number is read as a date.
    """
    year, month, day = number // 10_000, number // 100 % 100, number % 100
    if 1000 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31:
        return f" (for the day, {year:04d}-{month:02d}-{day:02d})"
    year, month = divmod(number, 100)
    if 1000 <= year <= 9999 and 1 <= month <= 12:
        return f" (for the month, {year:04d}-{month:02d}-01)"
    if 1000 <= year <= 9999 and 1 <= month <= 53:
        return " (for the week, its first day)"
    if 20_000 <= number <= 80_000:
        return f" (a spreadsheet's serial day of {_SPREADSHEET_EPOCH + datetime.timedelta(number)}?)"
    if 1800 <= number <= 2200:
        return f" (for the year, {number}-01-01)"
    if 1 <= number <= 53:
        return " (for a week or a month, its first day)"
    if 10**8 <= number < 10**20:
        return " (seconds, or parts of a second, since 1970? give the moments as datetimes)"
    return ""


def _codes(values: Any, path: str) -> tuple[memoryview, list[str]]:
    """Codes of a column of names as int32 bytes, and the names in order of their first appearance."""
    codes: dict[str, int] = {}

    def code(value: Any) -> int:
        if not isinstance(value, str | SupportsIndex):
            raise ValueError("is not a name: text or a whole number")
        name = value.strip() if isinstance(value, str) else str(value.__index__())
        if not name:
            raise ValueError("is empty")
        return codes.setdefault(name, len(codes))

    return _packed("i", _plain(values), path, code), list(codes)


def _packed(code: str, values: Iterable[Any], path: str, convert: Callable[[Any], float]) -> memoryview:
    packed = array.array(code)
    try:
        packed.extend(map(convert, values))  # type: ignore[arg-type]  # "i" takes int, "d" takes float
    except (TypeError, ValueError, OverflowError) as error:
        row = len(packed)  # extend keeps what came before the bad value
        problem = str(error) if str(error).startswith("is ") else f"is not {'a date' if code == 'i' else 'a number'}"
        raise invalid_argument([Violation(f"{path}.values[{row}]", problem)]) from error
    if _SWAP:
        packed.byteswap()
    return memoryview(packed).cast("B")


class Reader:
    """Collects the chunks of a data set and decodes its columns; knows where to resume."""

    def __init__(self, dataset: dataset_pb2.Dataset) -> None:
        self._dataset = dataset
        self._content = bytearray()

    @property
    def offset(self) -> int:
        """Number of bytes received, where a broken stream goes on."""
        return len(self._content)

    def add(self, chunk: dataset_pb2.DatasetChunk) -> None:
        """Take the next chunk; raises DataLoss-coded LiftosBayesError if it is damaged or not the next one."""
        if chunk.offset != self.offset or zlib.crc32(chunk.data) != chunk.crc32:
            raise _data_loss(f"the bytes from {chunk.offset} on were damaged on their way")
        self._content += chunk.data

    def columns(self) -> dict[str, Any]:
        """Dates as a list of `datetime.date`, geos as one of names, everything else as `array.array` of the numbers.

        NumPy reads an `array.array` without a copy.
        """
        sizes = {code: array.array(code).itemsize for code in _TYPE_CODES.values()}
        codes = [_TYPE_CODES[column.element_type] for column in self._dataset.columns]
        expected = sum(sizes[code] for code in codes) * self._dataset.row_count
        if len(self._content) != expected:
            raise _data_loss(f"the content has {len(self._content)} bytes instead of {expected}")
        if self._dataset.sha256 and hashlib.sha256(self._content).hexdigest() != self._dataset.sha256:
            raise _data_loss("the content does not have the digest of the data set")
        result: dict[str, Any] = {}
        start = 0
        for column, code in zip(self._dataset.columns, codes, strict=True):
            end = start + sizes[code] * self._dataset.row_count
            values: array.array[Any] = array.array(code)
            values.frombytes(memoryview(self._content)[start:end])
            if _SWAP:
                values.byteswap()
            if column.element_type == common_pb2.ELEMENT_TYPE_DATE32:
                result[column.name] = [datetime.date.fromordinal(day + _EPOCH) for day in values]
            elif column.role == dataset_pb2.COLUMN_ROLE_GEO:
                result[column.name] = [column.categories[code] for code in values]
            else:
                result[column.name] = values
            start = end
        return result


def _data_loss(message: str) -> LiftosBayesError:
    return of_code(grpc.StatusCode.DATA_LOSS, message)
