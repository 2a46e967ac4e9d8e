"""The additive MMM's posterior in JAX, with the linear part integrated out exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from engine.inference.prior_map import PriorMap
from engine.models.additive_spec import Saturation

Floats = NDArray[np.float64]

_HALF_LOG_3 = 0.5 * float(np.log(3.0))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearBlock:
    """The conditionally normal part r = Z b + e, b ~ N(mean, diag(sd²)), reduced by one eigendecomposition.

    With (Z diag(sd))'(Z diag(sd)) = V Λ V' and U = Z diag(sd) V Λ^(-1/2), r has covariance σ² I + U Λ U', so that
    the marginal likelihood costs O(q) beyond U'r for every σ. Columns without information have Λ = 0 and U = 0.
    """

    design_mean: Array  # Z @ mean [T]
    basis: Array  # U [T, q]
    eigenvalues: Array  # Λ [q]
    rotation: Array  # diag(sd) V [q, q]
    mean: Array  # [q]
    sd: Array  # [q]

    @classmethod
    def of(cls, design: Floats, mean: Floats, sd: Floats) -> LinearBlock:
        """Decompose Z [T, q] under the prior N(mean, diag(sd²))."""
        scaled = design * sd
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        informed = values > 1e-10 * values.max()
        values = np.where(informed, values, 0.0)
        basis = scaled @ vectors * np.where(informed, 1.0 / np.sqrt(np.where(informed, values, 1.0)), 0.0)
        parts = (design @ mean, basis, values, sd[:, None] * vectors, mean, sd)
        return cls(*(jnp.asarray(part) for part in parts))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AdditiveTarget:
    """Posterior over z [3C + 1]: C media quantities, C retentions, C half-saturations, sigma.

    y [T, lanes] is the KPI in scaled units (centred, unit sd of the real data).
    """

    prior_map: PriorMap
    block: LinearBlock
    exposure: Array  # [C, T, W]
    active: Array  # [W, C], 1 for the weights that a channel has
    weights: Array  # [T]
    to_incremental: Array  # [C]: incremental outcome per unit of the sampled media quantity
    to_share: Array  # [C]: share of outcome per unit of the sampled media quantity
    to_roi: Array  # [C]: ROI per unit, NaN without spend
    kpi_sd: Array
    row_names: tuple[str, ...] = field(metadata={"static": True})  # one a row of `quantities` before duplicates go
    parameter_names: tuple[str, ...] = field(metadata={"static": True})
    has_spend: tuple[bool, ...] = field(metadata={"static": True})
    saturation: tuple[Saturation, ...] = field(metadata={"static": True})

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Every name once, in the order of the rows that `quantities` returns."""
        return tuple(dict.fromkeys(self.row_names))

    @property
    def channels(self) -> int:
        """C."""
        return self.exposure.shape[0]

    @property
    def dimension(self) -> int:
        """3C + 1."""
        return 3 * self.channels + 1

    @property
    def noise_dimension(self) -> int:
        """q, the size of the linear part."""
        return self.block.eigenvalues.shape[0]

    def media_mean(self, theta: Array) -> Array:
        """Media part of the scaled expectation [T, lanes] at theta [3C + 1, lanes], around its mean over time."""
        count = self.channels
        media, retention, half_saturation = theta[:count], theta[count : 2 * count], theta[2 * count : 3 * count]
        # A retention that underflowed to 0 would make the gradient of its powers 0 * inf.
        log_retention = jnp.log(jnp.maximum(retention, 1e-300))
        lags = jnp.arange(self.active.shape[0], dtype=theta.dtype)
        powers = jnp.exp(lags[:, None, None] * log_retention) * self.active[:, :, None]
        powers = powers / jnp.sum(powers, axis=0)
        effect = jnp.zeros((self.exposure.shape[1], theta.shape[1]), theta.dtype)
        # One two-dimensional product per channel: twice as fast on CPU as a batched einsum with the lanes last.
        for index, form in enumerate(self.saturation):
            relative = (self.exposure[index] @ powers[:, index]) / half_saturation[index]
            curve = jnp.tanh(_HALF_LOG_3 * relative) if form is Saturation.LOGISTIC else relative / (1.0 + relative)
            beta = media[index] * self.to_incremental[index] / (self.kpi_sd * (self.weights @ curve))
            effect = effect + beta * (curve - jnp.mean(curve, axis=0))
        return effect

    def _residual(self, theta: Array, y: Array) -> tuple[Array, Array]:
        """r [T, lanes] net of media and of the block's prior mean, and U'r [q, lanes]."""
        residual = y - self.media_mean(theta) - self.block.design_mean[:, None]
        return residual, self.block.basis.T @ residual

    def log_likelihood(self, z: Array, y: Array) -> Array:
        """log N(r; 0, σ² I + U Λ U') [lanes], without the constant of the units."""
        theta = self.prior_map.parameters(z)
        residual, projected = self._residual(theta, y)
        variance = theta[-1] ** 2
        total = variance + self.block.eigenvalues[:, None]
        rest = jnp.sum(residual**2, axis=0) - jnp.sum(projected**2, axis=0)
        free = residual.shape[0] - projected.shape[0]
        return -0.5 * (
            free * jnp.log(variance)
            + jnp.sum(jnp.log(total), axis=0)
            + rest / variance
            + jnp.sum(projected**2 / total, axis=0)
        )

    def curvature(self, z: Array, y: Array) -> Array:
        """Expected Fisher information in z [lanes, D, D]; it does not depend on y."""
        size = self.dimension

        def mean_and_sigma(position: Array) -> tuple[Array, Array]:
            theta = self.prior_map.parameters(position)
            return self.media_mean(theta), theta[-1]

        def tangent(direction: Array) -> tuple[Array, Array]:
            slope: tuple[Array, Array] = jax.jvp(
                mean_and_sigma, (z,), (jnp.broadcast_to(direction[:, None], z.shape),)
            )[1]
            return slope

        slopes, sigma_slopes = jax.vmap(tangent)(jnp.eye(size, dtype=z.dtype))
        sigma = self.prior_map.parameters(z)[-1]
        variance = sigma**2
        total = variance + self.block.eigenvalues[:, None]
        projected = jnp.einsum("tq,dtl->dql", self.block.basis, slopes)
        shrunk = projected * jnp.sqrt(self.block.eigenvalues[:, None] / total)
        information = jnp.einsum("dtl,etl->lde", slopes, slopes) - jnp.einsum("dql,eql->lde", shrunk, shrunk)
        free = self.exposure.shape[1] - self.noise_dimension
        per_sigma = 2.0 * free / variance + 2.0 * variance * jnp.sum(1.0 / total**2, axis=0)
        own = jnp.einsum("dl,el->lde", sigma_slopes, sigma_slopes) * per_sigma[:, None, None]
        return information / variance[:, None, None] + own

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        """Rows [Q, lanes] in the order of `quantity_names`; noise [q, lanes] draws the linear part given the rest."""
        theta = self.prior_map.parameters(z)
        residual, projected = self._residual(theta, y)
        variance = theta[-1] ** 2
        values = self.block.eigenvalues[:, None]
        total = variance + values
        rotated = jnp.sqrt(values) * projected / total + jnp.sqrt(variance / total) * noise
        coefficients = self.block.mean[:, None] + self.block.rotation @ rotated
        misfit = jnp.sum(residual**2, axis=0) - jnp.sum(projected**2, axis=0)
        misfit = misfit + jnp.sum((projected - jnp.sqrt(values) * rotated) ** 2, axis=0)
        rows = residual.shape[0]
        log_likelihood = -0.5 * misfit / variance - 0.5 * rows * jnp.log(2.0 * jnp.pi * variance * self.kpi_sd**2)
        standard = (coefficients - self.block.mean[:, None]) / self.block.sd[:, None]
        log_block = -0.5 * jnp.sum(standard**2, axis=0) - jnp.sum(jnp.log(self.block.sd * jnp.sqrt(2.0 * jnp.pi)))
        log_prior = jnp.sum(self.prior_map.log_density(z), axis=0) + log_block

        media = theta[: self.channels]
        share = media * self.to_share[:, None]
        rows_out = [theta[:-1], coefficients, theta[-1:], share, media * self.to_incremental[:, None]]
        rows_out += [(media * self.to_roi[:, None])[np.flatnonzero(self.has_spend)]]
        if self.channels > 1:
            together = jnp.sum(share, axis=0)
            rows_out += [share / together, together[None]]
        rows_out += [log_likelihood[None], log_prior[None]]
        everything = jnp.concatenate(rows_out)
        # A sampled media quantity is also an estimand: its first row stays.
        return everything[np.asarray([self.row_names.index(name) for name in self.quantity_names])]
