"""What the server checks of an additive model before it registers it."""

from __future__ import annotations

import pytest
from liftos.bayes import channel
from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2

from server.contract.errors import ServiceError
from server.contract.families.additive_specification import Additive

COLUMNS = [
    dataset_pb2.Column(name="sales", role=dataset_pb2.COLUMN_ROLE_KPI),
    dataset_pb2.Column(name="tv", role=dataset_pb2.COLUMN_ROLE_EXPOSURE),
    dataset_pb2.Column(name="search", role=dataset_pb2.COLUMN_ROLE_EXPOSURE),
]


def counted(*channels: model_pb2.Channel) -> int:
    return Additive().check(model_pb2.ModelSpec(additive_mmm={"channels": channels}), COLUMNS).parameters


def test_the_parameters_of_a_channel_are_those_of_its_curve() -> None:
    # 2C + H + G + K + 2F + 3 for C = 2 channels (methods/mmm.md §4)
    assert counted(channel("tv"), channel("search")) == 11
    assert counted(channel("tv", saturation="hill_slope"), channel("search", saturation="hill")) == 10
    assert counted(channel("tv", saturation="logistic"), channel("search", saturation="hill")) == 9
    assert counted(channel("tv", saturation="linear"), channel("search", saturation="hill")) == 8


@pytest.mark.parametrize("saturation", ["hill", "logistic", "linear"])
def test_a_slope_prior_of_a_curve_without_a_slope_is_refused_with_its_field(saturation: str) -> None:
    prior = common_pb2.Distribution(log_normal=common_pb2.LogNormal(log_mean=0.0, log_sd=1.0))
    assert counted(channel("tv", slope_prior=prior)) == 7
    with pytest.raises(ServiceError) as error:
        counted(channel("tv", saturation=saturation, slope_prior=prior))
    (violation,) = error.value.violations
    assert violation.field == "spec.additive_mmm.channels[0].slope_prior"


def test_a_half_saturation_prior_of_a_linear_channel_is_refused_with_its_field() -> None:
    prior = common_pb2.Distribution(log_normal=common_pb2.LogNormal(log_mean=0.0, log_sd=1.0))
    with pytest.raises(ServiceError) as error:
        counted(channel("tv", saturation="linear", half_saturation_prior=prior))
    (violation,) = error.value.violations
    assert violation.field == "spec.additive_mmm.channels[0].half_saturation_prior"
