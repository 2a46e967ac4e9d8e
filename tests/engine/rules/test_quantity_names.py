"""Names of quantities."""

import pytest

from engine.rules.quantity_names import name_of, split_name


@pytest.mark.parametrize(
    ("kind", "owner", "name"),
    [
        ("roi", "tv", "roi[tv]"),
        ("total_media_share_of_outcome", "", "total_media_share_of_outcome"),
        ("geo", "a [b] c]", "geo[a [b] c]]"),
    ],
)
def test_a_name_has_its_kind_and_owner_back(kind: str, owner: str, name: str) -> None:
    assert name_of(kind, owner) == name
    assert split_name(name) == (kind, owner)
