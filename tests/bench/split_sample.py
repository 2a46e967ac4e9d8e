"""What an updated prior is worth on data that it has not seen: the log score of the second part of a split sample.

`python -m tests.bench.split_sample` prints what docs/lineage.md shows: the example data set cut at several months, and
the expected gain where everything is normal, by simulation with the formulas of methods/conflict.md §12. Gain is
log m₂(updated) - log m₂(client), in nats: how much better the updated prior predicts the second part than the client's
own belief does.
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.conflict.bayes_factor import recentred
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Ladder
from engine.conflict.overlay import Overlay
from engine.distributions.distribution import Beta, Distribution
from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, Window, prepare
from engine.models.saturation import Saturation
from engine.updates.update import Strategy, UpdateRule, update

__all__ = ["Split", "gains", "simulated", "splits", "true_shares"]

Floats = NDArray[np.float64]
DATA = Path(__file__).parents[2] / "examples" / "pymc_mmm_example.csv"
QUANTITY = "share_of_outcome[x1]"
BELIEF = Beta(12.0, 12.0)
"""50 % ± 10 % of outcome, as the service compiles it."""
EVIDENCE = 3.0
"""Evidence that moves the belief, as in the demo."""
MU, TAU, S = 0.5, 0.1, 0.05
"""Belief and standard error of the worked example, methods/conflict.md §1."""


@dataclass(frozen=True)
class Split:
    """The evidence curves of the two parts and the true shares in them."""

    last: int
    first_curve: EvidenceCurve
    second_curve: EvidenceCurve
    truths: tuple[float, float]


def example() -> Table:
    """The example data set."""
    with DATA.open() as lines:
        rows = list(csv.DictReader(lines))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in ("y", "x1", "x2", "event_1", "event_2")}
    return Table(np.array([row["date_week"] for row in rows], dtype="datetime64[D]"), columns)


def model(table: Table, window: Window) -> AdditiveMmm:
    """The demo's model of 15 parameters."""
    channels = tuple(Channel(name, name, Beta(1.0, 3.0), saturation=Saturation.LOGISTIC) for name in ("x1", "x2"))
    controls = (Control("event_1", "event_1"), Control("event_2", "event_2"))
    return prepare(table, AdditiveMmmSpec("y", channels, controls, fourier_pairs=2), window)


def curve(prepared: AdditiveMmm, seed: int) -> EvidenceCurve:
    """The evidence about the share of x1 from a fit under the reference prior."""
    fit = prepared.fit(prepared.observed[:, None], Seed.of(seed), np.zeros(1, dtype=np.int64), FitSettings.single())
    assert fit.diagnostics.ok[0], fit.diagnostics
    months = prepared.n_observations * 7 / (365.25 / 12)  # what unit information is counted by
    return EvidenceCurve.from_draws(fit.draws[QUANTITY][0], prepared.prior_of(QUANTITY), months, quantity=QUANTITY)


def true_shares(table: Table, cut: int) -> tuple[float, float]:
    """Share of the KPI that x1 has really brought before and after a row; the data set is simulated (examples/)."""
    weights = 0.4 ** np.arange(8)
    stock = np.convolve(table.columns["x1"], weights / weights.sum())[: table.n_rows]
    brought = 3000.0 * np.tanh(2.0 * stock)  # (1 - e^-4x) / (1 + e^-4x)
    total = table.columns["y"]
    return float(brought[:cut].sum() / total[:cut].sum()), float(brought[cut:].sum() / total[cut:].sum())


def splits(table: Table, last: int) -> Split:
    """The example cut before its last months."""
    first = table.without_last(last)
    return Split(
        last,
        curve(model(first, Window()), 1),
        curve(model(table, Window(last)), 2),
        true_shares(table, first.n_rows),
    )


def log_marginal(prior: Distribution, evidence: EvidenceCurve) -> float:
    """log m(prior) / m(reference) by the curve."""
    return Overlay(prior, evidence).log_marginal_of(0.0, 1.0)


def gains(split: Split) -> dict[str, tuple[Distribution, float]]:
    """The updated prior of each strategy from the first part, and its gain on the second."""
    own = log_marginal(BELIEF, split.second_curve)
    found = {}
    for strategy in Strategy:
        after = update(BELIEF, split.first_curve, UpdateRule(strategy, EVIDENCE)).distribution
        found[strategy.value] = (after, log_marginal(after, split.second_curve) - own)
    return found


def simulated(
    truth: Floats, drift: float, rng: np.random.Generator, threshold: float = 10.0
) -> dict[str, tuple[float, float, float]]:
    """Mean gain, its standard error and how often it is negative, by strategy, of data sets with these truths [n].

    Two parts of standard error S each; the quantity moves by N(0, drift²) between. Formulas: methods/conflict.md §12.
    """
    first = truth + S * rng.standard_normal(truth.size)
    second = truth + drift * rng.standard_normal(truth.size) + S * rng.standard_normal(truth.size)
    own = stats.norm.logpdf(second, MU, math.hypot(TAU, S))
    precision = TAU**-2 + S**-2
    posterior = (MU / TAU**2 + first / S**2) / precision
    factor = np.exp((first - MU) ** 2 / (2.0 * (TAU**2 + S**2)))
    weight = np.where(factor < threshold, 0.0, factor / (factor + threshold))
    moved = stats.norm.logpdf(second, first, math.hypot(TAU, S))  # the belief recentred on the estimate
    wide = np.sqrt(np.maximum(TAU**2, (first - MU) ** 2 - S**2))
    scores = {
        Strategy.EVIDENCE_WEIGHTED.value: np.logaddexp(np.log1p(-weight) + own, np.log(weight + 1e-300) + moved),
        Strategy.FULL_BAYESIAN.value: stats.norm.logpdf(second, posterior, np.sqrt(1.0 / precision + S**2)),
        Strategy.CONSERVATIVE.value: stats.norm.logpdf(second, MU, np.hypot(wide, S)),
    }
    return {
        name: (float(np.mean(score - own)), float(stats.sem(score - own)), float(np.mean(score < own - 1e-12)))
        for name, score in scores.items()
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--last", type=int, nargs="*", default=[12, 16, 20, 24], help="months held out")
    parser.add_argument("--data-sets", type=int, default=100_000)
    options = parser.parse_args()
    print("belief | drift | strategy | mean gain | negative")
    size = options.data_sets
    rng = np.random.default_rng(1)
    for name, truth in (
        ("right", MU + TAU * rng.standard_normal(size)),
        ("wrong", np.full(size, 0.25)),
    ):
        for drift in (0.0, 0.05, 0.1):
            for strategy, (mean, error, negative) in simulated(truth, drift, rng).items():
                print(f"{name} | {drift} | {strategy} | {mean:.3f} ± {error:.3f} | {100 * negative:.0f} %")
    enable_float64()
    table = example()
    print("\nmonths held out | true shares | first part | second part | factor | strategy | updated | gain", flush=True)
    for last in options.last:
        split = splits(table, last)
        sides = [Overlay(BELIEF, evidence).data_side for evidence in (split.first_curve, split.second_curve)]
        factor = math.exp(recentred(Ladder.climb(Overlay(BELIEF, split.first_curve))).log_bf)
        for strategy, (after, gain) in gains(split).items():
            print(
                f"{last} | {split.truths[0]:.3f}, {split.truths[1]:.3f} | {sides[0].mean:.3f} ± {sides[0].sd:.3f} | "
                f"{sides[1].mean:.3f} ± {sides[1].sd:.3f} | {factor:.2f} | {strategy} | "
                f"{after.mean:.3f} ± {after.sd:.3f} | {gain:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
