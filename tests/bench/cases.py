"""Synthetic additive MMMs of 5, 15, 30 and 50 parameters and panels for speed comparisons: no client's data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.distributions.distribution import Beta
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, Window, prepare

__all__ = ["LEAD_IN_WEEKS", "SIZES", "Size", "case", "panel_case", "share_channel", "table"]

Floats = NDArray[np.float64]

MakeChannel = Callable[[str, str, str | None], Channel]
"""A channel of a name, an exposure column and a spend column."""

LEAD_IN_WEEKS = 12
"""Weeks before the window, more than the adstock's seven lags, so that no row of the window is edge-affected."""

_FIRST_WEEK = np.datetime64("2021-01-04")
_WEEKS_A_YEAR = 365.25 / 7.0
_N_WEIGHTS = 8
_BASE = 1000.0


@dataclass(frozen=True)
class Size:
    """What makes up a number of parameters: 3C + K + 2F + 3, one fewer without a trend."""

    channels: int
    fourier_pairs: int
    controls: int
    trend: bool = True

    @property
    def parameters(self) -> int:
        """Top-level scalar unknowns of the model."""
        return 3 * self.channels + self.controls + 2 * self.fourier_pairs + 2 + self.trend


SIZES = {size.parameters: size for size in (Size(1, 0, 0, trend=False), Size(3, 1, 1), Size(7, 2, 2), Size(13, 3, 2))}
"""Sizes by number of parameters: 5, 15, 30, 50."""


@dataclass(frozen=True)
class _AfterLeadIn(Window):
    """Every row after the lead-in: a number of weeks need not be a number of calendar months."""

    def first_row(self, dates: NDArray[np.datetime64]) -> int:
        return LEAD_IN_WEEKS


def share_channel(name: str, exposure: str, spend: str | None) -> Channel:
    """A channel as the service makes it without beliefs: Beta(1, 3) on its share of outcome, Hill saturation."""
    return Channel(name, exposure, Beta(1.0, 3.0), spend=spend, n_weights=_N_WEIGHTS)


def case(parameters: int, weeks: int = 104, seed: int = 0, channel: MakeChannel = share_channel) -> AdditiveMmm:
    """A prepared model of 5, 15, 30 or 50 parameters on `weeks` rows after the lead-in.

    It is what the service would build from the same request without beliefs, with the default priors of everything
    that `channel` does not say. Media bring 40 % of the KPI in truth, by Hill curves.
    """
    return prepare(table(parameters, weeks, seed), _spec(SIZES[parameters], channel), _AfterLeadIn())


def table(parameters: int, weeks: int = 104, seed: int = 0) -> Table:
    """The data of `case`, lead-in rows included."""
    if parameters not in SIZES:
        raise ValueError(f"there are cases of {', '.join(map(str, SIZES))} parameters, not of {parameters}")
    rng = np.random.default_rng([seed, parameters, weeks])
    dates = _dates(weeks)
    return Table(dates, _columns(rng, SIZES[parameters], dates.size))


def panel_case(geos: int, weeks: int = 104, seed: int = 0) -> AdditiveMmm:
    """The 15-parameter model on a panel: `weeks` rows of each geo, an intercept for each, populations of 0.2 to 5."""
    size = SIZES[15]
    rng = np.random.default_rng([seed, geos, weeks, 1])
    dates = _dates(weeks)
    parts = []
    for population in rng.uniform(0.2, 5.0, geos):
        columns = _columns(rng, size, dates.size)
        totals = {name: values * population for name, values in columns.items() if not name.startswith("control")}
        parts.append(columns | totals | {"population": np.full(dates.size, population)})
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = np.repeat([f"geo_{index + 1:03d}" for index in range(geos)], dates.size)
    panel = Table(np.tile(dates, geos), columns, names)
    return prepare(panel, replace(_spec(size), population="population"), _AfterLeadIn())


