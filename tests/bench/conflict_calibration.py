"""How often the conflict analysis calls a right belief wrong, by simulation from the belief's own predictive.

Beside every rate stands what it must be: the figures of methods/conflict.md §3 where all is normal, and otherwise the
same figure by quadrature of the predictive, a second time and without the engine's curves.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from engine.conflict import bayes_factor
from engine.conflict.analysis import analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.joint import joint_conflict
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.conflict.p_value import node_split
from engine.conflict.reliability import Status
from engine.distributions.distribution import Beta, Distribution, LogNormal, Normal, Uniform
from tests.bench import machine
from tests.bench.calibration import rate

__all__ = [
    "CHANNELS",
    "EXPERIMENTS",
    "NAIVE_RATE",
    "TEN_RATE",
    "Counted",
    "Experiment",
    "Located",
    "Predictive",
    "autocorrelated",
    "channels_of",
    "joint_null",
    "null",
]

Floats = NDArray[np.float64]
Row = dict[str, Any]
Generator = np.random.Generator

TEN_RATE = float(stats.chi2.sf(2.0 * math.log(10.0), 1))
"""P(recentred factor ≥ 10) of a right belief, .0319: one quantity and normal laws (methods/conflict.md §3 B)."""

CHANNELS = 5
NAIVE_RATE = float(stats.chi2.sf(2.0 * math.log(10.0), CHANNELS))
"""P(exp(D²/2) ≥ 10) of five right beliefs, .466 (methods/conflict.md §3 B)."""

_MONTHS = 24.0
_WIDENING = 3.0
_SEED = 1700
_CLOSED = 10
"""Times as many data sets where the figures have a closed form and cost nothing."""

_CHAINS, _DRAWS, _CORRELATION = 16, 250, 1.0 / 3.0
"""Of each data set's posterior: 4000 draws worth 2000, as an AR(1) of that coefficient is."""


def autocorrelated(law: Distribution, generator: Generator, chains: int, draws: int, correlation: float) -> Floats:
    """Draws [chains, draws] of a law whose normal scores are a stationary AR(1): ESS is (1 - r)/(1 + r) of them."""
    scores = generator.standard_normal((chains, draws))
    for index in range(1, draws):
        scores[:, index] = correlation * scores[:, index - 1] + math.sqrt(1.0 - correlation**2) * scores[:, index]
    below = law.ppf(special.ndtr(np.minimum(scores, 0.0)))
    return np.where(scores < 0.0, below, law.isf(special.ndtr(-np.maximum(scores, 0.0))))


@dataclass(frozen=True)
class Located:
    """An estimate with a normal error `s` on the unconstrained scale of the belief."""

    name: str
    prior: Distribution
    s: float
    reference: Distribution

    @property
    def spread(self) -> float:
        """sd of the outcomes on the unconstrained scale, sqrt(tau² + s²)."""
        return math.hypot(self.prior.unconstrained_moments()[1], self.s)

    def outcomes(self, generator: Generator, n: int) -> Floats:
        """Data [n], each from a truth of its own that the belief has given."""
        truth = self.prior.support.to_unconstrained(self.prior.sample(generator, n))
        return truth + self.s * generator.standard_normal(n)

    def curve(self, outcome: float) -> EvidenceCurve:
        """The exact evidence curve of one outcome."""
        return EvidenceCurve.normal(outcome, self.s, self.reference, _MONTHS)

    def log_likelihood(self, outcomes: Floats, u: Floats) -> Floats:
        """log p(outcome | u) [outcomes, u] on the belief's unconstrained scale."""
        return np.asarray(stats.norm.logpdf(outcomes[:, None], u, self.s))

    def all_outcomes(self) -> tuple[Floats, Floats]:
        """A grid of outcomes and its quadrature weights."""
        grid = self.prior.unconstrained_moments()[0] + self.spread * np.linspace(-7.0, 7.0, 1601)
        return grid, np.full(grid.size, grid[1] - grid[0])


@dataclass(frozen=True)
class Counted:
    """Successes of so many trials, a belief about their probability, a flat reference."""

    name: str
    prior: Distribution
    trials: int

    @property
    def spread(self) -> float:
        """About the sd of the empirical logit of the outcomes, its error taken at one half."""
        return math.hypot(self.prior.unconstrained_moments()[1], 2.0 / math.sqrt(self.trials))

    def outcomes(self, generator: Generator, n: int) -> Floats:
        """Successes [n], each of a probability of its own that the belief has given."""
        return generator.binomial(self.trials, self.prior.sample(generator, n)).astype(np.float64)

    def curve(self, outcome: float) -> EvidenceCurve:
        """The exact evidence curve of so many successes."""
        grid = np.linspace(-12.0, 12.0, 1201)
        return EvidenceCurve.exact(grid, self._log_kernel(outcome, grid), Uniform(0.0, 1.0), _MONTHS)

    def _log_kernel(self, successes: float, u: Floats) -> Floats:
        return np.asarray(successes * special.log_expit(u) + (self.trials - successes) * special.log_expit(-u))

    def log_likelihood(self, outcomes: Floats, u: Floats) -> Floats:
        """log p(outcome | u) [outcomes, u] on the logit."""
        ways = special.gammaln(self.trials + 1.0) - special.gammaln(outcomes + 1.0)
        ways -= special.gammaln(self.trials - outcomes + 1.0)
        return np.stack([way + self._log_kernel(float(k), u) for way, k in zip(ways, outcomes, strict=True)])

    def all_outcomes(self) -> tuple[Floats, Floats]:
        """Every outcome there is, each of weight 1."""
        grid = np.arange(self.trials + 1.0)
        return grid, np.ones(grid.size)


