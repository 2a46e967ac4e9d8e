"""One shard of a calibration run: simulate, fit as production does, and rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.arrays import Floats, Integers
from engine.errors import InvalidInput
from engine.inference.backend import Backend
from engine.inference.fit import BatchFit, FitDiagnostics, Purpose, Seed
from engine.models.protocol import Model, PriorSample
from engine.rules.sbc_presets import Part
from engine.sbc.canary import BrokenModel, broken
from engine.sbc.ledger import RankLedger, Status
from engine.sbc.posterior import paired, sample_posterior
from engine.sbc.ranked_quantities import evaluated
from engine.sbc.ranks import kept_draws, ranks, thinned

MAX_DRAWS = 99
"""Kept draws per simulation: 100 possible ranks."""


def run_shard(
    model: Model,
    seed: Seed,
    simulations: npt.ArrayLike,
    inference: Backend,
    max_draws: int = MAX_DRAWS,
    quantities: Sequence[str] | None = None,
    part: Part = Part.PRIOR,
    truth: Mapping[str, float] | None = None,
) -> RankLedger:
    """Return the ledger of the given simulation ids ([S], distinct, from 0) and quantities (default: the model's).

    `truth`: the values of all parameters in every simulation of RECOVERY, as `fixed_truth` gives them.

    Simulation i's truth, data, chains and ties come from the streams of (seed, i), so its row depends neither on the
    other simulations of the shard nor on which quantities are ranked. A failed fit keeps its row and its status, and so
    does a simulation in which a ranked quantity is not finite, at the truth or in a draw.
    """
    ids = np.sort(np.asarray(simulations, dtype=np.int64))
    if ids.size == 0 or ids[0] < 0 or np.any(np.diff(ids) == 0):
        raise InvalidInput("simulations", "need at least one id, each from 0 and only once")
    names = model.quantity_names if quantities is None else tuple(quantities)
    if (truth is not None) is not (part is Part.RECOVERY):
        raise InvalidInput("truth", "is what RECOVERY is made at, and nothing else")
    seed = seed_of(seed, part)
    simulated, fit, status = _fitted(model, seed, ids, inference, part, truth or {})

    diagnostics = fit.diagnostics
    ess = np.minimum(diagnostics.ess_bulk, diagnostics.ess_tail).astype(np.float64)
    draws = {name: evaluated(name, fit.draws) for name in names}
    truths = np.column_stack([evaluated(name, simulated.quantities) for name in names])
    ties_uniform, v = _uniform(model.quantity_names, names, seed, ids)
    # A value that is no number has no rank: the simulation has failed, as it would with any other such figure.
    drawn = np.all([np.isfinite(values).all(axis=(1, 2)) for values in draws.values()], axis=0)
    status = np.where(drawn & np.isfinite(truths).all(axis=1), status, np.uint8(Status.NONFINITE))
    n_draws = np.empty(len(ids), dtype=np.int32)
    rank, ties = np.empty(truths.shape, dtype=np.int32), np.empty(truths.shape)
    for row in range(len(ids)):
        merged = np.stack([draws[name][row].reshape(-1) for name in names])
        n_draws[row] = kept_draws(float(ess[row]), merged.shape[1], max_draws)
        kept = merged[:, thinned(merged.shape[1], int(n_draws[row]))]
        rank[row], ties[row] = ranks(truths[row], kept, ties_uniform[row])

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
        status=status,
        r_hat=np.asarray(diagnostics.r_hat, dtype=np.float64),
        ess=ess,
        mean=mean,
        sd=sd,
        truth=truths,
    )


def seed_of(seed: Seed, part: Part) -> Seed:
    """The seed of a part's streams in a run of the seed.

    Posterior SBC has streams of its own, so that its p-values are independent of the prior part's, and so has RECOVERY,
    whose noise would else be that of other runs. The canaries are compared with the prior part and share its streams.
    """
    own = {Part.POSTERIOR: "posterior SBC", Part.RECOVERY: "recovery"}
    return seed.derived(own[part]) if part in own else seed


def _fitted(
    model: Model, seed: Seed, ids: Integers, inference: Backend, part: Part, truth: Mapping[str, float]
) -> tuple[PriorSample, BatchFit, npt.NDArray[np.uint8]]:
    """Truths and data of the part, their fits, and what became of those [S]."""
    if part is Part.POSTERIOR:
        simulated, first = sample_posterior(model, seed, ids, inference)
        fit, status = _fit(paired(model), simulated.y, seed, ids, inference)
        # The larger status is the worse: a truth from a fit that failed is none.
        return simulated, fit, np.maximum(statuses(first.diagnostics), status)
    simulated = _at(truth, model, seed, ids) if part is Part.RECOVERY else model.sample_prior(seed, ids)
    fit, status = _fit(broken(model, part) if part.is_canary else model, simulated.y, seed, ids, inference)
    return simulated, fit, status


def _at(truth: Mapping[str, float], model: Model, seed: Seed, ids: Integers) -> PriorSample:
    """Data and quantities of every simulation at the same parameters."""
    parameters = {name: np.full(ids.size, truth[name]) for name in model.parameter_names}
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is a failed simulation
        y = model.simulate(parameters, seed, ids)
        return PriorSample(parameters, y, model.evaluate(parameters, y))


def _fit(
    model: Model | BrokenModel, y: Floats, seed: Seed, ids: Integers, inference: Backend
) -> tuple[BatchFit, npt.NDArray[np.uint8]]:
    """The fits of y [T, S] and their statuses [S]; data that are not finite are a failed fit, not an error.

    In their place stand zeros, so that the other simulations are fitted as ever.
    """
    finite = np.all(np.isfinite(y), axis=0)
    fit = model.fit(y if np.all(finite) else np.where(finite, y, 0.0), seed, ids, inference)
    return fit, np.where(finite, statuses(fit.diagnostics), np.uint8(Status.NONFINITE))


def _uniform(known: Sequence[str], names: Sequence[str], seed: Seed, ids: Integers) -> tuple[Floats, Floats]:
    """The two uniforms of every rank, each [S, P], the same whichever quantities are ranked.

    One stream of a simulation serves the quantities that the model returns; every other has one of its own.
    """
    streams = np.stack([seed.generator(int(i), Purpose.TIES).random((len(known), 2)) for i in ids])
    place = {name: index for index, name in enumerate(known)}
    columns = []
    for name in names:
        if name in place:
            columns.append(streams[:, place[name]])
        else:
            own = seed.derived(name)
            columns.append(np.stack([own.generator(int(i), Purpose.TIES).random(2) for i in ids]))
    uniform = np.stack(columns, axis=1)
    return uniform[..., 0], uniform[..., 1]


def statuses(diagnostics: FitDiagnostics) -> npt.NDArray[np.uint8]:
    """Return each fit's status [S], from its diagnostics only: a status that knew the truth would bias the ranks."""
    ok, nonfinite = np.asarray(diagnostics.ok, dtype=bool), np.asarray(diagnostics.nonfinite, dtype=bool)
    retried, divergent = np.asarray(diagnostics.escalations) > 0, np.asarray(diagnostics.divergences) > 0
    return np.select(
        [nonfinite, ok & retried, ok, divergent],
        [Status.NONFINITE, Status.RETRIED, Status.OK, Status.DIVERGENT],
        Status.NOT_CONVERGED,
    ).astype(np.uint8)
