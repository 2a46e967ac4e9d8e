"""A posterior moved towards another prior of one quantity: the target times (p_client(psi) / p_ref(psi))^lambda."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from engine.arrays import Floats
from engine.distributions.distribution import Distribution
from engine.distributions.support import Link, Support
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.target import ClosedForm, SmoothTarget, differentiated

COORDINATE = "tilted_coordinate"
LOG_RATIO = "tilted_log_ratio"
"""Rows of a tilted target: u(psi), and r = log p_client(psi) / p_ref(psi)."""

_CELLS = 4096  # a fixed number, so that another belief reuses the compiled program
_MARGIN = 0.02  # of the way from an end to the median: near enough to the end, and resolved by the table
_DIED_OUT = -2.0  # log density against its peak
_REACH = 1e-7  # the table covers the client but for this mass in either tail


class _Read(NamedTuple):
    """r, r' and r'' in u, each [lanes]."""

    value: Array
    slope: Array
    second: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogRatio:
    """r(u) = log p_client(psi) / p_ref(psi) as a cubic spline in the unconstrained coordinate u of psi.

    `coefficients` [4, cells] are in units of one cell; beyond the table r goes on linearly.
    """

    coefficients: Array
    start: Array
    step: Array

    @classmethod
    def of(cls, client: Distribution, reference: Distribution, covered: tuple[float, float]) -> LogRatio:
        """The ratio of two priors of psi on the reference's support, exact over `covered` (in u) and the client's mass.

        A client whose support is wider is truncated to the reference's and renormalised (methods/conflict.md §8). One
        that dies out before it ends inside the reference's, as a belief about a share does below 1, goes on beyond with
        the slope that it has there. Raises InvalidInput where the client's support leaves most of its mass out, or ends
        in a wall: that is nothing that a sampler of smooth targets could cross.
        """
        support, own = reference.support, client.support
        last: list[float | None] = [None, None]
        for side, (end, inner) in enumerate(
            ((own.lower, own.lower > support.lower), (own.upper, own.upper < support.upper))
        ):
            if not inner:
                continue
            last[side] = _before(client, end)
            if last[side] is None:
                raise InvalidInput(
                    "prior",
                    f"ends in a wall at {end:g}, inside the range of the quantity, ({support.lower}, {support.upper})",
                )
        kept = 1.0
        if client.support != support:
            kept -= float(client.cdf(support.lower)) + float(client.sf(support.upper))
        if kept < 0.5:
            raise InvalidInput("prior", "has most of its mass outside the range of the quantity")
        ends = np.clip([float(client.ppf(_REACH)), float(client.isf(_REACH))], support.lower, support.upper)
        reach = support.to_unconstrained(ends)
        reach = np.concatenate([reach[np.isfinite(reach)], covered])
        inside = [None if end is None else float(support.to_unconstrained(end)) for end in last]
        reach = np.clip(reach, inside[0], inside[1]) if any(end is not None for end in inside) else reach
        nodes = np.linspace(reach.min(), reach.max(), _CELLS + 1)
        with np.errstate(all="ignore"):
            values = _log_density(client, support, nodes) - np.log(kept) - _log_density(reference, support, nodes)
        # psi(u) may round to an end of the support, where a density has no logarithm.
        good = np.flatnonzero(np.isfinite(values))
        if good.size < _CELLS // 2:
            raise InvalidInput("prior", "is not resolved in float64 over the range of the draws")
        if good.size < nodes.size:
            spline = CubicSpline(nodes[good], values[good])
            nodes = np.linspace(nodes[good[0]], nodes[good[-1]], _CELLS + 1)
            values = spline(nodes)
        step = float(nodes[1] - nodes[0])
        table = CubicSpline(nodes, values).c[::-1] * step ** np.arange(4)[:, None]
        return cls(jnp.asarray(table), jnp.asarray(nodes[0]), jnp.asarray(step))

    def read(self, u: Array) -> _Read:
        """r and its derivatives [lanes] at u [lanes]."""
        cells = self.coefficients.shape[-1]
        scaled = (u - self.start) / self.step
        inside = jnp.clip(scaled, 0.0, cells)
        cell = jnp.clip(inside.astype(jnp.int32), 0, cells - 1)
        s = inside - cell
        c0, c1, c2, c3 = self.coefficients[:, cell]
        slope = c1 + s * (2.0 * c2 + 3.0 * s * c3)
        beyond = scaled - inside
        value = c0 + s * (c1 + s * (c2 + s * c3)) + beyond * slope
        second = jnp.where(beyond == 0.0, 2.0 * c2 + 6.0 * s * c3, 0.0)
        return _Read(value, slope / self.step, second / self.step**2)

    def __call__(self, u: ArrayLike) -> Floats:
        """R at u of any shape."""
        return np.asarray(self.read(jnp.asarray(u)).value)


def _before(client: Distribution, end: float) -> float | None:
    """A point just inside an end of the client's support, None where it has not died out there."""
    middle = float(client.ppf(0.5))
    point = end + _MARGIN * (middle - end)
    peak = float(np.max(client.logpdf(client.ppf(np.linspace(0.01, 0.99, 99)))))
    return point if float(client.logpdf(point)) < peak + _DIED_OUT else None