Experiment = Located | Counted
"""A belief and data that come from it."""

EXPERIMENTS: tuple[Experiment, ...] = (
    Located("normal", Normal(0.5, 0.1), 0.05, Normal(0.5, 10.0)),  # the TV example's spreads
    # s² > 7 tau²: only here has the widened factor a variance, so that its sample mean is worth something
    Located("normal, weak data", Normal(0.5, 0.05), 0.2, Normal(0.5, 10.0)),
    Located("lognormal", LogNormal(math.log(3.0), 0.25), 0.2, LogNormal(0.0, 10.0)),  # methods/conflict.md §14 id 12
    Located("beta, normal on the logit", Beta(4.0, 12.0), 0.3, Uniform(0.0, 1.0)),
    Counted("beta, 400 trials", Beta(12.0, 12.0), 400),
)


@dataclass(frozen=True)
class Predictive:
    """What the figures of an experiment must be, by quadrature of the belief's predictive over all outcomes.

    The belief moved by delta on its unconstrained scale has the density p(u - delta) there; widened, p stretched about
    its median.
    """

    experiment: Experiment

    @cached_property
    def _outcomes(self) -> tuple[Floats, Floats]:
        return self.experiment.all_outcomes()

    @cached_property
    def _u(self) -> Floats:
        mean, _ = self.experiment.prior.unconstrained_moments()
        return np.asarray(mean + self.experiment.spread * np.linspace(-30.0, 30.0, 3001))

    @cached_property
    def _likelihood(self) -> Floats:
        """p(outcome | u) du [outcomes, u]."""
        likelihood = np.exp(self.experiment.log_likelihood(self._outcomes[0], self._u))
        return np.asarray(likelihood * (self._u[1] - self._u[0]))

    def _densities(self, shifts: Floats, factor: float = 1.0) -> Floats:
        """Predictive density [shifts, outcomes] under the belief moved by every shift and widened."""
        prior = self.experiment.prior
        median = float(prior.support.to_unconstrained(prior.ppf(0.5)))
        at = median + (self._u - median - shifts[:, None]) / factor
        return np.asarray(np.exp(prior.unconstrained_logpdf(at)) / factor @ self._likelihood.T)

    @cached_property
    def mass(self) -> Floats:
        """Probability of every outcome under the belief."""
        return np.asarray(self._densities(np.zeros(1))[0] * self._outcomes[1])

    @cached_property
    def log_recentred(self) -> Floats:
        """log of the recentred factor of every outcome, the largest over a grid of 401 shifts."""
        shifts = self.experiment.spread * np.linspace(-8.0, 8.0, 401)
        best = self._densities(shifts).max(axis=0) * self._outcomes[1]
        return np.asarray(np.log(best / self.mass))

    @property
    def ten_rate(self) -> float:
        """P(recentred factor ≥ 10) under the belief's own predictive."""
        return float(self.mass[self.log_recentred >= math.log(10.0)].sum())

    @cached_property
    def log_widened(self) -> Floats:
        """log of the widened factor of every outcome, a ratio of two predictives."""
        wide = self._densities(np.zeros(1), _WIDENING)[0] * self._outcomes[1]
        return np.asarray(np.log(wide / self.mass))

    @property
    def widened_up_to_ten(self) -> float:
        """E[widened factor; factor ≤ 10] under the belief's own predictive: P(factor ≤ 10) under the wider one.

        The factor itself has mean 1, but no variance unless s² > 7 tau²: with t = 1 - v²/v_c² it is e^(t χ²₁/2) up to
        a constant, whose tail falls as c^(-1/t). Its sample mean then says little; up to 10 it has a variance.
        """
        factors = np.exp(self.log_widened)
        return float((self.mass * factors)[factors <= 10.0].sum())


@dataclass(frozen=True)
class _Figures:
    log_recentred: float
    widened: float
    p: float
    status: Status


