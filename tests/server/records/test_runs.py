"""How a run is cut into shards."""

from __future__ import annotations

import pytest

from engine.inference.batch import FitSettings
from server.records.runs import CHUNK, SHARDS, shard_size
from server.settings import Settings


@pytest.mark.parametrize(
    ("simulations", "most", "size"),
    [
        (1, 256, 64),
        (100, 256, 64),
        (1024, 256, 64),
        (1025, 256, 128),
        (3072, 256, 192),
        (3073, 256, 256),
        (100_000, 256, 256),
        (1025, 100, 100),
        (100, 10, 10),
    ],
)
def test_shards_are_whole_chunks_and_few_but_never_larger_than_configured(
    simulations: int, most: int, size: int
) -> None:
    assert shard_size(simulations, most) == size


def test_a_run_has_at_most_so_many_shards_until_they_reach_the_configured_size() -> None:
    most = Settings().shard_size
    assert all(-(-n // shard_size(n, most)) <= SHARDS for n in range(1, SHARDS * most + 1))


def test_the_chunk_of_the_rule_is_that_of_the_sampler() -> None:
    # The server does not import the engine's sampler, which needs JAX.
    assert FitSettings.simulation().schedules[0].chunk == CHUNK
