"""Which curve? One model under several curves of response: how the data weigh them, and what follows on average.

Draws of every curve are weighed by its evidence (bridge sampling, Gronau et al. 2017), so that the answer is that of
Bayesian model averaging with equal prior odds (Hoeting et al. 1999); beside it stand the weights of stacking by what
each predicts of the last rows, which it was not fitted to (Yao et al. 2018; leave-future-out, Bürkner et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import special

from engine.arrays import Floats
from engine.conflict.analysis import BeliefConflict, ConflictRule, analyse_belief
from engine.conflict.bridge_sampling import BridgedMarginal, log_marginal_likelihood
from engine.conflict.bridges import Bridges, bridges
from engine.conflict.curve import EvidenceCurve
from engine.conflict.marginal import Estimator, Ladder, LogMarginal
from engine.conflict.overlay import Overlay
from engine.conflict.refit import log_posterior
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import BatchedHmc, fit_batch
from engine.inference.fit import Purpose, Seed
from engine.models.protocol import Curved, CurveFamily, Model

HELD_OUT = 0.25
"""So much of the window, at its end, is predicted for stacking."""
NEGLIGIBLE = 0.001
"""A curve of a smaller weight has no part in an average."""
_PREDICTIVE_DRAWS = 200
_STEPS = 2000


@dataclass(frozen=True, eq=False)
class FittedCurve:
    """The model under one curve.

    `draws` by quantity [chains, draws]; `log_evidence` up to a constant that the curves share. `weight` is that by
    evidence, 0 where `reasons` say why the curve takes no part; `stacking` that by prediction; `log_score` is the sum
    of the log predictive densities of the rows held out.
    """

    name: str
    model: Model
    draws: Mapping[str, Floats]
    log_evidence: BridgedMarginal
    reasons: tuple[str, ...]
    weight: float
    stacking: float
    log_score: float

    def draws_of(self, quantity: str) -> Floats:
        """Draws [chains, draws] of a quantity, computed from the parameters where the fit does not return it."""
        if quantity in self.draws:
            return self.draws[quantity]
        parameters = {name: np.ravel(self.draws[name]) for name in self.model.parameter_names}
        shape = self.draws[self.model.parameter_names[0]].shape
        return self.model.derive(quantity, parameters).reshape(shape)


@dataclass(frozen=True, eq=False)
class CurveAverage:
    """The model under several curves [M], and what the data say on average over them.

    `error` [M] is the Monte Carlo standard error of each weight by evidence; `held_out` counts the rows that stacking
    predicted, 0 where there were too few for it.
    """

    family: CurveFamily
    curves: tuple[FittedCurve, ...]
    error: Floats
    held_out: int

    @property
    def weights(self) -> Floats:
        """Weights [M] by evidence."""
        return np.array([curve.weight for curve in self.curves])

    def draws_of(self, quantity: str, seed: Seed) -> Floats:
        """Draws [chains, draws] of a quantity from the average; of every curve as many as its weight asks for."""
        every = [curve.draws_of(quantity) for curve in self.curves]
        shape = every[0].shape
        counts = _rounded(self.weights * every[0].size)
        rng = seed.derived("average over curves").generator(0, Purpose.MCMC)
        taken = [rng.permutation(np.ravel(draws))[:count] for draws, count in zip(every, counts, strict=True)]
        return rng.permutation(np.concatenate(taken)).reshape(shape)

    def between(self, quantity: str) -> float:
        """The part of the variance of a quantity's average that lies between the curves, 0 to 1."""
        every = [np.ravel(curve.draws_of(quantity)) for curve in self.curves]
        means, variances = (np.array([of(draws) for draws in every]) for of in (np.mean, np.var))
        between = float(self.weights @ (means - self.weights @ means) ** 2)
        return between / (between + float(self.weights @ variances))

    def evidence_curve(self, curves: Mapping[str, EvidenceCurve], quantity: str, seed: Seed) -> EvidenceCurve:
        """The evidence curve of the average, Σ w_m L_m, from those of the curves by name, all under one prior."""
        parts = [curve for curve in self.curves if curve.weight > NEGLIGIBLE]
        weights = np.array([part.weight for part in parts])
        return EvidenceCurve.mixed(
            [curves[part.name] for part in parts], weights / weights.sum(), self.draws_of(quantity, seed)
        )


