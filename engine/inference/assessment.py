"""From drawn values to a fit with its diagnostics: for chains, and for draws that are independent by construction."""

from __future__ import annotations

import numpy as np

from engine.inference.diagnostics import ess_bulk, ess_tail, rank_r_hat
from engine.inference.target import Target
from engine.models.protocol import BatchFit, FitDiagnostics, Flags, Floats, Integers


def assess_chains(
    target: Target, values: Floats, divergences: Integers, r_hat_limit: float, ess_limit: float
) -> BatchFit:
    """The fit of Markov chains with values [Q, S, chains, draws] and divergences [S].

    `ok`: R-hat and both ESS of every parameter within the limits, no divergence, every draw finite.
    """
    return BatchFit(_named(target, values), diagnose(target, values, divergences, r_hat_limit, ess_limit))


def assess_independent(target: Target, values: Floats) -> BatchFit:
    """The fit of independent draws with values [Q, S, chains, draws]: R-hat 1 and ESS = chains·draws by construction.

    `ok` means finite. It says nothing about how close the approximation is to the posterior: that is what SBC is for.
    """
    _, simulations, chains, draws = values.shape
    nonfinite = _nonfinite(values)
    size = np.full(simulations, float(chains * draws))
    none = np.zeros(simulations, dtype=np.int64)
    diagnostics = FitDiagnostics(np.ones(simulations), size, size.copy(), none, none.copy(), ~nonfinite, nonfinite)
    return BatchFit(_named(target, values), diagnostics)


def diagnose(
    target: Target, values: Floats, divergences: Integers, r_hat_limit: float, ess_limit: float
) -> FitDiagnostics:
    """Worst R-hat and ESS over the parameters of values [Q, S, chains, draws], with divergences [S] and no re-runs."""
    names = target.quantity_names
    none = np.zeros(divergences.size, dtype=np.int64)
    nonfinite = _nonfinite(values)
    if divergences.size == 0:
        empty = np.empty(0)
        return FitDiagnostics(empty, empty, empty, divergences, none, nonfinite, nonfinite)
    judged = np.where(nonfinite[:, None, None], 0.0, values[[names.index(name) for name in target.parameter_names]])
    r_hat = np.max(np.asarray(rank_r_hat(judged)), axis=0)
    bulk, tail = (np.min(np.asarray(size(judged)), axis=0) for size in (ess_bulk, ess_tail))
    good = (r_hat <= r_hat_limit) & (np.minimum(bulk, tail) >= ess_limit)
    ok: Flags = good & (divergences == 0) & ~nonfinite
    return FitDiagnostics(r_hat, bulk, tail, divergences, none, ok, nonfinite)


def _nonfinite(values: Floats) -> Flags:
    return np.asarray(~np.all(np.isfinite(values), axis=(0, 2, 3)))


def _named(target: Target, values: Floats) -> dict[str, Floats]:
    return dict(zip(target.quantity_names, values, strict=True))
