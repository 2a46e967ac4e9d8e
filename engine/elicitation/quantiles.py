"""Stated quantiles fitted by the distribution function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from engine.distributions.distribution import Support
from engine.distributions.families import Anchor, Family, chosen, fit_cdf
from engine.elicitation.statement import REJECT_ERROR, Fitted, of_probabilities, within_floats
from engine.errors import InvalidInput

Array = NDArray[np.float64]


def fit_quantiles(
    probabilities: Sequence[float], values: Sequence[float], support: Support, family: Family | None = None
) -> Fitted:
    """Least-squares fit of the distribution function at the stated points (methods/conflict.md §13).

    Exact for as many quantiles as the family has parameters; with more, every residual is returned. Raises InvalidInput
    when fewer than two quantiles are stated, when they do not increase, when some probability is missed by more than
    0.05, and on "family" where the family does not live on the support.
    """
    family = chosen(family, support)
    asked, x = np.asarray(probabilities, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if asked.ndim != 1 or asked.size < 2:
        raise InvalidInput("probabilities", "must hold at least two quantiles")
    if x.shape != asked.shape:
        raise InvalidInput("values", f"must be as many as the probabilities, {asked.size}")
    if not (np.all((asked > 0.0) & (asked < 1.0)) and np.all(np.diff(asked) > 0.0)):
        raise InvalidInput("probabilities", "must increase strictly and lie strictly between 0 and 1")
    if not (np.all(np.isfinite(x)) and np.all(np.diff(x) > 0.0)):
        raise InvalidInput("values", "must be finite and increase strictly with the probabilities")
    if not np.all(support.contains(x)):
        raise InvalidInput("values", f"must lie strictly inside ({support.lower}, {support.upper})")
    with within_floats("values", "values", "family"):
        law = fit_cdf(x, asked, family, anchors(x, asked, support))
        return of_probabilities(law, x.tolist(), asked.tolist(), REJECT_ERROR)


def anchors(x: Array, asked: Array, support: Support) -> list[Anchor]:
    """Where to start: unconstrained values [n] regressed on normal scores, exact for a normal or log-normal law."""
    scores, u = special.ndtri(asked), support.to_unconstrained(x)
    about = scores - scores.mean()
    # Probabilities that differ by rounding have one score between them.
    sd = float(about @ u) / max(float(about @ about), np.finfo(np.float64).tiny)
    first = Anchor.of_unconstrained(support, float(u.mean() - sd * scores.mean()), sd)
    return [first, first.widened(0.4), first.widened(2.5)]