def average_curves(model: Curved, seed: Seed, settings: BatchedHmc | None = None) -> CurveAverage:
    """Fit the model's data under every curve of its family, and weigh the curves.

    A curve whose fit misses its thresholds, or whose evidence cannot be found, has no weight; InvalidInput where that
    leaves none.
    """
    family = model.curves()
    settings = settings or BatchedHmc.family(len(family.names))
    draws, converged = _fitted(family, model.observed, seed, settings)
    evidence = [
        _log_evidence(family, model.observed, draws[index], seed.derived("evidence of curves"), index)
        for index in range(len(family.names))
    ]
    reasons = [_reasons(sure, marginal) for sure, marginal in zip(converged, evidence, strict=True)]
    usable = np.array([not why for why in reasons])
    if not usable.any():
        raise InvalidInput("curves", "no fit under any of them met its thresholds")
    values = np.array([m.log_marginal if sure else -math.inf for m, sure in zip(evidence, usable, strict=True)])
    weights = special.softmax(values)
    errors = np.array([m.mcse if sure else 0.0 for m, sure in zip(evidence, usable, strict=True)])
    # dw = w ((1 - w) de - Σ w' de'), the sum over the other curves.
    moved = (weights * errors) ** 2
    error = weights * np.sqrt(((1.0 - weights) * errors) ** 2 + moved.sum() - moved)
    scores, held_out = _future_left_out(model, seed.derived("future left out"), settings)
    stacked = stacking_weights(scores) if held_out else np.full(len(weights), math.nan)
    fitted = tuple(
        FittedCurve(
            name,
            family.members[index],
            draws[index],
            evidence[index],
            reasons[index],
            float(weights[index]),
            float(stacked[index]),
            float(scores[:, index].sum()) if held_out else math.nan,
        )
        for index, name in enumerate(family.names)
    )
    return CurveAverage(family, fitted, error, held_out)


def _fitted(
    family: CurveFamily, y: Floats, seed: Seed, settings: BatchedHmc
) -> tuple[list[dict[str, Floats]], list[bool]]:
    """Draws [chains, draws] by quantity and whether the fit met its thresholds, curve by curve."""
    fit = fit_batch(family.target, family.data(y), seed, np.arange(len(family.names)), settings)
    draws = [{name: values[index] for name, values in fit.draws.items()} for index in range(len(family.names))]
    return draws, [bool(ok) for ok in fit.diagnostics.ok]


def _log_evidence(
    family: CurveFamily, y: Floats, draws: Mapping[str, Floats], seed: Seed, index: int
) -> BridgedMarginal:
    """Of one curve; the parameters that it lacks have their prior, which integrates to one."""
    shape = draws[family.whole.parameter_names[0]].shape
    parameters = {name: np.ravel(draws[name]) for name in family.whole.parameter_names}
    z = family.whole.coordinates(parameters).T.reshape(*shape, -1)
    log_density = partial(log_posterior, family.target, family.data(y)[:, index])
    try:
        return log_marginal_likelihood(log_density, z, seed.generator(index, Purpose.MCMC))
    except InvalidInput:  # draws of which no estimate can be made
        return BridgedMarginal(math.nan, math.inf, ())


def _reasons(converged: bool, evidence: BridgedMarginal) -> tuple[str, ...]:
    reasons = [] if converged else ["the sampler did not meet its thresholds"]
    if len(evidence.repetitions) - evidence.dropped < 2:
        reasons.append("bridge sampling did not converge")
    return tuple(reasons)


def _future_left_out(model: Curved, seed: Seed, settings: BatchedHmc) -> tuple[Floats, int]:
    """Log predictive densities [rows, M] of the last rows by fits to the others, and how many rows those are."""
    periods, geos = model.window.periods, model.window.geos
    cut = periods - int(HELD_OUT * periods)
    earlier = np.tile(np.arange(periods) < cut, geos)
    if cut == periods:
        return np.empty((0, 0)), 0
    family = model.restricted(earlier).curves()
    # What these fits are for is a score; the weights that count are those of the whole data.
    quick = replace(settings, schedules=settings.schedules[:1])
    draws, _ = _fitted(family, model.observed, seed, quick)
    scores = []
    for member, of_curve in zip(model.curves().members, draws, strict=True):
        parameters = {name: _thinned(of_curve[name]) for name in member.parameter_names}
        size = next(iter(parameters.values())).size
        densities = member.log_densities(parameters, np.repeat(model.observed[:, None], size, axis=1))
        scores.append(special.logsumexp(densities[~earlier], axis=1) - math.log(size))
    return np.stack(scores, axis=1), int((~earlier).sum())


