"""NumPyro's NUTS as an oracle for the additive MMM: the model as its users write it, with nothing integrated out.

The program is written from the formulas of the model, a second time: it takes the prepared arrays and the priors from
the model and nothing of its density or its simulator.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpy.typing import NDArray
from numpyro.infer import MCMC, NUTS

from engine.distributions.distribution import Beta, Distribution, HalfNormal, LogNormal, Normal
from engine.inference.precision import enable_float64
from engine.models.additive_mmm import AdditiveMmm, Parameterisation, Saturation

__all__ = ["CURVES", "NutsFit", "estimands", "nuts", "numpyro_program", "program_sites"]

Floats = NDArray[np.float64]

_FAMILIES: Mapping[type[Distribution], Callable[..., Any]] = {
    Beta: dist.Beta,
    LogNormal: dist.LogNormal,
    Normal: dist.Normal,
    HalfNormal: dist.HalfNormal,
}

CURVES: Mapping[Saturation, Callable[[Array, Array], Array]] = {
    Saturation.HILL: lambda x, s: x / (x + 1.0),
    Saturation.HILL_SLOPE: lambda x, s: x**s / (x**s + 1.0),
    Saturation.LOGISTIC: lambda x, s: (1.0 - 3.0**-x) / (1.0 + 3.0**-x),
    Saturation.LINEAR: lambda x, s: x,
}
"""Saturation of adstocked exposure in units of the half-saturation, at slope s; e^(-λ·x·k) with λ = ln 3 / k is 3^(-x).

A linear channel's exposure comes as it is."""


