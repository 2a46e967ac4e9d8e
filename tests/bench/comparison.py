"""Conclusions of our SBC beside those of simuk and of a hand-written loop, on small models that are right or wrong.

Truths and data come from simulators in plain NumPy. All three judge the same data sets, fitted with the same program:
ours as a `Target`, theirs in NumPyro. A wrong model is wrong in the program only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from jax.scipy.stats import norm
from numpy.typing import NDArray
from numpyro import distributions as dist
from numpyro.infer import MCMC, NUTS
from scipy import stats

from engine.arrays import Integers
from engine.distributions.distribution import Distribution, HalfNormal, Normal
from engine.inference.backend import Backend
from engine.inference.batch import BatchedHmc
from engine.inference.fit import BatchFit, Purpose, Seed
from engine.inference.precision import enable_float64
from engine.inference.prior_map import PriorMap, tabulate
from engine.inference.target import observed_curvature
from engine.models.protocol import Model, PriorSample
from engine.rules.quantity_names import LOG_LIKELIHOOD
from engine.sbc.band import p_value_of
from engine.sbc.e_process import evidence
from engine.sbc.ledger import RankLedger
from engine.sbc.shard import run_shard
from engine.sbc.verdict import holm, verdict
from engine.sbc.verdict_rules import RULES
from tests.bench import machine

__all__ = ["PROBLEMS", "Problem", "ours"]

Floats = NDArray[np.float64]

_SEED = Seed.of(1200)
_BINS = 20
_WARMUP, _DRAWS = 500, 500
_OWN_DATA = "normal, precision"
"""The wrong model that simuk also judges by data of its own: once is enough to see what it says."""

_N = 20
"""Observations of the first two models."""

X = np.random.default_rng(1201).standard_normal(_N)
SCHOOL_SD = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])  # Rubin 1981


@dataclass(frozen=True)
class Problem:
    """A model and the program that is meant to be it.

    priors: by parameter, of the simulator; program_priors: those of the program, which may be wrong
    mean_and_sd: (theta [D, lanes], index) to the right mean and sd [T, lanes] of the data
    program_mean_and_sd: the same, as the program has it
    rows: how many of the first data points the program's likelihood uses, None for all
    wrong: what is wrong with the program, empty for a right one; only_data: parameter ranks cannot show it
    """

    name: str
    priors: Mapping[str, Distribution]
    program_priors: Mapping[str, Distribution]
    mean_and_sd: Callable[[Any], tuple[Any, Any]]
    program_mean_and_sd: Callable[[Any], tuple[Any, Any]]
    observations: int
    rows: int | None = None
    wrong: str = ""
    only_data: bool = False


def _column(values: Floats, theta: Any) -> Any:
    """Values [T] as [T, 1] in the precision of theta, so that a float32 schedule stays one."""
    return values.astype(theta.dtype)[:, None]


_ONES, _SHIFTED = np.ones(_N), np.roll(X, 1)


def _normal(theta: Any) -> tuple[Any, Any]:
    one = _column(_ONES, theta)
    return theta[0] * one, theta[1] * one


def _normal_precision(theta: Any) -> tuple[Any, Any]:
    one = _column(_ONES, theta)
    return theta[0] * one, theta[1] ** -0.5 * one


def _regression(theta: Any) -> tuple[Any, Any]:
    return theta[0] + theta[1] * _column(X, theta), theta[2] * _column(_ONES, theta)


def _regression_shifted(theta: Any) -> tuple[Any, Any]:
    return theta[0] + theta[1] * _column(_SHIFTED, theta), theta[2] * _column(_ONES, theta)


def _schools(theta: Any) -> tuple[Any, Any]:
    return theta[0] + theta[1] * theta[2:], _column(SCHOOL_SD, theta)


_NORMAL = {"mu": Normal(0.0, 1.0), "sigma": HalfNormal(1.0)}
_REGRESSION = {"intercept": Normal(0.0, 1.0), "slope": Normal(0.0, 1.0), "sigma": HalfNormal(1.0)}
_EFFECTS = {f"effect[{school}]": Normal(0.0, 1.0) for school in range(1, 9)}
_SCHOOLS = {"mu": Normal(0.0, 5.0), "tau": HalfNormal(5.0), **_EFFECTS}

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("normal", _NORMAL, _NORMAL, _normal, _normal, _N),
        Problem("regression", _REGRESSION, _REGRESSION, _regression, _regression, _N),
        Problem("eight schools", _SCHOOLS, _SCHOOLS, _schools, _schools, 8),
        Problem(
            "normal, precision",
            _NORMAL,
            _NORMAL,
            _normal,
            _normal_precision,
            _N,
            wrong="sd read as a precision",
        ),
        Problem(
            "regression, index",
            _REGRESSION,
            _REGRESSION,
            _regression,
            _regression_shifted,
            _N,
            wrong="x one row off",
        ),
        Problem(
            "eight schools, prior",
            _SCHOOLS,
            _SCHOOLS | {"mu": Normal(0.0, 5.0**0.5)},
            _schools,
            _schools,
            8,
            wrong="5 read as the variance of mu's prior, not its sd",
        ),
        Problem(
            "normal, half",
            _NORMAL,
            _NORMAL,
            _normal,
            _normal,
            _N,
            rows=_N // 2,
            wrong="likelihood of half of the data",
            only_data=True,
        ),
    )
}
"""By name: three right programs, three wrong ones, and one whose parameter ranks are uniform all the same."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Target:
    """The program as a target; log_likelihood, when it is ranked, is that of the right model on all data."""

    map: PriorMap
    problem: str = field(metadata={"static": True})

    noise_dimension = 1

    @property
    def dimension(self) -> int:
        return len(self.parameter_names)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(PROBLEMS[self.problem].priors)

    @property
    def quantity_names(self) -> tuple[str, ...]:
        return (*self.parameter_names, LOG_LIKELIHOOD)

    def log_likelihood(self, z: Array, y: Array) -> Array:
        problem = PROBLEMS[self.problem]
        mean, sd = problem.program_mean_and_sd(self.map.parameters(z))
        return jnp.sum(norm.logpdf(y, mean, sd)[: problem.rows], axis=0)

    def curvature(self, z: Array, y: Array) -> Array:
        return observed_curvature(self.log_likelihood, z, y)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        theta = self.map.parameters(z)
        mean, sd = PROBLEMS[self.problem].mean_and_sd(theta)
        return jnp.concatenate([theta, jnp.sum(norm.logpdf(y, mean, sd), axis=0)[None]])


