"""Estimands that a prepared model has, where beliefs about them live, and which of them can be the prior of a fit."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from liftos.bayes import (
    coefficient,
    estimand,
    half_life,
    half_saturation,
    log_normal,
    marginal_roi,
    normal,
    retention,
    roi,
    share_of_media,
    share_of_modelled,
    share_of_outcome,
    student_t,
    total_media_share_of_outcome,
)
from liftos.bayes.v1 import common_pb2, elicitation_pb2

from engine.distributions.distribution import POSITIVE, REAL_LINE, UNIT_INTERVAL, Beta, Normal, Support
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, prepare
from engine.models.conjugate_normal import ConjugateNormalSpec
from engine.models.conjugate_normal import prepare as prepare_summary
from persistence.tables import ClientPrior
from server.worker.fitting.prepared import _believed, belief_support, check_known


def model(channels: tuple[str, ...] = ("tv", "radio")) -> AdditiveMmm:
    """Channels of which tv has spend, and a control `price`."""
    rng = np.random.default_rng(0)
    weeks = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(60)
    names = ("y", "price", "tv", "radio")
    columns = {name: rng.gamma(4.0, 1.0, 60) for name in names}
    made = tuple(Channel(c, c, Beta(1.0, 3.0), spend="tv" if c == "tv" else None) for c in channels)
    return prepare(Table(weeks, columns), AdditiveMmmSpec("y", made, (Control("price", "price"),)))


MODEL = model()
SUMMARY = prepare_summary(
    ConjugateNormalSpec("total_media_share_of_outcome", 0.25, 0.05, 24, Normal(0.5, 1.0)),
)


@pytest.mark.parametrize(
    ("about", "support"),
    [
        (marginal_roi("tv"), POSITIVE),
        (half_life("radio"), POSITIVE),
        (half_saturation("radio"), POSITIVE),
        (share_of_media("tv"), UNIT_INTERVAL),
        (coefficient("tv"), POSITIVE),
        (coefficient("price"), REAL_LINE),
        (total_media_share_of_outcome(), POSITIVE),
        (retention("tv"), UNIT_INTERVAL),
    ],
)
def test_a_belief_lives_where_its_quantity_does(about: common_pb2.Estimand, support: Support) -> None:
    check_known(MODEL, about, "estimand")
    assert belief_support(MODEL, about) == support


@pytest.mark.parametrize(
    ("about", "field"),
    [
        (marginal_roi("radio"), "estimand.quantity"),
        (roi("radio"), "estimand.quantity"),
        (half_life("price"), "estimand.channel"),
        (coefficient("print"), "estimand.channel"),
        (share_of_outcome("print"), "estimand.channel"),
    ],
)
def test_what_the_model_does_not_have_is_refused_with_its_field(about: common_pb2.Estimand, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_known(MODEL, about, "estimand")
    assert caught.value.field == field


@pytest.mark.parametrize("about", [share_of_media("tv"), total_media_share_of_outcome()])
def test_one_channel_is_all_media(about: common_pb2.Estimand) -> None:
    with pytest.raises(InvalidInput, match="one channel") as caught:
        check_known(model(("tv",)), about, "estimand")
    assert caught.value.field == "estimand.quantity"


def test_a_share_of_modelled_is_not_implemented() -> None:
    with pytest.raises(UnsupportedQuantity, match="not implemented yet"):
        check_known(MODEL, share_of_modelled("tv"), "estimand")


def test_a_summary_of_the_total_takes_beliefs_about_the_total_on_the_real_line() -> None:
    check_known(SUMMARY, total_media_share_of_outcome(), "estimand")
    assert belief_support(SUMMARY, total_media_share_of_outcome()) == REAL_LINE
    with pytest.raises(InvalidInput):
        check_known(SUMMARY, share_of_outcome("tv"), "estimand")


def belief(about: common_pb2.Estimand, law: common_pb2.Distribution) -> ClientPrior:
    message = elicitation_pb2.Belief(belief_id="b", estimand=about, compiled=law)
    return ClientPrior(belief_id="b", belief=MessageToDict(message, preserving_proto_field_name=True))


def test_beliefs_about_half_life_and_a_control_become_priors() -> None:
    believed = _believed(
        MODEL, [belief(half_life("tv"), log_normal(0.7, 0.3)), belief(coefficient("price"), normal(-0.2, 0.1))]
    )
    assert believed.prior_of("half_life[tv]").ppf(0.5) == pytest.approx(np.exp(0.7), rel=1e-5)
    assert believed.prior_of("coefficient[price]").mean == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "about", [marginal_roi("tv"), coefficient("tv"), share_of_media("tv"), estimand("total_media_share_of_outcome")]
)
def test_a_belief_that_cannot_be_the_prior_of_a_fit_is_named(about: common_pb2.Estimand) -> None:
    with pytest.raises(UnsupportedQuantity, match="belief 'b' cannot be the prior of a fit"):
        _believed(MODEL, [belief(about, log_normal(-1.0, 0.3))])


def test_a_control_s_belief_that_is_not_normal_cannot_be_the_prior_of_a_fit() -> None:
    with pytest.raises(UnsupportedQuantity, match=r"belief 'b'.*Normal"):
        _believed(MODEL, [belief(coefficient("price"), student_t(4.0, 0.0, 1.0))])
