"""The batched sampler against NumPyro's NUTS on the same model, written a second time without the collapse."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS

from engine.inference.diagnostics import ess_bulk
from engine.inference.precision import enable_float64
from engine.inference.settings import FitSettings
from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, Window, prepare
from engine.models.protocol import Seed
from engine.priors.distribution import Beta

enable_float64()


def example_model() -> AdditiveMmm:
    with (Path(__file__).parents[3] / "examples" / "pymc_mmm_example.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ("y", "x1", "x2", "event_1", "event_2")
    dates = np.array([row["date_week"] for row in rows], dtype="datetime64[D]")
    table = Table(dates, {name: np.array([float(row[name]) for row in rows]) for name in names})
    channels = tuple(Channel(name, name, Beta(1.0, 3.0)) for name in ("x1", "x2"))
    controls = (Control("event_1", "event_1"), Control("event_2", "event_2"))
    return prepare(table, AdditiveMmmSpec("y", channels, controls), Window(24))


@pytest.mark.slow
def test_posterior_means_and_sds_are_those_of_nuts() -> None:
    model = example_model()
    design = model.design
    scaled = (design.kpi - design.kpi_mean) / design.kpi_sd

    def program() -> None:
        with numpyro.plate("channel", 2):
            share = numpyro.sample("share", dist.Beta(1.0, 3.0))
            retention = numpyro.sample("retention", dist.Beta(2.0, 3.0))
            half = numpyro.sample("half", dist.LogNormal(0.0, 0.7))
        mean = 0.0
        for index, name in enumerate(design.block_names):
            width = 0.5 if name.startswith(("sin", "cos")) else 1.0
            mean = mean + numpyro.sample(name, dist.Normal(0.0, width)) * design.block[:, index]
        for channel in range(2):
            weights = retention[channel] ** jnp.arange(8)
            adstocked = sum(weights[lag] * design.exposure[:, channel, lag] for lag in range(8)) / weights.sum()
            curve = adstocked / (adstocked + half[channel])
            effect = share[channel] * design.total_outcome / design.kpi_sd * curve / curve.sum()
            mean = mean + effect - effect.mean()
        sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(mean, sigma), obs=scaled)

    mcmc = MCMC(NUTS(program), num_warmup=800, num_samples=2500, progress_bar=False)
    mcmc.run(jax.random.key(0))
    oracle = {name: np.asarray(values, dtype=float) for name, values in mcmc.get_samples().items()}
    reference = {name: oracle[name] for name in (*design.block_names, "sigma")}
    for index, channel in enumerate(("x1", "x2")):
        reference[f"share_of_outcome[{channel}]"] = oracle["share"][:, index]
        reference[f"retention[{channel}]"] = oracle["retention"][:, index]
        reference[f"half_saturation[{channel}]"] = oracle["half"][:, index]

    fit = model.fit(model.observed[:, None], Seed.of(3), np.array([0]), FitSettings.single())
    assert set(reference) == set(model.parameter_names)
    for name, draws in reference.items():
        ours = fit.draws[name][0]
        error = np.hypot(draws.std() / np.sqrt(ess_bulk(draws[None])), ours.std() / np.sqrt(ess_bulk(ours)))
        assert abs(ours.mean() - draws.mean()) < 4.5 * error, name
        assert ours.std() == pytest.approx(draws.std(), rel=0.15), name