def numpyro_program(model: AdditiveMmm) -> Callable[..., None]:
    """NumPyro program of the un-collapsed model; its argument `y` [N] is the KPI in `model.target_units`.

    The sites are those of `program_sites`, each a vector. Raises ValueError for a prior of another than the default
    families.
    """
    design, channels = model.design, model.spec.channels
    for name, prior in model.priors.items():
        if type(prior) not in _FAMILIES:
            raise ValueError(f"the program has no {type(prior).__name__} prior, which {name} has")
    to_incremental = _incremental_per_unit(model)
    lags = np.arange(design.exposure.shape[2])
    present = lags < np.asarray([channel.n_weights for channel in channels])[:, None]
    forms = [channel.saturation for channel in channels]
    masks = {form: np.asarray([own is form for own in forms]) for form in dict.fromkeys(forms)}
    groups = _groups(model)
    having = {
        kind: np.flatnonzero([f"{kind}[{channel.name}]" in model.priors for channel in channels])
        for kind in ("half_saturation", "slope")
    }

    def sampled(group: str) -> Array:
        """All parameters of a group in the model's order."""
        sites = _sites(model, group)
        drawn = []
        for site, names in sites.items():
            priors = [model.priors[name] for name in names]
            arguments = zip(*(dataclasses.astuple(prior) for prior in priors), strict=True)  # type: ignore[call-overload]
            law = _FAMILIES[type(priors[0])](*(jnp.asarray(argument) for argument in arguments))
            with numpyro.plate(f"{site}_plate", len(names)):
                drawn.append(numpyro.sample(site, law))
        if len(drawn) == 1:
            return jnp.asarray(drawn[0])
        order = [name for names in sites.values() for name in names]
        return jnp.concatenate(drawn)[np.asarray([order.index(name) for name in groups[group]])]

    def program(y: Array | None = None) -> None:
        media, retention = sampled("media"), sampled("retention")
        half_saturation, slope = (
            jnp.ones(len(channels)).at[places].set(sampled(kind)) if places.size else jnp.ones(len(channels))
            for kind, places in having.items()
        )
        coefficients, sigma = sampled("coefficients"), sampled("sigma")[0]
        weights = jnp.where(present, retention[:, None] ** lags, 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
        adstocked = jnp.einsum("tcw,cw->tc", jnp.asarray(design.exposure), weights)
        relative = adstocked / half_saturation
        curve = sum(jnp.where(mask, CURVES[form](relative, slope), 0.0) for form, mask in masks.items())
        effect = media * to_incremental / design.kpi_sd * curve / (jnp.asarray(design.weights) @ curve)
        mean = jnp.asarray(design.block) @ coefficients + jnp.sum(effect - effect.mean(axis=0), axis=1)
        numpyro.sample("y", dist.Normal(mean, sigma), obs=y)

    return program


def _groups(model: AdditiveMmm) -> dict[str, tuple[str, ...]]:
    """Parameters by their role, in the model's order."""
    channels = [channel.name for channel in model.spec.channels]
    return {
        "media": tuple(f"{channel.parameterise_by.value}[{channel.name}]" for channel in model.spec.channels),
        "retention": tuple(f"retention[{name}]" for name in channels),
        "half_saturation": tuple(name for name in model.priors if name.startswith("half_saturation[")),
        "slope": tuple(name for name in model.priors if name.startswith("slope[")),
        "coefficients": model.design.block_names,
        "sigma": ("sigma",),
    }


def _sites(model: AdditiveMmm, group: str) -> dict[str, tuple[str, ...]]:
    """Parameters of the sites that make up a group."""
    families = {name: type(model.priors[name]).__name__ for name in _groups(model)[group]}
    kinds = tuple(dict.fromkeys(families.values()))
    return {
        group if len(kinds) == 1 else f"{group}_of_{kind}": tuple(name for name in families if families[name] == kind)
        for kind in kinds
    }


def program_sites(model: AdditiveMmm) -> dict[str, tuple[str, ...]]:
    """Names of the parameters that each site of the program holds.

    The sites are media, retention, half_saturation, slope, coefficients and sigma; one whose priors are of several
    families is split by family, as in media_of_Beta and media_of_LogNormal, because a NumPyro site has one.
    """
    return {site: names for group in _groups(model) for site, names in _sites(model, group).items()}


def _incremental_per_unit(model: AdditiveMmm) -> Floats:
    """Incremental outcome [C] that one unit of each channel's sampled quantity stands for."""
    by_roi = [channel.parameterise_by is Parameterisation.ROI for channel in model.spec.channels]
    return np.where(by_roi, model.design.spend, model.design.total_outcome)


def estimands(model: AdditiveMmm, draws: Mapping[str, Floats]) -> dict[str, Floats]:
    """The business quantities of `model.estimand_names` at draws of the parameters, all of one shape."""
    design, names = model.design, _groups(model)["media"]
    incremental = [draws[name] * each for name, each in zip(names, _incremental_per_unit(model), strict=True)]
    together = np.sum(incremental, axis=0)
    found = {"total_media_share_of_outcome": together / design.total_outcome}
    for channel, own, spend in zip(model.spec.channels, incremental, design.spend, strict=True):
        found |= {
            f"share_of_outcome[{channel.name}]": own / design.total_outcome,
            f"incremental_outcome[{channel.name}]": own,
            f"roi[{channel.name}]": own / spend,
            f"share_of_media[{channel.name}]": own / together,
        }
    return {name: found[name] for name in model.estimand_names}


@dataclass(frozen=True)
class NutsFit:
    """Draws [chains, draws] of parameters and estimands by name, divergences after the warm-up, wall seconds.

    The time includes compilation.
    """

    draws: Mapping[str, Floats]
    divergences: int
    seconds: float


def nuts(
    model: AdditiveMmm,
    y: Floats,
    *,
    chains: int = 4,
    warmup: int = 1000,
    draws: int = 2000,
    target_accept: float = 0.9,
    seed: int = 0,
) -> NutsFit:
    """Posterior of y [N] in original units by NUTS with a dense mass matrix, in float64."""
    enable_float64()
    start = time.perf_counter()
    mcmc = MCMC(
        NUTS(numpyro_program(model), target_accept_prob=target_accept, dense_mass=True),
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="sequential",  # in lockstep every chain would pay for the longest trajectory of any
        progress_bar=False,
    )
    scaled = jnp.asarray(model.target_units(y[:, None])[: model.n_observations, 0])
    mcmc.run(jax.random.key(seed), y=scaled, extra_fields=("diverging",))
    samples = mcmc.get_samples(group_by_chain=True)
    found = {
        name: np.asarray(samples[site][..., index], dtype=np.float64)
        for site, names in program_sites(model).items()
        for index, name in enumerate(names)
    }
    divergences = int(np.sum(mcmc.get_extra_fields()["diverging"]))
    return NutsFit(found | estimands(model, found), divergences, time.perf_counter() - start)
