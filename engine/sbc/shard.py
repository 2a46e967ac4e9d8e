"""One shard of a calibration run: simulate, fit as production does, and rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.backend import Backend
from engine.models.protocol import FitDiagnostics, Model, Purpose, Seed
from engine.sbc.ledger import RankLedger, Status
from engine.sbc.ranks import kept_draws, ranks, thinned

Floats = npt.NDArray[np.float64]

MAX_DRAWS = 99
"""Kept draws per simulation: 100 possible ranks."""


def run_shard(
    model: Model,
    seed: Seed,
    simulations: npt.ArrayLike,
    inference: Backend,
    max_draws: int = MAX_DRAWS,
    quantities: Sequence[str] | None = None,
) -> RankLedger:
    """Return the ledger of the given simulation ids ([S], distinct, from 0) and quantities (default: all).

    Simulation i's truth, data, chains and ties come from the streams of (seed, i), so its row depends neither on the
    other simulations of the shard nor on which quantities are ranked. A failed fit keeps its row and its status.
    """
    ids = np.sort(np.asarray(simulations, dtype=np.int64))
    if ids.size == 0 or ids[0] < 0 or np.any(np.diff(ids) == 0):
        raise InvalidInput("simulations", "need at least one id, each from 0 and only once")
    prior = model.sample_prior(seed, ids)
    names = model.quantity_names if quantities is None else tuple(quantities)
    fit = model.fit(prior.y, seed, ids, inference)
    for name in names:
        if name not in prior.quantities or name not in fit.draws:
            raise UnsupportedQuantity(name, "the model does not return it for both the truth and the draws")

    diagnostics = fit.diagnostics
    ess = np.minimum(diagnostics.ess_bulk, diagnostics.ess_tail).astype(np.float64)
    draws = {name: np.asarray(fit.draws[name], dtype=np.float64) for name in names}
    truth = np.column_stack([np.asarray(prior.quantities[name], dtype=np.float64) for name in names])
    # Two numbers for every quantity of the model, whichever of them are ranked.
    columns = [model.quantity_names.index(name) for name in names]
    uniform = np.stack([seed.generator(int(i), Purpose.TIES).random((len(model.quantity_names), 2)) for i in ids])
    ties_uniform, v = uniform[:, columns, 0], uniform[:, columns, 1]
    n_draws = np.empty(len(ids), dtype=np.int32)
    rank, ties = np.empty(truth.shape, dtype=np.int32), np.empty(truth.shape)
    for row in range(len(ids)):
        merged = np.stack([draws[name][row].reshape(-1) for name in names])
        n_draws[row] = kept_draws(float(ess[row]), merged.shape[1], max_draws)
        kept = merged[:, thinned(merged.shape[1], int(n_draws[row]))]
        rank[row], ties[row] = ranks(truth[row], kept, ties_uniform[row])

    with np.errstate(invalid="ignore", over="ignore"):  # a non-finite draw makes its moments NaN or infinite: wanted
        mean = np.column_stack([draws[name].mean(axis=(1, 2)) for name in names])
        sd = np.column_stack([draws[name].std(axis=(1, 2), ddof=1) for name in names])
    return RankLedger(
        simulations=ids,
        quantities=names,
        ranks=rank,
        n_draws=n_draws,
        v=v,
        ties=ties,
        status=statuses(diagnostics),
        r_hat=np.asarray(diagnostics.r_hat, dtype=np.float64),
        ess=ess,
        mean=mean,
        sd=sd,
        truth=truth,
    )


def statuses(diagnostics: FitDiagnostics) -> npt.NDArray[np.uint8]:
    """Return each fit's status [S], from its diagnostics only: a status that knew the truth would bias the ranks."""
    ok, nonfinite = np.asarray(diagnostics.ok, dtype=bool), np.asarray(diagnostics.nonfinite, dtype=bool)
    retried, divergent = np.asarray(diagnostics.escalations) > 0, np.asarray(diagnostics.divergences) > 0
    return np.select(
        [nonfinite, ok & retried, ok, divergent],
        [Status.NONFINITE, Status.RETRIED, Status.OK, Status.DIVERGENT],
        Status.NOT_CONVERGED,
    ).astype(np.uint8)
