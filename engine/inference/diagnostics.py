"""Convergence diagnostics of Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, on the device, over leading axes."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy.special import ndtri


@jax.jit
def split_chains(x: ArrayLike) -> Array:
    """Halve every chain: [..., chains, draws] → [..., 2·chains, draws // 2]; an odd last draw is left out."""
    values = jnp.asarray(x)
    half = values.shape[-1] // 2
    return jnp.concatenate([values[..., :half], values[..., half : 2 * half]], axis=-2)


def rank_normalise(x: ArrayLike) -> Array:
    """Normal scores of the ranks pooled over chains and draws, Φ⁻¹((rank - 3/8)/(n + 1/4)); ties get the mean rank."""
    scores: Array = _scores(_pool(jnp.asarray(x)))
    return scores


def split_r_hat(x: ArrayLike) -> Array:
    """Split R-hat [...] of x [..., chains, draws] without rank normalisation; infinite for chains that never move."""
    r_hat: Array = _r_hat(split_chains(x))
    return r_hat


def rank_r_hat(x: ArrayLike) -> Array:
    """The larger of the rank-normalised split R-hat and that of the folded draws |x - median|."""
    return summary(x)[0]


def ess_bulk(x: ArrayLike) -> Array:
    """Effective sample size of the rank-normalised split chains."""
    return summary(x)[1]


def ess_tail(x: ArrayLike) -> Array:
    """The smaller effective sample size of the indicators below the 5 % and the 95 % quantile."""
    return summary(x)[2]


def summary(x: ArrayLike) -> tuple[Array, Array, Array]:
    """rank_r_hat, ess_bulk and ess_tail [...] of x [..., chains, draws], which share their ranks."""
    # Compiled piece by piece: in one program XLA on CPU computes the scores again for everything that reads them.
    pooled = _pool(split_chains(x))
    scores, folded = _scores(pooled), _scores(_pool(_folded(pooled)))
    low, high = (effective_sample_size(_not_above(pooled, quantile)) for quantile in (0.05, 0.95))
    return jnp.maximum(_r_hat(scores), _r_hat(folded)), effective_sample_size(scores), jnp.minimum(low, high)


@jax.jit
def effective_sample_size(x: ArrayLike) -> Array:
    """ESS [...] of x [..., chains, draws] by Geyer's initial monotone sequence, 0 for chains that never move.

    The autocorrelation is that of Stan's multi-chain estimator, so chains that disagree lower the ESS. It is
    bounded by S·log10(S), as in Vehtari et al. 2021, because the estimate for antithetic chains is unstable.
    """
    values = jnp.asarray(x)
    *_, chains, draws = values.shape
    total = float(chains * draws)
    centred = values - jnp.mean(values, axis=-1, keepdims=True)
    length = 1 << (2 * draws - 1).bit_length()  # every transform library is fast at powers of two
    spectrum = jnp.fft.rfft(centred, n=length, axis=-1)
    power = jnp.mean(spectrum.real**2 + spectrum.imag**2, axis=-2)
    covariance = jnp.fft.irfft(power, n=length, axis=-1)[..., :draws] / draws
    variance = jnp.mean(centred**2, axis=(-2, -1))[..., None]
    within = variance * draws / (draws - 1.0)
    pooled = variance + jnp.var(jnp.mean(values, axis=-1), axis=-1, ddof=1)[..., None]
    stuck = jnp.all(values == values[..., :1, :1], axis=(-2, -1))
    correlation = 1.0 - (within - covariance) / jnp.where(stuck[..., None], 1.0, pooled)
    correlation = correlation.at[..., 0].set(1.0)
    even = draws // 2 * 2
    pairs = correlation[..., 0:even:2] + correlation[..., 1:even:2]
    # Geyer: the pairs never grow, and the sum stops at the first that is not positive.
    pairs = jnp.maximum(jax.lax.cummin(pairs, axis=pairs.ndim - 1), 0.0)
    time = jnp.maximum(-1.0 + 2.0 * jnp.sum(pairs, axis=-1), 1.0 / np.log10(total))
    return jnp.where(stuck, 0.0, total / time)


def _argsort(x: ArrayLike) -> ArrayLike:
    """Order along the last axis. XLA's sort on the CPU takes fifteen times as long as NumPy's on the same memory."""
    if jax.default_backend() == "cpu":
        return np.argsort(np.asarray(x), axis=-1).astype(np.int32)
    return jnp.argsort(jnp.asarray(x), axis=-1)


class _Pooled(NamedTuple):
    """Draws [..., chains, draws] and their order over chains and draws together, in arrays of the same shape."""

    draws: Array
    ordered: Array  # all draws by size [..., chains·draws]
    first: Array  # position from 0 of the first draw that is as large
    last: Array  # position of the last one


def _pool(x: Array) -> _Pooled:
    """Positions of equal draws are those of the whole run of them."""
    order = _argsort(x.reshape(*x.shape[:-2], -1))
    ordered = _take(x, order)
    first, last = _runs(ordered)
    back = _argsort(order)  # the inverse permutation
    return _Pooled(x, ordered, _take(first, back).reshape(x.shape), _take(last, back).reshape(x.shape))


@jax.jit
def _take(x: Array, where: Array) -> Array:
    return jnp.take_along_axis(x.reshape(where.shape), where, axis=-1)


@jax.jit
def _runs(ordered: Array) -> tuple[Array, Array]:
    """First and last position of the run of equal values that every position belongs to."""
    position = jnp.arange(ordered.shape[-1], dtype=jnp.int32)
    changes = ordered[..., 1:] != ordered[..., :-1]
    edge = jnp.ones_like(changes[..., :1])
    axis = ordered.ndim - 1
    # An associative scan is four times as fast on CPU as the cumulative maximum, which is a window reduction there.
    first = jnp.where(jnp.concatenate([edge, changes], -1), position, 0)
    last = jnp.where(jnp.concatenate([changes, edge], -1), position, position.size)
    return (
        jax.lax.associative_scan(jnp.maximum, first, axis=axis),
        jax.lax.associative_scan(jnp.minimum, last, axis=axis, reverse=True),
    )


@jax.jit
def _scores(pooled: _Pooled) -> Array:
    """Normal scores of the mean ranks, looked up in a constant table: a rank is a multiple of one half."""
    size = pooled.ordered.shape[-1]
    table = ndtri((1.0 + 0.5 * np.arange(2 * size - 1) - 0.375) / (size + 0.25))
    return jnp.asarray(table, pooled.draws.dtype)[pooled.first + pooled.last]


@jax.jit
def _folded(pooled: _Pooled) -> Array:
    size = pooled.ordered.shape[-1]
    median = 0.5 * (pooled.ordered[..., (size - 1) // 2] + pooled.ordered[..., size // 2])
    return jnp.abs(pooled.draws - median[..., None, None])


@partial(jax.jit, static_argnames="quantile")
def _not_above(pooled: _Pooled, quantile: float) -> Array:
    """1 where a draw is at most the quantile: at most q(n - 1) draws are smaller, whatever lies between two draws."""
    return (pooled.first <= int(quantile * (pooled.ordered.shape[-1] - 1))).astype(pooled.draws.dtype)


@jax.jit
def _r_hat(split: Array) -> Array:
    draws = split.shape[-1]
    within = jnp.mean(jnp.var(split, axis=-1, ddof=1), axis=-1)
    between = jnp.var(jnp.mean(split, axis=-1), axis=-1, ddof=1)
    stuck = jnp.all(split == split[..., :1], axis=(-2, -1))
    ratio = (draws - 1.0) / draws + between / jnp.where(stuck, 1.0, within)
    return jnp.where(stuck, jnp.inf, jnp.sqrt(ratio))
