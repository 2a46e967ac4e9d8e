"""From a registered model to the engine's specification."""

from liftos.bayes import channel
from liftos.bayes.v1 import model_pb2

from engine.models.additive_spec import Saturation
from server.worker.models import SATURATIONS, _channel


def test_every_saturation_of_the_contract_has_one_of_the_engine() -> None:
    assert set(SATURATIONS) == set(model_pb2.Saturation.values())
    assert set(SATURATIONS.values()) == set(Saturation)


def test_a_linear_channel_is_linear_and_has_no_half_saturation_prior() -> None:
    built = _channel(0, channel("tv", saturation="linear"))
    assert built.saturation is Saturation.LINEAR
    assert built.half_saturation_prior is None
    assert _channel(0, channel("tv")).half_saturation_prior is not None
