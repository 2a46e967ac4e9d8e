"""The tempered bridge and the refit against closed forms and quadrature, their gates, and a real mix model."""

from __future__ import annotations

import numpy as np
import pytest

from engine.conflict.curve import EvidenceCurve
from engine.conflict.importance import MAX_KHAT, importance_mean
from engine.conflict.marginal import by_importance
from engine.conflict.overlay import Overlay
from engine.conflict.refit import refit_bridge
from engine.conflict.tempering import (
    CHUNK,
    MAX_CHUNKS,
    TemperedBridge,
    bridged,
    ladder,
    ladder_settings,
    tempered_bridge,
)
from engine.distributions.distribution import Beta, Distribution, Gamma, LogNormal, Normal, StudentT
from engine.errors import InvalidInput
from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.inference.tilted import tilt
from tests.engine.bent import RATIO, REFERENCES, SHARE, Case, bent, linear
from tests.engine.models.test_additive_mmm import example_spec, example_table, prepare, small_model

enable_float64()

TV = linear()
BENT = bent()
ERROR = 0.05  # the data's sd of the TV example (methods/conflict.md §1)


def bridge_of(case: Case, client: Distribution, seed: int, quantity: str = SHARE) -> TemperedBridge:
    powers = ladder(Overlay(client, case.curve(quantity)))
    return tempered_bridge(case.tilted(client, quantity), case.y, REFERENCES[quantity].support, powers, Seed.of(seed))


