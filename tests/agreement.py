"""Whether two samplers have the same posterior: statistics of their draws with Monte Carlo errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.inference.diagnostics import effective_sample_size, split_chains

__all__ = ["STATISTICS", "differences", "estimates", "inflated", "shifted", "threshold"]

Floats = NDArray[np.float64]

STATISTICS = ("mean", "sd", "5 % quantile", "95 % quantile")

_LEVELS = (0.05, 0.95)


def differences(ours: Floats, theirs: Floats) -> Floats:
    """Differences [..., 4] of the statistics in combined Monte Carlo errors, nearly N(0, 1) for one posterior.

    Both are draws [..., chains, draws]; the numbers of chains and draws may differ.
    """
    (our_values, our_errors), (their_values, their_errors) = estimates(ours), estimates(theirs)
    return np.asarray((our_values - their_values) / np.hypot(our_errors, their_errors))


def threshold(comparisons: int, level: float = 0.001) -> float:
    """The difference in Monte Carlo errors that one of so many passes by chance with at most this probability."""
    # Bonferroni's bound: parameters depend on each other, and so do the statistics of one.
    return float(-special.ndtri(0.5 * level / comparisons))


def inflated(draws: Floats, factor: float = 1.1) -> Floats:
    """Draws [..., chains, draws] stretched around their mean: an error that a comparison must notice."""
    mean = draws.mean(axis=(-2, -1), keepdims=True)
    return np.asarray(mean + factor * (draws - mean))


def shifted(draws: Floats, sds: float = 0.15) -> Floats:
    """Draws [..., chains, draws] moved by a part of their sd: another error that a comparison must notice."""
    return np.asarray(draws + sds * draws.std(axis=(-2, -1), keepdims=True))


def estimates(draws: Floats) -> tuple[Floats, Floats]:
    """The `STATISTICS` of draws [..., chains, draws] and their Monte Carlo standard errors, each [..., 4].

    Every error rests on the effective sample size of what is averaged: the draws, their squared deviations (a normal
    sd's error would be too small for the skew posteriors here), the indicators below a quantile.
    """
    pooled = draws.reshape(*draws.shape[:-2], -1)
    mean = pooled.mean(axis=-1)
    squares = (draws - mean[..., None, None]) ** 2
    sd = np.sqrt(squares.mean(axis=(-2, -1)))
    values, errors = [mean, sd], [_error_of_mean(draws), _error_of_mean(squares) / (2.0 * sd)]
    for level in _LEVELS:
        quantile = np.quantile(pooled, level, axis=-1)
        values.append(quantile)
        errors.append(_error_of_quantile(draws, pooled, level, quantile))
    return np.stack(values, axis=-1), np.stack(errors, axis=-1)


def _size(draws: Floats) -> Floats:
    return np.asarray(effective_sample_size(split_chains(draws)), dtype=np.float64)


def _error_of_mean(draws: Floats) -> Floats:
    return np.asarray(draws.std(axis=(-2, -1)) / np.sqrt(_size(draws)))


def _error_of_quantile(draws: Floats, pooled: Floats, level: float, quantile: Floats) -> Floats:
    """Half the distance of the order statistics one standard error either side, as in Vehtari et al. 2021.

    The share of draws below the true quantile has a beta law under the effective sample size; the order statistics
    bring in the local density without an estimate of it.
    """
    size = _size((draws <= quantile[..., None, None]).astype(np.float64))
    shares = [special.betaincinv(size * level + 1.0, size * (1.0 - level) + 1.0, p) for p in special.ndtr([-1.0, 1.0])]
    ordered = np.sort(pooled, axis=-1)
    places = [share * (ordered.shape[-1] - 1) for share in shares]
    low, high = (
        np.take_along_axis(ordered, np.rint(place).astype(np.int64)[..., None], axis=-1)[..., 0] for place in places
    )
    return np.asarray(0.5 * (high - low))