def _log_density(law: Distribution, support: Support, u: Floats) -> Floats:
    """Log density of psi in the unconstrained coordinate of `support`; a law on a wider support is not renormalised."""
    if law.support == support:
        return np.asarray(law.unconstrained_logpdf(u))
    return np.asarray(law.logpdf(support.from_unconstrained(u)) + support.log_jacobian(u))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TiltedTarget:
    """Posterior ∝ base posterior · exp(lambda r(psi(z))), for a psi that is smooth in z (methods/conflict.md §4.2, 4).

    lambda is the last row of y [T + 1, lanes]: a whole ladder is one batch. lambda = 0 is the base, lambda = 1 the
    client's posterior under MARGINAL_REPLACEMENT (methods/conflict.md §3 F). Build it with `tilt`.
    """

    base: SmoothTarget
    log_ratio: LogRatio
    row: Array  # of psi among the base's smooth quantities; data, like the link, so that programs are shared
    kind: Array  # 0 identity, 1 log, 2 logit
    lower: Array
    width: Array

    @property
    def dimension(self) -> int:
        """D of the base."""
        return self.base.dimension

    @property
    def noise_dimension(self) -> int:
        """0: what the base integrates out is not drawn."""
        return 0

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The coordinate of psi and every z: rank diagnostics of z are those of the parameters it stands for."""
        return (COORDINATE, *z_names(self.dimension))

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """The parameters and r."""
        return (*self.parameter_names, LOG_RATIO)

    def coordinate(self, z: Array) -> Array:
        """u(psi(z)) [lanes] of z [D, lanes]."""
        psi = jnp.take(self.base.smooth(z), self.row, axis=0)
        tiny = float(np.finfo(psi.dtype).tiny)
        above = jnp.log(jnp.maximum(psi - self.lower, tiny))
        below = jnp.log(jnp.maximum(self.lower + self.width - psi, tiny))
        return jnp.where(self.kind == 1, above, jnp.where(self.kind == 2, above - below, psi))

    def _coordinate_and_gradient(self, z: Array) -> tuple[Array, Array]:
        u, pull = jax.vjp(self.coordinate, z)
        (gradient,) = pull(jnp.ones_like(u))
        return u, gradient

    def log_likelihood(self, z: Array, y: Array) -> Array:
        """Base log likelihood + lambda r [lanes] at z [D, lanes], y [T + 1, lanes]."""
        return self.base.log_likelihood(z, y[:-1]) + y[-1] * self.log_ratio.read(self.coordinate(z)).value

    def value_and_gradient(self, z: Array, y: Array) -> tuple[Array, Array]:
        """The log likelihood [lanes] and its gradient [D, lanes]: the base's own, and autodiff for psi alone."""
        if isinstance(self.base, ClosedForm):
            value, gradient = self.base.value_and_gradient(z, y[:-1])
        else:
            value, gradient = differentiated(self.base, z, y[:-1])
        u, by_z = self._coordinate_and_gradient(z)
        ratio = self.log_ratio.read(u)
        return value + y[-1] * ratio.value, gradient + y[-1] * ratio.slope * by_z

    def curvature(self, z: Array, y: Array) -> Array:
        """The base's curvature and lambda max(-r'', 0) g g' [lanes, D, D] with g = du/dz: positive semi-definite."""
        u, by_z = self._coordinate_and_gradient(z)
        strength = y[-1] * jnp.maximum(-self.log_ratio.read(u).second, 0.0)
        return self.base.curvature(z, y[:-1]) + jnp.einsum("l,dl,el->lde", strength, by_z, by_z)

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        """u, z and r [D + 2, lanes]."""
        u = self.coordinate(z)
        return jnp.concatenate([u[None], z, self.log_ratio.read(u).value[None]])


def z_names(dimension: int) -> tuple[str, ...]:
    """Names of the rows of z in a tilted target."""
    return tuple(f"z[{index}]" for index in range(dimension))


def tilt(
    base: SmoothTarget,
    quantity: str,
    client: Distribution,
    reference: Distribution,
    covered: tuple[float, float],
) -> TiltedTarget:
    """The base, whose prior of `quantity` is `reference`, tilted towards `client`; see `LogRatio.of` for `covered`.

    Raises UnsupportedQuantity where the base does not offer the quantity as a smooth function of z, and InvalidInput
    as `LogRatio.of` does.
    """
    if quantity not in base.smooth_names:
        raise UnsupportedQuantity(quantity, f"is no smooth function of what is sampled; {_listed(base.smooth_names)}")
    support = reference.support
    return TiltedTarget(
        base,
        LogRatio.of(client, reference, covered),
        jnp.asarray(base.smooth_names.index(quantity)),
        jnp.asarray({Link.IDENTITY: 0, Link.LOG: 1, Link.LOGIT: 2}[support.link]),
        jnp.asarray(0.0 if support.link is Link.IDENTITY else support.lower),
        jnp.asarray(support.upper - support.lower if support.link is Link.LOGIT else 1.0),
    )


def laddered(y: Floats, powers: ArrayLike) -> Floats:
    """y [T] of one data set with each of K powers lambda below it: [T + 1, K]."""
    steps = np.asarray(powers, dtype=np.float64)
    return np.concatenate([np.repeat(np.asarray(y, dtype=np.float64)[:, None], steps.size, axis=1), steps[None]])


def _listed(names: Sequence[str]) -> str:
    return f"those are {', '.join(name for name in names if name)}"
