"""The recentred factor from draws beside the exact one: how often a result that is shown lies within its stated error.

Curves come from 16 chains of 400 autocorrelated draws of an exactly known posterior, as production has them. A result
that says UNRELIABLE claims nothing; every other one claims its Monte Carlo error, and the tail bracket beside it.
"""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from engine.conflict.analysis import BeliefConflict, analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.reliability import Status
from engine.conflict.severity import severity
from engine.distributions.distribution import Beta, Distribution, Normal, Uniform
from tests.bench import machine
from tests.bench.conflict_calibration import autocorrelated

__all__ = ["DISTANCES", "SPREADS", "Found", "Truth", "counted", "located", "one_sided", "stress", "summarised"]

Floats = NDArray[np.float64]
Row = dict[str, Any]

SPREADS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""sd of the beliefs beside data of sd .05, as in the TV example."""

DISTANCES = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
"""Of the belief's mean from the estimate, in sds of the data or of the predictive."""

_ESTIMATE, _S = 0.25, 0.05
_MONTHS = 24.0
_CHAINS, _DRAWS, _CORRELATION = 16, 400, 0.3
"""6400 draws worth 6400 · .7 / 1.3 = 3400."""

T95 = float(stats.t.ppf(0.975, 15))
"""Standard errors in a 95 % interval: they come from 16 groups of draws."""

_SEED = 1800


@dataclass(frozen=True)
class Truth:
    """A belief, the law of the draws, the reference prior, and the exact log of the recentred factor."""

    case: str
    belief: Distribution
    posterior: Distribution
    reference: Distribution
    log_bf: float


def located(distance: float, unit: str, tau: float) -> Truth:
    """A normal belief of sd `tau` so many sds of the `unit` above the TV estimate; a factor of exp(z²/2) exactly."""
    reference = Normal(0.5, 10.0)
    v = math.hypot(tau, _S)
    apart = distance * (_S if unit == "data" else v)
    precision = _S**-2 + reference.sd**-2
    posterior = Normal((_ESTIMATE * _S**-2 + reference.mean * reference.sd**-2) / precision, precision**-0.5)
    belief = Normal(_ESTIMATE + apart, tau)
    return Truth(f"{distance:g} sds of the {unit}, tau {tau:g}", belief, posterior, reference, 0.5 * (apart / v) ** 2)


def counted(alpha: float, beta: float, successes: int, trials: int) -> Truth:
    """A beta belief about 0 < successes < trials, flat reference; the best shift by a scan of its own quadrature."""
    u = np.linspace(-25.0, 25.0, 20001)
    log_l = successes * special.log_expit(u) + (trials - successes) * special.log_expit(-u)

    def log_m(shift: float) -> float:
        at = u - shift
        log_p = alpha * special.log_expit(at) + beta * special.log_expit(-at) - special.betaln(alpha, beta)
        return float(special.logsumexp(log_l + log_p)) + math.log(u[1] - u[0])

    best = max(log_m(float(shift)) for shift in np.linspace(-1.0, 6.0, 1401))
    name = f"Beta({alpha:g}, {beta:g}), {successes} of {trials}"
    own = special.betaln(alpha + successes, beta + trials - successes) - special.betaln(alpha, beta)
    posterior = Beta(1.0 + successes, 1.0 + trials - successes)
    return Truth(name, Beta(alpha, beta), posterior, Uniform(0.0, 1.0), best - float(own))


def one_sided(alpha: float, beta: float, trials: int) -> Truth:
    """A beta belief where none of the trials succeeds: the likelihood rises to 1 at zero, and so does the supremum."""
    own = special.betaln(alpha, beta + trials) - special.betaln(alpha, beta)
    name = f"Beta({alpha:g}, {beta:g}), 0 of {trials}"
    return Truth(name, Beta(alpha, beta), Beta(1.0, 1.0 + trials), Uniform(0.0, 1.0), -float(own))


@dataclass(frozen=True)
class Found:
    """One analysis beside the truth; all figures are logs of the recentred factor."""

    truth: Truth
    result: BeliefConflict

    @cached_property
    def error(self) -> float:
        """Found minus true."""
        return self.result.recentred.log_bf - self.truth.log_bf

    @property
    def shown(self) -> bool:
        """Whether the service would give a severity."""
        return self.result.status is not Status.UNRELIABLE

    @property
    def within_mcse(self) -> bool:
        """Whether the truth lies within the 95 % interval of the stated Monte Carlo error."""
        return abs(self.error) <= T95 * self.result.recentred.mcse

    @property
    def stated(self) -> float:
        """The largest error that the result admits: that interval, or the tail bracket if that is more."""
        factor = self.result.recentred
        return max(T95 * factor.mcse, abs(factor.tail_bracket - factor.log_bf))

    @property
    def within_stated(self) -> bool:
        """Whether the truth lies within that."""
        return abs(self.error) <= self.stated

    @property
    def mislabelled(self) -> bool:
        """Whether a severity is given as sure, status OK, that is not the exact one."""
        return self.result.status is Status.OK and self.result.severity is not severity(self.truth.log_bf)


