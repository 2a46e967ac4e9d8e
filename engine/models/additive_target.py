"""The additive MMM's posterior in JAX, with the linear part integrated out exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from engine.arrays import Floats
from engine.inference.prior_map import PriorMap
from engine.inference.target import Labels
from engine.models.saturation import FORMS, Form, Saturation, chosen

TIME_BUCKET = 8
BLOCK_BUCKET = 4
"""Rows and columns of the linear part are filled up to multiples of these, so that a client whose window has 103 rows
instead of 104, or one control more, mostly does not wait for another compilation."""


def bucket(size: int, multiple: int) -> int:
    """The smallest multiple that is at least `size`."""
    return -(-size // multiple) * multiple


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
    real: Array  # [q], 0 for a column that only fills the block up

    @classmethod
    def of(cls, design: Floats, mean: Floats, sd: Floats) -> LinearBlock:
        """Decompose Z [T, q] under the prior N(mean, diag(sd²)); q is filled up with columns of zeros to a bucket.

        Such a column has Λ = 0 and U = 0 and changes nothing.
        """
        real = np.arange(bucket(design.shape[1], BLOCK_BUCKET)) < design.shape[1]
        filled = np.zeros((design.shape[0], real.size)), np.zeros(real.size), np.ones(real.size)
        for whole, part in zip(filled, (design, mean, sd), strict=True):
            whole[..., real] = part
        design, mean, sd = filled
        scaled = design * sd
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        informed = values > 1e-10 * values.max()
        values = np.where(informed, values, 0.0)
        basis = scaled @ vectors * np.where(informed, 1.0 / np.sqrt(np.where(informed, values, 1.0)), 0.0)
        parts = (design @ mean, basis, values, sd[:, None] * vectors, mean, sd, real.astype(np.float64))
        return cls(*(jnp.asarray(part) for part in parts))


class _Curve(NamedTuple):
    """One channel's saturated exposure at every lane; powers [W, lanes], the rest [T, lanes] or [lanes]."""

    form: Form
    powers: Array  # normalised adstock weights
    relative: Array  # adstocked exposure over half-saturation, x; as it is where there is none
    value: Array  # f(x)
    slope: Array  # s, which f does not look at where it has none
    per_unit: Array  # coefficient for one unit of the sampled media quantity, in scaled KPI units

    @property
    def derivative(self) -> Array:
        """f'(x) [T, lanes]."""
        return self.form.derivative(self.relative, self.value, self.slope)

    @property
    def by_slope(self) -> Array:
        """The derivative of f(x) by s [T, lanes]."""
        return self.form.by_slope(self.relative, self.value, self.slope)


