"""The truth of a recovery run, as it is stated and completed."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.sbc.fixed_truth import fixed_by, fixed_truth, prior_medians
from tests.bench.cases import case

MODEL = case(5)
SHARE = "share_of_outcome[channel_1]"


def test_what_is_not_stated_is_taken_from_the_others_and_the_order_is_the_models() -> None:
    medians = prior_medians(MODEL)
    assert fixed_truth(MODEL, {}, medians) == medians
    assert tuple(medians) == MODEL.parameter_names
    for name, median in medians.items():
        assert MODEL.priors[name].cdf(np.asarray(median)) == pytest.approx(0.5, abs=1e-6)
    stated = fixed_truth(MODEL, {"sigma": 0.5, SHARE: 0.2}, medians)
    assert stated == medians | {"sigma": 0.5, SHARE: 0.2}
    assert tuple(stated) == MODEL.parameter_names


def test_a_fixed_multiple_of_a_parameter_fixes_that() -> None:
    share = fixed_truth(MODEL, {"roi[channel_1]": 1.5}, prior_medians(MODEL))[SHARE]
    assert fixed_by(MODEL, ["roi[channel_1]", "sigma"]) == [SHARE, "sigma"]
    y = MODEL.observed[:, None]
    parameters = {name: np.array([value]) for name, value in (prior_medians(MODEL) | {SHARE: share}).items()}
    assert MODEL.evaluate(parameters, y)["roi[channel_1]"][0] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("stated", "field", "message"),
    [
        ({"sigma": -1.0}, "sigma", "prior excludes"),
        ({"sigma": float("nan")}, "sigma", "prior excludes"),
        ({"roi[channel_1]": -1.5}, "roi[channel_1]", "would be -"),
        ({"roi[channel_9]": 1.0}, "roi[channel_9]", "neither a parameter"),
        ({"log_likelihood": 1.0}, "log_likelihood", "neither a parameter"),
        ({SHARE: 0.2, "roi[channel_1]": 1.0}, "roi[channel_1]", "fixes 'share_of_outcome"),
    ],
)
def test_what_cannot_be_a_truth_is_refused_by_name(stated: dict[str, float], field: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        fixed_truth(MODEL, stated, prior_medians(MODEL))
    assert caught.value.field == f"fixed_truth[{field}]"


def test_without_others_every_parameter_has_to_be_named() -> None:
    whole = prior_medians(MODEL)
    assert fixed_truth(MODEL, whole) == whole
    del whole["sigma"]
    with pytest.raises(InvalidInput, match="has no value") as caught:
        fixed_truth(MODEL, whole)
    assert caught.value.field == "fixed_truth[sigma]"
