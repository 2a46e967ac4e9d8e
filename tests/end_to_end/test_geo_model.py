"""A panel of geos from upload to attribution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from liftos.bayes import Client, InvalidArgument, channel, share_of_outcome
from liftos.bayes.v1 import common_pb2, dataset_pb2

WEEKS = 60
PEOPLE = {"west": 4e6, "east": 1e6}


def panel() -> dict[str, Any]:
    """Rows by date; per head TV brings the same in both geos."""
    rng = np.random.default_rng(8)
    people = np.array(list(PEOPLE.values()))
    tv = np.where(rng.random((WEEKS, 2)) < 0.4, 0.0, rng.gamma(2.0, 1.0, (WEEKS, 2)))
    sales = 1.0 + 0.5 * tv / (tv + 2.0) + 0.05 * rng.normal(size=(WEEKS, 2))
    return {
        "week": np.repeat(np.datetime64("2023-01-02") + np.timedelta64(7, "D") * np.arange(WEEKS), 2),
        "region": list(PEOPLE) * WEEKS,
        "sales": (sales * people).ravel(),
        "tv": (tv * people).ravel(),
        "people": np.tile(people, WEEKS),
    }


ROLES: dict[str, Any] = {"time": "week", "kpi": "sales", "exposures": ["tv"], "geo": "region", "population": "people"}


@pytest.fixture(scope="module")
def client(service: Any) -> Iterator[Client]:
    with Client.connect(service.address, client_id="geo") as connected:
        connected.datasets.upload("d", panel(), **ROLES)
        yield connected


def test_a_panel_is_described_by_its_dates_and_rows(client: Client) -> None:
    dataset = client.datasets.get("d")
    assert (dataset.row_count, dataset.grain) == (2 * WEEKS, dataset_pb2.TIME_GRAIN_WEEKLY)
    assert (dataset.dates.first_date, dataset.dates.last_date) == ("2023-01-02", "2024-02-19")
    assert client.datasets.read("d")["region"] == panel()["region"]


def test_a_panel_that_lacks_a_row_is_refused_with_the_cell(client: Client) -> None:
    short = {name: [value for row, value in enumerate(values) if row != 7] for name, values in panel().items()}
    with pytest.raises(InvalidArgument, match="no row on 2023-01-23 in geo 'east'") as caught:
        client.datasets.upload("short", short, **ROLES)
    assert caught.value.reason == "INVALID_DATA"
    assert [violation.field for violation in caught.value.violations] == ["columns[0].values[8]"]


def test_a_share_of_a_panel_is_that_over_all_geos(client: Client) -> None:
    model = client.models.register_mmm(
        "m", dataset_id="d", channels=[channel("tv", n_weights=2)], parameterise_by="share_of_outcome"
    )
    assert model.parameter_count == 4 + 3  # the channel's; intercept, trend and sigma: geos do not count
    client.elicitation.create("s", model_id="m")
    with pytest.raises(InvalidArgument, match="no channel 'west'"):
        client.elicitation.add_belief("s", "b", share_of_outcome("west"), mean=0.1, plus_minus=0.05, meaning="sd")
    attribution = client.attribution.analyze("m", timeout=200)
    rows = panel()
    assert attribution.total_outcome == pytest.approx(np.sum(rows["sales"]))
    assert attribution.provenance.n_observations == 2 * WEEKS
    per_head = rows["tv"] / rows["people"]
    truth = np.sum(rows["people"] * 0.5 * per_head / (per_head + 2.0)) / np.sum(rows["sales"])
    share = next(
        q.data_side for q in attribution.channels[0].quantities if q.quantity == common_pb2.QUANTITY_SHARE_OF_OUTCOME
    )
    wide = next(interval for interval in share.intervals if interval.level > 0.9)
    assert wide.lower < truth < wide.upper
    assert [geo.geo for geo in attribution.geos] == ["east", "west"]
    sales, people = rows["sales"].reshape(-1, 2), np.array(list(PEOPLE.values()))
    by_geo = (people * 0.5 * per_head.reshape(-1, 2) / (per_head.reshape(-1, 2) + 2.0)).sum(axis=0) / sales.sum(axis=0)
    for geo, outcome, brought in zip(reversed(attribution.geos), sales.sum(axis=0), by_geo, strict=True):
        assert geo.outcome == pytest.approx(outcome)
        (tv,) = geo.channels
        wide = next(interval for interval in tv.share_of_outcome.intervals if interval.level > 0.9)
        assert wide.lower < brought < wide.upper
        assert geo.baseline_share.mean == pytest.approx(1.0 - tv.share_of_outcome.mean)
        assert not tv.HasField("roi")  # exposure without spend
    incremental = next(
        q.data_side for q in attribution.channels[0].quantities if q.quantity == common_pb2.QUANTITY_INCREMENTAL_OUTCOME
    )
    summed = sum(geo.channels[0].incremental_outcome.mean for geo in attribution.geos)
    assert summed == pytest.approx(incremental.mean, rel=1e-9)
    # Too many for a page of them.
    (listed,) = client.attribution.list(model_id="m")
    assert (listed.attribution_id, len(listed.geos)) == (attribution.attribution_id, 0)
    assert client.attribution.get(attribution.attribution_id).geos == attribution.geos
