"""The batched sampler's posteriors beside long NUTS, on five open data sets and two models of each.

`python -m tests.bench.accuracy` prints the table; all but the first data set lie beside the repository.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.inference.diagnostics import ess_bulk, ess_tail, rank_r_hat
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
from engine.models.protocol import FitDiagnostics, Seed
from engine.priors.distribution import Beta, LogNormal
from tests.agreement import differences
from tests.oracle import NutsFit, nuts

__all__ = ["DATA_SETS", "Comparison", "DataSet", "Form", "compare", "stacked"]

Floats = NDArray[np.float64]

_ROOT = Path(__file__).parents[2]
_SHARED = _ROOT / ".." / "shared" / "data"


@dataclass(frozen=True)
class Form:
    """One of the two models of a data set: the saturation, and whether channels with spend are sampled as ROI."""

    name: str
    saturation: Saturation
    by_roi: bool


FORMS = (
    Form("Hill, share", Saturation.HILL, by_roi=False),
    Form("logistic, ROI", Saturation.LOGISTIC, by_roi=True),
)


@dataclass(frozen=True)
class DataSet:
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
        channels = []
        for name, (exposure, spend) in self.media.items():
            roi = form.by_roi and spend is not None
            channels.append(
                Channel(
                    name,
                    exposure,
                    LogNormal(0.2, 0.9) if roi else Beta(1.0, 3.0),
                    spend,
                    Parameterisation.ROI if roi else Parameterisation.SHARE_OF_OUTCOME,
                    saturation=form.saturation,
                )
            )
        spec = AdditiveMmmSpec(
            self.kpi,
            tuple(channels),
            tuple(Control(name, name) for name in self.controls),
            revenue_per_kpi=self.revenue_per_kpi,
            population=self.population,
        )
        return prepare(self.table(), spec, Window(24))


DATA_SETS = (
    DataSet(
        "pymc_mmm_example",
        _ROOT / "examples" / "pymc_mmm_example.csv",
        dates="date_week",
        kpi="y",
        media={"x1": ("x1", None), "x2": ("x2", None)},
        controls=("event_1", "event_2"),
    ),
    DataSet(
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
    DataSet(
        "meridian_national_all_channels",
        _SHARED / "meridian_national_all_channels.csv",
        dates="time",
        kpi="conversions",
        media={
            "paid_0": ("Channel0_impression", "Channel0_spend"),
            "paid_1": ("Channel1_impression", "Channel1_spend"),
            "paid_3": ("Channel3_impression", "Channel3_spend"),
            "organic": ("Organic_channel0_impression", None),
        },
        controls=("competitor_sales_control", "sentiment_score_control", "Promo"),
        revenue_per_kpi="revenue_per_conversion",
    ),
    DataSet(
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
    DataSet(
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
class Comparison:
    """Two fits of one data set.

    `differences` [parameters, 4] are those of the statistics in Monte Carlo errors; times include compilation.
    """

    data_set: str
    form: str
    names: tuple[str, ...]
    ours: Mapping[str, Floats]
    diagnostics: FitDiagnostics
    seconds: float
    theirs: NutsFit
    differences: Floats

    HEADER = (
        "data set | model | parameters | mean | sd | 5 % | 95 % | R-hat | ESS bulk | ESS tail | escalations | seconds "
        "| NUTS R-hat | NUTS ESS bulk | NUTS ESS tail | divergences | NUTS seconds"
    )

    def their_quality(self) -> tuple[float, float, float]:
        """Largest R-hat, smallest bulk and tail ESS of NUTS over the parameters."""
        draws = stacked(self.names, self.theirs.draws)
        return float(rank_r_hat(draws).max()), float(ess_bulk(draws).min()), float(ess_tail(draws).min())

    def __str__(self) -> str:
        own, (r_hat, bulk, tail) = self.diagnostics, self.their_quality()
        rows = np.argmax(np.abs(self.differences), axis=0)
        worst = [f"{self.differences[row, column]:+.1f} {self.names[row]}" for column, row in enumerate(rows)]
        cells = [self.data_set, self.form, str(len(self.names)), *worst]
        cells += [f"{own.r_hat[0]:.4f}", f"{own.ess_bulk[0]:.0f}", f"{own.ess_tail[0]:.0f}", str(own.escalations[0])]
        cells += [f"{self.seconds:.1f}", f"{r_hat:.4f}", f"{bulk:.0f}", f"{tail:.0f}"]
        return " | ".join([*cells, str(self.theirs.divergences), f"{self.theirs.seconds:.1f}"])


def stacked(names: tuple[str, ...], draws: Mapping[str, Floats]) -> Floats:
    """Draws [chains, draws] by name as one array [names, chains, draws]."""
    return np.stack([draws[name] for name in names])


def compare(data_set: DataSet, form: Form) -> Comparison:
    """Fit a data set with both samplers."""
    enable_float64()
    model = data_set.model(form)
    start = time.perf_counter()
    fit = model.fit(model.observed[:, None], Seed.of(3), np.arange(1), FitSettings.single())
    seconds = time.perf_counter() - start
    theirs = nuts(model, model.observed)
    names = model.parameter_names
    ours = {name: np.asarray(fit.draws[name][0]) for name in names}
    gaps = differences(stacked(names, ours), stacked(names, theirs.draws))
    return Comparison(data_set.name, form.name, names, ours, fit.diagnostics, seconds, theirs, gaps)


def main() -> None:
    """Compare the data sets and print a row each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.accuracy", description=main.__doc__)
    parser.add_argument("data_sets", nargs="*", default=[data_set.name for data_set in DATA_SETS])
    arguments = parser.parse_args()
    print(Comparison.HEADER, flush=True)
    for data_set in DATA_SETS:
        if data_set.name in arguments.data_sets:
            for form in FORMS:
                print(compare(data_set, form), flush=True)


if __name__ == "__main__":
    main()
