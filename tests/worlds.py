"""Random marketing worlds whose truth is known, written from the formulas and sharing nothing with the engine.

A world is what a client's file would hold, with the share of the outcome that every channel really brought. Its kind
says what is messy about it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from engine.arrays import Dates, Floats

BURN_IN = 200


class Kind(enum.Enum):
    """What is messy about a world.

    PLAIN: nothing; media began with the file. HISTORY: media ran before the file begins. LATE: some channels start
    late. PAUSES: channels stop for long. TOGETHER: two channels run together, correlation .9 to .999. DRIVER: a column
    that drives spend and sales is missing. DAILY, MONTHLY: the grain, with history.
    """

    PLAIN = "plain"
    HISTORY = "history"
    LATE = "late start"
    PAUSES = "pauses"
    TOGETHER = "together"
    DRIVER = "hidden driver"
    DAILY = "daily"
    MONTHLY = "monthly"


class Curve(enum.Enum):
    """The true response to adstocked exposure a in units of its mean: a/(a + k), tanh, a²/(a² + k²), a."""

    HILL = "hill"
    LOGISTIC = "logistic"
    STEEP = "hill, slope 2"
    LINEAR = "linear"


@dataclass(frozen=True)
class World:
    """A client's file and the truth behind it.

    `exposure` [C, T] by channel; `kpi` [T]; `control` [T]; `driver` [T], what is missing from the file in a world of
    kind DRIVER; `shares` [C], each channel's incremental outcome over the total.
    """

    kind: Kind
    curve: Curve
    dates: Dates
    exposure: Floats
    kpi: Floats
    control: Floats
    driver: Floats
    shares: Floats
    names: tuple[str, ...] = field(default=())

    @property
    def total(self) -> float:
        """Share of all channels together."""
        return float(self.shares.sum())


_DAYS = {Kind.DAILY: 1, Kind.MONTHLY: 30}


def draw(kind: Kind, curve: Curve, channels: int, periods: int, seed: int) -> World:
    """A world of `channels` channels over `periods` rows of the kind's grain; the unit of every number is random."""
    rng = np.random.default_rng([seed, channels, periods, list(Kind).index(kind), list(Curve).index(curve)])
    spacing = _DAYS.get(kind, 7)
    first = np.datetime64("2021-01-04") + np.timedelta64(int(rng.integers(0, 7)), "D")
    dates = first + spacing * np.arange(periods)
    if kind is Kind.MONTHLY:
        dates = (np.datetime64("2019-01") + np.arange(periods)).astype("datetime64[D]")
    length = periods + BURN_IN
    days = spacing * np.arange(length)
    season = np.sin(2.0 * np.pi * (days / 365.25 + rng.uniform()))
    driver = _smooth(rng, length, 60.0 / spacing)
    control = rng.standard_normal(length)

    flights = np.stack([_flight(rng, length, spacing) for _ in range(channels)])
    if kind is Kind.TOGETHER:
        noise = np.sqrt(rng.choice([0.9, 0.99, 0.999]) ** -2.0 - 1.0)
        spread = flights[0].std() * noise
        flights[1] = np.maximum(flights[0] + spread * rng.standard_normal(length), 0.0)
    if kind is Kind.DRIVER:
        flights[: max(1, channels // 3)] *= np.exp(0.8 * driver)
    if kind is Kind.PLAIN:
        flights[:, :BURN_IN] = 0.0
    for index in range(channels):
        if kind is Kind.LATE and index % 2 == 0:
            flights[index, : BURN_IN + int(periods * rng.uniform(0.15, 0.6))] = 0.0
        if kind is Kind.PAUSES:
            start = BURN_IN + int(periods * rng.uniform(0.0, 0.6))
            flights[index, start : start + int(periods * rng.uniform(0.2, 0.4))] = 0.0

    # Half-lives of 2 to 20 days: what TV, radio and search are usually found to have.
    half_lives = np.exp(rng.uniform(np.log(2.0), np.log(20.0), channels))
    effects = np.stack(
        [
            _response(curve, _adstock(flight, 0.5 ** (spacing / half_life)), float(np.exp(rng.normal(0.0, 0.5))))[
                BURN_IN:
            ]
            for flight, half_life in zip(flights, half_lives, strict=True)
        ]
    )
    shares = rng.dirichlet(np.full(channels, 2.0)) * rng.uniform(0.1, 0.45)
    level = 1.0 + 0.1 * season[BURN_IN:] * rng.uniform(0.2, 1.0) + 0.05 * np.linspace(-1, 1, periods) * rng.normal()
    level = level + 0.03 * rng.normal() * control[BURN_IN:]
    if kind is Kind.DRIVER:
        level = level + 0.08 * driver[BURN_IN:]
    level *= (1.0 - shares.sum()) / level.mean()
    mean = level + (shares[:, None] * effects / effects.mean(axis=1, keepdims=True)).sum(axis=0)
    kpi = mean + rng.uniform(0.02, 0.06) * rng.standard_normal(periods)
    kpi_unit, media_unit = 10.0 ** rng.uniform(-2.0, 6.0), 10.0 ** rng.uniform(-2.0, 6.0, (channels, 1))
    return World(
        kind,
        curve,
        dates,
        flights[:, BURN_IN:] * media_unit,
        kpi * kpi_unit,
        control[BURN_IN:],
        driver[BURN_IN:],
        shares / kpi.mean(),
        tuple(f"x{index + 1}" for index in range(channels)),
    )


def _smooth(rng: np.random.Generator, length: int, memory: float) -> Floats:
    """A stationary first-order autoregression [length] of unit variance whose memory is so many steps."""
    keep = np.exp(-1.0 / memory)
    values = np.empty(length)
    values[0] = rng.standard_normal()
    for index, shock in enumerate(rng.standard_normal(length - 1)):
        values[index + 1] = keep * values[index] + np.sqrt(1.0 - keep**2) * shock
    return values


def _flight(rng: np.random.Generator, length: int, spacing: int) -> Floats:
    """Exposure [length]: always on, or in bursts of some weeks."""
    base = rng.gamma(rng.uniform(1.0, 4.0), 1.0, length)
    if rng.random() < 0.5 and spacing < 28:
        base *= _smooth(rng, length, 28.0 / spacing) > -0.5
    return np.asarray(base)


def _adstock(exposure: Floats, retention: float) -> Floats:
    stock, level = np.empty_like(exposure), 0.0
    for index, value in enumerate(exposure):
        level = retention * level + (1.0 - retention) * value
        stock[index] = level
    return stock


def _response(curve: Curve, adstocked: Floats, half: float) -> Floats:
    relative = adstocked / (half * adstocked[BURN_IN:][adstocked[BURN_IN:] > 0.0].mean())
    match curve:
        case Curve.HILL:
            return np.asarray(relative / (1.0 + relative))
        case Curve.LOGISTIC:
            return np.tanh(0.5 * np.log(3.0) * relative)
        case Curve.STEEP:
            return np.asarray(relative**2 / (1.0 + relative**2))
        case Curve.LINEAR:
            return relative
