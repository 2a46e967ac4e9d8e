"""The additive marketing-mix model, from its specification and data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from liftos.bayes.v1 import dataset_pb2, model_pb2

from engine.distributions.distribution import HalfNormal, Normal
from engine.models.additive_mmm import (
    FAMILY,
    AdditiveMmm,
    AdditiveMmmSpec,
    BaselinePriors,
    Channel,
    Control,
    Parameterisation,
    Table,
    prepare,
)
from engine.models.saturation import Saturation
from server.contract.families.additive_specification import DEFAULT_SATURATION
from server.contract.wire import label
from server.worker.conversion import to_law
from server.worker.fitting.preparation import Data, Preparation

# The engine has each of these under the name that the contract gives it.
PARAMETERISATIONS = {
    number: Parameterisation[label(model_pb2.Parameterisation, number or model_pb2.PARAMETERISATION_SHARE_OF_OUTCOME)]
    for number in model_pb2.Parameterisation.values()
}
SATURATIONS = {
    number: Saturation[label(model_pb2.Saturation, number or DEFAULT_SATURATION)]
    for number in model_pb2.Saturation.values()
}
ROWS = 104
"""Two years of weeks: the window when a request names none."""


def _prepare(spec: model_pb2.ModelSpec, data: Data | None) -> AdditiveMmm:
    assert data is not None
    return prepare(data.table, _specification(spec.additive_mmm, data), data.window)


def _specification(spec: model_pb2.AdditiveMmmSpec, data: Data) -> AdditiveMmmSpec:
    baseline = BaselinePriors()
    if spec.HasField("sigma_prior_scale"):
        baseline = BaselinePriors(sigma=HalfNormal(spec.sigma_prior_scale))
    return AdditiveMmmSpec(
        kpi=str(data.named(dataset_pb2.COLUMN_ROLE_KPI)),
        channels=tuple(_channel(index, channel) for index, channel in enumerate(spec.channels)),
        controls=tuple(
            Control(
                control.name, control.column, Normal(0.0, control.prior_sd if control.HasField("prior_sd") else 1.0)
            )
            for control in spec.controls
        ),
        fourier_pairs=spec.fourier_pairs,
        trend=not spec.no_trend,
        revenue_per_kpi=data.named(dataset_pb2.COLUMN_ROLE_REVENUE_PER_KPI),
        population=data.named(dataset_pb2.COLUMN_ROLE_POPULATION),
        baseline=baseline,
    )


def _channel(index: int, channel: model_pb2.Channel) -> Channel:
    path = f"spec.additive_mmm.channels[{index}]"
    sampled = PARAMETERISATIONS[channel.parameterise_by]
    priors: dict[str, Any] = {}
    for name in ("prior", "retention_prior", "half_saturation_prior", "slope_prior"):
        if channel.HasField(name):
            priors[name] = to_law(getattr(channel, name), f"{path}.{name}")
    return Channel(
        name=channel.name,
        exposure=channel.exposure_column,
        spend=channel.spend_column or None,
        parameterise_by=sampled,
        n_weights=channel.n_weights,
        saturation=SATURATIONS[channel.saturation],
        **priors,
    )


def common_model(channels: int) -> AdditiveMmm:
    """A national, weekly model with the defaults of the contract and two Fourier pairs; its numbers are made up."""
    rng = np.random.default_rng(0)
    names = [f"x{index + 1}" for index in range(channels)]
    columns = {name: rng.gamma(2.0, 1.0, ROWS) for name in names}
    columns["y"] = 10.0 + sum(columns.values()) + rng.normal(0.0, 1.0, ROWS)
    dates = np.datetime64("2020-01-06") + 7 * np.arange(ROWS)
    form = SATURATIONS[model_pb2.SATURATION_UNSPECIFIED]
    media = tuple(Channel(name, name, saturation=form) for name in names)
    return prepare(Table(dates, columns), AdditiveMmmSpec("y", media, fourier_pairs=2))


ADDITIVE = Preparation(FAMILY, _prepare, common_model)
