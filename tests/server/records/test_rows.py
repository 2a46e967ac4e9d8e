"""Rows of a window against the engine's, their digests, and what two windows have in common."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2

from engine.errors import InvalidInput
from engine.models.table import Table, Window
from persistence.tables import Dataset, DataWindow
from server.contract.errors import ServiceError
from server.contract.families.conjugate_specification import Conjugate
from server.contract.families.family import StatedData
from server.contract.period import Period
from server.contract.wire import to_json
from server.records.content import Geos
from server.records.rows import dataset_window, month_digests, overlap, shares_rows, summary_window

DAY = datetime.date.fromisoformat
ONE_DAY, ONE_MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")
STEPS = {"DAILY": 1, "WEEKLY": 7}


def dates_of(grain: str, first: str, count: int) -> np.ndarray[Any, Any]:
    start = np.datetime64(first, "D")
    if grain == "MONTHLY":
        months = start.astype("datetime64[M]") + np.arange(count).astype("timedelta64[M]")
        last = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - np.timedelta64(1, "D")
        return np.asarray(np.minimum(months.astype("datetime64[D]") + (start - start.astype("datetime64[M]")), last))
    return np.asarray(start + STEPS[grain] * np.arange(count))


def dataset(
    grain: str, first: str, count: int, *, geos: tuple[str, ...] = (), sha256: str = "a", name: str = "sales"
) -> Dataset:
    dates = dates_of(grain, first, count)
    columns = [
        dataset_pb2.Column(name="date", role=dataset_pb2.COLUMN_ROLE_TIME),
        dataset_pb2.Column(name="y", role=dataset_pb2.COLUMN_ROLE_KPI),
    ]
    if geos:
        columns.append(dataset_pb2.Column(name="geo", role=dataset_pb2.COLUMN_ROLE_GEO, categories=geos))
    return Dataset(
        client_id="acme",
        dataset_id=name,
        columns=[to_json(column) for column in columns],
        row_count=count * max(len(geos), 1),
        sha256=sha256,
        grain=grain,
        month_day=max(date.item().day for date in dates) if grain == "MONTHLY" else None,
        first_date=dates[0].item(),
        last_date=dates[-1].item(),
    )


def window(*args: Any, months: int = 240, hold_out: int = 0, **options: Any) -> DataWindow:
    return dataset_window(dataset(*args, **options), Period(months, hold_out))


def summary(**fields: Any) -> StatedData:
    given = {"estimand": share_of_outcome("tv"), "estimate": 0.3, "standard_error": 0.1, "n_months": 12} | fields
    return Conjugate().stated_data(model_pb2.ModelSpec(conjugate_normal=given))


@pytest.mark.parametrize(
    ("grain", "first"),
    [
        ("DAILY", "2020-01-28"),
        ("DAILY", "2018-12-31"),
        ("WEEKLY", "2019-01-01"),
        ("WEEKLY", "2018-12-31"),
        ("MONTHLY", "2019-01-01"),
        ("MONTHLY", "2020-01-28"),
        ("MONTHLY", "2020-01-30"),
        ("MONTHLY", "2018-12-31"),
    ],
)
@pytest.mark.parametrize("count", [2, 3, 30, 100])
def test_the_window_of_a_data_set_has_the_rows_that_the_engine_takes(grain: str, first: str, count: int) -> None:
    dates = dates_of(grain, first, count)
    table = Table(dates, {"y": np.ones(count)})
    for months in (1, 2, 12, 24):
        for hold_out in (0, 1, 2, 6):
            period = Period(months, hold_out)
            try:
                kept = table.without_last(hold_out) if hold_out else table
            except InvalidInput as error:
                with pytest.raises(ServiceError, match=error.message):
                    dataset_window(dataset(grain, first, count), period)
                continue
            rows = kept.periods[Window(months).first_row(kept.periods) :]
            found = dataset_window(dataset(grain, first, count), period)
            assert found.row_count == len(rows)
            assert found.first_date == rows[0].item()
            # The last row covers the days up to the next one.
            following = dates_of(grain, first, count + 1)[list(table.periods).index(rows[-1]) + 1].item()
            assert found.last_date == following - datetime.timedelta(days=1)


@pytest.mark.parametrize("day", [1, 15, 28, 29, 30, 31])
@pytest.mark.parametrize("start", ["2018-02", "2019-08", "2019-11"])
def test_rows_in_common_of_two_windows_of_monthly_data_are_counted_by_their_dates(day: int, start: str) -> None:
    month = np.datetime64(start).astype("datetime64[M]")
    first = min(
        month.astype("datetime64[D]") + (day - 1) * ONE_DAY, (month + ONE_MONTH).astype("datetime64[D]") - ONE_DAY
    )
    for count in (5, 13, 28):
        # One on the series' own day although the first month may lack it.
        dates = np.minimum(
            (month + np.arange(count)).astype("datetime64[D]") + (day - 1) * ONE_DAY,
            (month + np.arange(count) + ONE_MONTH).astype("datetime64[D]") - ONE_DAY,
        )
        data = dataset("MONTHLY", str(first), count)
        data.month_day, data.last_date = day, dates[-1].item()
        for months, held_out in ((3, 0), (12, 1), (24, 3)):
            early, late = dataset_window(data, Period(240, 2)), dataset_window(data, Period(months, held_out))
            used = set(dates[: count - 2]) & set(dates[: count - held_out][-months:])
            common = overlap(late, early)
            assert (common.rows if common else 0) == len(used)


def test_a_panel_has_the_rows_of_every_geo_and_their_names_in_order() -> None:
    found = window("WEEKLY", "2021-01-04", 10, geos=("north", "east"))
    assert (found.row_count, found.geos) == (20, ["east", "north"])


def test_weekly_and_monthly_data_of_the_same_days_are_the_same_rows() -> None:
    weekly = window("WEEKLY", "2021-01-04", 52)
    monthly = window("MONTHLY", "2021-12-01", 3, sha256="b", name="monthly")
    common = overlap(monthly, weekly)
    assert common is not None
    # The last week is that of 27 December and ends on 2 January: two months are touched.
    assert (common.window.first_date, common.window.last_date) == ("2021-12-01", "2022-01-02")
    assert common.rows == 2
    turned = overlap(weekly, monthly)
    assert turned is not None
    assert turned.window == common.window
    assert turned.rows == 5  # weeks from 29 November on, the first of which ends in December


def test_disjoint_days_share_nothing_and_adjacent_periods_are_disjoint() -> None:
    whole = dataset("WEEKLY", "2021-01-04", 104)
    early, late = dataset_window(whole, Period(240, 12)), dataset_window(whole, Period(12))
    assert early.last_date is not None
    assert late.first_date == early.last_date + datetime.timedelta(days=1)
    assert early.row_count + late.row_count == 104
    assert overlap(late, early) is None
    assert overlap(dataset_window(whole, Period(13)), early) is not None


def test_national_data_overlap_with_every_geo_and_geos_only_with_themselves() -> None:
    national = window("WEEKLY", "2021-01-04", 10)
    panel = window("WEEKLY", "2021-01-04", 10, geos=("east", "north"))
    other = window("WEEKLY", "2021-01-04", 10, geos=("south",))
    both = window("WEEKLY", "2021-01-04", 5, geos=("north", "south"))
    assert (found := overlap(panel, national)) is not None
    assert (found.rows, list(found.geos)) == (20, ["east", "north"])
    assert (found := overlap(national, panel)) is not None
    assert (found.rows, list(found.geos)) == (10, [])
    assert overlap(panel, other) is None
    assert (found := overlap(panel, both)) is not None
    assert (found.rows, list(found.geos)) == (5, ["north"])


def test_another_kpi_is_other_data() -> None:
    left, right = window("WEEKLY", "2021-01-04", 10), window("WEEKLY", "2021-01-04", 10)
    right.kpi = "visits"
    assert not shares_rows(left, right)


def test_one_restated_month_is_named_and_months_cut_differently_are_not() -> None:
    dates = dates_of("WEEKLY", "2021-01-04", 52)
    then = np.linspace(100.0, 151.0, 52)
    now = then.copy()
    now[dates.astype("datetime64[M]") == np.datetime64("2021-03")] += 1e-9
    national = Geos(np.zeros(52, np.int32))
    seen, new = window("WEEKLY", "2021-01-04", 52), window("WEEKLY", "2021-01-04", 52, months=11, sha256="b")
    seen.digests = month_digests(dates, then, national, seen)
    new.digests = month_digests(dates, now, national, new)
    assert list(seen.digests[""]) == [f"2021-{month:02d}" for month in range(1, 13)]
    assert seen.digests[""]["2021-01"].startswith("4@04:")
    assert len(seen.digests[""]["2021-01"].partition(":")[2]) == 16
    # The shorter window begins with the second week of February, which is therefore not comparable.
    assert new.first_date == DAY("2021-02-08")
    assert (common := overlap(new, seen)) is not None
    assert list(common.restated_months) == ["2021-03"]
    new.digests = month_digests(dates, then, national, new)
    assert (common := overlap(new, seen)) is not None
    assert not common.restated_months


def test_a_month_restated_in_one_geo_is_named_whatever_the_order_of_the_rows() -> None:
    geos = ("north", "east")
    dates = np.tile(dates_of("WEEKLY", "2021-01-04", 10), 2)
    codes = np.repeat(np.array([0, 1], np.int32), 10)
    values = np.arange(20.0)
    seen, new = window("WEEKLY", "2021-01-04", 10, geos=geos), window("WEEKLY", "2021-01-04", 10, geos=geos, name="b")
    seen.digests = month_digests(dates, values, Geos(codes, geos), seen)
    shuffled = np.lexsort((codes, dates))
    new.digests = month_digests(dates[shuffled], values[shuffled], Geos(codes[shuffled], geos), new)
    assert new.digests == seen.digests
    values[15] += 1.0  # 8 February of the east
    new.digests = month_digests(dates, values, Geos(codes, geos), new)
    assert (common := overlap(new, seen)) is not None
    assert list(common.restated_months) == ["2021-02"]


def test_the_digests_of_a_panel_stay_small() -> None:
    names = tuple(f"geo-{number:03d}" for number in range(200))
    found = window("WEEKLY", "2021-01-04", 104, geos=names)
    dates = np.tile(dates_of("WEEKLY", "2021-01-04", 104), 200)
    codes = np.repeat(np.arange(200, dtype=np.int32), 104)
    digests = month_digests(dates, np.random.default_rng(1).normal(size=dates.size), Geos(codes, names), found)
    assert len(json.dumps(digests)) < 200_000


def test_summaries_are_told_apart_by_days_alone_and_the_same_numbers_are_the_same_data() -> None:
    year = common_pb2.DateRange(first_date="2023-01-01", last_date="2023-12-31")
    after = common_pb2.DateRange(first_date="2024-01-01", last_date="2024-12-31")
    dated = summary_window("acme", summary(window=year))
    assert (dated.kpi, dated.row_count) == ("share_of_outcome[tv]", 12)
    undated, other = summary_window("acme", summary()), summary_window("acme", summary(estimate=0.4))
    assert undated.dataset_sha256 == dated.dataset_sha256 != other.dataset_sha256
    assert shares_rows(undated, other)
    assert shares_rows(other, dated)
    assert shares_rows(summary_window("acme", summary(window=after)), dated)
    assert not shares_rows(summary_window("acme", summary(window=after, estimate=0.4)), dated)
    radio = summary(estimand=share_of_outcome("radio"))
    assert not shares_rows(summary_window("acme", radio), undated)
    assert (common := overlap(other, dated)) is not None
    assert not common.HasField("window")
    half = common_pb2.DateRange(first_date="2023-10-01", last_date="2024-03-31")
    assert (
        common := overlap(summary_window("acme", summary(window=half, n_months=6, estimate=0.4)), dated)
    ) is not None
    assert common.rows == 3
