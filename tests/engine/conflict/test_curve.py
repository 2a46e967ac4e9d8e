"""The evidence curve: normalised, rebuilt bit for bit, estimated from draws within its stated error."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import special

from engine.conflict.analysis import analyse_belief
from engine.conflict.curve import CurveKind, EvidenceCurve, jackknife_error
from engine.distributions.distribution import REAL_LINE, Beta, Gamma, LogNormal, Normal, Uniform
from engine.errors import InvalidInput

WIDE = Normal(0.5, 100.0)
LOGIT_GRID = np.linspace(-40.0, 40.0, 4001)


def normal_draws(seed: int, chains: int = 8, n: int = 500) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.25, 0.05, (chains, n))


def test_the_reference_averages_the_curve_to_one() -> None:
    curve = EvidenceCurve.normal(0.25, 0.05, Normal(0.5, 0.3), 24.0)
    u = np.linspace(-3.0, 4.0, 20_001)
    area = np.trapezoid(np.exp(curve.log_likelihood_at(u) + curve.reference.logpdf(u)), u)
    assert area == pytest.approx(1.0, abs=1e-10)


def test_an_exact_curve_has_the_conjugate_reference_posterior() -> None:
    # binomial 15/20 under Beta(1, 1): Beta(16, 6)
    log_l = 15.0 * special.log_expit(LOGIT_GRID) + 5.0 * special.log_expit(-LOGIT_GRID)
    curve = EvidenceCurve.exact(LOGIT_GRID, log_l, Uniform(0.0, 1.0), 24.0)
    q = [0.01, 0.5, 0.99]
    np.testing.assert_allclose(curve.reference_posterior.ppf(q), Beta(16.0, 6.0).ppf(q), rtol=1e-7)


def test_dividing_by_the_reference_recovers_the_likelihood() -> None:
    # normal reference N(.5, .2) and likelihood N(.25, .05): the data side forgets the reference
    reference = Normal(0.5, 0.2)
    precision = 1.0 / 0.05**2 + 1.0 / 0.2**2
    posterior = Normal((0.25 / 0.05**2 + 0.5 / 0.2**2) / precision, precision**-0.5)
    draws = posterior.sample(np.random.default_rng(5), (8, 500))
    data = EvidenceCurve.from_draws(draws, reference, 24.0).data_side
    assert data.mean == pytest.approx(0.25, abs=0.003)
    assert data.sd == pytest.approx(0.05, rel=0.04)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_band_covers_the_true_curve(seed: int) -> None:
    curve = EvidenceCurve.from_draws(normal_draws(seed), WIDE, 24.0)
    truth = EvidenceCurve.normal(0.25, 0.05, WIDE, 24.0)
    inside = (curve.grid > 0.25 - 2.5 * 0.05) & (curve.grid < 0.25 + 2.5 * 0.05)
    error = curve.log_likelihood - truth.log_likelihood_at(curve.grid)
    assert np.all(np.abs(error[inside]) < 4.0 * curve.standard_error[inside] + 0.02)
    assert np.sqrt(np.mean(error[inside] ** 2)) < 0.1


def test_autocorrelated_draws_widen_the_error_band() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(8, 4000))
    chain = np.zeros((8, 4000))
    chain[:, 0] = noise[:, 0]
    for t in range(1, 4000):
        chain[:, t] = 0.9 * chain[:, t - 1] + math.sqrt(1.0 - 0.81) * noise[:, t]
    sticky = EvidenceCurve.from_draws(0.25 + 0.05 * chain, WIDE, 24.0, r_hat=1.0)
    free = EvidenceCurve.from_draws(0.25 + 0.05 * noise, WIDE, 24.0)
    middle = slice(350, 450)
    ratio = sticky.standard_error[middle].mean() / free.standard_error[middle].mean()
    assert ratio > 2.0  # sqrt(autocorrelation time) is about 4.4
    assert sticky.n_effective < 0.2 * free.n_effective


@pytest.mark.parametrize("kind", ["normal", "exact", "draws"])
def test_a_curve_rebuilt_from_its_fields_gives_identical_figures(kind: str) -> None:
    match kind:
        case "normal":
            curve, prior = EvidenceCurve.normal(math.log(1.5), 0.2, LogNormal(0.0, 2.0), 24.0), LogNormal(1.0, 0.25)
        case "exact":
            log_l = 15.0 * special.log_expit(LOGIT_GRID) + 5.0 * special.log_expit(-LOGIT_GRID)
            curve, prior = EvidenceCurve.exact(LOGIT_GRID, log_l, Uniform(0.0, 1.0), 24.0), Beta(2.0, 8.0)
        case _:
            curve, prior = EvidenceCurve.from_draws(normal_draws(3), Uniform(0.0, 1.0), 24.0), Beta(12.0, 12.0)
    fields = {f.name: getattr(curve, f.name) for f in dataclasses.fields(curve)}
    stored = {
        name: np.frombuffer(value.tobytes(), np.float64).reshape(value.shape)
        if isinstance(value, np.ndarray)
        else value
        for name, value in fields.items()
    }
    rebuilt = EvidenceCurve(**stored)
    assert rebuilt is not curve
    assert analyse_belief(prior, rebuilt) == analyse_belief(prior, curve)


def test_the_curve_never_rises_beyond_its_grid() -> None:
    curve = EvidenceCurve.from_draws(normal_draws(4), WIDE, 24.0)
    far = curve.log_likelihood_at(np.array([curve.grid[-1], curve.grid[-1] + 1.0, curve.grid[-1] + 10.0]))
    assert np.all(np.diff(far) < 0.0)


def test_data_that_push_a_share_to_its_end_are_not_silent() -> None:
    # Beta(1, 4) reference, posterior Beta(.8, 40): no narrower on the logit scale, but far away
    draws = np.random.default_rng(1).beta(0.8, 40.0, (8, 500))
    curve = EvidenceCurve.from_draws(draws, Beta(1.0, 4.0), 24.0)
    assert curve.contraction < 0.2
    assert not curve.is_silent


def test_data_that_leave_the_reference_as_it_was_are_silent() -> None:
    silent = EvidenceCurve.from_draws(
        Uniform(0.0, 1.0).sample(np.random.default_rng(1), (8, 500)), Uniform(0.0, 1.0), 24.0
    )
    assert silent.is_silent
    assert abs(silent.contraction) < 0.1
    assert not EvidenceCurve.normal(0.25, 0.05, Normal(0.5, 0.3), 24.0).is_silent


def test_a_one_sided_likelihood_keeps_the_reference_in_its_data_side() -> None:
    # 0 of 3: L is flat towards 0 on the logit scale, so L alone has no finite mass
    curve = EvidenceCurve.exact(LOGIT_GRID, 3.0 * special.log_expit(-LOGIT_GRID), Uniform(0.0, 1.0), 24.0)
    assert curve.reference_kept[0] == 1.0
    assert curve.data_side.mean == pytest.approx(0.2, abs=1e-3)  # Beta(1, 4)


def test_a_likelihood_that_rises_beyond_the_draws_is_noticed() -> None:
    # gamma reference with a light tail held against draws piled up at its far end
    reference = Normal(0.0, 0.1)
    precision = 1.0 / 0.1**2 + 1.0 / 0.05**2
    posterior = Normal((1.0 / 0.05**2) / precision, precision**-0.5)
    draws = posterior.sample(np.random.default_rng(6), (8, 500))
    assert EvidenceCurve.from_draws(draws, reference, 24.0).rises_at_edge
    assert not EvidenceCurve.from_draws(normal_draws(7), WIDE, 24.0).rises_at_edge


def test_a_curve_on_the_real_line_may_have_a_bounded_reference() -> None:
    curve = EvidenceCurve.normal(0.25, 0.05, Uniform(0.0, 1.0), 24.0, support=REAL_LINE)
    assert curve.kind is CurveKind.EXACT
    assert curve.data_side == Normal(0.25, 0.05)


def test_jackknife_error_of_a_mean_is_the_textbook_standard_error() -> None:
    x = np.random.default_rng(0).normal(size=16)
    left_out = (x.sum() - x) / 15.0
    assert float(jackknife_error(left_out)) == pytest.approx(x.std(ddof=1) / 4.0, rel=1e-12)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("draws", lambda: EvidenceCurve.from_draws(np.full((4, 500), 0.3), Uniform(0.0, 1.0), 24.0)),
        ("draws", lambda: EvidenceCurve.from_draws(normal_draws(0), Uniform(0.2, 1.0), 24.0)),
        ("draws", lambda: EvidenceCurve.from_draws(normal_draws(0)[0], WIDE, 24.0)),
        ("draws", lambda: EvidenceCurve.from_draws(np.where(normal_draws(0) > 0.3, np.nan, 0.2), WIDE, 24.0)),
        ("months", lambda: EvidenceCurve.normal(0.0, 1.0, WIDE, 0.0)),
        ("standard_error", lambda: EvidenceCurve.normal(0.0, 0.0, WIDE, 24.0)),
        ("grid", lambda: EvidenceCurve.exact([0.0, 2.0, 1.0, 3.0], [0.0] * 4, Gamma(1.0, 1.0), 24.0)),
    ],
)
def test_bad_input_is_refused_by_name(field: str, make) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert caught.value.field == field
