"""E-process on ranks: evidence against uniformity that may be looked at after every simulation.

E_n = (1/M) sum_m prod_{i <= n} (L_i + 1) BetaBin(r_i; L_i, a_m, b_m). Under uniform ranks every factor has mean 1, so
P(some E_n >= 1/alpha) <= alpha (Ville's inequality), exactly for discrete ranks and for L_i that vary. The average over
quantities is again an e-process, under any dependence between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from engine.errors import InvalidInput
from engine.sbc.ledger import RankLedger

Floats = npt.NDArray[np.float64]

ALTERNATIVES: tuple[tuple[float, float], ...] = (
    (0.4, 0.4),
    (0.7, 0.7),
    (0.85, 0.85),
    (1.2, 1.2),
    (1.6, 1.6),
    (3.0, 3.0),
    (0.7, 1.3),
    (1.3, 0.7),
    (0.85, 1.15),
    (1.15, 0.85),
    (1.0, 2.0),
    (2.0, 1.0),
)
"""Beta shapes (a, b) of the PIT: too narrow, too wide, and shifted posteriors, each from mild to gross."""


@dataclass(frozen=True)
class Evidence:
    """Natural logs of the running e-values after each of the n simulations 0..n-1, in order of simulation id.

    quantity: [n, P]; overall: [n], the average over quantities.
    """

    quantity: Floats
    overall: Floats

    @property
    def peak(self) -> Floats:
        """Return the largest log e-value of each quantity so far, [P]; it starts at log 1 = 0."""
        return np.asarray(self.quantity.max(axis=0, initial=0.0), dtype=np.float64)

    @property
    def overall_peak(self) -> float:
        """Return the largest log of the averaged e-value so far."""
        return float(self.overall.max(initial=0.0))


@lru_cache(maxsize=1024)
def log_factors(draws: int, alternatives: tuple[tuple[float, float], ...] = ALTERNATIVES) -> Floats:
    """Return log{(L + 1) BetaBin(r; L, a, b)} for every alternative and every rank r, [M, L + 1]."""
    if draws < 1:
        raise InvalidInput("draws", "must be at least 1")
    shapes = np.array(alternatives)
    table = np.log(draws + 1.0) + stats.betabinom.logpmf(np.arange(draws + 1), draws, shapes[:, :1], shapes[:, 1:])
    table.flags.writeable = False
    return np.asarray(table, dtype=np.float64)


def evidence(ledger: RankLedger, *, worst_case: bool) -> Evidence:
    """Return the e-processes of the ledger's contiguous prefix.

    A failed simulation has no rank that counts. With `worst_case` it contributes the smallest factor that any rank
    would have given each alternative, so that the result bounds every completion from below; without, it is skipped
    (factor 1), which is valid if failing is independent of the truth given the data.
    """
    rows = ledger.prefix()
    factors = np.empty((len(rows), len(rows.quantities), len(ALTERNATIVES)))
    for draws in np.unique(rows.n_draws):
        here = rows.n_draws == draws
        factors[here] = np.moveaxis(log_factors(int(draws))[:, rows.ranks[here]], 0, -1)
        failed = here & ~rows.accepted
        factors[failed] = log_factors(int(draws)).min(axis=1) if worst_case else 0.0
    running = special.logsumexp(np.cumsum(factors, axis=0), axis=-1) - np.log(len(ALTERNATIVES))
    overall = special.logsumexp(running, axis=-1) - np.log(len(rows.quantities))
    return Evidence(np.asarray(running), np.asarray(overall))
