"""The samplers that the batched SBC engine is measured against, on the same model and the same simulated data sets.

Every rival fits the model as its users write it: nothing is integrated out. `python -m tests.bench.rivals` measures
one rival at one size; a process each keeps one rival's caches from serving another.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from numpyro.infer import MCMC, NUTS

from engine.distributions.distribution import Beta, Distribution, HalfNormal, LogNormal, Normal
from engine.inference.batch import FitSettings
from engine.inference.diagnostics import ess_bulk, ess_tail, rank_r_hat
from engine.inference.fit import Seed
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, Parameterisation, Saturation
from tests.bench.cases import SIZES, case
from tests.oracle import numpyro_program

__all__ = ["Measurement", "compiled_nuts", "disagreement", "nutpie_loop", "simuk_seconds"]

Floats = NDArray[np.float64]

_SITES = ("media", "retention", "half_saturation", "coefficients", "sigma")
"""The sites of both programs; their elements in this order are the model's `parameter_names`."""


@dataclass(frozen=True)
class Measurement:
    """What one rival cost per simulation and how good its posteriors were.

    `seconds` holds the wall time of each timed simulation and `cpu_seconds` the process's CPU time, which on one core
    is the wall time without other people's jobs; `setup_seconds` is what is paid once (compilation, or the first fit
    where every fit compiles), in no entry.
    Per simulation, `ess_bulk` and `ess_tail` are the smallest over the parameters and `r_hat` the largest
    rank-normalised split R-hat of the single chain. `divergent` is the share of simulations with a divergence after
    the warm-up, None where the tool does not tell. A rival that is not installed has only a reason in `absent`.
    """

    rival: str
    parameters: int
    precision: str
    warmup: int
    draws: int
    seconds: tuple[float, ...] = ()
    cpu_seconds: tuple[float, ...] = ()
    setup_seconds: float = 0.0
    ess_bulk: tuple[float, ...] = ()
    ess_tail: tuple[float, ...] = ()
    r_hat: tuple[float, ...] = ()
    divergent: float | None = None
    absent: str | None = None

    @property
    def timed(self) -> int:
        """Number of simulations that were timed."""
        return len(self.seconds)

    @property
    def median_seconds(self) -> float:
        """Median over the simulations; NaN for an absent rival."""
        return float(np.median(self.seconds)) if self.seconds else float("nan")

    @property
    def mean_seconds(self) -> float:
        """Mean over the simulations, which is what a run of many simulations costs; NaN for an absent rival."""
        return float(np.mean(self.seconds)) if self.seconds else float("nan")

    @property
    def mean_cpu_seconds(self) -> float:
        """Mean CPU time over the simulations; NaN for an absent rival."""
        return float(np.mean(self.cpu_seconds)) if self.cpu_seconds else float("nan")

    def __str__(self) -> str:
        head = f"{self.rival}, {self.parameters} parameters, {self.precision}, {self.warmup}/{self.draws}"
        if self.absent is not None:
            return f"{head}: absent ({self.absent})"
        divergent = "unknown" if self.divergent is None else f"{self.divergent:.0%}"
        return (
            f"{head}: {self.timed} timed, s/simulation median {self.median_seconds:.3f} mean {self.mean_seconds:.3f} "
            f"(range {min(self.seconds):.3f}–{max(self.seconds):.3f}), CPU mean {self.mean_cpu_seconds:.3f}; "
            f"set-up {self.setup_seconds:.1f} s; "
            f"min ESS bulk median {np.median(self.ess_bulk):.0f} lowest {min(self.ess_bulk):.0f}, "
            f"tail median {np.median(self.ess_tail):.0f} lowest {min(self.ess_tail):.0f}; "
            f"max R-hat median {np.median(self.r_hat):.3f} highest {max(self.r_hat):.3f}; "
            f"simulations with divergences {divergent}"
        )