def _thinned(draws: Floats) -> Floats:
    flat = np.ravel(draws)
    return flat[:: max(flat.size // _PREDICTIVE_DRAWS, 1)][:_PREDICTIVE_DRAWS]


def stacking_weights(scores: Floats) -> Floats:
    """Weights [M] on the simplex that maximise Σ_t log Σ_m w_m exp(scores[t, m]) (Yao et al. 2018, eq. 4).

    The problem is concave; every step of the EM algorithm for mixture weights raises it.
    """
    densities = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = np.full(scores.shape[1], 1.0 / scores.shape[1])
    for _ in range(_STEPS):
        new = weights * (densities / (densities @ weights)[:, None]).mean(axis=0)
        if np.abs(new - weights).max() < 1e-10:
            break
        weights = new
    return weights


def _rounded(amounts: Floats) -> list[int]:
    """Whole numbers with the sum of the amounts, which is whole, each within one of its own (largest remainders)."""
    down = np.floor(amounts).astype(int)
    missing = round(float(amounts.sum())) - int(down.sum())
    down[np.argsort(down - amounts, kind="stable")[:missing]] += 1
    return [int(count) for count in down]


@dataclass(frozen=True, eq=False)
class CurveComparison:
    """A belief against the model under each curve, and against their average.

    `figures` [M], in the order of `average.curves`, None for a curve without usable draws of the quantity; `together`
    those of the average. `between` is the part of the variance of the quantity, under reference prior and data, that
    lies between the curves.
    """

    average: CurveAverage
    figures: tuple[BeliefConflict | None, ...]
    together: BeliefConflict
    between: float


def compare(
    average: CurveAverage, prior: Distribution, base: EvidenceCurve, rule: ConflictRule, seed: Seed
) -> CurveComparison:
    """Judge a belief by every curve of an average and by the average itself; `base` is the quantity's evidence curve.

    Raises UnsupportedQuantity for a quantity whose reference prior is not the same under all curves.
    """
    if base.induced:
        raise UnsupportedQuantity(base.quantity, "its reference prior has no closed form, so it may differ by curve")
    laws: dict[str, EvidenceCurve] = {}
    figures: list[BeliefConflict | None] = []
    bridged: list[tuple[float, Bridges]] = []
    for index, curve in enumerate(average.curves):
        try:
            draws = curve.draws_of(base.quantity)
            law = EvidenceCurve.from_draws(draws, base.reference, base.months, quantity=base.quantity)
            further = Bridges()
            if curve.weight > NEGLIGIBLE:
                ladder = Ladder.climb(Overlay(prior, law), draws)
                further = bridges(average.family.at(index), ladder, seed.derived(f"bridges of {curve.name}"))
                bridged.append((curve.weight, further if further.marginals else _unbridged(ladder)))
            figures.append(
                analyse_belief(
                    prior,
                    law,
                    rule,
                    draws=draws,
                    bridges=further.marginals,
                    client_draws=further.client_draws,
                    of_fit=curve.reasons,
                )
            )
            laws[curve.name] = law
        except InvalidInput:
            figures.append(None)
    if missing := [curve.name for curve in average.curves if curve.weight > NEGLIGIBLE and curve.name not in laws]:
        raise UnsupportedQuantity(base.quantity, f"its draws are of no use under {', '.join(missing)}")
    together = analyse_belief(
        prior,
        average.evidence_curve(laws, base.quantity, seed),
        rule,
        draws=average.draws_of(base.quantity, seed),
        bridges=_averaged(bridged),
    )
    return CurveComparison(average, tuple(figures), together, average.between(base.quantity))


def _unbridged(ladder: Ladder) -> Bridges:
    """The reported estimate of a belief that the draws of a curve reach; nothing where there is none to rely on."""
    return Bridges() if ladder.refusal else Bridges((ladder.chosen,))


def _averaged(bridged: Sequence[tuple[float, Bridges]]) -> tuple[LogMarginal, ...]:
    """ln Σ w_m (m_client / m_ref)_m; nothing where one of the curves gives no estimate."""
    if not all(of_curve.marginals for _, of_curve in bridged):
        return ()
    estimates = [of_curve.marginals[0] for _, of_curve in bridged]
    terms = np.log([weight for weight, _ in bridged]) + [estimate.value for estimate in estimates]
    parts = special.softmax(terms)
    mcse = math.sqrt(float(parts**2 @ np.array([estimate.mcse for estimate in estimates]) ** 2))
    constant = math.log(sum(weight for weight, _ in bridged))
    value = float(special.logsumexp(terms)) - constant
    return (LogMarginal.alone(value, mcse, Estimator.TEMPERED_BRIDGE),)
