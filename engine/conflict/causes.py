"""What else could explain a conflict: one belief judged under changed models, and where the conflict comes from."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from engine.conflict.analysis import BeliefConflict, Summary, analyse_belief
from engine.conflict.curve import EvidenceCurve
from engine.conflict.hidden_driver import HiddenDriver
from engine.conflict.reliability import Status
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import BatchedHmc
from engine.inference.fit import BatchFit, Seed
from engine.inference.log_evidence import log_evidence
from engine.models.protocol import Alternative, CauseKind, Changeable, DensityModel, Model
from engine.rules.reasons import Remedy

CurveOf = Callable[[Changeable, BatchFit, str], EvidenceCurve]
"""The evidence curve of a quantity under a model, from the model's fit."""

COLLINEAR = 0.9
"""R² above which the data count as unable to tell a channel from the rest: its variance is ten times as large."""

_PREFERRED = math.log(3.0)
_REFUTES = 5.0
"""Log evidence gain from which on a change refutes the model as it is: 1 to 150 (Kass & Raftery 1995: very strong)."""
_WORTH_MONTHS = 6.0
_TALKED_DOWN = 2.6


class Blame(enum.Enum):
    """What is to blame for a conflict, as far as refits can tell.

    PRIOR: no change of the model resolves it. MODEL: one does that the data prefer. OUTLIERS: it hangs on outlying
    rows. UNDECIDED: a change resolves it and the data do not tell which model is right; or none does, and one refutes
    the model as it is, so that whatever is wrong with it must be put right before a belief is judged. PRIOR_OR_DRIVER:
    no change resolves it, and a driver that the data lack would, which cannot be excluded.
    """

    PRIOR = "prior"
    MODEL = "model"
    OUTLIERS = "outliers"
    UNDECIDED = "undecided"
    PRIOR_OR_DRIVER = "prior or driver"


@dataclass(frozen=True)
class Refit:
    """An alternative with its fit to the observed data.

    `log_evidence_gain`: ln m(y | alternative) - ln m(y | base), Laplace; None where the rows are not the same
    or the family has no target.
    """

    alternative: Alternative
    fit: BatchFit
    log_evidence_gain: float | None

    @property
    def converged(self) -> bool:
        """Whether the fit met the limits of its settings."""
        return bool(self.fit.diagnostics.ok[0])


@dataclass(frozen=True)
class Cause:
    """What the data would say about a belief under another model.

    `change` is that of the data side's mean against the base model, in units of the quantity; `log_bf` the recentred
    Bayes factor against the same belief. `resolves`: the data would no longer contradict it by the rule in force.
    `only_vaguer`: that is so only because fewer rows say less; where the base model's data side moved to the same mean
    and kept its spread it would still contradict. `barely`: what is left of the evidence is more than half of what the
    rule asks for. `dates`: the rows that count least, for OUTLIERS.
    """

    kind: CauseKind
    subject: str
    data_side: Summary
    change: float
    log_bf: float
    resolves: bool
    only_vaguer: bool
    barely: bool
    log_evidence_gain: float | None
    dates: tuple[np.datetime64, ...]

    def expected_drop(self, base_log_bf: float) -> float:
        """P(alternative | data), from even odds, times what it takes off the base model's log Bayes factor."""
        probability = 0.5 if self.log_evidence_gain is None else float(special.expit(self.log_evidence_gain))
        return probability * max(base_log_bf - self.log_bf, 0.0)


@dataclass(frozen=True)
class Causes:
    """The causes of one conflict, the most plausible first; `failed` names the changed models that gave no answer.

    Nothing is blamed where none gave one.
    """

    ranked: tuple[Cause, ...]
    failed: tuple[str, ...]
    blame: Blame | None

    @property
    def first(self) -> Cause | None:
        """The most plausible cause that resolves the conflict by saying something else."""
        return next((cause for cause in self.ranked if cause.resolves and not cause.only_vaguer), None)

    @property
    def refuting(self) -> Cause | None:
        """The change that explains the data best of those which refute the model as it is."""
        return max(filter(_refutes, self.ranked), key=lambda cause: cause.log_evidence_gain or 0.0, default=None)


