"""The log marginal likelihood of a target by Laplace's approximation at its mode."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.arrays import Floats
from engine.inference.mode import Laplace, find_mode
from engine.inference.precision import require_float64
from engine.inference.target import Target

_MODE_EVALUATIONS, _MODE_TOLERANCE = 40, 1e-12


def posterior_mode(target: Target, y: Floats) -> Laplace:
    """Mode [D, S] and covariance factor of y [T, S], searched until the log density rises no more."""
    require_float64()
    # The limits are given as numbers, like those of the sampler's own search, so that both share one program.
    laplace: Laplace = find_mode(target, jnp.asarray(y), _MODE_EVALUATIONS, _MODE_TOLERANCE)
    return laplace


def log_evidence(target: Target, y: Floats) -> Floats:
    """ln ∫ exp(log likelihood) N(z; 0, I) dz [S] for y [T, S], up to the constant that the likelihood leaves out.

    log L(z*) - |z*|²/2 - ½ ln det(I + curvature) at the mode z* (Tierney & Kadane 1986, with the target's curvature,
    as a rule the Fisher information, for the observed one). Exact where the likelihood is normal in z. Differences
    between targets mean something only where the data and the constants left out are the same.
    """
    laplace = posterior_mode(target, y)
    return np.asarray(_at_mode(target, jnp.asarray(y), laplace))


@jax.jit
def _at_mode(target: Target, y: Array, laplace: Laplace) -> Array:
    value = target.log_likelihood(laplace.mode, y) - 0.5 * jnp.sum(laplace.mode**2, axis=0)
    # The factor is triangular and its square the inverse of I + curvature.
    diagonal = jnp.diagonal(laplace.factor, axis1=0, axis2=1)
    return value + jnp.sum(jnp.log(jnp.abs(diagonal)), axis=-1)
