"""Error rates and power of the verdict by simulation, beside its exact figures and those of the method reference.

Ledgers are synthetic, so that ranks have exactly the law that a row names: uniform, or that of a posterior wrong by a
known amount. Every rate comes with the number of repetitions and its binomial standard error. Levels are those of
`RULES`, except where a figure stands beside one of a table that was made at 5 %.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from engine.rules.quantity_names import LOG_LIKELIHOOD
from engine.sbc.band import band, counts, p_value_of
from engine.sbc.e_process import evidence
from engine.sbc.ledger import RankLedger, Status
from engine.sbc.power import detectable_error, power
from engine.sbc.verdict import Outcome, Reason, Verdict, holm, verdict
from engine.sbc.verdict_rules import RULES
from tests.bench import machine

__all__ = [
    "DRAWS",
    "ERRORS",
    "QUANTITIES",
    "SCENARIOS",
    "Scenario",
    "alarms",
    "detectable",
    "failures",
    "normal_ranks",
    "power_table",
    "prior_ranks",
    "rate",
    "streamed",
    "synthetic",
    "uniform_ranks",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Row = dict[str, Any]
Generator = np.random.Generator

QUANTITIES = 16
DRAWS = 99
LONGEST = 1000
"""Simulations of the streamed runs."""

SIZES = (100, 200, 500, 1000)
LOOK_EVERY = 100
_TABLE_ALPHA, _TABLE_CUTS = 0.05, 20
"""Level and cuts of the method reference's table of operating characteristics."""

_SEED = 1300
_CORRELATIONS = (0.0, 0.9)


def rate(hits: int, repetitions: int) -> dict[str, float]:
    """A share and its binomial standard error; 0 and 1 get that of one hit and of one miss."""
    share = hits / repetitions
    inside = min(max(share, 1.0 / repetitions), 1.0 - 1.0 / repetitions)
    return {"rate": share, "error": float(np.sqrt(inside * (1.0 - inside) / repetitions))}


def synthetic(
    ranks: NDArray[Any], draws: NDArray[Any] | int, generator: Generator, status: NDArray[Any] | None = None
) -> RankLedger:
    """Ledger of ranks [N, P] among `draws` ([N] or one number) of accepted fits, or of the given statuses [N].

    The first quantity is the log likelihood, so that a PASS is possible.
    """
    n, columns = ranks.shape
    return RankLedger(
        simulations=np.arange(n),
        quantities=(LOG_LIKELIHOOD, *(f"q{k}" for k in range(1, columns))),
        ranks=ranks.astype(np.int32),
        n_draws=np.broadcast_to(np.asarray(draws, dtype=np.int32), n).copy(),
        v=generator.random((n, columns)),
        ties=np.zeros((n, columns)),
        status=np.zeros(n, dtype=np.uint8) if status is None else status.astype(np.uint8),
        r_hat=np.ones(n),
        ess=np.full(n, 400.0),
        mean=np.zeros((n, columns)),
        sd=np.ones((n, columns)),
        truth=np.zeros((n, columns)),
    )


def uniform_ranks(
    generator: Generator, n: int, columns: int, draws: NDArray[Any] | int, correlation: float = 0.0
) -> Integers:
    """Ranks [n, columns], each exactly uniform on 0..draws, with an equicorrelated Gaussian copula across columns."""
    if correlation == 0.0:
        u = generator.random((n, columns))
    else:
        shared, own = generator.standard_normal((n, 1)), generator.standard_normal((n, columns))
        u = ndtr(np.sqrt(correlation) * shared + np.sqrt(1.0 - correlation) * own)
    outcomes = np.broadcast_to(np.asarray(draws), n)[:, None] + 1
    return np.minimum(np.floor(u * outcomes), outcomes - 1).astype(np.int64)


def normal_ranks(generator: Generator, shape: tuple[int, ...], sd_factor: float, bias: float) -> Integers:
    """Ranks among DRAWS independent draws of N(m + bias s, (sd_factor s)²) where the posterior is N(m, s²)."""
    return generator.binomial(DRAWS, ndtr((generator.standard_normal(shape) - bias) / sd_factor))


