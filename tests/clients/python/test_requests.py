"""Parts of requests built from Python values."""

from __future__ import annotations

import pytest
from liftos.bayes import InvalidArgument, requests


def test_a_bare_number_for_money_is_answered_with_how_to_give_its_currency() -> None:
    with pytest.raises(InvalidArgument, match=r"business_impact: 3000000 has no currency: give usd\(3000000\)"):
        requests.thresholds(10, 10.0, 3_000_000, 0.6)  # type: ignore[arg-type]
