"""The batched sampler's posteriors beside long NUTS runs, on open and simulated data, two models of each.

Statistics of every parameter's draws in units of their Monte Carlo errors; the files of three data sets lie beside the
repository.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.diagnostics import summary
from engine.inference.precision import enable_float64
from engine.inference.settings import FitSettings
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
from engine.models.protocol import Seed
from engine.priors.distribution import LogNormal
from tests.agreement import STATISTICS, differences, threshold
from tests.bench import machine
from tests.bench.cases import case, share_channel
from tests.oracle import nuts

__all__ = ["DATA_SETS", "FORMS", "Comparison", "File", "Form", "Side", "Simulated", "compare"]

Floats = NDArray[np.float64]

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

    The choice keeps NUTS affordable: few channels, with and without spend where the file has both. The window is the
    last 104 weeks. `geos` picks some of a panel's geos; without it the file is national.
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

    def model(self, form: Form) -> AdditiveMmm:
        """The prepared model, as the service would build it without beliefs."""
        spec = AdditiveMmmSpec(
            self.kpi,
            tuple(form.channel(name, exposure, spend) for name, (exposure, spend) in self.media.items()),
            tuple(Control(name, name) for name in self.controls),
            revenue_per_kpi=self.revenue_per_kpi,
            population=self.population,
        )
        return prepare(self.table(), spec, Window(24))


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
    """Draws [parameters, chains, draws] of one sampler, divergences, wall seconds with compilation."""

    draws: Floats
    divergences: int
    seconds: float

    @cached_property
    def quality(self) -> dict[str, float]:
        """Largest R-hat and smallest ESS over the parameters."""
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
class Comparison:
    """Two fits of one data set; `escalations` counts the schedules that our sampler ran again on."""

    data_set: str
    model: str
    names: tuple[str, ...]
    ours: Side
    theirs: Side
    escalations: int

    @cached_property
    def differences(self) -> Floats:
        """Those of the statistics in Monte Carlo errors [parameters, 4]."""
        return differences(self.ours.draws, self.theirs.draws)

    @property
    def row(self) -> dict[str, Any]:
        """The row of the result file; `rms_z` is near 1 where only Monte Carlo errors differ."""
        z = self.differences
        spread = self.ours.draws.std(axis=(1, 2)) / self.theirs.draws.std(axis=(1, 2)) - 1.0
        worst, widest = np.argmax(np.abs(z), axis=0), int(np.argmax(np.abs(spread)))
        return {
            "data_set": self.data_set,
            "model": self.model,
            "parameters": len(self.names),
            "comparisons": z.size,
            "threshold_z": threshold(z.size * len(DATA_SETS) * len(FORMS)),
            "rms_z": float(np.sqrt(np.mean(z**2))),
            "worst_z": {
                statistic: {"z": float(z[row, column]), "parameter": self.names[row]}
                for column, (statistic, row) in enumerate(zip(STATISTICS, worst, strict=True))
            },
            "largest_relative_sd_difference": {"value": float(spread[widest]), "parameter": self.names[widest]},
            "ours": {**self.ours.row, "escalations": self.escalations},
            "nuts": self.theirs.row,
        }


def compare(data_set: File | Simulated, form: Form, *, warmup: int = 1000, draws: int = 2000) -> Comparison:
    """Fit a data set with both samplers; `warmup` and `draws` are those of each of the four chains of NUTS."""
    enable_float64()
    model = data_set.model(form)
    names = model.parameter_names
    start = time.perf_counter()
    fit = model.fit(model.observed[:, None], Seed.of(3), np.arange(1), FitSettings.single())
    seconds = time.perf_counter() - start
    ours = Side(np.stack([fit.draws[name][0] for name in names]), int(fit.diagnostics.divergences[0]), seconds)
    found = nuts(model, model.observed, warmup=warmup, draws=draws)
    theirs = Side(np.stack([found.draws[name] for name in names]), found.divergences, found.seconds)
    sampled = " and ".join(dict.fromkeys(channel.parameterise_by.value for channel in model.spec.channels))
    described = f"{form.saturation.value}, {sampled}"
    return Comparison(data_set.name, described, names, ours, theirs, int(fit.diagnostics.escalations[0]))


def _measure(data_set: int, form: int, draws: int = 2000) -> dict[str, Any]:
    return compare(DATA_SETS[data_set], FORMS[form], draws=draws).row


def _text(row: Mapping[str, Any]) -> str:
    worst = ", ".join(f"{name} {found['z']:+.1f} {found['parameter']}" for name, found in row["worst_z"].items())
    sides = "; ".join(
        f"{name} R-hat {side['r_hat']:.4f}, ESS bulk {side['ess_bulk']:.0f} tail {side['ess_tail']:.0f}, "
        f"{side['divergences']} divergences, {side['seconds']:.1f} s"
        for name, side in (("ours", row["ours"]), ("NUTS", row["nuts"]))
    )
    return (
        f"{row['data_set']}, {row['model']}, {row['parameters']} parameters: {worst} (limit {row['threshold_z']:.1f}, "
        f"rms {row['rms_z']:.2f}); sd {row['largest_relative_sd_difference']['value']:+.1%}; {sides}"
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
    rows = []
    for index, data_set in enumerate(DATA_SETS):
        if data_set.name not in arguments.data_sets:
            continue
        if data_set.missing:
            print(f"{data_set.name}: left out, {data_set.missing}", flush=True)
            continue
        for form in range(len(FORMS)):
            rows.append(machine.fresh(_measure, index, form, arguments.draws, core=machine.places(here)[-1]))
            print(_text(rows[-1]), flush=True)
            machine.write(arguments.output, "accuracy", here, rows)


if __name__ == "__main__":
    main()