def prior_ranks(generator: Generator, shape: tuple[int, ...]) -> Integers:
    """Ranks of the log likelihood where draws are from the prior: mu ~ N(0, 1), ten observations of unit noise.

    The log likelihood falls with the distance from the data's mean, and given the data the draws are independent of
    the truth, so that a rank is binomial.
    """
    mu, error = generator.standard_normal(shape), np.abs(generator.standard_normal(shape)) / np.sqrt(10.0)
    mean = mu + generator.choice([-1.0, 1.0], shape) * error
    return generator.binomial(DRAWS, 1.0 - (ndtr(mean + error) - ndtr(mean - error)))


DRAW_LAWS: Mapping[str, Callable[[Generator, int], NDArray[Any]]] = {
    "9": lambda generator, n: np.full(n, 9),
    "99": lambda generator, n: np.full(n, 99),
    "20–99": lambda generator, n: generator.integers(20, 100, n),
}
"""Kept draws [n] by name; the last are those of fits whose effective sample sizes differ."""


def alarms(generator: Generator, n: int, draws: str, correlation: float, repetitions: int) -> Row:
    """How often runs of n simulations with uniform ranks end in FAIL."""
    found = [
        verdict(
            synthetic(uniform_ranks(generator, n, QUANTITIES, kept, correlation), kept, generator),
            n,
        )
        for kept in (DRAW_LAWS[draws](generator, n) for _ in range(repetitions))
    ]
    return {
        "what": "false alarms",
        "simulations": n,
        "draws": draws,
        "correlation": correlation,
        "quantities": QUANTITIES,
        "repetitions": repetitions,
        "level": RULES.alpha,
        "fail": rate(sum(each.outcome is Outcome.FAIL for each in found), repetitions),
        "by_evidence": rate(_because(found, Reason.SEQUENTIAL_EVIDENCE), repetitions),
        "by_band": rate(_because(found, Reason.BAND_TEST), repetitions),
    }


def _because(found: list[Verdict], reason: Reason) -> int:
    return sum(reason in each.reasons for each in found)


def streamed(generator: Generator, correlation: float, repetitions: int) -> Row:
    """How often uniform ranks are failed when every simulation up to LONGEST is looked at, and by the naive way.

    The e-process fails a run for good when it crosses, so the verdict at the end tells whether it ever did. The naive
    way repeats the fixed test, of one quantity or of all with Bonferroni's correction, every LOOK_EVERY simulations.
    """
    looks = range(LOOK_EVERY, LONGEST + 1, LOOK_EVERY)
    crossed = failed = naive_one = naive_all = 0
    for _ in range(repetitions):
        ledger = synthetic(uniform_ranks(generator, LONGEST, QUANTITIES, DRAWS, correlation), DRAWS, generator)
        found = verdict(ledger, LONGEST)
        crossed += Reason.SEQUENTIAL_EVIDENCE in found.reasons
        failed += found.outcome is Outcome.FAIL
        u = ledger.u
        naive_one += any(_leaves(u[:look, 0], RULES.alpha) for look in looks)
        naive_all += any(
            _leaves(u[:look, column], RULES.alpha / QUANTITIES) for look in looks for column in range(QUANTITIES)
        )
    return {
        "what": "streamed",
        "simulations": LONGEST,
        "correlation": correlation,
        "quantities": QUANTITIES,
        "repetitions": repetitions,
        "level": RULES.alpha,
        "level_sequential": RULES.alpha_sequential,
        "by_evidence": rate(crossed, repetitions),
        "fail": rate(failed, repetitions),
        "look_every": LOOK_EVERY,
        "naive_one": rate(naive_one, repetitions),
        "naive_all": rate(naive_all, repetitions),
    }


def _leaves(u: Floats, level: float, cuts: int = RULES.cuts) -> bool:
    """Whether the counts of u [N] leave their simultaneous band, which is p <= level."""
    limits, path = band(len(u), cuts, level), counts(u, cuts)
    return bool(np.any(path < limits.lower) or np.any(path > limits.upper))


@dataclass(frozen=True)
class Error:
    """An error of one quantity: ranks of any shape, its parameters where `power` knows them, and the reference.

    reference and reference_16: power at SIZES for one quantity and at a sixteenth of the level; reference_n and
    reference_n_16: median number of simulations at which an e-value crosses 20 and 320. None: not in the table.
    """

    name: str
    ranks: Callable[[Generator, tuple[int, ...]], Integers]
    normal: tuple[float, float] | None
    reference: tuple[float, ...]
    reference_16: tuple[float, ...]
    reference_n: int | None = None
    reference_n_16: int | None = None


