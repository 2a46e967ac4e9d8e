"""The arrays and frozen scalers that an additive MMM makes of a table, once, from the real data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from engine.arrays import Floats, Integers
from engine.errors import InvalidInput
from engine.models.additive_spec import AdditiveMmmSpec, Channel, Parameterisation
from engine.models.saturation import Saturation
from engine.models.table import Table, Window, WindowReport
from engine.rules.additive_names import linear_names
from engine.rules.calendar import months_holding

MOST_SKIPPED = 4
"""One row in so many may be left out of the likelihood because its media history is unknown."""


@dataclass(frozen=True)
class Design:
    """Everything that stays fixed while y varies.

    Rows are sorted by (geo, date), N = G * T; national data are one geo of population 1. kpi [N] original units;
    population [N] of the row's geo, by which KPI and media are divided before they are scaled (`kpi_mean` and `kpi_sd`
    are those of the quotient); exposure [N, C, W] lagged within the geo and divided by `media_scale`; weights [N]
    outcome per unit of per-capita KPI; block [N, q] columns of the linear part with `block_names`; `spend` [C] of the
    window and all geos, NaN where unknown. `geo_names` [G], empty for national data, with the observed outcome
    `geo_outcome` [G] and the spend `geo_spend` [G, C] of each geo.
    """

    kpi: Floats
    population: Floats
    exposure: Floats
    n_weights: Integers
    saturation: tuple[Saturation, ...]
    weights: Floats
    block: Floats
    block_names: tuple[str, ...]
    spend: Floats
    geo_names: tuple[str, ...]
    geo_outcome: Floats
    geo_spend: Floats
    total_outcome: float
    kpi_mean: float
    kpi_sd: float
    scalers: Mapping[str, float]
    window: WindowReport

    def paired(self) -> Design:
        """The design of two KPI series that share everything but their noise, one below the other [2N].

        Only the first counts for the outcome that shares and ROI refer to: its weights stay, the second's are zero.
        """
        return replace(
            self,
            kpi=np.concatenate([self.kpi, self.kpi]),
            population=np.concatenate([self.population, self.population]),
            exposure=np.concatenate([self.exposure, self.exposure]),
            weights=np.concatenate([self.weights, np.zeros_like(self.weights)]),
            block=np.concatenate([self.block, self.block]),
        )

    def lagged(self, periods: int) -> Design:
        """The design in which every exposure comes `periods` dates later, within its geo."""
        by_geo = self.exposure.reshape(-1, self.window.periods, *self.exposure.shape[1:])
        later = np.zeros_like(by_geo)
        later[:, periods:] = by_geo[:, : by_geo.shape[1] - periods]
        return replace(self, exposure=later.reshape(self.exposure.shape))


def build_design(table: Table, spec: AdditiveMmmSpec, window: Window) -> Design:
    """Cut the window, divide KPI and media by population, scale them and lag the media within each geo.

    KPI: centred, unit sd; media: mean of positives; controls: standardised; each over the rows of all geos together.
    """
    first = window.first_row(table.periods)
    dates = table.since(first, table.dates)
    kpi = table.since(first, table.column(spec.kpi, "kpi"))
    periods, geos = table.periods.size - first, len(table.geo_names)
    if periods < 8:
        raise InvalidInput("data_period_months", f"leaves {periods} dates; at least 8 are needed")
    sizes = _sizes(table, spec, kpi.reshape(geos, periods))
    population = np.repeat(sizes, periods)
    per_capita = kpi / population
    kpi_mean, kpi_sd = float(per_capita.mean()), float(per_capita.std())
    if not kpi_sd > 1e-12 * max(abs(kpi_mean), 1e-300):
        raise InvalidInput("kpi", "does not vary inside the window")
    revenue = np.ones(kpi.size)
    if spec.revenue_per_kpi is not None:
        revenue = table.since(first, table.column(spec.revenue_per_kpi, "revenue_per_kpi"))
        if np.any(revenue <= 0.0):
            raise InvalidInput("revenue_per_kpi", "must be above 0")
    total = float(revenue @ kpi)
    if not total > 0.0:
        raise InvalidInput("kpi", "must have a positive total inside the window, or shares of it mean nothing")

    scalers = {"kpi_mean": kpi_mean, "kpi_sd": kpi_sd, "total_outcome": total}
    if geos > 1:
        scalers |= {f"population[{geo}]": float(size) for geo, size in zip(table.geo_names, sizes, strict=True)}
    longest = max(channel.n_weights for channel in spec.channels)
    exposure = np.zeros((kpi.size, len(spec.channels), longest))
    geo_spend = np.full((geos, len(spec.channels)), np.nan)
    for index, channel in enumerate(spec.channels):
        exposure[:, index], scale = _lagged(table, channel, sizes, first, longest)
        scalers[f"media_scale[{channel.name}]"] = scale
        if channel.spend is not None:
            geo_spend[:, index] = _spend(table, channel, first)
            scalers[f"spend[{channel.name}]"] = float(geo_spend[:, index].sum())

    names, columns, constant = _block(table, spec, first, scalers)
    edge = min(max(0, longest - 1 - first), periods)
    skipped = min(edge, periods // MOST_SKIPPED)
    report = WindowReport(
        first_date=dates[0],
        last_date=dates[-1],
        periods=periods,
        geos=geos,
        lead_in_rows=min(first, longest - 1),
        edge_affected_rows=edge,
        skipped_rows=skipped,
        constant_controls=tuple(constant),
    )
    return Design(
        kpi=kpi,
        population=population,
        exposure=exposure,
        n_weights=np.asarray([channel.n_weights for channel in spec.channels]),
        saturation=tuple(channel.saturation for channel in spec.channels),
        weights=revenue * population,
        block=np.stack(columns, axis=1),
        block_names=tuple(names),
        spend=geo_spend.sum(axis=0),
        geo_names=tuple(table.geo_names) if geos > 1 else (),
        geo_outcome=(revenue * kpi).reshape(geos, periods).sum(axis=1),
        geo_spend=geo_spend,
        total_outcome=total,
        kpi_mean=kpi_mean,
        kpi_sd=kpi_sd,
        scalers=scalers,
        window=report,
    )


def _sizes(table: Table, spec: AdditiveMmmSpec, kpi: Floats) -> Floats:
    """Population by geo [G]; kpi [G, T] of the window stands in where there is no such column.

    All geos share one response, which is plausible per head only: the same impressions do not saturate a village and a
    city alike. Without a population the geo's mean KPI, relative to that of all geos, is the size that is at hand; like
    every scaler it is frozen from the real data. A single geo's size cancels out, and 1 changes no digit.
    """
    if len(table.geo_names) == 1:
        return np.ones(1)
    if spec.population is None:
        means = kpi.mean(axis=1)
        for geo, mean in zip(table.geo_names, means, strict=True):
            if not mean > 0.0:
                raise InvalidInput("kpi", f"has no positive total in geo {geo!r}, which then needs a population column")
        return np.asarray(means / means.mean())
    population = table.by_geo(table.column(spec.population, "population"))
    if np.any(population <= 0.0) or np.any(population != population[:, :1]):
        raise InvalidInput("population", "must be above 0 and the same on every date of a geo")
    return np.asarray(population[:, 0])


def _lagged(table: Table, channel: Channel, sizes: Floats, first: int, longest: int) -> tuple[Floats, float]:
    """Scaled exposure [N, longest] at lags 0, 1, … of the same geo, zero beyond the channel's weights; the scaler.

    Nobody knows what was before the table's first row. Zero would be a claim, and its ramp-up evidence; the geo's mean
    over as many rows as the channel has weights leaves a constant exposure constant and a late start at zero.
    """
    field = f"channels[{channel.name}].exposure"
    raw = table.by_geo(table.column(channel.exposure, field))
    if np.any(raw < 0.0):
        raise InvalidInput(field, "must not be negative")
    per_capita = raw / sizes[:, None]
    inside = per_capita[:, first:]
    if not np.any(inside > 0.0):
        if np.any(per_capita > 0.0):
            last = int(np.flatnonzero(np.any(per_capita > 0.0, axis=0))[-1])
            paused = (
                f"leaves channel {channel.name!r} without exposure, which it had until {table.periods[last]}: take "
                f"{months_holding(table.periods, last)} months or more, or a model without it"
            )
            raise InvalidInput("data_period_months", paused)
        raise InvalidInput(field, "is zero throughout: the data cannot speak about this channel")
    scale = float(inside[inside > 0.0].mean())
    scaled = per_capita / scale
    before = np.repeat(scaled[:, : channel.n_weights].mean(axis=1, keepdims=True), longest - 1, axis=1)
    padded = np.concatenate([before, scaled], axis=1)
    shifted = [padded[:, longest - 1 - lag : padded.shape[1] - lag] for lag in range(longest)]
    lags = np.stack(shifted, axis=2)[:, first:].reshape(-1, longest)
    lags[:, channel.n_weights :] = 0.0
    return lags, scale


def paid_for(table: Table, spec: AdditiveMmmSpec, window: Window) -> tuple[AdditiveMmmSpec, tuple[str, ...]]:
    """The specification without the spend columns that are zero throughout the window, and the channels they were of.

    Of such a channel there is no ROI, and nothing else hangs on it. One that is sampled as its ROI keeps its column,
    which `build_design` refuses.
    """
    first, unpaid = window.first_row(table.periods), []
    for channel in spec.channels:
        if channel.spend is None or channel.parameterise_by is Parameterisation.ROI:
            continue
        if not np.any(table.since(first, table.column(channel.spend, f"channels[{channel.name}].spend"))):
            unpaid.append(channel.name)
    channels = tuple(replace(channel, spend=None) if channel.name in unpaid else channel for channel in spec.channels)
    return replace(spec, channels=channels), tuple(unpaid)


def _spend(table: Table, channel: Channel, first: int) -> Floats:
    """Spend of the window by geo [G]."""
    field = f"channels[{channel.name}].spend"
    values = table.since(first, table.column(str(channel.spend), field))
    if np.any(values < 0.0):
        raise InvalidInput(field, "must not be negative")
    if not values.sum() > 0.0:
        raise InvalidInput(field, "is zero throughout the window, so that there is no ROI: sample the share instead")
    return np.asarray(values.reshape(len(table.geo_names), -1).sum(axis=1))


def _block(
    table: Table, spec: AdditiveMmmSpec, first: int, scalers: dict[str, float]
) -> tuple[list[str], list[Floats], list[str]]:
    """Names and columns of the linear part, and the controls that do not vary."""
    dates = table.since(first, table.dates)
    names = linear_names(
        trend=spec.trend, fourier_pairs=spec.fourier_pairs, controls=(control.name for control in spec.controls)
    )
    columns, constant = [np.ones(dates.size)], []
    if spec.trend:
        days = (dates - dates[0]).astype(np.float64)
        columns.append(2.0 * days / days[-1] - 1.0)
    angle = 2.0 * np.pi * dates.astype(np.int64) / spec.season_days
    for pair in range(1, spec.fourier_pairs + 1):
        columns += [np.sin(pair * angle), np.cos(pair * angle)]
    for control in spec.controls:
        values = table.since(first, table.column(control.column, f"controls[{control.name}].column"))
        mean, sd = float(values.mean()), float(values.std())
        if not sd > 1e-12 * max(abs(mean), 1e-300):
            constant.append(control.name)
            sd = 1.0
            values = np.full_like(values, mean)
        columns.append((values - mean) / sd)
        scalers[f"control_mean[{control.name}]"] = mean
        scalers[f"control_sd[{control.name}]"] = sd
    if len(table.geo_names) > 1:
        geo_of_row = np.repeat(table.geo_names, dates.size // len(table.geo_names))
        names += [f"geo[{geo}]" for geo in table.geo_names]
        columns += [(geo_of_row == geo).astype(np.float64) for geo in table.geo_names]
    return names, columns, constant