def stress(truths: Sequence[Truth], seeds: Sequence[int]) -> Iterator[Found]:
    """Analyse every belief with every seed; truths of one posterior and reference share their draws."""
    made: dict[tuple[int, Distribution, Distribution], tuple[Floats, EvidenceCurve]] = {}
    for seed in seeds:
        for truth in truths:
            key = (seed, truth.posterior, truth.reference)
            if key not in made:
                generator = np.random.default_rng([_SEED, seed])
                draws = autocorrelated(truth.posterior, generator, _CHAINS, _DRAWS, _CORRELATION)
                made[key] = draws, EvidenceCurve.from_draws(draws, truth.reference, _MONTHS)
            draws, curve = made[key]
            yield Found(truth, analyse_belief(truth.belief, curve, draws=draws))


def summarised(found: Sequence[Found]) -> Row:
    """One row per case: the share that is shown, coverage of what is shown, and the worst that is shown silently."""
    truth = found[0].truth
    shown = [one for one in found if one.shown]
    silent = max(shown, key=lambda one: abs(one.error) - one.stated, default=None)
    khats = [one.result.recentred.khat for one in found]
    return {
        "what": "estimator",
        "case": truth.case,
        "log_bf": truth.log_bf,
        "seeds": len(found),
        "shown": len(shown),
        "borderline": sum(one.result.status is Status.BORDERLINE for one in found),
        "within_interval": sum(one.within_mcse for one in shown),
        "within_stated": sum(one.within_stated for one in shown),
        "mislabelled": sum(one.mislabelled for one in found),
        "rms_error": float(np.sqrt(np.mean([one.error**2 for one in found]))),
        "mean_error": float(np.mean([one.error for one in found])),
        "median_mcse": float(np.median([one.result.recentred.mcse for one in found])),
        "median_stated": float(np.median([one.stated for one in found])),
        "median_khat": float(np.median([math.inf if khat is None else khat for khat in khats])),
        "worst_silent": None if silent is None else {"error": silent.error, "stated": silent.stated},
        "refused": sorted(
            {re.sub(r"[\d.]+", "…", reason) for one in found if not one.shown for reason in one.result.reasons}
        ),
    }


TRUTHS = (
    *(located(distance, unit, tau) for unit in ("data", "predictive") for tau in SPREADS for distance in DISTANCES),
    *(counted(alpha, 4.0 * alpha, 15, 20) for alpha in (2.0, 4.0, 8.0, 20.0)),
    *(one_sided(alpha, beta, 20) for alpha, beta in ((2.0, 8.0), (4.0, 16.0), (8.0, 8.0), (16.0, 4.0))),
)


def measure(seeds: int) -> list[Row]:
    """One row per truth."""
    start = time.perf_counter()
    found: dict[str, list[Found]] = {truth.case: [] for truth in TRUTHS}
    for number, one in enumerate(stress(TRUTHS, range(seeds))):
        found[one.truth.case].append(one)
        if number % len(TRUTHS) == len(TRUTHS) - 1:
            print(f"{number + 1} analyses, {time.perf_counter() - start:.0f} s", flush=True)
    rows = [summarised(each) for each in found.values()]
    print("\n".join(_text(row) for row in rows), flush=True)
    return rows


def _text(row: Mapping[str, Any]) -> str:
    silent = row["worst_silent"]
    worst = "" if silent is None else f", worst {silent['error']:+.2f} beside {silent['stated']:.2f} stated"
    return (
        f"{row['case']}: log BF {row['log_bf']:.2f}, shown {row['shown']} of {row['seeds']}, within the 95 % interval "
        f"{row['within_interval']}, within stated {row['within_stated']}, mislabelled {row['mislabelled']}, error "
        f"{row['mean_error']:+.2f} rms {row['rms_error']:.2f}, mcse {row['median_mcse']:.2f}, k-hat "
        f"{row['median_khat']:.2f}{worst} {'; '.join(row['refused'])}"
    )


def main() -> None:
    """Stress the estimators of the recentred factor on one core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.conflict_estimators", description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="sets of draws per belief")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows = machine.fresh(measure, arguments.seeds, core=machine.cores()[-1])
    machine.write(arguments.output, "conflict_estimators", here, rows)


if __name__ == "__main__":
    main()
