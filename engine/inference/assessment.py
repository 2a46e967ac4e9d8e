"""From drawn values to a fit with its diagnostics: for chains, and for draws that are independent by construction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.arrays import Flags, Floats, Integers
from engine.inference import diagnostics
from engine.inference.fit import BatchFit, FitDiagnostics
from engine.inference.target import Target


def assess(target: Target, values: Array) -> tuple[Array, Array, Array, Array]:
    """Worst R-hat, bulk and tail ESS over the parameters and whether a quantity is not finite, each [S].

    values [N, Q, M, S] are those of N draws of M chains.
    """
    judged, nonfinite = _judged(target, values)
    r_hat, bulk, tail = diagnostics.summary(judged)
    return jnp.max(r_hat, axis=0), jnp.min(bulk, axis=0), jnp.min(tail, axis=0), nonfinite


def passes(diagnosis: FitDiagnostics, r_hat_limit: float, ess_limit: float) -> Flags:
    """Whether a fit counts as good [S]: R-hat and both ESS within the limits, no divergence, every draw finite."""
    good = (diagnosis.r_hat <= r_hat_limit) & (np.minimum(diagnosis.ess_bulk, diagnosis.ess_tail) >= ess_limit)
    return np.asarray(good & (diagnosis.divergences == 0) & ~diagnosis.nonfinite)


def assess_chains(
    target: Target, values: Floats, divergences: Integers, r_hat_limit: float, ess_limit: float
) -> BatchFit:
    """The fit of Markov chains with values [Q, S, chains, draws] and divergences [S], judged by `passes`."""
    diagnosis = FitDiagnostics.empty(divergences.size)
    diagnosis.divergences[:] = divergences
    if divergences.size:
        parts = assess(target, jnp.asarray(np.transpose(values, (3, 0, 2, 1))))
        for name, part in zip(("r_hat", "ess_bulk", "ess_tail", "nonfinite"), parts, strict=True):
            getattr(diagnosis, name)[:] = np.asarray(part)
        diagnosis.ok[:] = passes(diagnosis, r_hat_limit, ess_limit)
    return BatchFit(named(target, values), diagnosis)


def assess_independent(target: Target, values: Floats) -> BatchFit:
    """The fit of independent draws with values [Q, S, chains, draws]: R-hat 1 and ESS = chains·draws by construction.

    `ok` means finite. It says nothing about how close the approximation is to the posterior: that is what SBC is for.
    """
    nonfinite = np.asarray(~np.all(np.isfinite(values), axis=(0, 2, 3)))
    return BatchFit(named(target, values), FitDiagnostics.independent(nonfinite, values.shape[2] * values.shape[3]))


def named(target: Target, values: Floats) -> dict[str, Floats]:
    """The quantities [S, chains, draws] of values [Q, S, chains, draws] by name; rows without a name are dropped."""
    return {name: rows for name, rows in zip(target.quantity_names, values, strict=True) if name}


@jax.jit
def _judged(target: Target, values: Array) -> tuple[Array, Array]:
    """The parameters [P, S, M, N] of values [N, Q, M, S], zero where a simulation has values that are not finite."""
    nonfinite = ~jnp.all(jnp.isfinite(values), axis=(0, 1, 2))
    parameters = values[:, : len(target.parameter_names)]
    return jnp.transpose(jnp.where(nonfinite, 0.0, parameters), (1, 3, 2, 0)), nonfinite
