"""Chips laid on bins (Gore 1987; the roulette of SHELF), fitted by the distribution function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.distributions.distribution import Support
from engine.distributions.families import Family, chosen, fit_cdf
from engine.elicitation.quantiles import anchors
from engine.elicitation.statement import REJECT_ERROR, Fitted, of_probabilities, within_floats
from engine.errors import InvalidInput

MIN_BINS, MIN_CHIPS = 5, 10


def fit_roulette(
    edges: Sequence[float], chips: Sequence[int], support: Support, family: Family | None = None
) -> Fitted:
    """Least-squares fit of the distribution function at the edges of the bins, which hold `chips` of all the chips.

    Half a chip in all is spread evenly over the bins and over what lies beyond them, so that an empty bin is unlikely
    rather than impossible; what it adds fades as chips are laid. A chip is only known to half a chip, so a probability
    may be missed by 0.05 and half a chip's weight before the fit is refused. Raises InvalidInput on "edges", "chips",
    "family": fewer than 5 bins or 10 chips say too little for any family (methods/conflict.md §13).
    """
    family = chosen(family, support)
    x, laid = np.asarray(edges, dtype=np.float64), np.asarray(chips, dtype=np.float64)
    if x.ndim != 1 or not (np.all(np.isfinite(x)) and np.all(np.diff(x) > 0.0)):
        raise InvalidInput("edges", "must be finite and increase strictly")
    if laid.shape != (x.size - 1,):
        raise InvalidInput("chips", f"must be one number for each of the {x.size - 1} bins")
    if laid.size < MIN_BINS:
        raise InvalidInput("edges", f"must make at least {MIN_BINS} bins")
    if not (np.all(laid >= 0.0) and np.all(laid == np.floor(laid))):
        raise InvalidInput("chips", "must be whole numbers, not negative")
    if laid.sum() < MIN_CHIPS:
        raise InvalidInput("chips", f"must be at least {MIN_CHIPS} in all")
    outside = (x[:-1] < support.lower) | (x[1:] > support.upper)
    if np.any(laid[outside] > 0.0):
        worst = int(np.flatnonzero(outside & (laid > 0.0))[0])
        raise InvalidInput(
            f"chips[{worst}]",
            f"lie on a bin that reaches outside ({support.lower:g}, {support.upper:g}), where the quantity lives",
        )
    if int(np.count_nonzero(laid)) < 2:
        raise InvalidInput("chips", "must lie on at least two bins: make the bins narrower")
    # The bins inside the support, with what lies beyond them as bins of their own where the support goes on.
    kept = np.flatnonzero(~outside)
    x, laid = x[kept[0] : kept[-1] + 2], laid[kept]
    before, after = bool(x[0] > support.lower), bool(x[-1] < support.upper)
    counts = np.concatenate([[0.0] * before, laid, [0.0] * after])
    counts = counts + 0.5 / counts.size
    below = (np.cumsum(counts) / counts.sum())[:-1]
    at = x if before and after else x[1:] if after else x[:-1] if before else x[1:-1]
    with within_floats("edges", "family"):
        law = fit_cdf(at, below, family, anchors(at, below, support))
    try:
        return of_probabilities(law, at.tolist(), below.tolist(), REJECT_ERROR + 0.5 / float(laid.sum()))
    except InvalidInput as error:
        raise InvalidInput("chips", error.message) from None
