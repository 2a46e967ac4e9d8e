"""Remarks on laws that mean and standard deviation do not describe."""

from __future__ import annotations

import pytest
from liftos.bayes.v1 import common_pb2

from engine.distributions.distribution import Beta, Distribution, Gamma, Gridded, LogNormal, Mixture, Normal, StudentT
from engine.updates.projection import modes
from server.texts.law_shapes import shape_remark
from server.worker.conversion import from_law

SHARE, ROI = common_pb2.QUANTITY_SHARE_OF_OUTCOME, common_pb2.QUANTITY_ROI


@pytest.mark.parametrize(
    ("law", "quantity", "ends"),
    [
        (Beta(0.5, 3.0), SHARE, "towards 0.0 %:"),
        (Beta(0.5, 0.5), SHARE, "towards 0.0 % and 100.0 %:"),
        (Gamma(0.7, 1.0), ROI, "towards 0:"),
        (Mixture((0.5, 0.5), (Beta(5.0, 5.0), Beta(0.5, 9.0))), SHARE, "towards 0.0 %:"),
    ],
)
def test_a_pole_is_remarked(law: Distribution, quantity: int, ends: str) -> None:
    assert ends in shape_remark(from_law(law), quantity)


@pytest.mark.parametrize(
    "law",
    [
        Mixture((0.4, 0.6), (Normal(0.15, 0.02), Normal(0.05, 0.01))),
        Mixture((0.4, 0.6), (Beta(45.0, 255.0), Beta(10.0, 190.0))),
        Gridded.of(Mixture((0.4, 0.6), (Beta(45.0, 255.0), Beta(10.0, 190.0)))),
    ],
)
def test_two_peaks_are_remarked_with_their_places(law: Distribution) -> None:
    assert len(modes(law)) == 2
    remark = shape_remark(from_law(law), SHARE)
    assert remark.startswith("It has 2 peaks, near ")
    places = [float(word) for word in remark.replace(" %", "").replace(":", "").split() if word[0].isdigit()][1:]
    assert places == pytest.approx([5.0, 15.0], abs=0.5)


@pytest.mark.parametrize(
    "law",
    [
        Normal(0.2, 0.1),
        Beta(2.0, 8.0),
        LogNormal(0.0, 1.0),
        StudentT(4.0, 0.0, 1.0),
        Mixture((0.5, 0.5), (Normal(0.15, 0.05), Normal(0.2, 0.05))),
        Mixture((0.98, 0.02), (Normal(0.15, 0.02), Normal(0.5, 0.02))),  # a rest, no peak
        Gridded.of(Mixture((0.5, 0.5), (Beta(20.0, 80.0), Beta(25.0, 75.0)))),
    ],
)
def test_an_ordinary_law_is_not_remarked_on(law: Distribution) -> None:
    assert shape_remark(from_law(law), SHARE) == ""
