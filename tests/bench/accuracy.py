"""The batched sampler's posteriors beside long NUTS runs, on open and simulated data, two models of each.

Statistics of the draws of every parameter and business quantity in units of their Monte Carlo errors; the files of
three data sets lie beside the repository.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.distributions.distribution import LogNormal
from engine.inference.batch import FitSettings
from engine.inference.diagnostics import summary
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import (
    AdditiveMmm,
    AdditiveMmmSpec,
    Channel,
    Control,
    Parameterisation,
    Saturation,
    Table,
    Window,
    prepare,
)
from tests.agreement import STATISTICS, differences, inflated, shifted, threshold
from tests.bench import machine
from tests.bench.cases import case, share_channel
from tests.oracle import NutsFit, nuts

__all__ = [
    "DATA_SETS",
    "FORMS",
    "MONTHS",
    "PRESETS",
    "Comparison",
    "File",
    "Form",
    "Preset",
    "Side",
    "Simulated",
    "compare",
    "limit",
]

Floats = NDArray[np.float64]

MONTHS = 24
"""The window of the files: their last 104 weeks."""

_ROOT = Path(__file__).parents[2]
_SHARED = _ROOT / ".." / "shared" / "data"


@dataclass(frozen=True)
class Form:
    """One of the two models of a data set: the saturation, and whether channels with spend are sampled as ROI."""

    name: str
    saturation: Saturation
    by_roi: bool

    def channel(self, name: str, exposure: str, spend: str | None) -> Channel:
        """A channel of this form, as the service would make it without beliefs."""
        share = replace(share_channel(name, exposure, spend), saturation=self.saturation)
        if not self.by_roi or spend is None:
            return share
        return replace(share, prior=LogNormal(0.2, 0.9), parameterise_by=Parameterisation.ROI)


FORMS = (
    Form("Hill, share", Saturation.HILL, by_roi=False),
    Form("logistic, ROI", Saturation.LOGISTIC, by_roi=True),
)


@dataclass(frozen=True)
class Simulated:
    """The series of `tests.bench.cases` with 15 parameters; their media follow Hill curves under either form."""

    name = "simulated"
    missing = ""

    def model(self, form: Form) -> AdditiveMmm:
        """The prepared model."""
        return case(15, channel=form.channel)


@dataclass(frozen=True)
class File:
    """A file and which of its columns are used: media as name → (exposure, spend or None), controls.

    The choice keeps NUTS affordable: few channels, with and without spend where the file has both. `geos`
    picks some of a panel's geos; without it the file is national.
    """

    name: str
    path: Path
    dates: str
    kpi: str
    media: Mapping[str, tuple[str, str | None]]
    controls: tuple[str, ...]
    revenue_per_kpi: str | None = None
    population: str | None = None
    geos: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Why the data set cannot be used here, empty if it can."""
        return "" if self.path.exists() else f"{self.path.name} is not in shared/data beside this repository"

    def table(self) -> Table:
        """The columns in use; of a panel, the picked geos."""
        with self.path.open() as file:
            rows = [row for row in csv.DictReader(file) if not self.geos or row["geo"] in self.geos]
        exposure_and_spend = [column for pair in self.media.values() for column in pair]
        wanted = [self.kpi, *exposure_and_spend, *self.controls, self.revenue_per_kpi, self.population]
        columns = {name: np.array([float(row[name]) for row in rows]) for name in wanted if name is not None}
        dates = np.array([row[self.dates] for row in rows], dtype="datetime64[D]")
        return Table(dates, columns, np.array([row["geo"] for row in rows]) if self.geos else None)

    def spec(self, form: Form) -> AdditiveMmmSpec:
        """The model before it meets the data, as the service would build it without beliefs."""
        return AdditiveMmmSpec(
            self.kpi,
            tuple(form.channel(name, exposure, spend) for name, (exposure, spend) in self.media.items()),
            tuple(Control(name, name) for name in self.controls),
            revenue_per_kpi=self.revenue_per_kpi,
            population=self.population,
        )

    def model(self, form: Form) -> AdditiveMmm:
        """The prepared model."""
        return prepare(self.table(), self.spec(form), Window(MONTHS))


