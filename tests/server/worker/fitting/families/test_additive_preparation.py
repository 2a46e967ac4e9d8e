"""The two halves of the additive family, one of them without the engine: they say the same of a specification."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes import channel, control
from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2

from engine.errors import UnsupportedQuantity
from engine.models.saturation import Saturation
from engine.models.table import Table, Window
from server.contract.families.additive_specification import Additive
from server.contract.wire import quantity_name
from server.worker.fitting.families.additive_preparation import ADDITIVE, SATURATIONS, _channel
from server.worker.fitting.preparation import Data

WEEKS = 60
COLUMNS = [
    dataset_pb2.Column(name="y", role=dataset_pb2.COLUMN_ROLE_KPI),
    dataset_pb2.Column(name="price", role=dataset_pb2.COLUMN_ROLE_CONTROL),
    dataset_pb2.Column(name="tv", role=dataset_pb2.COLUMN_ROLE_SPEND),
    dataset_pb2.Column(name="radio", role=dataset_pb2.COLUMN_ROLE_EXPOSURE),
]


def data() -> Data:
    rng = np.random.default_rng(0)
    dates = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(WEEKS)
    return Data(Table(dates, {column.name: rng.gamma(4.0, 1.0, WEEKS) for column in COLUMNS}), COLUMNS, Window())


def spec(saturation: str = "hill", *, no_trend: bool = False, fourier_pairs: int = 2) -> model_pb2.ModelSpec:
    channels = [
        channel("tv", spend_column="tv", parameterise_by="roi", saturation=saturation),
        channel("radio", parameterise_by="share_of_outcome"),
    ]
    return model_pb2.ModelSpec(
        additive_mmm=model_pb2.AdditiveMmmSpec(
            channels=channels, controls=[control("price")], no_trend=no_trend, fourier_pairs=fourier_pairs
        )
    )


@pytest.mark.parametrize(
    "given", [spec(), spec("linear"), spec(no_trend=True), spec("logistic", fourier_pairs=0)], ids=lambda _: ""
)
def test_the_parameters_that_are_counted_are_those_of_the_model(given: model_pb2.ModelSpec) -> None:
    counted = Additive().check(given, COLUMNS).parameters
    assert counted == len(ADDITIVE.prepare(given, data()).parameter_names)


@pytest.mark.parametrize("saturation", ["hill", "linear"])
def test_what_may_be_a_prior_by_the_contract_can_be_one_in_the_engine(saturation: str) -> None:
    given = spec(saturation)
    model = ADDITIVE.prepare(given, data())
    disagreed = set()
    for owner in ("tv", "radio", "price"):
        for quantity in common_pb2.Quantity.values()[1:]:
            about = common_pb2.Estimand(quantity=quantity, channel=owner)
            name = quantity_name(about)
            if name not in {*model.quantity_names, *model.derived_names}:
                continue
            try:
                model.prior_of(name)
                possible = True
            except UnsupportedQuantity:
                possible = False
            if possible != Additive().can_be_prior(given, about):
                disagreed.add(name)
    # Of a linear channel the marginal ROI is the ROI; the contract says no, lest somebody states both.
    assert disagreed == ({"marginal_roi[tv]"} if saturation == "linear" else set())


def test_every_saturation_of_the_contract_has_one_of_the_engine() -> None:
    assert set(SATURATIONS) == set(model_pb2.Saturation.values())
    assert set(SATURATIONS.values()) == set(Saturation)


def test_a_linear_channel_is_linear_and_has_no_half_saturation_prior() -> None:
    built = _channel(0, channel("tv", saturation="linear"))
    assert built.saturation is Saturation.LINEAR
    assert built.half_saturation_prior is None
    assert _channel(0, channel("tv")).half_saturation_prior is not None


@pytest.mark.parametrize("given", [spec(), spec("linear", no_trend=True)], ids=["hill", "linear"])
@pytest.mark.parametrize("panel", [False, True])
def test_what_can_be_ranked_is_what_the_model_returns(given: model_pb2.ModelSpec, panel: bool) -> None:
    national, columns = data(), list(COLUMNS)
    made = national
    if panel:
        geos = np.repeat(["north", "south"], WEEKS)
        both = {name: np.tile(values, 2) for name, values in national.table.columns.items()}
        made = Data(Table(np.tile(national.table.dates, 2), both, geos), columns, Window())
        columns.append(dataset_pb2.Column(name="g", role=dataset_pb2.COLUMN_ROLE_GEO, categories=["south", "north"]))
    rankable = Additive().rankable(given, columns)
    assert rankable == (*ADDITIVE.prepare(given, made).quantity_names, "log_joint")
