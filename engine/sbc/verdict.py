"""Verdict on a calibration run: PASS, FAIL or INCONCLUSIVE, with reasons and the smallest error it would have seen."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

import numpy as np
import numpy.typing as npt

from engine.arrays import Floats
from engine.errors import InvalidInput
from engine.rules.quantity_names import LOG_JOINT, LOG_PRIOR
from engine.sbc.band import counts, p_value_best, p_value_of
from engine.sbc.coverage import Coverage, coverage
from engine.sbc.e_process import evidence
from engine.sbc.interim import detected_quantities
from engine.sbc.ledger import RankLedger
from engine.sbc.power import DetectableError, detectable_error
from engine.sbc.shape import Shape, shape
from engine.sbc.verdict_rules import RULES, VerdictRules


class Outcome(enum.Enum):
    """What a run says about the model and its inference."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Reason(enum.Enum):
    """Why the outcome is what it is: the first three with FAIL, REPEATED_TRUTHS with both, others with INCONCLUSIVE."""

    SEQUENTIAL_EVIDENCE = "SEQUENTIAL_EVIDENCE"
    """The e-process crossed its threshold, at whatever number of simulations."""
    BAND_TEST = "BAND_TEST"
    """Ranks leave their simultaneous band at a planned number, whatever ranks the failed fits would have had."""
    SHARED_RANDOM_NUMBERS = "SHARED_RANDOM_NUMBERS"
    """Truths depend on the noise of their data: the simulator uses the same random numbers for both."""
    INCOMPLETE = "INCOMPLETE"
    """Planned simulations are missing."""
    FAILED_FITS = "FAILED_FITS"
    """More fits failed than the cap allows."""
    FAILED_FITS_DECIDE = "FAILED_FITS_DECIDE"
    """Accepted fits are rejected, but ranks of the failed ones exist that would not be."""
    FEW_DRAWS = "FEW_DRAWS"
    """Too many simulations kept fewer independent draws than the minimum."""
    FEW_SIMULATIONS = "FEW_SIMULATIONS"
    """The run is too small for a PASS: it can only find errors."""
    TIES = "TIES"
    """Draws of a continuous quantity equal the truth or are not numbers: chains are stuck, or start at the truth."""
    NO_DATA_DEPENDENT_QUANTITY = "NO_DATA_DEPENDENT_QUANTITY"
    """No ranked quantity depends on the data, so an inference that ignores them would go unseen."""
    REPEATED_TRUTHS = "REPEATED_TRUTHS"
    """Simulations have the very truth of others: their random numbers are no independent ones."""
    CANARY_UNNOTICED = "CANARY_UNNOTICED"
    """A known error was not noticed on this model."""
    CANARY_UNFINISHED = "CANARY_UNFINISHED"
    """A canary lacks simulations."""
    QUICK_RUN = "QUICK_RUN"
    """The run's type can find errors but never certifies."""
    SMALL_ALPHA = "SMALL_ALPHA"
    """The error rate asked for makes a PASS easier than the default one does."""


@dataclass(frozen=True)
class QuantityVerdict:
    """Result for one quantity.

    p: exact p-value of the band test on accepted fits; p_holm: the same, adjusted over all quantities
    p_all: on all fits, failed ones included; p_best: the largest that any ranks of the failed fits could give
    distance: largest |ECDF - z| over the cuts; mean_pit: below 1/2 when the posterior lies too high
    log_e, log_e_peak: natural log e-value at the end, and the largest on the way
    failing: named by one of the two tests; not_finite: simulations in which it was no number, at the truth or in a draw
    None where there is no accepted fit.
    """

    quantity: str
    p: float | None
    p_holm: float | None
    p_all: float | None
    p_best: float | None
    log_e: float
    log_e_peak: float
    distance: float | None
    mean_pit: float | None
    shape: Shape
    coverage: tuple[Coverage, ...]
    ties: float | None
    failing: bool
    not_finite: int


@dataclass(frozen=True)
class RepeatedTruths:
    """How many simulations have the truth of an earlier one, and of which quantities the truth consists."""

    simulations: int
    quantities: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.simulations > 0