def null(experiment: Experiment, generator: Generator, n: int, *, from_draws: bool) -> Row:
    """Judge n data sets from the belief's own predictive, by exact curves or by curves from 4000 draws each."""
    judged = partial(_from_draws, generator=generator) if from_draws else _exact
    found = [judged(experiment, float(outcome)) for outcome in experiment.outcomes(generator, n)]
    predictive = Predictive(experiment)
    p = np.array([one.p for one in found])
    widened = np.array([one.widened for one in found])
    cut = np.where(widened <= 10.0, widened, 0.0)
    return {
        "what": "null",
        "law": experiment.name,
        "curves": "draws" if from_draws else "exact",
        "data_sets": n,
        "ks_p": float(stats.kstest(p, "uniform").pvalue),
        "p_below_05": rate(int(np.sum(p <= 0.05)), n),
        "ten": rate(sum(one.log_recentred >= math.log(10.0) for one in found), n),
        "ten_exact": predictive.ten_rate,
        "widened": {"mean": float(widened.mean()), "error": float(widened.std() / math.sqrt(n))},
        "widened_up_to_ten": {"mean": float(cut.mean()), "error": float(cut.std() / math.sqrt(n))},
        "widened_up_to_ten_exact": predictive.widened_up_to_ten,
        "unreliable": rate(sum(one.status is Status.UNRELIABLE for one in found), n),
        "borderline": rate(sum(one.status is Status.BORDERLINE for one in found), n),
    }


def _exact(experiment: Experiment, outcome: float) -> _Figures:
    overlay = Overlay(experiment.prior, experiment.curve(outcome))
    ladder = Ladder.climb(overlay)
    recentred, widened = bayes_factor.recentred(ladder), bayes_factor.widened(ladder)
    return _Figures(recentred.log_bf, widened.bf, node_split(overlay).value, Status.OK)


def _from_draws(experiment: Experiment, outcome: float, generator: Generator) -> _Figures:
    curve = experiment.curve(outcome)
    draws = autocorrelated(curve.reference_posterior, generator, _CHAINS, _DRAWS, _CORRELATION)
    estimated = EvidenceCurve.from_draws(draws, curve.reference, _MONTHS)
    result = analyse_belief(experiment.prior, estimated, draws=draws)
    return _Figures(result.recentred.log_bf, result.widened.bf, result.p.value, result.status)


def channels_of(family: str) -> tuple[Distribution, ...]:
    """Five beliefs of one family with different spreads."""
    spreads = (0.05, 0.1, 0.2, 0.3, 0.5)
    if family == "normal":
        return tuple(Normal(0.5, sd) for sd in spreads)
    if family == "lognormal":
        return tuple(LogNormal(0.5, sd) for sd in spreads)
    return tuple(Beta(0.3 / sd**2, 0.7 / sd**2) for sd in spreads)


def joint_null(family: str, generator: Generator, n: int) -> Row:
    """Five right beliefs at once, n times, with estimates whose errors are correlated by -.6 to .8 (collinear media).

    D² is exactly chi²_5 where beliefs are normal on their unconstrained scale; a beta belief is nearly so.
    """
    beliefs = channels_of(family)
    factors = generator.standard_normal((CHANNELS, 2))
    cov = 0.04 * (factors @ factors.T + 0.3 * np.eye(CHANNELS))
    root = np.linalg.cholesky(cov)
    truth = np.stack([law.support.to_unconstrained(law.sample(generator, n)) for law in beliefs], axis=1)
    estimates = truth + generator.standard_normal((n, CHANNELS)) @ root.T
    found = [joint_conflict(beliefs, estimate, cov) for estimate in estimates]
    d2 = np.array([one.d2 for one in found])
    return {
        "what": "joint",
        "law": family,
        "channels": CHANNELS,
        "data_sets": n,
        "ks_p": float(stats.kstest([one.p for one in found], "uniform").pvalue),
        "mean_d2": {"mean": float(d2.mean()), "error": float(d2.std() / math.sqrt(n))},
        "ten": rate(sum(one.log_bf_cal >= math.log(10.0) for one in found), n),
        "ten_exact": TEN_RATE,
        "naive_ten": rate(int(np.sum(0.5 * d2 >= math.log(10.0))), n),
        "naive_exact": NAIVE_RATE,
    }


def measure(exact: int, from_draws: int) -> list[Row]:
    """All rows: `exact` data sets with exact curves, and jointly; `from_draws` with curves from draws."""
    streams = iter(np.random.SeedSequence(_SEED).spawn(100))
    rows: list[Row] = []

    def add(row: Row, start: float) -> None:
        rows.append(row | {"seconds": time.perf_counter() - start})
        print(_text(rows[-1]), flush=True)

    for n, draws in ((exact, False), (from_draws, True)):
        for experiment in EXPERIMENTS:
            start = time.perf_counter()
            closed = not draws and isinstance(experiment.prior, Normal | LogNormal)
            count = _CLOSED * n if closed else n
            add(null(experiment, np.random.default_rng(next(streams)), count, from_draws=draws), start)
    for family in ("normal", "lognormal", "beta"):
        start = time.perf_counter()
        add(joint_null(family, np.random.default_rng(next(streams)), exact), start)
    return rows


def _text(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate how often right beliefs are called wrong, on one core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.conflict_calibration", description=main.__doc__)
    parser.add_argument("--data-sets", type=int, default=2000, help="with exact curves, and of the joint studies")
    parser.add_argument("--from-draws", type=int, default=300, help="data sets whose curves come from draws")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    given = parser.parse_args(arguments)
    here = machine.describe()
    rows = machine.fresh(measure, given.data_sets, given.from_draws, core=machine.cores()[-1])
    machine.write(given.output, "conflict_calibration", here, rows)


if __name__ == "__main__":
    main()