def _wrong(name: str, sd_factor: float, bias: float, *reference: Any) -> Error:
    return Error(name, lambda g, shape: normal_ranks(g, shape, sd_factor, bias), (sd_factor, bias), *reference)


_ALWAYS = (1.0, 1.0, 1.0, 1.0)
ERRORS = (
    _wrong("none", 1.0, 0.0, (0.04, 0.06, 0.07, 0.04), (0.0, 0.0, 0.0, 0.0)),
    _wrong("sd × .95", 0.95, 0.0, (0.06, 0.09, 0.12, 0.23), (0.00, 0.01, 0.01, 0.06)),
    _wrong("sd × .9", 0.9, 0.0, (0.13, 0.26, 0.49, 0.78), (0.01, 0.04, 0.14, 0.39), 442, 735),
    _wrong("sd × .8", 0.8, 0.0, (0.43, 0.78, 0.99, 1.0), (0.12, 0.32, 0.93, 1.0), 93, 157),
    _wrong("sd × .5", 0.5, 0.0, _ALWAYS, _ALWAYS, 11, 18),
    _wrong("bias .1 sd", 1.0, 0.1, (0.12, 0.18, 0.41, 0.72), (0.01, 0.03, 0.12, 0.35)),
    _wrong("bias .2 sd", 1.0, 0.2, (0.39, 0.67, 0.97, 1.0), (0.11, 0.24, 0.79, 0.99), 213, 388),
    _wrong("bias .5 sd", 1.0, 0.5, (0.99, 1.0, 1.0, 1.0), (0.91, 0.99, 1.0, 1.0), 37, 59),
    Error("prior as posterior", prior_ranks, None, _ALWAYS, _ALWAYS, 9, 14),
)
"""With the operating characteristics of the method reference (section 11; 300 to 400 repetitions, 20 cuts)."""


def power_table(generator: Generator, repetitions: int, errors: tuple[Error, ...] = ERRORS) -> list[Row]:
    """Power of the fixed test and detection by the e-process, one row per error.

    Repetitions of one error are columns of a single ledger, which the e-process keeps apart. In a run of QUANTITIES
    the others are right: their e-values are drawn once and shared by all errors.
    """
    others = np.logaddexp.reduce(
        [_running(uniform_ranks(generator, LONGEST, repetitions, DRAWS), generator) for _ in range(QUANTITIES - 1)],
        axis=0,
    )
    rows: list[Row] = []
    for error in errors:
        ledger = synthetic(error.ranks(generator, (LONGEST, repetitions)), DRAWS, generator)
        running, u = evidence(ledger, worst_case=True).quantity, ledger.u
        overall = np.logaddexp(running, others) - np.log(QUANTITIES)
        sizes = []
        for index, n in enumerate(SIZES):
            for quantities, reference in ((1, error.reference), (QUANTITIES, error.reference_16)):
                level = _TABLE_ALPHA / quantities
                exact = {
                    f"exact_{cuts}": None if error.normal is None else power(n, *error.normal, alpha=level, cuts=cuts)
                    for cuts in (_TABLE_CUTS, RULES.cuts)
                }
                hits = {
                    cuts: sum(_leaves(column, level, cuts) for column in u[:n].T) for cuts in (_TABLE_CUTS, RULES.cuts)
                }
                sizes.append(
                    {
                        "simulations": n,
                        "quantities": quantities,
                        "reference": reference[index],
                        **exact,
                        **{f"simulated_{cuts}": rate(number, repetitions) for cuts, number in hits.items()},
                    }
                )
        rows.append(
            {
                "what": "power",
                "error": error.name,
                "repetitions": repetitions,
                "level": _TABLE_ALPHA,
                "cuts": RULES.cuts,
                "sizes": sizes,
                "sequential": {
                    "table_one": _crossing(running, -np.log(_TABLE_ALPHA)) | {"reference": error.reference_n},
                    "table_all": _crossing(running, np.log(QUANTITIES / _TABLE_ALPHA))
                    | {"reference": error.reference_n_16},
                    "rules_one": _crossing(running, RULES.log_threshold),
                    "rules_all": _crossing(overall, RULES.log_threshold),
                },
            }
        )
    return rows