def simuk_seconds(
    model: AdditiveMmm,
    simulations: int,
    warmup: int = 500,
    draws: int = 500,
    *,
    precision: str = "float64",
    seed: Seed | None = None,
) -> Measurement:
    """Cost of simuk's SBC over the NumPyro program, on the data sets `model.sample_prior(seed, 0 … simulations - 1)`.

    simuk draws its data sets from the program; here it is handed the truths and data of `sample_prior`, so that it
    fits what the others fit. Everything it does for a simulation (set-up, compilation, sampling, ranks) is timed.
    """
    measurement = Measurement("simuk", len(model.parameter_names), precision, warmup, draws)
    simuk = _optional("simuk")
    if simuk is None:
        return dataclasses.replace(measurement, absent="simuk is not installed")
    sample = model.sample_prior(Seed.of(0) if seed is None else seed, np.arange(simulations))
    # The first data set comes twice: its first fit pays for imports and caches and counts as set-up.
    order = [0, *range(simulations)]
    truths = {
        site: np.stack([sample.parameters[name][order] for name in names], axis=1)
        for site, names in _names_by_site(model).items()
    }
    scaled = model.target_units(sample.y)[: model.n_observations].T[order]
    starts: list[Floats] = []
    posteriors: list[Mapping[str, Any]] = []
    with jax.enable_x64(precision == "float64"):
        sbc = simuk.SBC(
            NUTS(numpyro_program(model)),
            num_simulations=len(order),
            sample_kwargs={"num_warmup": warmup, "num_samples": draws, "progress_bar": False},
            seed=1,
            # Without data here simuk takes y for a parameter, and would then sample from the prior.
            data_dir={"y": jnp.asarray(model.target_units(model.observed[:, None])[: model.n_observations, 0])},
        )
        if sbc.observed_vars != ["y"]:
            raise RuntimeError(f"simuk observes {sbc.observed_vars}, not y")
        fit = sbc._get_posterior_samples_numpyro

        def recorded(data: Mapping[str, Array]) -> Any:
            starts.append(_now())
            posteriors.append(fit(data))
            return posteriors[-1]

        sbc._get_posterior_samples_numpyro = recorded
        sbc._get_prior_predictive_samples_numpyro = lambda: (truths, {"y": jnp.asarray(scaled)})
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar has no switch
            sbc.run_simulations()
        starts.append(_now())
    if len(posteriors) != len(order):
        raise RuntimeError(f"simuk fitted {len(posteriors)} of {len(order)} data sets")
    setup, *times = np.diff(starts, axis=0)
    fits = [_stack({site: posterior[site].values[0] for site in _SITES}) for posterior in posteriors[1:]]
    return dataclasses.replace(measurement, setup_seconds=float(setup[0]), **_timing(times), **_quality(fits))


def compiled_nuts(
    model: AdditiveMmm, y: Floats, warmup: int = 500, draws: int = 500, *, precision: str = "float64", seed: int = 0
) -> Measurement:
    """Cost of NumPyro's NUTS compiled once and run on y [T, S] in original units, one simulation after another."""
    return _measured(
        Measurement("compiled NUTS", len(model.parameter_names), precision, warmup, draws),
        _nuts(model, y, warmup, draws, precision, seed),
    )


def nutpie_loop(model: AdditiveMmm, y: Floats, tune: int = 500, draws: int = 500, *, seed: int = 0) -> Measurement:
    """Cost of nutpie on the same model in PyMC, compiled once, the data y [T, S] in original units swapped.

    nutpie computes in float64 only.
    """
    measurement = Measurement("nutpie", len(model.parameter_names), "float64", tune, draws)
    for name in ("nutpie", "pymc"):
        if _optional(name) is None:
            return dataclasses.replace(measurement, absent=f"{name} is not installed")
    return _measured(measurement, _nutpie(model, y, tune, draws, seed))


def disagreement(model: AdditiveMmm, y: Floats, draws: int = 2500) -> dict[str, float]:
    """Largest difference of a parameter's posterior mean from the batched engine's, in Monte Carlo errors, by rival.

    y [T] in original units. With D parameters, values up to about 4 are noise; more means two models.
    """
    enable_float64()
    data = np.asarray(y)[:, None]
    ours = model.fit(data, Seed.of(1), np.arange(1), FitSettings.single()).draws
    runs = {"compiled NUTS": _nuts(model, data, 1000, draws, "float64", 0)}
    if _optional("nutpie") is not None and _optional("pymc") is not None:
        runs["nutpie"] = _nutpie(model, data, 1000, draws, 0)
    gaps = {}
    for rival, run in runs.items():
        theirs = dict(zip(model.parameter_names, run.fits[0][:, None, :], strict=True))
        gaps[rival] = max(
            abs(float(chain.mean() - ours[name][0].mean())) / float(np.hypot(_error(chain), _error(ours[name][0])))
            for name, chain in theirs.items()
        )
    return gaps