@pytest.mark.parametrize("tau", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("away", [pytest.param(2.0, marks=pytest.mark.slow), 5.0, 8.0])
def test_the_bridge_finds_the_conjugate_marginal_likelihood(away: float, tau: float) -> None:
    client = Normal(0.25 + away * ERROR, tau)
    found = bridge_of(TV, client, seed=7)
    assert found.admissible, found.reasons
    assert found.mcse < 0.05
    assert found.log_marginal == pytest.approx(TV.log_marginal(client), abs=4.0 * found.mcse)
    # The posterior under the client: precisions add up, with the reference's N(.5, 1) taken out.
    precision = ERROR**-2 - 1.0 + tau**-2
    mean = (0.25 * ERROR**-2 - 0.5 + client.mean * tau**-2) / precision
    assert found.client_draws.mean() == pytest.approx(mean, abs=0.1 * precision**-0.5)
    assert found.client_draws.std() == pytest.approx(precision**-0.5, rel=0.1)
    assert found.reference_draws.mean() == pytest.approx(0.25, abs=0.1 * ERROR)


def test_the_single_fit_mean_fails_where_the_bridge_does_not() -> None:
    # methods/conflict.md §3 G: tight and far
    client = Normal(0.65, 0.02)
    found = bridge_of(TV, client, seed=7)
    mean = importance_mean(client.logpdf(found.reference_draws) - REFERENCES[SHARE].logpdf(found.reference_draws))
    assert mean.khat > MAX_KHAT
    assert mean.log_mean < TV.log_marginal(client) - 1.0
    assert found.admissible


@pytest.mark.parametrize(
    ("quantity", "client"),
    [
        (SHARE, Normal(0.9, 0.05)),
        (SHARE, StudentT(4.0, 0.9, 0.05)),
        (RATIO, Gamma(80.0, 30.0)),
        (RATIO, LogNormal(0.8, 0.1)),
    ],
    ids=["normal", "student", "gamma", "lognormal"],
)
def test_bridge_and_refit_agree_with_quadrature_over_a_curved_posterior(quantity: str, client: Distribution) -> None:
    truth = BENT.log_marginal(client, quantity)
    found = bridge_of(BENT, client, 11, quantity)
    assert found.admissible, found.reasons
    assert found.log_marginal == pytest.approx(truth, abs=4.0 * found.mcse)
    again = refit_bridge(BENT.tilted(client, quantity), BENT.y, REFERENCES[quantity].support, Seed.of(12))
    assert again.admissible, again.reasons
    assert again.mcse < 0.1
    assert again.log_marginal == pytest.approx(truth, abs=4.0 * again.mcse)


def test_a_client_that_is_the_reference_has_a_ratio_of_one() -> None:
    # methods/conflict.md §4.4
    found = bridge_of(TV, REFERENCES[SHARE], seed=7)
    assert found.admissible
    assert found.log_marginal == pytest.approx(0.0, abs=1e-12)
    assert found.mcse == pytest.approx(0.0, abs=1e-12)


def test_ladders_fill_whole_chunks_and_grow_with_the_distance() -> None:
    sizes = []
    for away in (1.0, 4.0, 8.0, 30.0):
        powers = ladder(Overlay(Normal(0.25 + away * ERROR, 0.02), TV.curve()))
        assert powers[0] == 0.0
        assert powers[-1] == 1.0
        assert np.all(np.diff(powers) > 0.0)
        assert powers.size % CHUNK == 0
        sizes.append(powers.size)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == MAX_CHUNKS * CHUNK


def test_steps_that_are_too_long_are_told() -> None:
    client = Normal(0.65, 0.02)
    target, support = TV.tilted(client), REFERENCES[SHARE].support
    found = tempered_bridge(target, TV.y, support, np.array([0.0, 1.0]), Seed.of(7))
    assert not found.admissible
    assert "k-hat" in found.reasons[-1]


def test_rungs_that_did_not_converge_are_told() -> None:
    client = Normal(0.5, 0.1)
    settings = ladder_settings(
        FitSettings(16, 400, FitSettings.single().schedules[:1], r_hat_limit=1.01, ess_limit=1e9)
    )
    powers = ladder(Overlay(client, TV.curve()))
    found = tempered_bridge(TV.tilted(client), TV.y, REFERENCES[SHARE].support, powers, Seed.of(7), settings)
    assert len(found.reasons) == powers.size
    assert "lambda 0 did not converge" in found.reasons[0]
    again = refit_bridge(TV.tilted(client), TV.y, REFERENCES[SHARE].support, Seed.of(7), settings)
    assert again.reasons == (
        "the fit under the reference prior did not converge",
        "the fit under the client prior did not converge",
    )


@pytest.mark.parametrize("powers", [[0.0], [0.1, 1.0], [0.0, 0.9], [0.0, 0.6, 0.5, 1.0]])
def test_powers_that_are_no_ladder_are_refused(powers: list[float]) -> None:
    with pytest.raises(InvalidInput):
        tempered_bridge(TV.tilted(Normal(0.5, 0.1)), TV.y, REFERENCES[SHARE].support, np.array(powers), Seed.of(7))


def test_the_error_of_independent_draws_is_their_spread() -> None:
    # Laws N(0, 1) and N(1, 1) over r = x - 1/2: the ratio of their constants is 1
    rng = np.random.default_rng(2)
    powers, figures = np.array([0.0, 0.5, 1.0]), []
    for _ in range(300):
        ratios = np.stack([rng.normal(power, 1.0, (16, 50)) - 0.5 for power in powers])
        figures.append(bridged(ratios, powers)[:2])
    values, errors = np.array(figures).T
    assert values.mean() == pytest.approx(0.0, abs=4.0 * values.std() / np.sqrt(300.0))
    # 4 standard errors of a standard deviation from 300 values: 4/sqrt(600) = .16
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(values.std(), rel=0.16)


@pytest.mark.slow
@pytest.mark.parametrize(("away", "tau"), [(2.0, 0.02), (5.0, 0.05), (8.0, 0.02), (8.0, 0.3)])
def test_the_stated_error_of_the_bridge_covers_the_conjugate_truth(away: float, tau: float) -> None:
    client = Normal(0.25 + away * ERROR, tau)
    truth, target, support = TV.log_marginal(client), TV.tilted(client), REFERENCES[SHARE].support
    powers = ladder(Overlay(client, TV.curve()))
    tempered = [tempered_bridge(target, TV.y, support, powers, Seed.of(seed)) for seed in range(100)]
    scores = np.array([(found.log_marginal - truth) / found.mcse for found in tempered])
    assert np.mean(np.abs(scores) <= 3.0) >= 0.95
    # 4 standard errors of a root mean square of 100 normals: 4/sqrt(200) = .28
    assert np.sqrt(np.mean(scores**2)) == pytest.approx(1.0, abs=0.28)


@pytest.mark.slow
@pytest.mark.parametrize(("quantity", "client"), [(SHARE, Normal(0.9, 0.05)), (RATIO, Gamma(80.0, 30.0))])
def test_the_stated_errors_cover_the_truth_over_a_curved_posterior(quantity: str, client: Distribution) -> None:
    truth, target = BENT.log_marginal(client, quantity), BENT.tilted(client, quantity)
    support = REFERENCES[quantity].support
    powers = ladder(Overlay(client, BENT.curve(quantity)))
    scores = []
    for seed in range(60):
        first = tempered_bridge(target, BENT.y, support, powers, Seed.of(seed))
        second = refit_bridge(target, BENT.y, support, Seed.of(1000 + seed))
        scores.append([(found.log_marginal - truth) / found.mcse for found in (first, second)])
    for each in np.array(scores).T:
        assert np.mean(np.abs(each) <= 3.0) >= 0.95
        # The refit's error adds the range of its repetitions and is larger than needed; it must not be smaller.
        assert np.sqrt(np.mean(each**2)) < 1.0 + 4.0 / np.sqrt(120.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantity", "belief"),
    [("share_of_outcome[search]", Beta(2.0, 8.0)), ("total_media_share_of_outcome", Beta(3.0, 5.0))],
)
def test_bridge_refit_and_mean_agree_on_a_mix_model(quantity: str, belief: Distribution) -> None:
    # The second quantity is a sum of two shares; `belief` stands for its reference prior, whatever its own prior is:
    # all estimators take the same ratio.
    model = small_model()
    sample = model.sample_prior(Seed.of(4), np.arange(1))
    y = model.target_units(sample.y)[:, 0]
    draws = model.fit(sample.y, Seed.of(1), np.arange(1), FitSettings.single()).draws[quantity][0]
    curve = EvidenceCurve.from_draws(draws, belief, 14.0, quantity=quantity)
    centre, sd = float(draws.mean()), float(draws.std())
    covered = float(curve.grid[0]), float(curve.grid[-1])
    for client in (Normal(centre + sd, 1.5 * sd), Normal(centre + 6.0 * sd, 0.7 * sd)):
        target = tilt(model.target, quantity, client, belief, covered)
        powers = ladder(Overlay(client, curve))
        found = tempered_bridge(target, y, belief.support, powers, Seed.of(2))
        again = refit_bridge(target, y, belief.support, Seed.of(3))
        mean = by_importance(Overlay(client, curve), draws)
        assert found.admissible, found.reasons
        assert again.admissible, again.reasons
        assert abs(found.log_marginal - again.log_marginal) < 4.0 * np.hypot(found.mcse, again.mcse)
        assert mean.khat is not None
        if mean.khat < 0.5:
            assert abs(found.log_marginal - mean.value) < 4.0 * np.hypot(found.mcse, mean.mcse)
        else:
            assert client.sd < sd


@pytest.mark.slow
def test_bridge_and_refit_agree_where_the_curve_extrapolates() -> None:
    model = prepare(example_table(), example_spec())
    quantity, client = "share_of_outcome[x1]", Normal(0.5, 0.02)
    reference, y = model.prior_of(quantity), model.target_units(model.observed[:, None])[:, 0]
    draws = model.fit(model.observed[:, None], Seed.of(1), np.arange(1), FitSettings.single()).draws[quantity][0]
    curve = EvidenceCurve.from_draws(draws, reference, 42.0, quantity=quantity)
    target = tilt(model.target, quantity, client, reference, (float(curve.grid[0]), float(curve.grid[-1])))
    found = tempered_bridge(target, y, reference.support, ladder(Overlay(client, curve)), Seed.of(2))
    again = refit_bridge(target, y, reference.support, Seed.of(3))
    assert found.admissible, found.reasons
    assert again.admissible, again.reasons
    assert abs(found.log_marginal - again.log_marginal) < 4.0 * np.hypot(found.mcse, again.mcse)
    assert (by_importance(Overlay(client, curve), draws).khat or 0.0) > MAX_KHAT
