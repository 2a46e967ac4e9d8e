"""Refit and bridge sampling: the client's marginal likelihood from two fits, independent of any tempering."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.arrays import Floats
from engine.conflict.bridge_sampling import BridgedMarginal, log_marginal_likelihood
from engine.conflict.tempering import ladder_settings
from engine.distributions.support import Support
from engine.inference.batch import BatchedHmc, fit_batch
from engine.inference.fit import Purpose, Seed
from engine.inference.target import Target, log_density
from engine.inference.tilted import COORDINATE, TiltedTarget, laddered, z_names


@dataclass(frozen=True)
class RefitEstimate:
    """log m_client - log m_ref by bridge sampling of both fits.

    `log_marginal` is the natural log of m_client / m_ref, `mcse` the root sum of squares of both errors; `client` and
    `reference` are up to one constant that they share. `reasons` say why the figure may not be used; `client_draws`
    [chains, n] are psi under the client's posterior.
    """

    log_marginal: float
    mcse: float
    client: BridgedMarginal
    reference: BridgedMarginal
    reasons: tuple[str, ...]
    client_draws: Floats

    @property
    def admissible(self) -> bool:
        """Whether both fits converged and at least two repetitions of each bridge did."""
        return not self.reasons


def refit_bridge(
    target: TiltedTarget,
    y: Floats,
    support: Support,
    seed: Seed,
    settings: BatchedHmc | None = None,
    repetitions: int = 2,
) -> RefitEstimate:
    """log m_client / m_ref for one data set y [T] in the target's units, from fits at lambda = 0 and 1.

    `support` is psi's; `settings` are by default those of the tempered bridge, whose compiled programs serve here too.
    Give it a seed of its own where the tempered bridge is the other of two estimates that are to be compared.
    """
    powers = np.array([0.0, 1.0])
    data = laddered(y, powers)
    fit = fit_batch(target, data, seed, np.arange(2), settings or ladder_settings())
    z = np.stack([fit.draws[name] for name in z_names(target.dimension)], axis=-1)
    reference, client = (
        log_marginal_likelihood(
            partial(log_posterior, target, data[:, index]),
            z[index],
            seed.derived("bridge proposals").generator(index, Purpose.MCMC),
            repetitions,
        )
        for index in range(2)
    )
    reasons = []
    for index, name, marginal in ((0, "reference", reference), (1, "client", client)):
        if not fit.diagnostics.ok[index]:
            reasons.append(f"the fit under the {name} prior did not converge")
        if len(marginal.repetitions) - marginal.dropped < 2:
            reasons.append(f"bridge sampling under the {name} prior did not converge")
    return RefitEstimate(
        client.log_marginal - reference.log_marginal,
        math.hypot(client.mcse, reference.mcse),
        client,
        reference,
        tuple(reasons),
        support.from_unconstrained(fit.draws[COORDINATE][1]),
    )


def log_posterior(target: Target, y: Floats, z: Floats) -> Floats:
    """Log posterior density [N] of y [T] at z [N, D]."""
    return np.asarray(_compiled(target, jnp.asarray(y), jnp.asarray(z)))


@jax.jit
def _compiled(target: Target, y: Array, z: Array) -> Array:
    return log_density(target, z.T, jnp.broadcast_to(y[:, None], (y.size, z.shape[0])))