DATA_SETS: tuple[File | Simulated, ...] = (
    Simulated(),
    File(
        "pymc_mmm_example",
        _ROOT / "examples" / "pymc_mmm_example.csv",
        dates="date_week",
        kpi="y",
        media={"x1": ("x1", None), "x2": ("x2", None)},
        controls=("event_1", "event_2"),
    ),
    File(
        "robyn_dt_simulated_weekly",
        _SHARED / "robyn_dt_simulated_weekly.csv",
        dates="DATE",
        kpi="revenue",
        media={
            "tv": ("tv_S", "tv_S"),
            "facebook": ("facebook_I", "facebook_S"),
            "search": ("search_clicks_P", "search_S"),
            "newsletter": ("newsletter", None),
        },
        controls=("competitor_sales_B",),
    ),
    File(
        "meridian_geo_media",
        _SHARED / "meridian_geo_media.csv",
        dates="time",
        kpi="conversions",
        media={f"paid_{index}": (f"Channel{index}_impression", f"Channel{index}_spend") for index in range(3)},
        controls=("competitor_activity_score_control", "sentiment_score_control"),
        revenue_per_kpi="revenue_per_conversion",
        population="population",
        geos=("Geo0", "Geo1", "Geo2", "Geo3"),
    ),
    File(
        "retail_209w_mmm_stan",
        _SHARED / "retail_209w_mmm_stan.csv",
        dates="wk_strt_dt",
        kpi="sales",
        media={
            "direct_mail": ("mdip_dm", "mdsp_dm"),
            "online": ("mdip_on", "mdsp_on"),
            "search": ("mdip_sem", "mdsp_sem"),
            "email": ("mdip_em", None),
        },
        controls=("me_ics_all", "st_ct", "mrkdn_pdm", "hldy_Black Friday", "hldy_Christmas Day"),
    ),
)


