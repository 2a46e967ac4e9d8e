"""Log densities from draws: moments are kept, structure is found, autocorrelation is not taken for structure."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from engine.conflict.density import LogDensity, fit_log_densities


def moments(fit: LogDensity) -> tuple[float, float]:
    u = np.linspace(fit.low, fit.high, 4001)
    mass = np.exp(fit(u) - fit(u).max())
    mass /= mass.sum()
    mean = float(mass @ u)
    return mean, math.sqrt(float(mass @ (u - mean) ** 2))


def error_against_normal(fit: LogDensity) -> float:
    u = np.linspace(-2.0, 2.0, 201)
    gap = fit(u) - stats.norm.logpdf(u)
    return float(np.std(gap))


def test_the_fit_keeps_mean_and_sd_of_the_draws() -> None:
    draws = np.random.default_rng(1).gamma(4.0, 1.0, 4000)
    mean, sd = moments(fit_log_densities([draws], 1.0)[0])
    assert abs(mean - draws.mean()) < 1e-3 * draws.std()
    assert abs(sd / draws.std() - 1.0) < 5e-3


def test_two_modes_are_found() -> None:
    rng = np.random.default_rng(2)
    draws = np.where(rng.random(4000) < 0.5, -2.0, 2.0) + 0.5 * rng.normal(size=4000)
    fit = fit_log_densities([draws], 1.0)[0]
    assert float(fit(np.array([2.0]))[0] - fit(np.array([0.0]))[0]) > 3.0


def test_one_fit_for_all_and_one_without_each_group() -> None:
    groups = list(np.random.default_rng(3).normal(size=(16, 250)) + np.linspace(-0.2, 0.2, 16)[:, None])
    fits = fit_log_densities(groups, 1.0)
    assert len(fits) == 17
    without_last, without_first = moments(fits[-1])[0], moments(fits[1])[0]
    assert without_last < moments(fits[0])[0] < without_first


def test_autocorrelation_is_not_mistaken_for_structure() -> None:
    naive, honest = [], []
    for seed in range(6):
        noise = np.random.default_rng(seed).normal(size=4000)
        chain = np.empty(4000)
        chain[0] = noise[0]
        for t in range(1, 4000):
            chain[t] = 0.95 * chain[t - 1] + math.sqrt(1.0 - 0.95**2) * noise[t]
        chain = (chain - chain.mean()) / chain.std()
        naive.append(error_against_normal(fit_log_densities([chain[:2000], chain[2000:]], 1.0)[0]))
        honest.append(error_against_normal(fit_log_densities([chain[:2000], chain[2000:]], 0.05 / 1.95)[0]))
    assert np.mean(honest) < 0.5 * np.mean(naive)