def _error(chains: Floats) -> float:
    """Monte Carlo standard error of the mean of [chains, draws]."""
    return float(chains.std() / np.sqrt(ess_bulk(chains)))


@dataclass(frozen=True)
class _Runs:
    """One entry per data set: draws [parameters, draws], whether one diverged, times; and the set-up's seconds."""

    fits: list[Floats]
    diverged: list[bool]
    times: list[Floats]
    setup: float


def _now() -> Floats:
    """Wall clock and CPU clock of the process [2] in seconds."""
    return np.asarray([time.perf_counter(), time.process_time()])


def _timing(times: Sequence[Floats]) -> dict[str, Any]:
    """Differences of `_now` as the fields of a Measurement."""
    wall, cpu = np.transpose(times).tolist()
    return {"seconds": tuple(wall), "cpu_seconds": tuple(cpu)}


def _measured(measurement: Measurement, runs: _Runs) -> Measurement:
    return dataclasses.replace(
        measurement,
        setup_seconds=runs.setup,
        divergent=float(np.mean(runs.diverged)),
        **_timing(runs.times),
        **_quality(runs.fits),
    )


def _nuts(model: AdditiveMmm, y: Floats, warmup: int, draws: int, precision: str, seed: int) -> _Runs:
    program = numpyro_program(model)

    def fit(key: Array, data: Array) -> tuple[dict[str, Array], Array]:
        mcmc = MCMC(NUTS(program), num_warmup=warmup, num_samples=draws, progress_bar=False)
        mcmc.run(key, y=data, extra_fields=("diverging",))
        return mcmc.get_samples(), mcmc.get_extra_fields()["diverging"]

    scaled = model.target_units(y)[: model.n_observations]
    fits, diverged, times = [], [], []
    with jax.enable_x64(precision == "float64"):
        start = _now()
        compiled = jax.jit(fit).lower(jax.random.key(seed), jnp.asarray(scaled[:, 0])).compile()
        setup = float((_now() - start)[0])
        for index in range(scaled.shape[1]):
            start = _now()
            samples, diverging = compiled(jax.random.key(seed + index), jnp.asarray(scaled[:, index]))
            fits.append(_stack(samples))  # waits for the result
            times.append(_now() - start)
            diverged.append(bool(np.any(diverging)))
    return _Runs(fits, diverged, times, setup)


def _nutpie(model: AdditiveMmm, y: Floats, tune: int, draws: int, seed: int) -> _Runs:
    nutpie = importlib.import_module("nutpie")
    scaled = model.target_units(y)[: model.n_observations]
    sampling = {"chains": 1, "cores": 1, "progress_bar": False, "save_warmup": False}
    start = _now()
    compiled = nutpie.compile_pymc_model(_pymc_model(model, scaled[:, 0]))
    # The first call pays for caches that no later call pays for.
    nutpie.sample(compiled, tune=10, draws=10, seed=seed, **sampling)
    setup = float((_now() - start)[0])
    fits, diverged, times = [], [], []
    for index in range(scaled.shape[1]):
        start = _now()
        trace = nutpie.sample(
            compiled.with_data(y=scaled[:, index]), tune=tune, draws=draws, seed=seed + index, **sampling
        )
        fits.append(_stack({site: trace.posterior[site].values[0] for site in _SITES}))
        times.append(_now() - start)
        diverged.append(bool(trace.sample_stats["diverging"].values.any()))
    return _Runs(fits, diverged, times, setup)


def _pymc_model(model: AdditiveMmm, scaled: Floats) -> Any:
    """The program of `numpyro_program` in PyMC, its data a container named y."""
    pm = importlib.import_module("pymc")
    _check_form(model)
    design = model.design
    priors = _priors_by_site(model)
    families: dict[type[Distribution], Callable[..., Any]] = {
        Beta: pm.Beta,
        LogNormal: pm.LogNormal,
        Normal: pm.Normal,
        HalfNormal: pm.HalfNormal,
    }

    def sampled(site: str) -> Any:
        family, arguments = _family(priors[site])
        return families[family](site, *(argument[0] if site == "sigma" else argument for argument in arguments))

    with pm.Model() as built:
        data = pm.Data("y", scaled)
        media, retention, half_saturation, coefficients, sigma = (sampled(site) for site in _SITES)
        weights = retention[:, None] ** np.arange(design.exposure.shape[2])
        weights = weights / weights.sum(axis=1, keepdims=True)
        adstocked = (design.exposure * weights).sum(axis=2)  # compiled by Numba, faster than einsum
        curve = adstocked / (adstocked + half_saturation)
        effect = media * design.total_outcome / design.kpi_sd * curve / pm.math.dot(design.weights, curve)
        mean = pm.math.dot(design.block, coefficients) + (effect - effect.mean(axis=0)).sum(axis=1)
        pm.Normal("kpi", mean, sigma, observed=data)
    return built


