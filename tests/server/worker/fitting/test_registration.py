"""What a registered model says of its data set a priori."""

from __future__ import annotations

import numpy as np
import pytest

from engine.distributions.distribution import Beta, LogNormal
from engine.inference.fit import Seed
from engine.models.additive_mmm import AdditiveMmmSpec, Channel, Parameterisation, Table, prepare
from engine.rules.cautions import CautionKind
from server.worker.fitting.registration import _looked_at, judged_total, prior_predictive

ROWS = 80


def model(*channels: Channel) -> object:
    rng = np.random.default_rng(1)
    columns = {channel.exposure: rng.gamma(2.0, 5.0, ROWS) for channel in channels}
    dates = np.datetime64("2022-01-03") + 7 * np.arange(ROWS)
    return prepare(Table(dates, {"y": 100.0 + rng.normal(0.0, 5.0, ROWS), **columns}), AdditiveMmmSpec("y", channels))


def test_the_prior_predictive_is_that_of_the_priors_by_hand() -> None:
    made = model(Channel("a", "a", Beta(20.0, 80.0), spend="a"), Channel("b", "b", Beta(10.0, 90.0)))
    message = prior_predictive(made, Seed.of(3))  # type: ignore[arg-type]
    assert message.total_media_share.mean == pytest.approx(0.3, abs=0.005)
    assert message.total_media_share.sd == pytest.approx(np.hypot(Beta(20.0, 80.0).sd, Beta(10.0, 90.0).sd), rel=0.05)
    first, second = message.channels
    assert (first.channel, second.channel) == ("a", "b")
    assert first.share_of_outcome.mean == pytest.approx(0.2, abs=0.005)
    factor = made.total_outcome / made.spend["a"]  # type: ignore[attr-defined]
    assert first.roi.mean == pytest.approx(first.share_of_outcome.mean * factor)
    assert not second.HasField("roi")
    assert message.observed_outcome == pytest.approx(made.observed.sum())  # type: ignore[attr-defined]
    # The intercept is N(0, 1) in sds of the KPI about its mean, and media enter around their mean effect.
    assert message.outcome.mean == pytest.approx(message.observed_outcome, rel=0.02)
    assert str(message.window.first_date) == "2022-01-03"


def test_media_that_bring_more_than_there_is_or_next_to_nothing_a_priori_are_remarked_on() -> None:
    def kinds(values: np.ndarray) -> list[CautionKind]:
        return [caution.kind for caution in judged_total(values)]

    assert kinds(np.full(10, 41.0)) == [CautionKind.MEDIA_ABOVE_OUTCOME]
    assert kinds(np.full(10, 0.0009)) == [CautionKind.MEDIA_NEGLIGIBLE]
    assert kinds(np.array([0.2, 0.4])) == []
    assert kinds(np.array([0.0, 1.2, 1.3])) == [CautionKind.MEDIA_ABOVE_OUTCOME]
    roi = Channel("a", "a", LogNormal(0.2, 0.9), spend="a", parameterise_by=Parameterisation.ROI)
    rng = np.random.default_rng(0)
    dates = np.datetime64("2022-01-03") + 7 * np.arange(ROWS)
    cheap = Table(dates, {"y": 6.0 + rng.normal(0.0, 1.0, ROWS), "a": rng.gamma(3.0, 40.0, ROWS)})
    _, remarks = _looked_at(prepare(cheap, AdditiveMmmSpec("y", (roi,))), Seed.of(1))
    assert any("times the whole of the outcome" in remark for remark in remarks)