@dataclass(frozen=True)
class Side:
    """Draws [quantities, chains, draws] of one sampler, divergences, wall seconds with compilation."""

    draws: Floats
    divergences: int
    seconds: float

    @cached_property
    def quality(self) -> dict[str, float]:
        """Largest R-hat and smallest ESS over the quantities."""
        r_hat, bulk, tail = summary(self.draws)
        return {"r_hat": float(r_hat.max()), "ess_bulk": float(bulk.min()), "ess_tail": float(tail.min())}

    @property
    def row(self) -> dict[str, Any]:
        """What the result file says of it."""
        return {
            "chains": self.draws.shape[1],
            "draws": self.draws.shape[2],
            **self.quality,
            "divergences": self.divergences,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Preset:
    """Settings that the service samples with; the data set is fitted `copies` times, with other random numbers."""

    name: str
    copies: int

    def settings(self, model: AdditiveMmm) -> FitSettings:
        """The settings for a model."""
        if self.name == "single":
            return FitSettings.single()
        whole = FitSettings.simulation(len(model.parameter_names))
        return replace(whole, schedules=whole.schedules[:1], last=None)

    def fit(self, model: AdditiveMmm, names: Sequence[str]) -> tuple[Side, dict[str, Any]]:
        """The draws of the copies laid end to end, and what the settings themselves say of the fits.

        Every chain of a copy starts anew and the copies are independent, so that a warm-up that is too short shows as a
        bias of all of them, however few draws each has. No copy is left out.
        """
        start = time.perf_counter()
        ids = np.arange(self.copies)
        y = np.repeat(model.observed[:, None], self.copies, axis=1)
        fit = model.fit(y, Seed.of(3), ids, self.settings(model))
        seconds = time.perf_counter() - start
        draws = np.stack([np.concatenate([*fit.draws[name]], axis=-1) for name in names])
        found = fit.diagnostics
        said = {
            "fits": self.copies,
            "fits_not_ok": int(np.sum(~found.ok)),
            "fits_run_again": int(np.sum(found.escalations > 0)),
            "largest_r_hat_of_a_fit": float(found.r_hat.max()),
        }
        return Side(draws, int(found.divergences.sum()), seconds), said


PRESETS = (Preset("single", copies=1), Preset("simulation, first schedule", copies=64))
"""Those of a client's own data and, in float32 and with a short warm-up, of the many data sets of SBC."""


def limit(comparisons: int) -> float:
    """Largest difference that may be found in one comparison, family-wise over all data sets, models and presets."""
    return threshold(comparisons * len(DATA_SETS) * len(FORMS) * len(PRESETS))


@dataclass(frozen=True)
class Comparison:
    """Our draws and those of NUTS for one data set, model and preset; `said` is what the preset says of its fits."""

    data_set: str
    model: str
    preset: str
    parameters: int
    names: tuple[str, ...]
    ours: Side
    said: Mapping[str, Any]
    theirs: Side

    @cached_property
    def differences(self) -> Floats:
        """Those of the statistics in Monte Carlo errors [quantities, 4]."""
        return differences(self.ours.draws, self.theirs.draws)

    def noticed(self, spoil: Callable[[Floats], Floats]) -> NDArray[np.bool_]:
        """Whether a difference passes the limit [quantities] after our draws were spoilt."""
        z = differences(spoil(self.ours.draws), self.theirs.draws)
        return np.asarray(np.any(np.abs(z) > limit(z.size), axis=1))

    @property
    def row(self) -> dict[str, Any]:
        """The row of the result file.

        `rms_z` is near 1 where only Monte Carlo errors differ; `noticed` is the share of the quantities whose error
        alone would be noticed.
        """
        z = self.differences
        spread = self.ours.draws.std(axis=(1, 2)) / self.theirs.draws.std(axis=(1, 2)) - 1.0
        worst, widest = np.argmax(np.abs(z), axis=0), int(np.argmax(np.abs(spread)))
        return {
            "data_set": self.data_set,
            "model": self.model,
            "preset": self.preset,
            "parameters": self.parameters,
            "quantities": len(self.names),
            "comparisons": z.size,
            "threshold_z": limit(z.size),
            "rms_z": float(np.sqrt(np.mean(z**2))),
            "worst_z": {
                statistic: {"z": float(z[row, column]), "quantity": self.names[row]}
                for column, (statistic, row) in enumerate(zip(STATISTICS, worst, strict=True))
            },
            "largest_relative_sd_difference": {
                "value": float(spread[widest]),
                "z": float(z[widest, STATISTICS.index("sd")]),
                "quantity": self.names[widest],
            },
            "noticed": {
                "sd 10 % too large": float(self.noticed(inflated).mean()),
                "0.15 sd too high": float(self.noticed(shifted).mean()),
            },
            "ours": {**self.ours.row, **self.said},
            "nuts": self.theirs.row,
        }


def compare(
    data_set: File | Simulated,
    form: Form,
    presets: Sequence[Preset] = PRESETS,
    *,
    warmup: int = 1000,
    draws: int = 2000,
) -> list[Comparison]:
    """Fit a data set with NUTS, in four chains of `warmup` and `draws`, and with each of the presets."""
    enable_float64()
    model = data_set.model(form)
    names = tuple(dict.fromkeys((*model.parameter_names, *model.estimand_names)))
    found = nuts(model, model.observed, warmup=warmup, draws=draws)
    theirs = _side(found, names)
    sampled = " and ".join(dict.fromkeys(channel.parameterise_by.value for channel in model.spec.channels))
    described = f"{form.saturation.value}, {sampled}"
    count = len(model.parameter_names)
    return [
        Comparison(data_set.name, described, preset.name, count, names, *preset.fit(model, names), theirs)
        for preset in presets
    ]


def _side(found: NutsFit, names: Sequence[str]) -> Side:
    return Side(np.stack([found.draws[name] for name in names]), found.divergences, found.seconds)


def _measure(data_set: int, form: int, draws: int) -> list[dict[str, Any]]:
    return [comparison.row for comparison in compare(DATA_SETS[data_set], FORMS[form], draws=draws)]


def _text(row: Mapping[str, Any]) -> str:
    worst = ", ".join(f"{name} {found['z']:+.1f} {found['quantity']}" for name, found in row["worst_z"].items())
    sides = "; ".join(
        f"{name} R-hat {side['r_hat']:.4f}, ESS bulk {side['ess_bulk']:.0f} tail {side['ess_tail']:.0f}, "
        f"{side['divergences']} divergences, {side['seconds']:.1f} s"
        for name, side in (("ours", row["ours"]), ("NUTS", row["nuts"]))
    )
    spread, ours = row["largest_relative_sd_difference"], row["ours"]
    noticed = " / ".join(f"{share:.0%}" for share in row["noticed"].values())
    return (
        f"{row['data_set']}, {row['model']}, {row['preset']}, {row['quantities']} quantities: {worst} "
        f"(limit {row['threshold_z']:.1f}, rms {row['rms_z']:.2f}); "
        f"sd {spread['value']:+.1%} {spread['quantity']} (z {spread['z']:+.1f}); noticed {noticed}; "
        f"{ours['fits_not_ok']} of {ours['fits']} fits not ok, {ours['fits_run_again']} run again; {sides}"
    )


def main() -> None:
    """Compare the data sets, each fit on one core in a fresh process."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.accuracy", description=main.__doc__)
    names = [data_set.name for data_set in DATA_SETS]
    parser.add_argument("--data-sets", nargs="+", choices=names, default=names)
    parser.add_argument("--draws", type=int, default=2000, help="of each of the four chains of NUTS")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows: list[dict[str, Any]] = []
    for index, data_set in enumerate(DATA_SETS):
        if data_set.name not in arguments.data_sets:
            continue
        if data_set.missing:
            print(f"{data_set.name}: left out, {data_set.missing}", flush=True)
            continue
        for form in range(len(FORMS)):
            found = machine.fresh(_measure, index, form, arguments.draws, core=machine.places(here)[-1])
            rows += found
            print("\n".join(_text(row) for row in found), flush=True)
            machine.write(arguments.output, "accuracy", here, rows)


if __name__ == "__main__":
    main()
