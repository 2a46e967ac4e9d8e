"""A model in ROI on data with spend, and beliefs about its linked quantities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from liftos.bayes import Client, InvalidArgument, channel, roi, share_of_outcome
from liftos.bayes.v1 import common_pb2

WEEKS = 110


@pytest.fixture(scope="module")
def client(service: Any) -> Iterator[Client]:
    rng = np.random.default_rng(3)
    spend = {name: rng.gamma(2.0, 50.0, WEEKS) for name in ("tv", "radio")}
    sales = 1000 + 1.0 * spend["tv"] + 0.5 * spend["radio"] + rng.normal(0, 30, WEEKS)
    weeks = np.datetime64("2023-01-02") + np.timedelta64(7, "D") * np.arange(WEEKS)
    with Client.connect(service.address, client_id="roi") as connected:
        columns = {"week": weeks, "sales": sales, **spend}
        connected.datasets.upload("d", columns, time="week", kpi="sales", spend=["tv", "radio"])
        channels = [channel(name, spend_column=name) for name in spend]
        connected.models.register_mmm("m", dataset_id="d", channels=channels, parameterise_by="roi")
        connected.elicitation.create("s", model_id="m")
        yield connected


def test_a_share_given_in_per_cent_is_refused_with_the_field(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"50 % is 0\.5") as caught:
        client.elicitation.add_belief("s", "b", share_of_outcome("tv"), mean=50, plus_minus=10, meaning="sd")
    assert [v.field for v in caught.value.violations] == ["statement.mean_plus_minus.mean"]


def test_linked_beliefs_are_one_and_every_side_of_the_attribution_agrees(client: Client) -> None:
    belief = client.elicitation.add_belief("s", "tv", share_of_outcome("tv"), mean=0.1, plus_minus=0.03, meaning="sd")
    assert belief.compiled.WhichOneof("kind") == "beta"  # a share lives on (0, 1) in a model in ROI too
    with pytest.raises(InvalidArgument, match="same quantity"):
        client.elicitation.add_belief("s", "twin", roi("tv"), mean=1.0, plus_minus=0.2, meaning="sd")
    client.elicitation.add_belief("s", "radio", roi("radio"), mean=0.6, plus_minus=0.3, meaning="sd")
    client.elicitation.confirm("s")
    analysis = client.conflicts.analyze("s", timeout=200)
    assert len(analysis.beliefs) == 2
    assert analysis.joint.degrees_of_freedom == 2
    attribution = client.attribution.analyze("m", session_id="s", timeout=200)
    tv = {q.quantity: q for q in attribution.channels[0].quantities}
    spend, total = attribution.channels[0].spend, attribution.total_outcome
    share = tv[common_pb2.QUANTITY_SHARE_OF_OUTCOME]
    for quantity, factor in (
        (common_pb2.QUANTITY_INCREMENTAL_OUTCOME, total),
        (common_pb2.QUANTITY_ROI, total / spend),
    ):
        for side in ("prior", "data_side", "client_posterior"):
            expected = getattr(share, side).mean * factor
            assert getattr(tv[quantity], side).mean == pytest.approx(expected, rel=1e-3), (quantity, side)
    assert share.prior.mean == pytest.approx(0.1, rel=1e-3)