@dataclass(frozen=True)
class Verdict:
    """Verdict on a run of `planned` simulations, a pure function of its ledger, its plan and its rules.

    clauses: the reasons in words, without capital and full stop
    earlier: the numbers planned before the run was extended
    shared_p: p-value of the test for random numbers that truths and noise share, None where it was not made
    detectable: the smallest errors that the band test sees with 80 % power at this size; sentence: the verdict in words
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    clauses: tuple[str, ...]
    failing: tuple[str, ...]
    quantities: tuple[QuantityVerdict, ...]
    planned: int
    earlier: tuple[int, ...]
    done: int
    accepted: int
    failure_rate: float
    log_e_overall_peak: float
    shared_p: float | None
    repeated: RepeatedTruths
    detectable: DetectableError
    rules: VerdictRules
    sentence: str


def holm(p: npt.ArrayLike) -> Floats:
    """Return Holm's step-down adjusted p-values [P], valid under any dependence (Holm 1979)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    steps = (len(values) - np.arange(len(values))) * values[order]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def verdict(
    ledger: RankLedger,
    planned: int,
    rules: VerdictRules = RULES,
    earlier: Sequence[int] = (),
    shared_p: float | None = None,
) -> Verdict:
    """Judge the rows at hand of a run of `planned` simulations with ids 0..planned-1.

    FAIL as soon as the e-process has crossed its threshold, or at a planned number when the band test fails for every
    ranks the failed fits could have had. PASS only at the planned number, when nothing speaks against it. A run that
    was extended had `earlier` planned numbers (ascending): the band tests at all of them count, each at its own level,
    so that going on until a PASS comes out, or a FAIL, does not change the error probability. `shared_p` is that of
    `shared_numbers` over the simulations that were planned first, whatever the run was extended to.
    """
    if planned < 1 or len(ledger) > planned or (len(ledger) and ledger.simulations[-1] >= planned):
        raise InvalidInput("planned", f"must be at least 1 and cover the ledger's simulations, got {planned}")
    looks = (*earlier, planned)
    if looks[0] < 1 or any(after <= before for before, after in pairwise(looks)):
        raise InvalidInput("earlier", f"must be ascending numbers below the planned {planned}, got {tuple(earlier)}")
    names, complete = ledger.quantities, len(ledger) == planned
    rows = ledger.rows(ledger.accepted)
    n, failed = len(rows), len(ledger) - len(rows)
    e_values = evidence(ledger, worst_case=True)
    by_evidence = detected_quantities(e_values, names, rules)

    pit, pit_all = rows.u, ledger.u
    level = rules.level(len(earlier))
    p = np.array([p_value_of(u, rules.cuts) for u in pit.T]) if n else np.ones(len(names))
    best = _best(ledger, rules) if failed else p
    all_fits = np.array([p_value_of(u, rules.cuts) for u in pit_all.T]) if n and failed else p
    p_holm = holm(p)
    rejected = holm(best) <= level if complete else np.zeros(len(names), dtype=bool)
    for extensions, look in enumerate(earlier):
        first = ledger.rows(ledger.simulations < look)
        if len(first) == look:
            rejected |= holm(_best(first, rules)) <= rules.level(extensions)
    by_band = tuple(name for name, out in zip(names, rejected, strict=True) if out)
    failing = tuple(name for name in names if name in by_evidence or name in by_band)

    not_finite = (~(np.isfinite(ledger.truth) & np.isfinite(ledger.mean))).sum(axis=0)
    quantities = tuple(
        QuantityVerdict(
            quantity=name,
            p=float(p[k]) if n else None,
            p_holm=float(p_holm[k]) if n else None,
            p_all=float(all_fits[k]) if n else None,
            p_best=float(best[k]) if n else None,
            log_e=float(e_values.quantity[-1, k]) if len(e_values.quantity) else 0.0,
            log_e_peak=float(e_values.peak[k]),
            distance=_distance(pit[:, k], rules.cuts) if n else None,
            mean_pit=float(pit[:, k].mean()) if n else None,
            # a quantity that a test named is never called uniform
            shape=shape(pit[:, k], 0.0 if name in failing else p_holm[k], level) if n else Shape.UNIFORM,
            coverage=coverage(rows.ranks[:, k], rows.n_draws) if n else (),
            ties=float(rows.ties[:, k].mean()) if n else None,
            failing=name in failing,
            not_finite=int(not_finite[k]),
        )
        for k, name in enumerate(names)
    )

    failure_rate = failed / len(ledger) if len(ledger) else 0.0
    repeated = repeated_truths(ledger, rules)
    shared = shared_p is not None and shared_p <= rules.alpha_shared
    if failing or shared:
        outcome = Outcome.FAIL
        reasons = [Reason.SEQUENTIAL_EVIDENCE] * bool(by_evidence) + [Reason.BAND_TEST] * bool(by_band)
        reasons += [Reason.SHARED_RANDOM_NUMBERS] * shared
        reasons += [Reason.REPEATED_TRUTHS] * bool(repeated)
    else:
        doubts = {
            Reason.INCOMPLETE: not complete,
            Reason.FEW_SIMULATIONS: planned < rules.minimum_simulations,
            Reason.FAILED_FITS: failure_rate > rules.failure_cap,
            Reason.FAILED_FITS_DECIDE: complete and bool(np.any(p_holm <= level)),
            Reason.FEW_DRAWS: n > 0 and float(np.mean(rows.n_draws < rules.minimum_draws)) > rules.imprecise_cap,
            Reason.TIES: any(
                q.ties is not None and q.ties > rules.tie_cap and q.quantity not in rules.discrete for q in quantities
            ),
            Reason.NO_DATA_DEPENDENT_QUANTITY: rules.data_dependent.isdisjoint(names),
            Reason.REPEATED_TRUTHS: bool(repeated),
        }
        reasons = [reason for reason, present in doubts.items() if present]
        outcome = Outcome.INCONCLUSIVE if reasons else Outcome.PASS

    detectable = detectable_error(
        n if complete and n else planned,
        len(names),
        level,
        draws=int(np.median(rows.n_draws)) if n else 99,
        cuts=rules.cuts,
    )
    clauses = tuple(_clause(reason, quantities, repeated) for reason in reasons)
    return Verdict(
        outcome=outcome,
        reasons=tuple(reasons),
        clauses=clauses,
        failing=failing,
        quantities=quantities,
        planned=planned,
        earlier=tuple(earlier),
        done=len(ledger),
        accepted=n,
        failure_rate=failure_rate,
        log_e_overall_peak=e_values.overall_peak,
        shared_p=shared_p,
        repeated=repeated,
        detectable=detectable,
        rules=rules,
        sentence=_sentence(outcome, dict(zip(reasons, clauses, strict=True)), quantities, n, detectable),
    )