@dataclass(frozen=True)
class _Model:
    """What `run_shard` needs of a model: the simulator and the fit of the program."""

    problem: Problem

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(self.problem.priors)

    @property
    def quantity_names(self) -> tuple[str, ...]:
        return (*self.parameter_names, LOG_LIKELIHOOD)

    def sample_prior(self, seed: Seed, simulations: Integers) -> PriorSample:
        """Truths [S] and data [T, S], one simulation's streams after another."""
        theta, y = [], []
        for i in simulations:
            prior, noise = seed.generator(int(i), Purpose.PRIOR), seed.generator(int(i), Purpose.DATA)
            theta.append([float(each.sample(prior, 1)[0]) for each in self.problem.priors.values()])
            mean, sd = (np.asarray(part) for part in self.problem.mean_and_sd(np.asarray(theta[-1])[:, None]))
            y.append((mean + sd * noise.standard_normal((self.problem.observations, 1)))[:, 0])
        truths, data = np.asarray(theta).T, np.asarray(y).T
        mean, sd = (np.asarray(part) for part in self.problem.mean_and_sd(truths))
        parameters = dict(zip(self.parameter_names, truths, strict=True))
        log_likelihood = np.sum(stats.norm.logpdf(data, mean, sd), axis=0)
        return PriorSample(parameters, data, parameters | {LOG_LIKELIHOOD: log_likelihood})

    def fit(self, y: Floats, seed: Seed, simulations: Integers, inference: Backend) -> BatchFit:
        target = _Target(tabulate(list(self.problem.program_priors.values())), self.problem.name)
        return inference.fit(target, y, seed, simulations)


