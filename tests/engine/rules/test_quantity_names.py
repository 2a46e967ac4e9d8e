"""Names of quantities."""

import re

import pytest

from engine.errors import UnsupportedQuantity
from engine.rules.quantity_names import check_ranked, name_of, split_name


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


KNOWN = ("roi[tv]", "roi[a + b]", "sigma")


def test_what_can_be_ranked_is_known_or_two_that_are_and_vary() -> None:
    for name in ("roi[tv]", "roi[tv] - sigma", "roi[a + b] + roi[tv]", "sigma * sigma"):
        check_ranked(name, KNOWN)
    for name in ("roi[radio]", "roi[tv]-sigma", "sigma - sigma", "sigma / sigma", "sigma ^ sigma"):
        with pytest.raises(UnsupportedQuantity, match=re.escape(name)):
            check_ranked(name, KNOWN)


def test_of_many_names_some_are_listed() -> None:
    with pytest.raises(UnsupportedQuantity, match=r"q59 and 41 more$"):
        check_ranked("x", [f"q{index}" for index in range(101)])