def repeated_truths(ledger: RankLedger, rules: VerdictRules = RULES) -> RepeatedTruths:
    """The simulations that have the truth of an earlier one, over all continuous quantities that are not of the data.

    Independent draws of a continuous law never repeat: this is exact, at any number of simulations. Of a single
    quantity one in a hundred may repeat, because a generator of 24 bits makes that many in some thousand draws.
    """
    of_data = (*rules.data_dependent, LOG_JOINT)  # and what is made of them, such as log_likelihood - sigma
    named = [
        k
        for k, name in enumerate(ledger.quantities)
        if name not in rules.discrete and not any(part in name for part in of_data)
    ]
    truths = ledger.truth[:, named]
    truths = truths[np.isfinite(truths).all(axis=1)]
    varying = [len(np.unique(column)) > 1 for column in truths.T]  # what never varies is no random number
    truths = truths[:, varying]
    if not truths.size:
        return RepeatedTruths(0, ())
    repeated = len(truths) - len(np.unique(truths, axis=0))
    if truths.shape[1] == 1 and repeated <= 0.01 * len(truths):
        repeated = 0
    names = [ledger.quantities[k] for k, varies in zip(named, varying, strict=True) if varies]
    # The log prior repeats with what it is a function of.
    told = tuple(name for name in names if LOG_PRIOR not in name or len(names) == 1) if repeated else ()
    return RepeatedTruths(repeated, told)


def _best(ledger: RankLedger, rules: VerdictRules) -> Floats:
    """The largest p-values [P] that any ranks of the failed fits could give."""
    rows = ledger.rows(ledger.accepted)
    n, failed = len(rows), len(ledger) - len(rows)
    if not n:
        return np.ones(len(ledger.quantities))
    return np.array([p_value_best(counts(u, rules.cuts), n, failed) for u in rows.u.T])


def _distance(u: Floats, cuts: int) -> float:
    return float(np.abs(counts(u, cuts) / len(u) - np.arange(1, cuts) / cuts).max())


_SHAPE_WORDS = {
    Shape.OVER_CONFIDENT: "the posterior is too narrow",
    Shape.UNDER_CONFIDENT: "the posterior is too wide",
    Shape.BIASED_UP: "the posterior lies too high",
    Shape.BIASED_DOWN: "the posterior lies too low",
    Shape.IRREGULAR: "ranks are irregular",
    Shape.UNIFORM: "ranks are uniform",
}

