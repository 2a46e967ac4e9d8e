"""How a fixed truth is recovered: coverage, bias and failed fits of data that were all simulated at it.

It is a report, not a test. A Bayesian interval holds the truth as often as it says over truths from the prior, not at
each of them: near the middle of the prior it holds it more often, far from it less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.arrays import Floats
from engine.sbc.coverage import Coverage, coverage
from engine.sbc.ledger import RankLedger

WIDTHS = (0.5, 0.8, 0.95)


@dataclass(frozen=True)
class MonteCarloMean:
    """A mean over simulations and its standard error, sd/√n; NaN where there are fewer than two."""

    value: float
    error: float


@dataclass(frozen=True)
class QuantityRecovery:
    """One quantity over n usable simulations.

    truth: its value at the fixed truth. coverage: of central intervals, at WIDTHS. bias: posterior mean minus truth, in
    the quantity's unit. z: the same in posterior sds of each simulation; None where a posterior has no sd. sd: mean
    posterior sd. Without a usable simulation there is no figure but the truth.
    """

    quantity: str
    truth: float
    n: int
    coverage: tuple[Coverage, ...]
    bias: MonteCarloMean | None
    z: MonteCarloMean | None
    sd: float | None


@dataclass(frozen=True)
class Recovery:
    """What `done` simulations say; `failed` of them are in no figure."""

    done: int
    failed: int
    quantities: tuple[QuantityRecovery, ...]


def recovery(ledger: RankLedger) -> Recovery:
    """The report on a ledger of at least one simulation, a pure function of its rows."""
    rows = ledger.rows(ledger.accepted)
    quantities = []
    for column, name in enumerate(ledger.quantities):
        truth, off, sd = ledger.truth[0, column], rows.mean[:, column] - rows.truth[:, column], rows.sd[:, column]
        quantities.append(
            QuantityRecovery(
                quantity=name,
                truth=float(truth),
                n=len(rows),
                coverage=coverage(rows.ranks[:, column], rows.n_draws, WIDTHS) if len(rows) else (),
                bias=_mean(off) if len(rows) else None,
                z=_mean(off / sd) if len(rows) and np.all(sd > 0) else None,
                sd=float(sd.mean()) if len(rows) else None,
            )
        )
    return Recovery(len(ledger), len(ledger) - len(rows), tuple(quantities))


def _mean(values: Floats) -> MonteCarloMean:
    error = float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else math.nan
    return MonteCarloMean(float(values.mean()), error)