class _Residual(NamedTuple):
    """What is left of y [T, lanes] and how the linear part explains it."""

    projected: Array  # p = U'r [q, lanes]
    whitened: Array  # s = σ² (σ² I + U Λ U')⁻¹ r [T, lanes]
    variance: Array  # σ² [lanes]
    total: Array  # σ² + Λ [q, lanes]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AdditiveTarget:
    """Posterior over z [2C + H + G + 1]: C media quantities, C retentions, H half-saturations, G slopes, sigma.

    H of the channels saturate, G of them with a slope of their own; a linear one has no half-saturation. y [T, lanes]
    is the KPI in scaled units (centred, unit sd of the real data) times `real_rows`. Every array may be float32 or
    float64; the computation follows. One two-dimensional product per channel is twice as fast on CPU as a batched
    einsum with the lanes last, hence the loops over channels.

    Where there is a `family` of curves, every channel of a lane has the curve whose index in it is the last row of y,
    so that the model is fitted under all of them in one program. `saturation` is then a form that has every parameter;
    those that a lane's curve lacks stay at their prior.
    """

    prior_map: PriorMap
    block: LinearBlock
    exposure: Array  # [C, T, W]
    active: Array  # [W, C], 1 for the weights that a channel has
    weights: Array  # [T]
    real_rows: Array  # [T], √w for a row whose error variance is σ²/w, 0 for one that does not enter the likelihood;
    # y and the linear part are multiplied by it
    observations: Array  # number of rows that enter the likelihood
    log_scale: Array  # ½ Σ ln w over them
    rows: Array  # number of rows over which media are centred: all but those that only fill the series up, where
    # everything is 0
    to_incremental: Array  # [C]: incremental outcome per unit of the sampled media quantity
    to_share: Array  # [C]: share of outcome per unit of the sampled media quantity
    to_roi: Array  # [C]: ROI per unit, 0 without spend
    kpi_sd: Array
    labels: Labels = field(metadata={"static": True})  # names of the rows of `quantities`
    saturation: tuple[Saturation, ...] = field(metadata={"static": True})
    family: tuple[Saturation, ...] = field(default=(), metadata={"static": True})

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Every name once, in the order of the rows that `quantities` returns; rows without a name are empty."""
        return self.labels.names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The quantities whose convergence is judged: media, linear part, sigma."""
        return self.labels.names[: self.dimension + self.noise_dimension]

    @property
    def channels(self) -> int:
        """C."""
        return self.exposure.shape[0]

    @property
    def dimension(self) -> int:
        """2C + H + G + 1."""
        return 2 * self.channels + len(self._half_saturations) + len(self._slopes) + 1

    @property
    def noise_dimension(self) -> int:
        """q, the size of the linear part."""
        return self.block.eigenvalues.shape[0]

    def _unpacked(self, y: Array) -> tuple[Array, Array | None]:
        """The series [T, lanes], and which curve of the family each lane has [lanes]."""
        return (y[:-1], y[-1]) if self.family else (y, None)

    def _forms(self, code: Array | None) -> list[Form]:
        """The curve of every channel."""
        if code is None:
            return [FORMS[saturation] for saturation in self.saturation]
        return [chosen([FORMS[saturation] for saturation in self.family], code)] * self.channels

    def _saturates(self, code: Array | None) -> Array | float:
        """Whether the curve of a lane looks at its half-saturation [lanes], as 1 or 0."""
        if code is None:
            return 1.0
        having = [float(FORMS[saturation].has_half_saturation) for saturation in self.family]
        return jnp.asarray(having, code.dtype)[code.astype(int)]

    def _split(self, theta: Array, code: Array | None = None) -> tuple[Array, Array, list[Array], list[Array]]:
        """Media quantities and retentions, each [C, lanes], the units in which the curves take exposure, and slopes.

        The units [lanes], C times, are the half-saturation where a channel has one, else 1; so are the slopes.
        """
        count = self.channels
        # A retention that underflowed to 0 would make the logarithm of its powers infinite.
        retention = jnp.maximum(theta[count : 2 * count], float(np.finfo(theta.dtype).tiny))
        one = jnp.ones_like(theta[-1])
        units, slopes = [one] * count, [one] * count
        for values, places in ((units, self._half_saturations), (slopes, self._slopes)):
            for index, place in places.items():
                values[index] = theta[place]
        if code is not None:
            units = [jnp.where(self._saturates(code) > 0.0, unit, one) for unit in units]
        return theta[:count], retention, units, slopes

    @property
    def _half_saturations(self) -> dict[int, int]:
        """The coordinate of each saturating channel's half-saturation."""
        saturating = [index for index, form in enumerate(self.saturation) if FORMS[form].has_half_saturation]
        return {index: 2 * self.channels + order for order, index in enumerate(saturating)}

    @property
    def _slopes(self) -> dict[int, int]:
        """The coordinate of the slope of each channel that has one."""
        sloped = [index for index, form in enumerate(self.saturation) if FORMS[form].has_slope]
        first = 2 * self.channels + len(self._half_saturations)
        return {index: first + order for order, index in enumerate(sloped)}

    def _lags(self, theta: Array) -> Array:
        return jnp.arange(self.active.shape[0], dtype=theta.dtype)

    def _curves(self, theta: Array, code: Array | None = None) -> list[_Curve]:
        """Adstock, saturation and normalisation of every channel at theta [D, lanes]."""
        _, retention, units, slopes = self._split(theta, code)
        powers = jnp.exp(self._lags(theta)[:, None, None] * jnp.log(retention)) * self.active[:, :, None]
        powers = powers / jnp.sum(powers, axis=0)
        curves = []
        for index, form in enumerate(self._forms(code)):
            slope = slopes[index]
            relative = self.exposure[index] @ (powers[:, index] / units[index])
            value = form.relative(relative, slope)
            per_unit = self.to_incremental[index] / (self.kpi_sd * (self.weights @ value))
            curves.append(_Curve(form, powers[:, index], relative, value, slope, per_unit))
        return curves

    def media_mean(self, theta: Array, curves: list[_Curve] | None = None) -> Array:
        """Media part of the scaled expectation [T, lanes] at theta [D, lanes], around its mean over time.

        `curves` are those of theta, where they are at hand.
        """
        curves = curves or self._curves(theta)
        media = theta[: self.channels]
        effect = jnp.zeros_like(curves[0].value)
        for index, curve in enumerate(curves):
            effect = effect + media[index] * curve.per_unit * (curve.value - self._mean(curve.value))
        return effect * self.real_rows[:, None]

    def _mean(self, series: Array) -> Array:
        """Mean over the window of series [T, lanes] that are zero where the series is only filled up."""
        return jnp.sum(series, axis=0) / self.rows

    def _residual(self, theta: Array, y: Array, curves: list[_Curve]) -> _Residual:
        """Project y net of media and of the block's prior mean.

        s is formed before anything is squared: |r|² - |U'r|² would cancel, in float32 down to nothing.
        """
        residual = y - self.media_mean(theta, curves) - self.block.design_mean[:, None]
        projected = self.block.basis.T @ residual
        variance = theta[-1] ** 2
        eigenvalues = self.block.eigenvalues[:, None]
        total = variance + eigenvalues
        whitened = residual - self.block.basis @ (eigenvalues / total * projected)
        return _Residual(projected, whitened, variance, total)

    def _log_likelihood(self, residual: _Residual) -> Array:
        free = self.observations - self.noise_dimension
        squares = jnp.sum(residual.whitened**2, axis=0) / residual.variance
        squares = squares + jnp.sum(
            self.block.eigenvalues[:, None] * (residual.projected / residual.total) ** 2, axis=0
        )
        return -0.5 * (free * jnp.log(residual.variance) + jnp.sum(jnp.log(residual.total), axis=0) + squares)

    def log_likelihood(self, z: Array, y: Array) -> Array:
        """log N(r; 0, σ² I + U Λ U') [lanes], without the constants of the units and of the weights.

        With s as above, r'(σ² I + U Λ U')⁻¹ r = |s|²/σ² + Σ Λ (p / (σ² + Λ))².
        """
        theta = self.prior_map.parameters(z)
        series, code = self._unpacked(y)
        return self._log_likelihood(self._residual(theta, series, self._curves(theta, code)))

    def value_and_gradient(self, z: Array, y: Array) -> tuple[Array, Array]:
        """Log likelihood [lanes] and its gradient in z [D, lanes] in closed form.

        With g = s/σ² around its mean, f the curve and w the weights of a channel, the derivative by f(x_t) is
        τ b (g_t - b' A w_t) where A = Σ g f and b' = 1/(w'f); everything else follows by the chain rule from the
        W products of lagged exposure with it.
        """
        theta, slopes = self.prior_map.parameters_and_slopes(z)
        series, code = self._unpacked(y)
        media, retention, units, _ = self._split(theta, code)
        saturates = self._saturates(code)
        curves = self._curves(theta, code)
        residual = self._residual(theta, series, curves)
        pull = residual.whitened / residual.variance
        free = self.observations - self.noise_dimension
        by_variance = free / residual.variance + jnp.sum(1.0 / residual.total, axis=0) - jnp.sum(pull**2, axis=0)
        pull = pull * self.real_rows[:, None]
        pull = pull - self._mean(pull)
        lags = self._lags(theta)
        by_media, by_retention, by_half, by_slope = [], [], [], []
        for index, curve in enumerate(curves):
            strength = jnp.sum(pull * curve.value, axis=0)
            normaliser = self.kpi_sd * curve.per_unit / self.to_incremental[index]
            by_curve = pull - (normaliser * strength) * self.weights[:, None]
            amount = media[index] * curve.per_unit
            effect = amount / units[index]
            weighted = curve.powers * (self.exposure[index].T @ (curve.derivative * by_curve))
            every = jnp.sum(weighted, axis=0)
            by_media.append(curve.per_unit * strength)
            by_retention.append(effect * (lags @ weighted - (lags @ curve.powers) * every) / retention[index])
            if index in self._half_saturations:
                by_half.append(-effect * every / units[index] * saturates)
            if index in self._slopes:
                by_slope.append(amount * jnp.sum(curve.by_slope * by_curve, axis=0))
        gradient = jnp.stack([*by_media, *by_retention, *by_half, *by_slope, -theta[-1] * by_variance])
        return self._log_likelihood(residual), gradient * slopes

    def curvature(self, z: Array, y: Array) -> Array:
        """Expected Fisher information in z [lanes, D, D]; of y it depends on nothing but the curves of the lanes.

        The columns of the Jacobian are whitened by (I + U Λ U'/σ²)^(-1/2) first, so that rounding cannot make the
        information indefinite.
        """
        theta, slopes = self.prior_map.parameters_and_slopes(z)
        _, code = self._unpacked(y)
        media, retention, units, _ = self._split(theta, code)
        saturates = self._saturates(code)
        lags = self._lags(theta)
        variance = theta[-1] ** 2
        total = variance + self.block.eigenvalues[:, None]
        shrink = 1.0 - jnp.sqrt(variance / total)

        def whitened(column: Array, scale: Array) -> Array:
            column = (column - self._mean(column)) * self.real_rows[:, None]
            column = column - self.block.basis @ (shrink * (self.block.basis.T @ column))
            return column * (scale / theta[-1])

        columns: dict[int, Array] = {}
        count = self.channels
        for index, curve in enumerate(self._curves(theta, code)):
            # The curve enters divided by its weighted sum: a change of it acts net of its part along the curve.
            share = curve.value / (self.weights @ curve.value)
            tangent = (lags[:, None] - lags @ curve.powers) * curve.powers / retention[index]
            rise = curve.derivative / units[index]
            effect = media[index] * curve.per_unit
            columns[index] = whitened(curve.value, curve.per_unit * slopes[index])
            changes = {count + index: rise * (self.exposure[index] @ tangent)}
            if index in self._half_saturations:
                changes[self._half_saturations[index]] = -rise * curve.relative * saturates
            if index in self._slopes:
                changes[self._slopes[index]] = curve.by_slope
            for place, change in changes.items():
                columns[place] = whitened(change - (self.weights @ change) * share, effect * slopes[place])
        jacobian = jnp.stack([columns[place] for place in range(self.dimension - 1)])
        free = self.observations - self.noise_dimension
        per_sigma = 2.0 * free / variance + 2.0 * variance * jnp.sum(1.0 / total**2, axis=0)
        information = jnp.zeros((z.shape[1], self.dimension, self.dimension), z.dtype)
        information = information.at[:, :-1, :-1].set(jnp.einsum("dtl,etl->lde", jacobian, jacobian))
        return information.at[:, -1, -1].set(per_sigma * slopes[-1] ** 2)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        """Rows [Q, lanes] in the order of `quantity_names`; noise [q, lanes] draws the linear part given the rest.

        Every model with these channels and this size of the linear part computes the same rows, so that they share
        their programs; what a model does not have, such as a ROI without spend, is left unnamed.
        """
        theta = self.prior_map.parameters(z)
        series, code = self._unpacked(y)
        residual = self._residual(theta, series, self._curves(theta, code))
        values = self.block.eigenvalues[:, None]
        rotated = (
            jnp.sqrt(values) * residual.projected / residual.total
            + jnp.sqrt(residual.variance / residual.total) * noise
        )
        coefficients = self.block.mean[:, None] + self.block.rotation @ rotated
        # r - U p is s without what the block left of p.
        rest = residual.whitened - self.block.basis @ (residual.variance / residual.total * residual.projected)
        misfit = jnp.sum(rest**2, axis=0) + jnp.sum((residual.projected - jnp.sqrt(values) * rotated) ** 2, axis=0)
        log_likelihood = self.log_scale - 0.5 * misfit / residual.variance
        log_likelihood = log_likelihood - 0.5 * self.observations * jnp.log(
            2.0 * jnp.pi * residual.variance * self.kpi_sd**2
        )
        standard = (coefficients - self.block.mean[:, None]) / self.block.sd[:, None]
        log_block = -0.5 * self.block.real @ standard**2
        log_block = log_block - self.block.real @ jnp.log(self.block.sd * jnp.sqrt(2.0 * jnp.pi))
        log_prior = jnp.sum(self.prior_map.log_density(z), axis=0) + log_block

        # A row that only fills up is judged with the others: as a copy of sigma it changes no worst R-hat.
        linear = jnp.where(self.block.real[:, None] > 0.0, coefficients, theta[-1])
        sampled, estimands = self._smooth(theta)
        rows_out = [sampled[:-1], linear, sampled[-1:], estimands, log_likelihood[None], log_prior[None]]
        return jnp.concatenate(rows_out)

    def _smooth(self, theta: Array) -> tuple[Array, Array]:
        """What is sampled [3C + 1, lanes] and the estimands that depend on nothing else [E, lanes]."""
        media = theta[: self.channels]
        share = media * self.to_share[:, None]
        rows = [share, media * self.to_incremental[:, None], media * self.to_roi[:, None]]
        if self.channels > 1:
            together = jnp.sum(share, axis=0)
            rows += [share / together, together[None]]
        return theta, jnp.concatenate(rows)

    @property
    def smooth_names(self) -> tuple[str, ...]:
        """All quantities but the linear part, which is integrated out, and the log densities."""
        media, linear = self.dimension - 1, self.noise_dimension
        return (*self.labels.names[:media], *self.labels.names[media + linear : -2])

    def smooth(self, z: Array) -> Array:
        """Rows [K, lanes] in the order of `smooth_names` at z [D, lanes]."""
        return jnp.concatenate(self._smooth(self.prior_map.parameters(z)))
