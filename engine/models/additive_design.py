"""The arrays and frozen scalers that an additive MMM makes of a table, once, from the real data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.models.additive_spec import AdditiveMmmSpec, Channel, Saturation
from engine.models.table import Table, Window

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WindowReport:
    """Which rows were used: `lead_in_rows` before the window feed the adstock only.

    `edge_affected_rows` at the start of the window lack part of their media history, which is taken as zero.
    `constant_controls` do not vary inside the window: their coefficients stay at their priors.
    """

    first_date: np.datetime64
    last_date: np.datetime64
    rows: int
    lead_in_rows: int
    edge_affected_rows: int
    constant_controls: tuple[str, ...]


@dataclass(frozen=True)
class Design:
    """Everything that stays fixed while y varies.

    kpi [T] original units; exposure [T, C, W] lagged and divided by `media_scale`; weights [T] outcome per KPI unit;
    block [T, q] columns of the linear part with `block_names`; `spend` [C] of the window, NaN where unknown.
    """

    kpi: Floats
    exposure: Floats
    n_weights: NDArray[np.int64]
    saturation: tuple[Saturation, ...]
    weights: Floats
    block: Floats
    block_names: tuple[str, ...]
    spend: Floats
    total_outcome: float
    kpi_mean: float
    kpi_sd: float
    scalers: Mapping[str, float]
    window: WindowReport


def build_design(table: Table, spec: AdditiveMmmSpec, window: Window) -> Design:
    """Cut the window, scale (KPI: centred, unit sd; media: mean of positives; controls: standardised) and lag."""
    first = window.first_row(table.dates)
    rows = slice(first, None)
    dates = table.dates[rows]
    kpi = table.column(spec.kpi, "kpi")[rows]
    count = dates.size
    if count < 8:
        raise InvalidInput("data_period_months", f"leaves {count} rows; at least 8 are needed")
    kpi_mean, kpi_sd = float(kpi.mean()), float(kpi.std())
    if not kpi_sd > 1e-12 * max(abs(kpi_mean), 1e-300):
        raise InvalidInput("kpi", "does not vary inside the window")
    weights = np.ones(count)
    if spec.revenue_per_kpi is not None:
        weights = table.column(spec.revenue_per_kpi, "revenue_per_kpi")[rows]
        if np.any(weights <= 0.0):
            raise InvalidInput("revenue_per_kpi", "must be above 0")
    total = float(weights @ kpi)
    if not total > 0.0:
        raise InvalidInput("kpi", "must have a positive total inside the window, or shares of it mean nothing")

    scalers = {"kpi_mean": kpi_mean, "kpi_sd": kpi_sd, "total_outcome": total}
    longest = max(channel.n_weights for channel in spec.channels)
    exposure = np.zeros((count, len(spec.channels), longest))
    spend = np.full(len(spec.channels), np.nan)
    for index, channel in enumerate(spec.channels):
        exposure[:, index], scale = _lagged(table, channel, first, longest)
        scalers[f"media_scale[{channel.name}]"] = scale
        if channel.spend is not None:
            spend[index] = _spend(table, channel, first)
            scalers[f"spend[{channel.name}]"] = float(spend[index])

    names, columns, constant = _block(table, spec, first, scalers)
    report = WindowReport(
        dates[0], dates[-1], count, min(first, longest - 1), max(0, longest - 1 - first), tuple(constant)
    )
    return Design(
        kpi=kpi,
        exposure=exposure,
        n_weights=np.asarray([channel.n_weights for channel in spec.channels]),
        saturation=tuple(channel.saturation for channel in spec.channels),
        weights=weights,
        block=np.stack(columns, axis=1),
        block_names=tuple(names),
        spend=spend,
        total_outcome=total,
        kpi_mean=kpi_mean,
        kpi_sd=kpi_sd,
        scalers=scalers,
        window=report,
    )


def _lagged(table: Table, channel: Channel, first: int, longest: int) -> tuple[Floats, float]:
    """Scaled exposure [T, longest] at lags 0, 1, …, zero beyond the channel's own weights, and the scaler."""
    field = f"channels[{channel.name}].exposure"
    raw = table.column(channel.exposure, field)
    if np.any(raw < 0.0):
        raise InvalidInput(field, "must not be negative")
    inside = raw[first:]
    if not np.any(inside > 0.0):
        raise InvalidInput(field, "is zero throughout the window: the data cannot speak about this channel")
    scale = float(inside[inside > 0.0].mean())
    padded = np.concatenate([np.zeros(longest - 1), raw / scale])
    lags = np.stack([padded[longest - 1 - lag : padded.size - lag] for lag in range(longest)], axis=1)[first:]
    lags[:, channel.n_weights :] = 0.0
    return lags, scale


def _spend(table: Table, channel: Channel, first: int) -> float:
    field = f"channels[{channel.name}].spend"
    values = table.column(str(channel.spend), field)[first:]
    if np.any(values < 0.0) or not values.sum() > 0.0:
        raise InvalidInput(field, "must not be negative and must have a positive total inside the window")
    return float(values.sum())


def _block(
    table: Table, spec: AdditiveMmmSpec, first: int, scalers: dict[str, float]
) -> tuple[list[str], list[Floats], list[str]]:
    """Names and columns of the linear part, and the controls that do not vary."""
    dates = table.dates[first:]
    names, columns, constant = ["intercept"], [np.ones(dates.size)], []
    if spec.trend:
        days = (dates - dates[0]).astype(np.float64)
        names.append("trend")
        columns.append(2.0 * days / days[-1] - 1.0)
    angle = 2.0 * np.pi * dates.astype(np.int64) / spec.season_days
    for pair in range(1, spec.fourier_pairs + 1):
        names += [f"sin_{pair}", f"cos_{pair}"]
        columns += [np.sin(pair * angle), np.cos(pair * angle)]
    for control in spec.controls:
        values = table.column(control.column, f"controls[{control.name}].column")[first:]
        mean, sd = float(values.mean()), float(values.std())
        if not sd > 1e-12 * max(abs(mean), 1e-300):
            constant.append(control.name)
            sd = 1.0
            values = np.full_like(values, mean)
        names.append(f"control[{control.name}]")
        columns.append((values - mean) / sd)
        scalers[f"control_mean[{control.name}]"] = mean
        scalers[f"control_sd[{control.name}]"] = sd
    return names, columns, constant