def _program(problem: Problem) -> Callable[..., None]:
    """The program in NumPyro: a scalar site per parameter, the effects of the schools one site of eight."""
    scalars = {name: prior for name, prior in problem.program_priors.items() if not name.startswith("effect")}

    def program(y: Any = None) -> None:
        theta = [
            numpyro.sample(name, dist.HalfNormal(p.scale) if isinstance(p, HalfNormal) else dist.Normal(p.mean, p.sd))
            for name, p in scalars.items()
        ]
        together = jnp.stack(theta)
        if len(scalars) < len(problem.program_priors):
            effect = numpyro.sample("effect", dist.Normal(0.0, 1.0).expand([8]).to_event(1))
            together = jnp.concatenate([together, effect])
        mean, sd = (part[: problem.rows, 0] for part in problem.program_mean_and_sd(together[:, None]))
        numpyro.sample("y", dist.Normal(mean, sd), obs=None if y is None else y[: problem.rows])

    return program


def _rank_columns(problem: Problem, ranks: Mapping[str, Any]) -> Floats:
    """Ranks [S, D] of sites by name, in the order of the parameters."""
    columns = [np.asarray(ranks[name]).reshape(-1) for name in problem.priors if not name.startswith("effect")]
    if "effect" in ranks:
        columns += list(np.asarray(ranks["effect"]).reshape(-1, 8).T)
    return np.stack(columns, axis=1).astype(np.float64)


def ours(problem: Problem, simulations: int) -> dict[str, Any]:
    """The verdict of `run_shard` on the settings of the service; seconds with compilation, and again without."""
    model = cast("Model", _Model(problem))
    settings = BatchedHmc.simulation(len(problem.priors))
    start = time.perf_counter()
    ledger = run_shard(model, _SEED, np.arange(simulations), settings)
    found = verdict(ledger, simulations)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    verdict(run_shard(model, _SEED, np.arange(simulations), settings), simulations)
    smallest = min((q.p_holm, q.quantity) for q in found.quantities if q.p_holm is not None)
    return {
        "tool": "ours",
        "conclusion": found.outcome.value,
        "reasons": [reason.value for reason in found.reasons],
        "failing": list(found.failing),
        "smallest_p": smallest[0],
        "quantity": smallest[1],
        "not_ok": found.failure_rate,
        "first_detected": _first(ledger, simulations),
        "seconds": cold,
        "warm_seconds": time.perf_counter() - start,
    }


def _first(ledger: RankLedger, simulations: int) -> int | None:
    """Simulations after which the e-process announced FAIL, None if it never did."""
    crossed = np.flatnonzero(evidence(ledger, worst_case=True).overall >= RULES.log_threshold)
    return int(crossed[0]) + 1 if crossed.size else None


def simuk(problem: Problem, simulations: int, *, own_data: bool = False) -> dict[str, Any]:
    """simuk's ranks under the exact band test of every parameter with Holm's adjustment at `RULES.alpha`.

    simuk itself offers a plot with a 95 % band per parameter and no verdict. It is handed our truths and data sets;
    with `own_data` it draws both from the program, as it does by itself.
    """
    import simuk as package

    sample = _Model(problem).sample_prior(_SEED, np.arange(simulations))
    start = time.perf_counter()
    sbc = package.SBC(
        NUTS(_program(problem)),
        num_simulations=simulations,
        sample_kwargs={"num_warmup": _WARMUP, "num_samples": _DRAWS, "progress_bar": False},
        seed=1,
        # Without data here simuk takes y for a parameter.
        data_dir={"y": jnp.asarray(sample.y[:, 0])},
    )
    if not own_data:
        truths = {name: value for name, value in sample.parameters.items() if not name.startswith("effect")}
        if effects := [value for name, value in sample.parameters.items() if name.startswith("effect")]:
            truths["effect"] = np.stack(effects, axis=1)
        sbc._get_prior_predictive_samples_numpyro = lambda: (truths, {"y": jnp.asarray(sample.y.T)})
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar has no switch
        sbc.run_simulations()
    seconds = time.perf_counter() - start
    ranks = _rank_columns(problem, sbc.simulations["prior_sbc"])
    if ranks.shape != (simulations, len(problem.priors)):
        raise RuntimeError(f"simuk returned ranks of shape {ranks.shape}")
    uniform = np.random.default_rng(1202).random(ranks.shape)
    raw = np.asarray([p_value_of(u) for u in ((ranks + uniform) / (_DRAWS + 1.0)).T])
    return _rival("simuk, own data" if own_data else "simuk", problem, holm(raw), seconds)


