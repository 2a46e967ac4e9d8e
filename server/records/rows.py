"""Which rows of outcome an analysis uses, from what is stored about a data set, and which of them two windows share.

Rows are told apart by client, KPI, geo and the days they cover, never by their values (methods/conflict.md §12, double
use of data): a restated row is the same row, and a week is covered by its month.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2, dataset_pb2

from engine.arrays import Dates
from engine.rules.calendar import MONTH_DAYS, ONE_DAY, end_of, first_of_last, month_day, months_between, months_from
from persistence.tables import Dataset, DataWindow, RegisteredModel
from server.contract.errors import ServiceError, invalid_field
from server.contract.families.family import StatedData
from server.contract.period import Period
from server.contract.wire import digest, from_json
from server.records.content import Geos

DIGEST_LENGTH = 16
"""Hexadecimal digits of a month's digest: two values of the same month are confused once in 2^64."""
NAMED_GEOS = 50
"""So many geos of an overlap are named; the rows are those of all."""
_DAYS_APART: dict[str | None, int] = {"DAILY": 1, "WEEKLY": 7, None: 1}
"""Days from row to row of a grain that is no month; a data set of one date has none."""


def check_period(model: RegisteredModel, dataset: Dataset | None, period: Period, path: str = "") -> None:
    """Refuse held-out months that leave no rows, or of a summary, which has none to leave out; `path` goes before."""
    if dataset is None and period.hold_out:
        raise invalid_field(f"{path}hold_out_months", f"model {model.model_id!r} is a summary: nothing can be left out")
    if dataset is not None:
        try:
            dataset_window(dataset, period)
        except ServiceError as error:
            raise invalid_field(f"{path}hold_out_months", error.violations[0].description) from None


def dataset_window(dataset: Dataset, period: Period) -> DataWindow:
    """The rows of a data set that a period takes, without their digests; the same rows as the engine takes.

    The rules of an upload leave no gap in the dates and give every geo the same, so that first date, last date, grain
    and the day of the month tell all of them, and no content is read. Raises ServiceError INVALID_FIELD when the
    held-out months leave fewer than two periods.
    """
    assert dataset.first_date is not None
    assert dataset.last_date is not None
    first, last = np.datetime64(dataset.first_date, "D"), np.datetime64(dataset.last_date, "D")
    if dataset.grain == "MONTHLY":
        dates = months_between(first, last, dataset.month_day)
    else:
        dates = np.arange(first, last + ONE_DAY, np.timedelta64(_DAYS_APART[dataset.grain], "D"))
    if period.hold_out:
        kept = first_of_last(dates, period.hold_out)
        if kept < 2:
            raise invalid_field("hold_out_months", f"leaves {kept} periods of {len(dates)}")
        dates = dates[:kept]
    used = dates[first_of_last(dates, period.months) :]
    columns = [from_json(column, dataset_pb2.Column()) for column in dataset.columns]
    kpi = next(column.name for column in columns if column.role == dataset_pb2.COLUMN_ROLE_KPI)
    geos = next((list(c.categories) for c in columns if c.role == dataset_pb2.COLUMN_ROLE_GEO), [])
    window = DataWindow(
        client_id=dataset.client_id,
        dataset_id=dataset.dataset_id,
        dataset_sha256=dataset.sha256 or "",
        kpi=kpi,
        geos=sorted(geos),
        first_date=_day(used[0]),
        last_date=_day(end_of(dates) - ONE_DAY),
        month_day=dataset.month_day,
        row_count=len(used) * max(len(geos), 1),
        digests={},
    )
    window.window_key = _key(window)
    return window


def summary_window(client_id: str, stated: StatedData) -> DataWindow:
    """What a summary stands for: a row a month, in the days that it states, if it does."""
    window = DataWindow(
        client_id=client_id,
        dataset_id="",
        dataset_sha256=stated.digest,
        kpi=stated.kpi,
        geos=[],
        first_date=datetime.date.fromisoformat(stated.days.first_date) if stated.days else None,
        last_date=datetime.date.fromisoformat(stated.days.last_date) if stated.days else None,
        row_count=stated.months,
        digests={},
    )
    window.window_key = _key(window)
    return window


def _key(window: DataWindow) -> str:
    days = [str(window.first_date), str(window.last_date)]
    return digest(window.dataset_id, window.dataset_sha256, window.kpi, window.geos, days)


