"""What the sampler needs to know of a posterior: a log likelihood in coordinates with a standard normal prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

T = TypeVar("T")


class Labels:
    """Names that travel with a target without being part of what is compiled: all of one length are equal.

    JAX compiles again for a target whose static fields differ, and another client's names must not count as that.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and len(self.names) == len(other.names)

    def __hash__(self) -> int:
        return hash(len(self.names))


class Target(Protocol):
    """A posterior over z [D, lanes] with prior N(0, I); one lane is one chain of one simulation.

    Implementations are registered as JAX pytrees with arrays as leaves, so that another data set or another prior
    of the same shape reuses the compiled sampler.
    """

    @property
    def dimension(self) -> int:
        """D, the number of sampled coordinates."""
        ...

    @property
    def noise_dimension(self) -> int:
        """Number of standard normals that `quantities` uses per draw (for parameters integrated out before)."""
        ...

    @property
    def quantity_names(self) -> tuple[str, ...]:
        """Names of the rows that `quantities` returns, the parameters first; empty for a row that nobody wants.

        Targets of other models that return the same number of rows share their programs.
        """
        ...

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The first of the quantities: those whose convergence is judged."""
        ...

    def log_likelihood(self, z: Array, y: Array) -> Array:
        """Log likelihood [lanes] of y [T, lanes] at z [D, lanes], up to a constant that depends on neither."""
        ...

    def curvature(self, z: Array, y: Array) -> Array:
        """Positive semi-definite curvature of the log likelihood [lanes, D, D], e.g. the Fisher information."""
        ...

    def quantities(self, z: Array, y: Array, noise: Array) -> Array:
        """Values [Q, lanes] of every quantity at z [D, lanes], with noise [noise_dimension, lanes]."""
        ...


@runtime_checkable
class SmoothTarget(Target, Protocol):
    """A target some of whose quantities are smooth functions of z alone: those that `tilted` can give another prior."""

    @property
    def smooth_names(self) -> tuple[str, ...]:
        """Names of the rows that `smooth` returns; empty for a row that nobody wants."""
        ...

    def smooth(self, z: Array) -> Array:
        """Values [K, lanes] at z [D, lanes], differentiable; cheap beside the likelihood, for all are computed."""
        ...


@runtime_checkable
class ClosedForm(Protocol):
    """A target whose gradient is written out, batched over the lanes; others are differentiated automatically."""

    def value_and_gradient(self, z: Array, y: Array) -> tuple[Array, Array]:
        """Log likelihood [lanes] and its gradient in z [D, lanes]."""
        ...


def log_density(target: Target, z: Array, y: Array) -> Array:
    """Log posterior density [lanes] in z, up to a constant; minus infinity where it is not finite."""
    value = target.log_likelihood(z, y) - 0.5 * jnp.sum(z * z, axis=0)
    return jnp.where(jnp.isfinite(value), value, -jnp.inf)


def log_density_and_gradient(target: Target, z: Array, y: Array) -> tuple[Array, Array]:
    """Log posterior density [lanes], minus infinity where it is not finite, and its gradient [D, lanes], then 0."""
    find = target.value_and_gradient if isinstance(target, ClosedForm) else partial(differentiated, target)
    value, gradient = find(z, y)
    value, gradient = value - 0.5 * jnp.sum(z * z, axis=0), gradient - z
    return jnp.where(jnp.isfinite(value), value, -jnp.inf), jnp.where(jnp.isfinite(gradient), gradient, 0.0)


def differentiated(target: Target, z: Array, y: Array) -> tuple[Array, Array]:
    """Log likelihood and gradient by autodiff; lanes are independent, so one reverse pass serves them all."""

    def total(position: Array) -> tuple[Array, Array]:
        value = target.log_likelihood(position, y)
        return jnp.sum(value), value

    (_, value), gradient = jax.value_and_grad(total, has_aux=True)(z)
    return value, gradient


def cast(target: T, dtype: DTypeLike) -> T:
    """The target with its floating point arrays as `dtype`; the computation follows."""
    changed: T = jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, target
    )
    return changed


def observed_curvature(log_likelihood: Callable[[Array, Array], Array], z: Array, y: Array) -> Array:
    """Negative Hessian of a log likelihood [lanes, D, D] with negative eigenvalues set to zero.

    For targets without a Fisher information in closed form. Costs D Hessian-vector products.
    """
    gradient = jax.grad(lambda position: jnp.sum(log_likelihood(position, y)))

    def column(direction: Array) -> Array:
        tangent = jnp.broadcast_to(direction[:, None], z.shape)
        slope: Array = jax.jvp(gradient, (z,), (tangent,))[1]
        return slope

    hessian = -jnp.moveaxis(jax.vmap(column)(jnp.eye(z.shape[0], dtype=z.dtype)), -1, 0)
    values, vectors = jnp.linalg.eigh(0.5 * (hessian + jnp.swapaxes(hessian, 1, 2)))
    return jnp.einsum("sij,sj,skj->sik", vectors, jnp.maximum(values, 0.0), vectors)
