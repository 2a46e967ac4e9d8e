"""Posterior z-score and contraction: how far the truth lies from the posterior mean, and how much the data taught."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import Floats
from engine.errors import InvalidInput
from engine.sbc.ledger import RankLedger


@dataclass(frozen=True)
class Contraction:
    """Summary of one quantity over the accepted simulations; a well-calibrated quantity has z of mean 0 and sd near 1.

    contraction is the mean of 1 - Var(posterior) / Var(prior): 0 when nothing was learnt, 1 when everything was.
    """

    quantity: str
    simulations: int
    z_mean: float
    z_sd: float
    contraction: float


def z_score(truth: npt.ArrayLike, mean: npt.ArrayLike, sd: npt.ArrayLike) -> Floats:
    """Return (truth - posterior mean) / posterior sd (Betancourt 2018), NaN where the sd is not positive."""
    top = np.asarray(truth, dtype=np.float64) - np.asarray(mean, dtype=np.float64)
    bottom = np.asarray(sd, dtype=np.float64)
    z = np.full(np.broadcast(top, bottom).shape, np.nan)
    np.divide(top, bottom, out=z, where=bottom > 0)
    return z


def contraction(sd: npt.ArrayLike, prior_sd: npt.ArrayLike) -> Floats:
    """Return 1 - sd^2 / prior_sd^2; prior_sd > 0 is the prior's own, or from many prior draws, not from the run's N."""
    prior = np.asarray(prior_sd, dtype=np.float64)
    if not np.all(prior > 0):
        raise InvalidInput("prior_sd", "must be positive")
    return np.asarray(1.0 - np.square(np.asarray(sd, dtype=np.float64) / prior))


def summarise(ledger: RankLedger, prior_sd: Mapping[str, float]) -> tuple[Contraction, ...]:
    """Return the summary of every quantity in `prior_sd`; simulations that failed or have no finite moments are out.

    The contraction is NaN where prior_sd is not a positive number.
    """
    result = []
    for name, scale in prior_sd.items():
        if name not in ledger.quantities:
            raise InvalidInput("prior_sd", f"the ledger has no quantity {name!r}")
        column = ledger.quantities.index(name)
        z = z_score(ledger.truth[:, column], ledger.mean[:, column], ledger.sd[:, column])
        use = ledger.accepted & np.isfinite(z)
        n = int(use.sum())
        known = 0 < scale < math.inf
        result.append(
            Contraction(
                quantity=name,
                simulations=n,
                z_mean=float(z[use].mean()) if n else float("nan"),
                z_sd=float(z[use].std(ddof=1)) if n > 1 else float("nan"),
                contraction=float(contraction(ledger.sd[use, column], scale).mean()) if n and known else float("nan"),
            )
        )
    return tuple(result)