def _dates(weeks: int) -> NDArray[np.datetime64]:
    return np.asarray(_FIRST_WEEK + 7 * np.arange(weeks + LEAD_IN_WEEKS).astype("timedelta64[D]"))


def _channel_names(size: Size) -> list[str]:
    return [f"channel_{index + 1}" for index in range(size.channels)]


def _control_names(size: Size) -> list[str]:
    return [f"control_{index + 1}" for index in range(size.controls)]


def _spec(size: Size, channel: MakeChannel = share_channel) -> AdditiveMmmSpec:
    return AdditiveMmmSpec(
        kpi="kpi",
        channels=tuple(channel(name, name, f"{name}_spend") for name in _channel_names(size)),
        controls=tuple(Control(name, name) for name in _control_names(size)),
        fourier_pairs=size.fourier_pairs,
        trend=size.trend,
    )


def _columns(rng: np.random.Generator, size: Size, rows: int) -> dict[str, Floats]:
    """KPI, exposures, spends and controls, each [rows]."""
    week = np.arange(rows)
    columns: dict[str, Floats] = {}
    baseline = _BASE * (1.0 + (0.1 * (week / rows - 0.5) if size.trend else 0.0))
    for pair in range(1, size.fourier_pairs + 1):
        phase = rng.uniform(0.0, 2.0 * np.pi)
        baseline = baseline + 0.08 * _BASE / pair * np.cos(2.0 * np.pi * pair * week / _WEEKS_A_YEAR - phase)
    for name in _control_names(size):
        columns[name] = _persistent_noise(rng, rows)
        baseline = baseline + 0.03 * _BASE * columns[name]
    media = np.zeros(rows)
    for name, part in zip(_channel_names(size), rng.dirichlet(np.full(size.channels, 3.0)), strict=True):
        exposure = _flighted_exposure(rng, rows)
        columns[name] = exposure
        columns[f"{name}_spend"] = exposure * rng.uniform(5.0, 15.0) / 1000.0 * rng.uniform(0.9, 1.1, rows)
        curve = _response(exposure, rng.beta(2.0, 3.0), rng.lognormal(0.0, 0.5))
        media = media + part * curve / curve.mean()
    columns["kpi"] = baseline + 2.0 / 3.0 * _BASE * media + 0.05 * _BASE * rng.standard_normal(rows)
    return columns


def _flighted_exposure(rng: np.random.Generator, rows: int) -> Floats:
    """Weekly impressions [rows]: flights of about eight weeks, pauses of about four, gamma sizes, a yearly season."""
    on = bool(rng.random() < 0.67)
    flight = np.empty(rows)
    for row in range(rows):
        flight[row] = on
        if rng.random() < (1.0 / 8.0 if on else 1.0 / 4.0):
            on = not on
    # A channel that never ran inside the window has no model.
    flight[LEAD_IN_WEEKS + 4 : LEAD_IN_WEEKS + 10] = 1.0
    season = 1.0 + 0.4 * np.cos(2.0 * np.pi * np.arange(rows) / _WEEKS_A_YEAR - rng.uniform(0.0, 2.0 * np.pi))
    return np.asarray(1e5 * rng.gamma(3.0, 1.0 / 3.0, rows) * season * flight)


def _persistent_noise(rng: np.random.Generator, rows: int) -> Floats:
    """A stationary AR(1) series [rows] of unit variance, as prices and distribution have."""
    values = rng.standard_normal(rows)
    for row in range(1, rows):
        values[row] = 0.8 * values[row - 1] + 0.6 * values[row]
    return values


def _response(exposure: Floats, retention: float, half_saturation: float) -> Floats:
    """Saturated adstock [rows] of raw exposure, half-saturation in units of the mean positive exposure."""
    weights = retention ** np.arange(_N_WEIGHTS)
    adstocked = np.convolve(exposure / exposure[exposure > 0.0].mean(), weights / weights.sum())[: exposure.size]
    return np.asarray(adstocked / (adstocked + half_saturation))
