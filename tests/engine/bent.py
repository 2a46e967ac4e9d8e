"""A regression that may be bent, in two coordinates: every marginal likelihood by closed form or by quadrature."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import special, stats

from engine.conflict.curve import EvidenceCurve
from engine.distributions.distribution import Distribution, LogNormal, Normal
from engine.inference.tilted import TiltedTarget, tilt

SHARE, RATIO = "share", "ratio"
REFERENCES: dict[str, Distribution] = {SHARE: Normal(0.5, 1.0), RATIO: LogNormal(0.5, 1.0)}

_Z = np.linspace(-9.0, 9.0, 3601)  # the trapezoidal rule is exact to rounding on smooth densities that die out


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bent:
    """y = X z + bend z1² + e with unit noise and z ~ N(0, I); the share is .5 + z0, the ratio its exponential."""

    x: Array  # [T, 2]
    bend: Array  # [T], 0 for a linear model

    dimension = 2
    noise_dimension = 0
    parameter_names = ("z0", "z1")
    quantity_names = ("z0", "z1")
    smooth_names = (SHARE, RATIO)

    def expected(self, z: Array) -> Array:
        return self.x @ z + self.bend[:, None] * z[1] ** 2

    def log_likelihood(self, z: Array, y: Array) -> Array:
        return -0.5 * jnp.sum((y - self.expected(z)) ** 2, axis=0)

    def curvature(self, z: Array, y: Array) -> Array:
        slope = self.x[:, :, None] + jnp.stack([jnp.zeros_like(self.bend), 2.0 * self.bend], axis=1)[..., None] * z[1]
        return jnp.einsum("tdl,tel->lde", slope, slope)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        return z

    def smooth(self, z: Array) -> Array:
        share = 0.5 + z[0]
        return jnp.stack([share, jnp.exp(share)])


@dataclass(frozen=True)
class Case:
    """A target, its data [T], and what the data say about its quantities."""

    target: Bent
    y: np.ndarray

    @cached_property
    def log_joint(self) -> np.ndarray:
        """Log likelihood times the prior of z1 on the grid [z0, z1], without the prior of z0."""
        z0, z1 = np.meshgrid(_Z, _Z[::4], indexing="ij")
        x, bend = np.asarray(self.target.x), np.asarray(self.target.bend)
        total = stats.norm.logpdf(z1)
        for row, curved, value in zip(x, bend, self.y, strict=True):
            total = total - 0.5 * (value - row[0] * z0 - row[1] * z1 - curved * z1**2) ** 2
        return total

    @cached_property
    def log_likelihood(self) -> np.ndarray:
        """Integrated likelihood of z0 on its grid [3601]."""
        return np.asarray(special.logsumexp(self.log_joint, axis=1))

    def curve(self, quantity: str = SHARE) -> EvidenceCurve:
        return EvidenceCurve.exact(0.5 + _Z, self.log_likelihood, REFERENCES[quantity], 24.0, quantity=quantity)

    def log_marginal(self, client: Distribution, quantity: str = SHARE) -> float:
        """log m_client / m_ref by quadrature over both coordinates."""
        u = 0.5 + _Z
        log_likelihood = self.log_likelihood
        laws = (client, REFERENCES[quantity])
        found = [special.logsumexp(log_likelihood + law.unconstrained_logpdf(u)) for law in laws]
        return float(found[0] - found[1])

    def posterior(self) -> tuple[float, float]:
        """Mean and sd of the share."""
        mass = special.softmax(self.log_likelihood + stats.norm.logpdf(_Z))
        mean = float(mass @ _Z)
        return 0.5 + mean, math.sqrt(float(mass @ (_Z - mean) ** 2))

    def tilted(self, client: Distribution, quantity: str = SHARE) -> TiltedTarget:
        mean, sd = self.posterior()
        return tilt(self.target, quantity, client, REFERENCES[quantity], (mean - 10.0 * sd, mean + 10.0 * sd))


def linear() -> Case:
    """The TV example (methods/conflict.md §1): the posterior of the share is .25 ± .05, correlated with z1."""
    x = np.array([[54.33783212458883, 8.0], [0.0, 3.0]])  # (X'X + I)⁻¹ has .05² first
    covariance = np.linalg.inv(x.T @ x + np.eye(2))
    direction = x @ np.array([1.0, 0.5])
    y = direction * (0.25 - 0.5) / float((covariance @ x.T @ direction)[0])
    return Case(Bent(jnp.asarray(x), jnp.zeros(2)), y)


def bent() -> Case:
    """A posterior that is curved and skewed: neither the share nor z1 is normal."""
    x = np.array([[10.0, 1.0], [0.0, 1.5]])
    return Case(Bent(jnp.asarray(x), jnp.asarray([0.7, 0.2])), np.array([-1.0, 0.5]))