def _running(ranks: Integers, generator: Generator) -> Floats:
    """Log e-values [N, columns] of ranks [N, columns]."""
    return evidence(synthetic(ranks, DRAWS, generator), worst_case=True).quantity


def _crossing(running: Floats, threshold: float) -> Row:
    """Share of the columns [N, R] that ever reach the threshold and the median N at which; None beyond the end."""
    reached = running >= threshold
    ever = reached.any(axis=0)
    when = np.where(ever, reached.argmax(axis=0) + 1.0, np.inf)
    median = float(np.quantile(when, 0.5, method="lower"))
    return {**rate(int(ever.sum()), ever.size), "median_n": median if np.isfinite(median) else None}


def detectable(generator: Generator, n: int, repetitions: int) -> list[Row]:
    """What a run of n simulations says that it detects, and how often it does: one row per kind of error.

    by_band: the wrong quantity's p-value is at most Holm's first step, which is what the statement is about;
    named: the verdict names that quantity; fail: the verdict is FAIL, for whatever reason.
    """
    stated = detectable_error(n, QUANTITIES, RULES.alpha_fixed, draws=DRAWS, cuts=RULES.cuts)
    rows: list[Row] = []
    for kind, sd_factor, bias in (
        ("sd too small", stated.sd_factor_low, 0.0),
        ("sd too large", stated.sd_factor_high, 0.0),
        ("bias", 1.0, stated.bias),
    ):
        head = {"what": "detectable", "kind": kind, "simulations": n, "quantities": QUANTITIES}
        if sd_factor is None or bias is None:
            rows.append(head | {"size": None})
            continue
        by_band = named = fail = 0
        for _ in range(repetitions):
            ranks = uniform_ranks(generator, n, QUANTITIES, DRAWS)
            ranks[:, 1] = normal_ranks(generator, (n,), sd_factor, bias)
            found = verdict(synthetic(ranks, DRAWS, generator), n)
            p = found.quantities[1].p
            by_band += p is not None and p <= RULES.alpha_fixed / QUANTITIES
            named += found.quantities[1].failing
            fail += found.outcome is Outcome.FAIL
        rows.append(
            head
            | {
                "size": bias if kind == "bias" else sd_factor,
                "promised": stated.power,
                "repetitions": repetitions,
                "by_band": rate(by_band, repetitions),
                "named": rate(named, repetitions),
                "fail": rate(fail, repetitions),
            }
        )
    return rows


@dataclass(frozen=True)
class Simulated:
    """theta [N] ~ N(0, 1), y [N] ~ N(theta, 1), and z [N], the posterior mean minus the truth in posterior sds."""

    theta: Floats
    y: Floats

    @property
    def z(self) -> Floats:
        return (0.5 * self.y - self.theta) / np.sqrt(0.5)


@dataclass(frozen=True)
class Scenario:
    """Which fits fail, from (generator, simulated); `wrong`: their posteriors lie 3 sd too low.

    reference: false alarms at 5 % with one quantity when failed fits are dropped (method reference, section 9).
    """

    name: str
    fails: Callable[[Generator, Simulated], NDArray[np.bool_]]
    wrong: bool = False
    reference: float | None = None


def _largest(values: Floats, share: float) -> NDArray[np.bool_]:
    chosen = np.zeros(values.size, dtype=bool)
    chosen[np.argsort(values)[values.size - round(share * values.size) :]] = True
    return chosen


SCENARIOS = (
    Scenario("none", lambda g, s: np.zeros(s.y.size, dtype=bool), reference=0.055),
    Scenario("|y| > 1.5", lambda g, s: np.abs(s.y) > 1.5, reference=0.06),
    Scenario("truth > 1", lambda g, s: s.theta > 1.0, reference=1.0),
    Scenario("5 % largest |z|", lambda g, s: _largest(np.abs(s.z), 0.05), reference=0.64),
    Scenario("1 % largest |z|", lambda g, s: _largest(np.abs(s.z), 0.01), reference=0.09),
    Scenario("3 % largest truths", lambda g, s: _largest(s.theta, 0.03)),
    # exp(1.5 theta) has mean exp(1.125): 3 % fail, most of them with large truths.
    Scenario(
        "3 % on average, more for large truths",
        lambda g, s: g.random(s.y.size) < np.minimum(1.0, 0.03 * np.exp(1.5 * s.theta - 1.125)),
    ),
    Scenario("3 % largest truths, wrong posteriors", lambda g, s: _largest(s.theta, 0.03), wrong=True),
    Scenario("10 % at random, wrong posteriors", lambda g, s: _largest(g.random(s.y.size), 0.1), wrong=True),
)


