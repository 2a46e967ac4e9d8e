"""Convergence diagnostics of Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, vectorised over leading axes."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def split_chains(x: Floats) -> Floats:
    """Halve every chain: [..., chains, draws] → [..., 2·chains, draws // 2]; an odd last draw is left out."""
    half = x.shape[-1] // 2
    return np.concatenate([x[..., :half], x[..., half : 2 * half]], axis=-2)


def rank_normalise(x: Floats) -> Floats:
    """Normal scores of the ranks pooled over chains and draws, Φ⁻¹((rank - 3/8)/(n + 1/4)); ties get the mean rank."""
    flat = x.reshape(*x.shape[:-2], -1)
    ranks = rankdata(flat, method="average", axis=-1)
    return np.asarray(ndtri((ranks - 0.375) / (flat.shape[-1] + 0.25))).reshape(x.shape)


def _r_hat(split: Floats) -> Floats:
    draws = split.shape[-1]
    within = split.var(axis=-1, ddof=1).mean(axis=-1)
    between = split.mean(axis=-1).var(axis=-1, ddof=1)
    stuck = within <= 0.0
    ratio = (draws - 1.0) / draws + between / np.where(stuck, 1.0, within)
    return np.where(stuck, np.inf, np.sqrt(ratio))


def split_r_hat(x: Floats) -> Floats:
    """Split R-hat [...] of x [..., chains, draws] without rank normalisation; infinite for chains that never move."""
    return _r_hat(split_chains(x))


def rank_r_hat(x: Floats) -> Floats:
    """The larger of the rank-normalised split R-hat and that of the folded draws |x - median|."""
    split = split_chains(x)
    folded = np.abs(split - np.median(split, axis=(-2, -1), keepdims=True))
    return np.maximum(_r_hat(rank_normalise(split)), _r_hat(rank_normalise(folded)))


def effective_sample_size(x: Floats) -> Floats:
    """ESS [...] of x [..., chains, draws] by Geyer's initial monotone sequence, 0 for chains that never move.

    The autocorrelation is that of Stan's multi-chain estimator, so chains that disagree lower the ESS. It is
    bounded by S·log10(S), as in Vehtari et al. 2021, because the estimate for antithetic chains is unstable.
    """
    *_, chains, draws = x.shape
    total = float(chains * draws)
    centred = x - x.mean(axis=-1, keepdims=True)
    spectrum = scipy.fft.rfft(centred, n=scipy.fft.next_fast_len(2 * draws, real=True), axis=-1)
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=-2)
    covariance = scipy.fft.irfft(power, n=scipy.fft.next_fast_len(2 * draws, real=True), axis=-1)[..., :draws] / draws
    within = covariance[..., :1] * draws / (draws - 1.0)
    pooled = covariance[..., :1] + x.mean(axis=-1).var(axis=-1, ddof=1)[..., None]
    stuck = ~(pooled > 0.0)
    correlation = 1.0 - (within - covariance) / np.where(stuck, 1.0, pooled)
    correlation[..., 0] = 1.0
    even = draws // 2 * 2
    pairs = correlation[..., 0:even:2] + correlation[..., 1:even:2]
    # Geyer: the sum stops at the first pair that is not positive, and the pairs never grow.
    positive = np.logical_and.accumulate(pairs > 0.0, axis=-1)
    pairs = np.minimum.accumulate(np.where(positive, pairs, 0.0), axis=-1)
    time = np.maximum(-1.0 + 2.0 * pairs.sum(axis=-1), 1.0 / np.log10(total))
    return np.where(stuck[..., 0], 0.0, total / time)


def ess_bulk(x: Floats) -> Floats:
    """Effective sample size of the rank-normalised split chains."""
    return effective_sample_size(rank_normalise(split_chains(x)))


def ess_tail(x: Floats) -> Floats:
    """The smaller effective sample size of the indicators below the 5 % and the 95 % quantile."""
    split = split_chains(x)
    low, high = np.quantile(split, [0.05, 0.95], axis=(-2, -1), keepdims=True)
    return np.minimum(
        effective_sample_size((split <= low).astype(np.float64)),
        effective_sample_size((split <= high).astype(np.float64)),
    )