_REASON_WORDS = {
    Reason.SEQUENTIAL_EVIDENCE: "the evidence against calibration crossed its threshold while the run went on",
    Reason.BAND_TEST: "ranks leave their simultaneous band at the planned number of simulations",
    Reason.SHARED_RANDOM_NUMBERS: "truths depend on the noise of their data, so that both used the same random numbers",
    Reason.INCOMPLETE: "planned simulations are missing",
    Reason.FEW_SIMULATIONS: "a run of this size can find errors but not certify",
    Reason.FAILED_FITS: "too many fits failed{what}",
    Reason.FAILED_FITS_DECIDE: "the answer depends on the ranks that failed fits would have had{what}",
    Reason.FEW_DRAWS: "too many fits kept too few independent draws",
    Reason.TIES: "posterior draws equal the truth too often, as stuck chains do",
    Reason.NO_DATA_DEPENDENT_QUANTITY: "no ranked quantity depends on the data",
    Reason.REPEATED_TRUTHS: "{what}, so that their random numbers were used twice",
    Reason.CANARY_UNNOTICED: "the check did not notice {what}",
    Reason.CANARY_UNFINISHED: "unfinished canary: {what}",
    Reason.QUICK_RUN: "a QUICK run can find errors but never certifies",
    Reason.SMALL_ALPHA: "a PASS at alpha {what}, so it does not certify",
}

_NAMED = 3
"""Quantities that a clause names; of more it tells the number."""


def in_words(reason: Reason, what: str = "") -> str:
    """Return a reason as a clause, without capital and full stop; `what` it is about where it does not say itself."""
    return _REASON_WORDS[reason].format(what=what)


def _clause(reason: Reason, quantities: Sequence[QuantityVerdict], repeated: RepeatedTruths) -> str:
    """The reason with the figures that belong to it."""
    match reason:
        case Reason.REPEATED_TRUTHS:
            repeats = "simulation repeats the truth" if repeated.simulations == 1 else "simulations repeat the truths"
            return in_words(reason, f"{repeated.simulations} {repeats} of others in {_some(repeated.quantities)}")
        case Reason.FAILED_FITS | Reason.FAILED_FITS_DECIDE:
            worst = sorted((q for q in quantities if q.not_finite), key=lambda q: -q.not_finite)
            named = [f"{q.quantity} in {q.not_finite}" for q in worst]
            return in_words(reason, f"; no number was {_some(named)} simulations" if named else "")
        case _:
            return in_words(reason)


def _some(names: Sequence[str]) -> str:
    """The first names, and how many others there are."""
    more = len(names) - _NAMED
    if more > 0:
        return f"{', '.join(names[:_NAMED])} and {more} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence(
    outcome: Outcome,
    reasons: Mapping[Reason, str],
    quantities: tuple[QuantityVerdict, ...],
    n: int,
    detectable: DetectableError,
) -> str:
    match outcome:
        case Outcome.FAIL:
            named = [f"{q.quantity}: {_SHAPE_WORDS[q.shape]}" for q in quantities if q.failing]
            beside = (Reason.SHARED_RANDOM_NUMBERS, Reason.REPEATED_TRUTHS)
            named += [reasons[reason] for reason in beside if reason in reasons]
            return f"Not calibrated after {n} usable simulations ({'; '.join(named)})."
        case Outcome.PASS:
            finding = f"No miscalibration found in {n} simulations of {len(quantities)} quantities."
            return f"{finding} {describe(detectable)}"
        case Outcome.INCONCLUSIVE:
            why = "; ".join(reasons.values())
            return f"No conclusion from {n} usable simulations: {why}. {describe(detectable)}"
        case _:
            assert_never(outcome)


def describe(detectable: DetectableError) -> str:
    """Return in words what a run of this size would have detected."""
    parts = []
    if detectable.sd_factor_low is not None:
        parts.append(f"a posterior sd at least {100 * (1 - detectable.sd_factor_low):.0f} % too small")
    if detectable.sd_factor_high is not None:
        parts.append(f"one at least {100 * (detectable.sd_factor_high - 1):.0f} % too large")
    if detectable.bias is not None:
        parts.append(f"a bias of at least {detectable.bias:.2f} posterior sd")
    if not parts:
        return f"{detectable.simulations} simulations detect no error of location or scale reliably."
    return (
        f"{detectable.simulations} simulations detect {', or '.join(parts)}, in one quantity, "
        f"with {100 * detectable.power:.0f} % power."
    )