def month_digests(
    dates: Dates, kpi: npt.NDArray[np.float64], geos: Geos, window: DataWindow
) -> dict[str, dict[str, str]]:
    """A digest of each calendar month's values of each geo (empty name: national), of the rows [N] inside the window.

    A digest reads `rows@first day:16 hexadecimal digits`. Two with the same part before the colon are of the same rows,
    so that what differs after it was restated; a month of which a window has other rows is not taken for restated.
    """
    inside = np.flatnonzero((dates >= np.datetime64(window.first_date)) & (dates <= np.datetime64(window.last_date)))
    order = inside[np.lexsort((dates[inside], geos.codes[inside]))]
    months = dates[order].astype("datetime64[M]")
    codes = geos.codes[order]
    cuts = np.flatnonzero((np.diff(codes) != 0) | (np.diff(months).astype(int) != 0)) + 1
    digests: dict[str, dict[str, str]] = {}
    for rows in np.split(order, cuts):
        first = dates[rows[0]]
        content = np.ascontiguousarray(kpi[rows], "<f8").tobytes()
        text = f"{len(rows)}@{_day(first).day:02d}:{hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]}"
        digests.setdefault(geos.names[geos.codes[rows[0]]], {})[str(first.astype("datetime64[M]"))] = text
    return digests


def shares_rows(new: DataWindow, seen: DataWindow) -> bool:
    """Whether two windows of one client have rows in common.

    National data overlap with every geo's. Summaries without days cannot be told apart, and the same numbers are the
    same data.
    """
    if new.kpi != seen.kpi or (new.geos and seen.geos and not set(new.geos) & set(seen.geos)):
        return False
    if not new.dataset_id and new.dataset_sha256 == seen.dataset_sha256:
        return True
    if new.first_date is None or new.last_date is None or seen.first_date is None or seen.last_date is None:
        return True
    return new.first_date <= seen.last_date and seen.first_date <= new.last_date


def overlap(new: DataWindow, seen: DataWindow) -> common_pb2.DataOverlap | None:
    """The rows of `new` that `seen` has too, None without any: days, rows, geos and the months that were restated."""
    if not shares_rows(new, seen):
        return None
    geos = [geo for geo in new.geos if not seen.geos or geo in seen.geos]
    common = common_pb2.DataOverlap(rows=new.row_count, geos=geos[:NAMED_GEOS], restated_months=_restated(new, seen))
    if new.first_date is None or new.last_date is None or seen.first_date is None or seen.last_date is None:
        return common
    first, last = max(new.first_date, seen.first_date), min(new.last_date, seen.last_date)
    if first > last:  # the same summary under other days
        first, last = new.first_date, new.last_date
    common.window.first_date, common.window.last_date = first.isoformat(), last.isoformat()
    starts = _starts(new)
    begin = int(np.searchsorted(starts, np.datetime64(first), "right")) - 1
    common.rows = (int(np.searchsorted(starts, np.datetime64(last), "right")) - begin) * max(len(geos), 1)
    return common


def _restated(new: DataWindow, seen: DataWindow) -> list[str]:
    def of(digests: Mapping[str, Any]) -> dict[tuple[str, str, str], str]:
        split = ((geo, month, text.partition(":")) for geo, months in digests.items() for month, text in months.items())
        return {(geo, month, rows): value for geo, month, (rows, _, value) in split}

    now, then = of(new.digests), of(seen.digests)
    return sorted({key[1] for key in now.keys() & then.keys() if now[key] != then[key]})


def _starts(window: DataWindow) -> Dates:
    """First day of each period [T] of a window with days; what a summary says of its months is taken as even."""
    periods = window.row_count // max(len(window.geos), 1)
    first, last = np.datetime64(window.first_date, "D"), np.datetime64(window.last_date, "D")
    days = int((last - first).astype(int)) + 1
    if days >= MONTH_DAYS * periods:
        # Without its day of the month: the day after the last period is on it, where its month has it.
        day = window.month_day or month_day(np.array([first, last + ONE_DAY]))
        return months_from(first, periods, day)
    return np.asarray(first + (np.arange(periods) * days // periods).astype("timedelta64[D]"))


def _day(value: np.datetime64) -> datetime.date:
    day = value.astype("datetime64[D]").item()
    assert isinstance(day, datetime.date)
    return day