def loop(problem: Problem, simulations: int) -> dict[str, Any]:
    """NUTS compiled once, one simulation after another; chi-square of the ranks on 20 bins, Bonferroni's adjustment."""
    sample = _Model(problem).sample_prior(_SEED, np.arange(simulations))
    start = time.perf_counter()
    program = _program(problem)

    @jax.jit
    def fit(key: Array, data: Array) -> dict[str, Array]:
        mcmc = MCMC(NUTS(program), num_warmup=_WARMUP, num_samples=_DRAWS, progress_bar=False)
        mcmc.run(key, y=data)
        return mcmc.get_samples()

    truths = np.stack(list(sample.parameters.values()), axis=1)
    ranks = np.empty(truths.shape)
    for i in range(simulations):
        draws = fit(jax.random.key(i), jnp.asarray(sample.y[:, i]))
        flat = [np.asarray(draws[name])[:, None] for name in problem.priors if not name.startswith("effect")]
        flat += [np.asarray(draws["effect"])] if "effect" in draws else []
        ranks[i] = np.sum(np.concatenate(flat, axis=1) < truths[i], axis=0)
    seconds = time.perf_counter() - start
    counts = [np.histogram(column, _BINS, (0, _DRAWS))[0] for column in ranks.T]
    adjusted = np.minimum(1.0, len(counts) * np.asarray([stats.chisquare(each).pvalue for each in counts]))
    return _rival("loop", problem, adjusted, seconds)


def _rival(tool: str, problem: Problem, p: Floats, seconds: float) -> dict[str, Any]:
    failing = [name for name, value in zip(problem.priors, p, strict=True) if value <= RULES.alpha]
    return {
        "tool": tool,
        "conclusion": "not uniform" if failing else "uniform",
        "failing": failing,
        "smallest_p": float(p.min()),
        "quantity": list(problem.priors)[int(np.argmin(p))],
        "seconds": seconds,
    }


def measure(name: str, simulations: int) -> list[dict[str, Any]]:
    """One row per tool for a problem."""
    enable_float64()
    problem = PROBLEMS[name]
    found = [ours(problem, simulations), loop(problem, simulations), simuk(problem, simulations)]
    if name == _OWN_DATA:
        found.append(simuk(problem, simulations, own_data=True))
    head = {
        "problem": name,
        "wrong": problem.wrong,
        "only_data": problem.only_data,
        "parameters": len(problem.priors),
        "simulations": simulations,
    }
    return [head | row for row in found]


def main() -> None:
    """Let three tools judge each model, in a process of its own on one core."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.comparison", description=main.__doc__)
    parser.add_argument("--problems", nargs="*", choices=tuple(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--simulations", type=int, default=100, help="of a right model; a wrong one gets half")
    parser.add_argument("--output", type=Path, required=True, help="folder of the result files")
    arguments = parser.parse_args()
    here = machine.describe()
    rows: list[dict[str, Any]] = []
    for name in arguments.problems:
        # A wrong model needs no PASS, for which 100 simulations are the least, and simuk compiles for every single one.
        simulations = arguments.simulations // 2 if PROBLEMS[name].wrong else arguments.simulations
        for row in machine.fresh(measure, name, simulations, core=machine.cores()[-1]):
            rows.append(row)
            print(
                f"{name}: {row['tool']} says {row['conclusion']} ({', '.join(row['failing']) or 'none'}), smallest "
                f"p {row['smallest_p']:.2g} ({row['quantity']}), {row['seconds']:.1f} s",
                flush=True,
            )
        machine.write(arguments.output, "comparison", here, rows)


if __name__ == "__main__":
    main()
