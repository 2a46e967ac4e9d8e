"""The models that several end-to-end tests register."""

from __future__ import annotations

from pathlib import Path

from liftos.bayes import Client, channel, share_of_outcome
from liftos.bayes.v1 import common_pb2

DATA = Path(__file__).parents[2] / "examples" / "pymc_mmm_example.csv"
MONTHS = 42
"""More than the example data set has, so all of it."""


def normal(mean: float, sd: float) -> common_pb2.Distribution:
    return common_pb2.Distribution(normal=common_pb2.Normal(mean=mean, sd=sd))


def register_tv(client: Client, reference: common_pb2.Distribution | None = None) -> None:
    """The published estimate of 25 % ± 5 % as model `tv`; reference prior N(.5, 1) unless another is given."""
    client.models.register_summary(
        "tv",
        estimand=share_of_outcome("TV"),
        estimate=0.25,
        standard_error=0.05,
        n_months=24,
        reference_prior=reference or normal(0.5, 1.0),
    )


def register_mmm(client: Client) -> None:
    """The example data set as `weekly` and a model of 15 parameters as `mmm`, with the curve that made the data."""
    client.datasets.upload_csv(
        "weekly", DATA, time="date_week", kpi="y", exposures=["x1", "x2"], controls=["event_1", "event_2"]
    )
    client.models.register_mmm(
        "mmm",
        dataset_id="weekly",
        channels=[channel("x1", saturation="logistic"), channel("x2", saturation="logistic")],
        parameterise_by="share_of_outcome",
        controls=["event_1", "event_2"],
        fourier_pairs=2,
    )