def failures(generator: Generator, scenario: Scenario, n: int, repetitions: int) -> Row:
    """Outcomes of runs in which fits fail, and what a tool says that drops them without a word.

    Two quantities, log likelihood and parameter, whose ranks are those among independent draws. The rival keeps the
    other rows and passes what the band test does not reject at RULES.alpha with Holm's adjustment; `rival_one` is its
    rejection rate with the parameter alone.
    """
    outcomes = dict.fromkeys(("PASS", "FAIL", "INCONCLUSIVE"), 0)
    rival_pass = rival_one = 0
    shares = []
    for _ in range(repetitions):
        theta = generator.standard_normal(n)
        simulated = Simulated(theta, theta + generator.standard_normal(n))
        failed = scenario.fails(generator, simulated)
        centre = 0.5 * simulated.y - 3.0 * np.sqrt(0.5) * (failed & scenario.wrong)
        draws = centre[:, None] + np.sqrt(0.5) * generator.standard_normal((n, DRAWS))
        y = simulated.y[:, None]
        ranks = np.column_stack(
            [
                np.sum(np.abs(draws - y) > np.abs(theta[:, None] - y), axis=1),
                np.sum(draws < theta[:, None], axis=1),
            ]
        )
        ledger = synthetic(ranks, DRAWS, generator, np.where(failed, Status.NOT_CONVERGED, Status.OK))
        outcomes[verdict(ledger, n).outcome.value] += 1
        kept = ledger.rows(ledger.accepted).u
        p = np.asarray([p_value_of(column, RULES.cuts) for column in kept.T])
        rival_pass += bool(np.all(holm(p) > RULES.alpha))
        rival_one += bool(p[1] <= RULES.alpha)
        shares.append(float(failed.mean()))
    return {
        "what": "failures",
        "fails": scenario.name,
        "wrong": scenario.wrong,
        "simulations": n,
        "repetitions": repetitions,
        "share_failed": float(np.mean(shares)),
        "outcomes": outcomes,
        "rival_pass": rate(rival_pass, repetitions),
        "rival_one": rate(rival_one, repetitions),
        "reference": scenario.reference,
    }


def measure(repetitions: int) -> list[Row]:
    """All rows; `repetitions` are those of the false alarms, the dearer parts take a share of them."""
    half, quarter, tenth = (max(1, repetitions // part) for part in (2, 4, 10))
    streams = iter(np.random.SeedSequence(_SEED).spawn(100))
    rows: list[Row] = []

    def add(make: Callable[[Generator], Row | list[Row]]) -> None:
        start = time.perf_counter()
        made = make(np.random.default_rng(next(streams)))
        several = made if isinstance(made, list) else [made]
        seconds = time.perf_counter() - start
        for row in several:
            rows.append(row | {"seconds": seconds / len(several)})
            print({key: value for key, value in rows[-1].items() if key != "sizes"}, flush=True)

    for n, laws in ((200, tuple(DRAW_LAWS)), (1000, ("99",))):
        for law, correlation in itertools.product(laws, _CORRELATIONS):
            add(partial(alarms, n=n, draws=law, correlation=correlation, repetitions=repetitions))
    for correlation in _CORRELATIONS:
        add(partial(streamed, correlation=correlation, repetitions=half))
    add(partial(power_table, repetitions=quarter))
    for n in (200, 1000):
        add(partial(detectable, n=n, repetitions=half))
    for n, scenario in itertools.product((500, 1000), SCENARIOS):
        if n == 500 or scenario.name.startswith("3 %"):
            add(partial(failures, scenario=scenario, n=n, repetitions=tenth))
    return rows


def main() -> None:
    """Simulate the error rates and the power of the verdict on one core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.calibration", description=main.__doc__)
    parser.add_argument("--repetitions", type=int, default=2000, help="of the false alarms; others take fewer")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows = machine.fresh(measure, arguments.repetitions, core=machine.cores()[-1])
    machine.write(arguments.output, "calibration", here, rows)


if __name__ == "__main__":
    main()
