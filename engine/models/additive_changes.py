"""Changed specifications of an additive model that might explain a conflict as well as a wrong belief does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.arrays import Dates, Flags, Floats
from engine.models.additive_design import Design
from engine.models.additive_spec import AdditiveMmmSpec, Channel, Control
from engine.models.protocol import CauseKind
from engine.models.saturation import Saturation
from engine.models.table import Table, Window
from engine.rules.additive_defaults import carry_over
from engine.rules.calendar import months_before

MAX_COLUMNS = 20
MAX_WEIGHTS = 104
"""The longest carry-over window that a model may have."""
MIN_DAYS = 26 * 7
"""Shortest data that a model without a year is fitted to."""
_SHOWN_ROWS = 5
_UNEXPLAINED = 1e-8


@dataclass(frozen=True)
class Change:
    """A changed specification; `subject` says of what, empty where the kind says it all."""

    kind: CauseKind
    subject: str
    spec: AdditiveMmmSpec


def changed_specifications(
    spec: AdditiveMmmSpec, design: Design, table: Table, window: Window, columns: Sequence[str] = ()
) -> list[Change]:
    """Shorter carry-over windows, other curves, controls less and more; every one keeps the priors of the media.

    `columns` names the columns of the table that may be tried as controls; those that the model uses already, do not
    vary or say nothing beyond its linear part are left out, and of more than 20 those are kept that go best with the
    KPI.
    """
    changes = [*filter(None, [_with_windows(spec, table, 0.5)]), _saturation(spec)]
    for control in spec.controls:
        if control.name in design.window.constant_controls:
            continue
        fewer = tuple(other for other in spec.controls if other is not control)
        changes.append(Change(CauseKind.CONTROL_DROPPED, control.name, replace(spec, controls=fewer)))
    for column in _candidates(spec, design, table, window, columns):
        added = (*spec.controls, Control(_free_name(spec, column), column))
        changes.append(Change(CauseKind.COLUMN_ADDED, column, replace(spec, controls=added)))
    return changes


def outlying_dates(weights: Floats, dates: Dates, geos: int) -> tuple[np.datetime64, ...]:
    """Dates of the rows that count least under Student-t errors, by their weights [N]; of the window's dates [T]."""
    rows = np.argsort(weights, kind="stable")
    rows = rows[weights[rows] < 0.5][:_SHOWN_ROWS]
    return tuple(dict.fromkeys(np.tile(dates, geos)[rows]))


def longer_windows(spec: AdditiveMmmSpec, table: Table) -> Iterator[Change]:
    """Carry-over windows twice as long, four times as long and so on, until no channel's can be longer."""
    factor = 2
    while (change := _with_windows(spec, table, factor)) is not None:
        yield change
        if all(channel.n_weights == MAX_WEIGHTS for channel in change.spec.channels):
            return
        factor *= 2


def _with_windows(spec: AdditiveMmmSpec, table: Table, factor: float) -> Change | None:
    """Every carry-over window `factor` times as long, within the limits; None where that changes none."""

    def of(n_weights: int) -> int:
        if factor < 1.0:
            return max(2, int(n_weights * factor)) if n_weights > 2 else n_weights
        return max(n_weights, min(MAX_WEIGHTS, int(n_weights * factor)))

    channels = tuple(replace(channel, n_weights=of(channel.n_weights)) for channel in spec.channels)
    if channels == spec.channels:
        return None
    lengths = sorted({channel.n_weights for channel in channels})
    text = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    periods = carry_over(table.spacing).periods
    return Change(CauseKind.ADSTOCK_WINDOW, f"{text} {periods}", replace(spec, channels=channels))


def _saturation(spec: AdditiveMmmSpec) -> Change:
    if any(channel.saturation is not Saturation.LINEAR for channel in spec.channels):
        form, subject = Saturation.LINEAR, "all channels linear"
    else:
        form, subject = Saturation.HILL, "Hill curves for all channels"

    def changed(channel: Channel) -> Channel:
        return replace(channel, saturation=form, half_saturation_prior=None, slope_prior=None)

    channels = tuple(changed(channel) for channel in spec.channels)
    return Change(CauseKind.SATURATION, subject, replace(spec, channels=channels))


def _free_name(spec: AdditiveMmmSpec, column: str) -> str:
    names = {control.name for control in spec.controls}
    return column if column not in names else f"{column} (added)"


def _candidates(
    spec: AdditiveMmmSpec, design: Design, table: Table, window: Window, columns: Sequence[str]
) -> list[str]:
    """The columns to try as controls, in the given order; at most 20, by their part correlation with the KPI."""
    first = window.first_row(table.periods)
    taken = {spec.kpi, spec.revenue_per_kpi, spec.population, *(control.column for control in spec.controls)}
    taken |= {name for channel in spec.channels for name in (channel.exposure, channel.spend)}
    block = design.block

    def beyond(values: Floats) -> Floats:
        return np.asarray(values - block @ np.linalg.lstsq(block, values)[0])

    kpi = beyond((design.kpi / design.population - design.kpi_mean) / design.kpi_sd)
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


def years(dates: Dates) -> list[tuple[CauseKind, str, Flags]]:
    """What is left [T] of the window's dates [T] without their first and their last twelve calendar months.

    Left out where what remains is shorter than 26 weeks or than half of the window; a year of two counts as a half,
    though of 104 weeks it may have taken 53.
    """
    spacing = int(np.median(np.diff(dates).astype(np.int64)))
    first, last = np.zeros((2, dates.size), dtype=bool)
    first[dates < months_before(dates[0], -12)] = True
    last[Window(12).first_row(dates) :] = True
    remainders = []
    for kind, dropped in ((CauseKind.FIRST_YEAR_DROPPED, first), (CauseKind.LAST_YEAR_DROPPED, last)):
        left = int(np.sum(~dropped))
        if left * spacing < MIN_DAYS or 2 * left < dates.size - 2:
            continue
        remainders.append((kind, f"{dates[dropped][0]} to {dates[dropped][-1]}", ~dropped))
    return remainders
