"""Changed models of the same data that might explain a conflict as well as a wrong belief does."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.arrays import Dates, Floats
from engine.conflict.outliers import student_errors
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Saturation, prepare
from engine.models.table import Table, Window
from engine.rules.calendar import months_before

MAX_COLUMNS = 20
MAX_WEIGHTS = 104
"""The longest carry-over window that a model may have."""
MIN_DAYS = 26 * 7
"""Shortest data that a model without a year is fitted to."""
_SHOWN_ROWS = 5
_UNEXPLAINED = 1e-8


class CauseKind(enum.Enum):
    """What is changed about the model."""

    OUTLIERS = "outliers"
    ADSTOCK_WINDOW = "adstock_window"
    SATURATION = "saturation"
    CONTROL_DROPPED = "control_dropped"
    COLUMN_ADDED = "column_added"
    FIRST_YEAR_DROPPED = "first_year_dropped"
    LAST_YEAR_DROPPED = "last_year_dropped"


@dataclass(frozen=True)
class Alternative:
    """A changed model: what was changed, and of what (`subject`, empty where the kind says it all).

    `same_rows`: it explains the same rows, so that its evidence can be compared with the base model's.
    `log_evidence_gain`: that comparison where the model's own evidence is not it (Student-t errors). `dates` are those
    of the rows that count least, for OUTLIERS.
    """

    kind: CauseKind
    subject: str
    model: AdditiveMmm
    same_rows: bool = True
    log_evidence_gain: float | None = None
    dates: tuple[np.datetime64, ...] = ()


def alternatives(
    base: AdditiveMmm, table: Table, window: Window | None = None, columns: Sequence[str] = ()
) -> list[Alternative]:
    """The changed models of a prepared model, its table and its window; every one keeps the priors of the media.

    `columns` names the columns of the table that may be tried as controls; those that the model uses already, do not
    vary or say nothing beyond its linear part are left out, and of more than 20 those are kept that go best with the
    KPI. Errors of the outlying rows take a few searches of the mode; nothing is sampled here.
    """
    window = window or Window()
    found = [_outliers(base, table, window)]
    found += _adstock_windows(base, table, window)
    found += _saturations(base, table, window)
    spec = base.spec
    for control in spec.controls:
        if control.name in base.window.constant_controls:
            continue
        fewer = tuple(other for other in spec.controls if other is not control)
        model = prepare(table, replace(spec, controls=fewer), window)
        found.append(Alternative(CauseKind.CONTROL_DROPPED, control.name, model))
    for column in _candidates(base, table, window, columns):
        added = (*spec.controls, Control(_free_name(spec, column), column))
        found.append(Alternative(CauseKind.COLUMN_ADDED, column, prepare(table, replace(spec, controls=added), window)))
    return found + _years(base, table, window)


def _dates(table: Table, window: Window) -> Dates:
    """Dates [T] of the window."""
    return table.periods[window.first_row(table.periods) :]


def _outliers(base: AdditiveMmm, table: Table, window: Window) -> Alternative:
    found = student_errors(base)
    rows = np.argsort(found.weights, kind="stable")
    rows = rows[found.weights[rows] < 0.5][:_SHOWN_ROWS]
    dates = tuple(dict.fromkeys(np.tile(_dates(table, window), base.window.geos)[rows]))
    return Alternative(CauseKind.OUTLIERS, "", found.model, log_evidence_gain=found.log_evidence_gain, dates=dates)


def _adstock_windows(base: AdditiveMmm, table: Table, window: Window) -> list[Alternative]:
    found = []
    unit, longest = _unit(table), base.design.exposure.shape[2]
    for change in (_halved, _doubled):
        channels = tuple(replace(channel, n_weights=change(channel.n_weights)) for channel in base.spec.channels)
        if channels == base.spec.channels:
            continue
        model = prepare(table, replace(base.spec, channels=channels), window)
        if (shorter := longest - model.design.exposure.shape[2]) > 0:
            # Filled up with lags that no channel has, so that it runs in the program of the base model.
            padded = np.pad(model.design.exposure, ((0, 0), (0, 0), (0, shorter)))
            model = replace(model, design=replace(model.design, exposure=padded))
        lengths = sorted({channel.n_weights for channel in channels})
        text = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
        found.append(Alternative(CauseKind.ADSTOCK_WINDOW, f"{text} {unit}", model))
    return found


def _halved(n_weights: int) -> int:
    return max(2, n_weights // 2) if n_weights > 2 else n_weights


def _doubled(n_weights: int) -> int:
    return max(n_weights, min(MAX_WEIGHTS, 2 * n_weights))


def _unit(table: Table) -> str:
    """What the spacing of the dates is called."""
    days = int(np.median(np.diff(table.periods).astype(np.int64)))
    return {1: "days", 7: "weeks"}.get(days, "months" if 28 <= days <= 31 else "periods")


def _saturations(base: AdditiveMmm, table: Table, window: Window) -> list[Alternative]:
    if any(channel.saturation is not Saturation.LINEAR for channel in base.spec.channels):
        form, subject = Saturation.LINEAR, "all channels linear"
    else:
        form, subject = Saturation.HILL, "Hill curves for all channels"

    def changed(channel: Channel) -> Channel:
        return replace(channel, saturation=form, half_saturation_prior=None)

    channels = tuple(changed(channel) for channel in base.spec.channels)
    return [
        Alternative(CauseKind.SATURATION, subject, prepare(table, replace(base.spec, channels=channels), window)),
    ]


def _free_name(spec: AdditiveMmmSpec, column: str) -> str:
    names = {control.name for control in spec.controls}
    return column if column not in names else f"{column} (added)"


def _candidates(base: AdditiveMmm, table: Table, window: Window, columns: Sequence[str]) -> list[str]:
    """The columns to try as controls, in the given order; at most 20, by their part correlation with the KPI."""
    spec, first = base.spec, window.first_row(table.periods)
    taken = {spec.kpi, spec.revenue_per_kpi, spec.population, *(control.column for control in spec.controls)}
    taken |= {name for channel in spec.channels for name in (channel.exposure, channel.spend)}
    block = base.design.block

    def beyond(values: Floats) -> Floats:
        return np.asarray(values - block @ np.linalg.lstsq(block, values)[0])

    kpi = beyond((base.observed / base.design.population - base.design.kpi_mean) / base.design.kpi_sd)
    strength: dict[str, float] = {}
    for column in dict.fromkeys(columns):
        if column in taken:
            continue
        values = table.since(first, table.column(column, "columns"))
        spread = float(values.std())
        if not spread > 1e-12 * max(float(np.abs(values).max()), 1e-300):
            continue
        own = beyond((values - values.mean()) / spread)
        if own @ own > _UNEXPLAINED * values.size:
            strength[column] = float((own @ kpi) ** 2 / (own @ own))
    kept = set(sorted(strength, key=strength.__getitem__, reverse=True)[:MAX_COLUMNS])
    return [column for column in strength if column in kept]


def _years(base: AdditiveMmm, table: Table, window: Window) -> list[Alternative]:
    """The models that forget the first or the last twelve calendar months of the window.

    Left out where what remains is shorter than 26 weeks or than half of the window; a year of two counts as a half,
    though of 104 weeks it may have taken 53.
    """
    dates = _dates(table, window)
    spacing = int(np.median(np.diff(dates).astype(np.int64)))
    first, last = np.zeros((2, dates.size), dtype=bool)
    first[dates < months_before(dates[0], -12)] = True
    last[Window(12).first_row(dates) :] = True
    found = []
    for kind, dropped in ((CauseKind.FIRST_YEAR_DROPPED, first), (CauseKind.LAST_YEAR_DROPPED, last)):
        left = int(np.sum(~dropped))
        if left * spacing < MIN_DAYS or 2 * left < dates.size - 2:
            continue
        model = base.restricted(np.tile(~dropped, base.window.geos))
        subject = f"{dates[dropped][0]} to {dates[dropped][-1]}"
        found.append(Alternative(kind, subject, model, same_rows=False))
    return found
