"""Requests built from Python values."""

from __future__ import annotations

from typing import Any

import pytest
from liftos.bayes import InvalidArgument, requests
from liftos.bayes.values import statement


@pytest.mark.parametrize("estimand", ["roi", 3, {"quantity": "ROI"}])
def test_a_value_of_another_kind_is_an_invalid_argument_and_not_a_type_error(estimand: Any) -> None:
    stated = statement(mean=1.0, plus_minus=0.1, meaning="sd")
    with pytest.raises(InvalidArgument):
        requests.add_belief("acme", "s", "b", estimand, stated, wording="", stated_by="", role=None, request_id=None)