def refit(
    base: Model, candidates: Sequence[Alternative], seed: Seed, settings: BatchedHmc | None = None
) -> list[Refit]:
    """Fit every alternative to the observed KPI; the refits serve all beliefs about the model.

    By default with the settings of a single fit, because alternatives of the base model's shape then run in programs
    that its own fit has compiled; only NUTS, the last resort, is left out.
    """
    settings = settings or replace(BatchedHmc.single(), last=None)
    before, refits = _log_evidence(base), []
    for candidate in candidates:
        model, gain = candidate.model, candidate.log_evidence_gain
        if gain is None and candidate.same_rows:
            gain = _difference(_log_evidence(model), before)
        own = seed.derived(f"{candidate.kind.value}:{candidate.subject}")
        fit = model.fit(model.observed[:, None], own, np.zeros(1, dtype=np.int64), settings)
        refits.append(Refit(candidate, fit, gain))
    return refits


def _log_evidence(model: Model) -> float | None:
    """By Laplace's approximation; None of a model without a target."""
    if not isinstance(model, DensityModel):
        return None
    return float(log_evidence(model.target, model.target_units(model.observed[:, None]))[0])


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def explain(
    figures: BeliefConflict,
    prior: Distribution,
    refits: Sequence[Refit],
    curve_of: CurveOf,
    base_log_bf: float | None = None,
    driver: HiddenDriver | None = None,
) -> Causes:
    """Judge a belief, found in conflict under the base model, by every refit and rank what might explain the conflict.

    The rule is that of `figures`. Causes are ranked by `Cause.expected_drop`. A refit that did not converge, learned
    nothing of the quantity, or whose figures are UNRELIABLE, is counted as failed; one whose model has no such quantity
    has nothing to say. The refits' factors are those of their curves alone: `base_log_bf` is the base model's by the
    same estimator, if another than that of `figures`. `driver` is what `hidden_driver` says of the conflict.
    """
    causes, failed = [], []
    for each in refits:
        name = " ".join(filter(None, (each.alternative.kind.value.replace("_", " "), each.alternative.subject)))
        if not each.converged:
            failed.append(name)
            continue
        try:
            curve = curve_of(each.alternative.model, each.fit, figures.quantity)
        except UnsupportedQuantity:
            continue
        except InvalidInput:
            failed.append(name)
            continue
        other = analyse_belief(prior, curve, figures.rule)
        # A refit that learned nothing of the quantity agrees with everything, which explains nothing.
        if other.status is Status.UNRELIABLE or curve.is_silent:
            failed.append(name)
        else:
            causes.append(_cause(figures, other, each))
    base = figures.recentred.log_bf if base_log_bf is None else base_log_bf
    ranked = tuple(sorted(causes, key=lambda cause: -cause.expected_drop(base)))
    blame = _blame(ranked)
    if blame is Blame.PRIOR and driver is not None and driver.plausible:
        blame = Blame.PRIOR_OR_DRIVER
    return Causes(ranked, tuple(failed), blame)


def _cause(figures: BeliefConflict, other: BeliefConflict, refitted: Refit) -> Cause:
    alternative = refitted.alternative
    resolves = not other.conflict
    vaguer = resolves and not alternative.same_rows and _still_contradicts(figures, other)
    return Cause(
        kind=alternative.kind,
        subject=alternative.subject,
        data_side=Summary.of(other.data_side),
        change=other.data_side.mean - figures.data_side.mean,
        log_bf=other.recentred.log_bf,
        resolves=resolves,
        only_vaguer=vaguer,
        barely=_barely(other),
        log_evidence_gain=refitted.log_evidence_gain,
        dates=alternative.dates,
    )


