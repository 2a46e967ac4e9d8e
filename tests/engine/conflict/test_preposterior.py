"""What the data would have to say, before they are looked at."""

from __future__ import annotations

import numpy as np
import pytest

from engine.conflict.preposterior import expected_errors, thresholds
from engine.distributions.distribution import Beta, LogNormal, Normal
from engine.distributions.support import POSITIVE, REAL_LINE, UNIT_INTERVAL
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Saturation, Table, prepare
from engine.models.conjugate_normal import ConjugateNormalSpec
from engine.models.conjugate_normal import prepare as prepare_summary

enable_float64()


def test_the_threshold_of_the_tv_example_is_that_of_the_method_note() -> None:
    # methods/conflict.md §13: x = mu - 2.146 v = .26
    found = thresholds(Normal(0.5, 0.1), REAL_LINE, 0.05)
    assert found.lower == pytest.approx(0.5 - np.sqrt(2 * np.log(10)) * np.hypot(0.1, 0.05))
    assert found.lower == pytest.approx(0.26, abs=1e-4)
    assert found.upper == pytest.approx(0.74, abs=1e-4)
    assert found.standard_error == 0.05


def test_thresholds_of_a_positive_quantity_lie_alike_on_the_log_scale() -> None:
    found = thresholds(LogNormal(np.log(3.0), 0.25), POSITIVE, 0.2)
    assert found.lower * found.upper == pytest.approx(9.0)
    assert found.standard_error == pytest.approx(0.6)  # 20 % of the median


def test_a_share_belief_on_the_scale_of_a_summary_is_taken_by_its_own_moments() -> None:
    found = thresholds(Beta(12.0, 12.0), REAL_LINE, 0.05)
    assert found.lower == pytest.approx(0.26, abs=5e-4)


@pytest.mark.parametrize("belief", [Normal(0.5, 0.05), Normal(0.2, 0.3)])
def test_the_summary_shows_the_rule_at_its_threshold(belief: Normal) -> None:
    # At the threshold the recentred Bayes factor exp(z²/2) is 10.
    found = thresholds(belief, REAL_LINE, 0.05)
    z = (found.lower - belief.mean) / np.hypot(belief.sd, 0.05)
    assert np.exp(0.5 * z * z) == pytest.approx(10.0)


def linear_model(weeks: int, noise: float) -> AdditiveMmm:
    rng = np.random.default_rng(0)
    dates = np.datetime64("2022-01-03") + np.timedelta64(7, "D") * np.arange(weeks)
    media = {name: rng.gamma(2.0, 1.0, weeks) for name in ("tv", "radio")}
    y = 10.0 + 2.0 * media["tv"] + media["radio"] + noise * rng.normal(size=weeks)
    channels = tuple(Channel(name, name, Beta(1.0, 3.0), saturation=Saturation.LINEAR) for name in media)
    return prepare(Table(dates, {"y": y, **media}), AdditiveMmmSpec("y", channels, trend=False))


@pytest.mark.slow  # two shapes to compile; an end-to-end test goes this way by default
def test_the_expected_error_is_that_of_data_of_this_size_and_knows_nothing_of_the_outcome() -> None:
    names = {"share_of_outcome[tv]": UNIT_INTERVAL, "share_of_media[tv]": UNIT_INTERVAL, "half_life[tv]": POSITIVE}
    seed = Seed.of(1)
    short = expected_errors(linear_model(60, 1.0), linear_model(60, 1.0), names, seed)
    long = expected_errors(linear_model(240, 1.0), linear_model(240, 1.0), names, seed)
    for name in names:
        assert short[name] is not None
        assert long[name] is not None
        assert long[name] < short[name]  # type: ignore[operator]
    assert short == expected_errors(linear_model(60, 1.0), linear_model(60, 1.0), names, seed)
    model = linear_model(60, 1.0)
    # The same scalers and covariates with another outcome: what was observed does not enter.
    object.__setattr__(model.design, "kpi", model.design.kpi[::-1].copy())
    assert expected_errors(model, model, names, seed) == short


def test_the_error_of_a_normal_model_is_its_own() -> None:
    # The posterior of the summary is exact, so taking the reference prior out leaves the standard error.
    model = prepare_summary(ConjugateNormalSpec("q", 0.25, 0.05, 24, Normal(0.5, 0.1)))
    found = expected_errors(model, model, {"q": REAL_LINE}, Seed.of(1))
    assert found["q"] == pytest.approx(0.05, rel=0.03)


def test_data_that_can_be_expected_to_say_nothing_have_no_error() -> None:
    model = prepare_summary(ConjugateNormalSpec("q", 0.25, 5.0, 24, Normal(0.5, 0.1)))
    assert expected_errors(model, model, {"q": REAL_LINE}, Seed.of(1)) == {"q": None}


def test_a_law_that_reaches_beyond_the_range_of_its_quantity_has_finite_errors() -> None:
    # The default prior of a share is log-normal; about 1 % of it lies above 1.
    rng = np.random.default_rng(3)
    tv = rng.gamma(2.0, 5.0, 104)
    table = Table(np.datetime64("2022-01-03") + 7 * np.arange(104), {"y": 100.0 + rng.normal(0.0, 3.0, 104), "tv": tv})
    made = prepare(table, AdditiveMmmSpec("y", (Channel("tv", "tv"),)))
    reference = made.prior_of("share_of_outcome[tv]")
    assert float(reference.sf(1.0)) > 0.001
    errors = expected_errors(made, made, {"share_of_outcome[tv]": UNIT_INTERVAL}, Seed.of(4))
    error = errors["share_of_outcome[tv]"]
    assert error is not None
    assert 0.01 < error < 3.0
    assert np.isfinite(thresholds(reference, UNIT_INTERVAL, error).upper)