def _check_form(model: AdditiveMmm) -> None:
    """Refuse what the programs leave out, lest a rival is timed on another model."""
    spec = model.spec
    if any(channel.parameterise_by is not Parameterisation.SHARE_OF_OUTCOME for channel in spec.channels):
        raise ValueError("the rivals sample shares of outcome only")
    if any(channel.saturation is not Saturation.HILL for channel in spec.channels):
        raise ValueError("the rivals know Hill saturation only")
    if len({channel.n_weights for channel in spec.channels}) > 1:
        raise ValueError("the rivals need the same number of adstock weights for every channel")


def _names_by_site(model: AdditiveMmm) -> dict[str, tuple[str, ...]]:
    count, names = len(model.spec.channels), model.parameter_names
    ends = (0, count, 2 * count, 3 * count, len(names) - 1, len(names))
    return {site: names[first:last] for site, first, last in zip(_SITES, ends, ends[1:], strict=False)}


def _priors_by_site(model: AdditiveMmm) -> dict[str, tuple[Distribution, ...]]:
    return {site: tuple(model.priors[name] for name in names) for site, names in _names_by_site(model).items()}


def _family(priors: Sequence[Distribution]) -> tuple[type[Distribution], list[Floats]]:
    """The one family of a site's priors and its arguments, each [len(priors)], in the order of its fields."""
    families = {type(prior) for prior in priors}
    if len(families) > 1 or not families <= {Beta, LogNormal, Normal, HalfNormal}:
        raise ValueError(f"the rivals need priors of one default family per site, not {families}")
    arguments = zip(*(dataclasses.astuple(prior) for prior in priors), strict=True)  # type: ignore[call-overload]
    return families.pop(), [np.asarray(argument, dtype=np.float64) for argument in arguments]


def _stack(samples: Mapping[str, Any]) -> Floats:
    """Draws [draws, …] by site as one array [parameters, draws] in the model's order."""
    columns = [np.asarray(samples[site], dtype=np.float64) for site in _SITES]
    return np.concatenate([column.reshape(column.shape[0], -1) for column in columns], axis=1).T


def _quality(fits: Sequence[Floats]) -> dict[str, Any]:
    """Worst figures over the parameters of each fit [parameters, draws], as the fields of a Measurement."""
    chains = [fit[:, None, :] for fit in fits]
    return {
        "ess_bulk": tuple(float(ess_bulk(chain).min()) for chain in chains),
        "ess_tail": tuple(float(ess_tail(chain).min()) for chain in chains),
        "r_hat": tuple(float(rank_r_hat(chain).max()) for chain in chains),
    }


def _optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def main() -> None:
    """Measure one rival at one size, or check that the rivals have the engine's posterior, and print one line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rivals", description=main.__doc__)
    parser.add_argument("rival", choices=("simuk", "nuts", "nutpie", "disagreement"))
    parser.add_argument("--parameters", type=int, choices=tuple(SIZES), default=15)
    parser.add_argument("--simulations", type=int, default=4)
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--seed", type=int, default=0, help="of the data sets")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    model = case(arguments.parameters)
    seed = Seed.of(arguments.seed)
    y = model.sample_prior(seed, np.arange(arguments.simulations)).y
    match arguments.rival:
        case "simuk":
            measured = simuk_seconds(model, arguments.simulations, precision=arguments.precision, seed=seed)
        case "nuts":
            measured = compiled_nuts(model, y, precision=arguments.precision)
        case "nutpie":
            measured = nutpie_loop(model, y)
        case _:
            print(disagreement(model, y[:, 0]))
            return
    print(measured)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(dataclasses.asdict(measured)))


if __name__ == "__main__":
    main()