def _barely(other: BeliefConflict) -> bool:
    """Whether what is left of the evidence is more than half of what the rule asks for."""
    rule = other.rule
    if rule.confidence_threshold is None:
        return other.recentred.log_bf > math.log(0.5 * rule.conflict_threshold)
    return other.p.value < 2.0 * rule.null_rate


def _still_contradicts(figures: BeliefConflict, other: BeliefConflict) -> bool:
    """Whether the base model's data side, moved to the other's mean but as narrow as it is, would contradict.

    With normal laws, p of the standardised difference against the rule's false-alarm rate: the recentred rule and the
    p-value's are both bounds on |z| (methods/conflict.md §3 B).
    """
    spread = math.hypot(figures.client.sd, figures.data_side.sd)
    z = abs(other.data_side.mean - figures.client.mean) / spread
    return bool(2.0 * float(special.ndtr(-z)) <= figures.rule.null_rate)


def _refutes(cause: Cause) -> bool:
    """Whether the data reject the model as it is for this one; heavy tails are no other model of what media do."""
    return cause.kind is not CauseKind.OUTLIERS and (cause.log_evidence_gain or 0.0) > _REFUTES


def _blame(ranked: Sequence[Cause]) -> Blame | None:
    if not ranked:
        return None
    # What the data reject explains nothing.
    resolving = [c for c in ranked if c.resolves and not c.only_vaguer and (c.log_evidence_gain or 0.0) >= -_PREFERRED]
    if not resolving:
        return Blame.UNDECIDED if any(map(_refutes, ranked)) else Blame.PRIOR
    # Outliers to which the data prefer normal errors explain nothing.
    if resolving[0].kind is CauseKind.OUTLIERS and (resolving[0].log_evidence_gain or 0.0) >= 0.0:
        return Blame.OUTLIERS
    if any(c.kind is not CauseKind.OUTLIERS and (c.log_evidence_gain or 0.0) > _PREFERRED for c in resolving):
        return Blame.MODEL
    return Blame.UNDECIDED


def remedy(figures: BeliefConflict, causes: Causes, months: float, r_squared: float | None) -> Remedy | None:
    """What would settle the matter; None where nothing would.

    A first cause that resolves and that the data do not speak against is acted on: rows to check, a column to give,
    a model that the data prefer. Where none resolves but one refutes the model, that one is asked next. Otherwise an
    experiment on the channel, when the causes leave it open, when the channel is collinear (`r_squared` of
    `collinearity` above .9) or when neither side can be talked down: belief and data are each worth more than six
    months and lie more than 2.6 standard deviations apart (methods/conflict.md §12).
    """
    first = causes.first
    if first is not None and (first.log_evidence_gain or 0.0) >= 0.0:
        if first.kind is CauseKind.OUTLIERS:
            return Remedy.CHECK_ROWS
        if first.kind is CauseKind.COLUMN_ADDED:
            return Remedy.GIVE_COLUMN
        if causes.blame is Blame.MODEL and (first.log_evidence_gain or 0.0) > _PREFERRED:
            return Remedy.ASK_AGAIN
    if causes.blame is Blame.UNDECIDED:
        return Remedy.ASK_AGAIN if first is None and causes.refuting else Remedy.EXPERIMENT_BETWEEN_MODELS
    if r_squared is not None and r_squared > COLLINEAR:
        return Remedy.EXPERIMENT_ON_COLLINEAR
    if causes.blame is Blame.PRIOR_OR_DRIVER:
        return Remedy.EXPERIMENT_ON_DRIVER
    z = math.sqrt(2.0 * max(figures.recentred.log_bf, 0.0))
    if figures.prior_ess_months > _WORTH_MONTHS and months > _WORTH_MONTHS and z > _TALKED_DOWN:
        return Remedy.EXPERIMENT_BETWEEN_FIRM_SIDES
    return None
