"""Interim report on a run that is still going: descriptive figures, and evidence that may be looked at every time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.errors import InvalidInput
from engine.sbc.band import p_value_of
from engine.sbc.coverage import Coverage, coverage
from engine.sbc.e_process import Evidence, evidence
from engine.sbc.ledger import RankLedger
from engine.sbc.shape import Shape, shape
from engine.sbc.verdict_rules import RULES, VerdictRules


@dataclass(frozen=True)
class QuantityInterim:
    """State of one quantity after n accepted simulations.

    log_e and log_e_peak (natural logs) are the running e-value and its maximum: the only figures here that may decide
    anything before the end. p is the exact p-value of the band test on what is there, for information; None with n = 0.
    mean_pit below 1/2 means that the posterior lies too high. shape is named at level alpha / P.
    """

    quantity: str
    n: int
    mean_pit: float | None
    coverage_50: Coverage | None
    coverage_90: Coverage | None
    log_e: float
    log_e_peak: float
    p: float | None
    shape: Shape


@dataclass(frozen=True)
class InterimReport:
    """State of a run of `planned` simulations.

    done counts rows, contiguous those in the gapless prefix that the e-process uses, failures the rows whose fit
    failed. log_e_overall(_peak) belongs to the e-process averaged over quantities. detected: it has crossed
    1 / alpha_e, so that the verdict will be FAIL whatever follows; failing names the quantities that point to it.
    """

    planned: int
    done: int
    contiguous: int
    failures: int
    quantities: tuple[QuantityInterim, ...]
    log_e_overall: float
    log_e_overall_peak: float
    detected: bool
    failing: tuple[str, ...]


def interim(ledger: RankLedger, planned: int, rules: VerdictRules = RULES) -> InterimReport:
    """Return the report on the rows at hand (any subset of simulations 0..planned-1)."""
    if len(ledger) > planned or (len(ledger) and ledger.simulations[-1] >= planned):
        raise InvalidInput("planned", f"the ledger has simulations beyond the planned {planned}")
    e_values = evidence(ledger, worst_case=True)
    rows = ledger.rows(ledger.accepted)
    pit = rows.u
    quantities = []
    for column, name in enumerate(ledger.quantities):
        u, n = pit[:, column], len(rows)
        p = p_value_of(u, rules.cuts) if n else None
        covered = coverage(rows.ranks[:, column], rows.n_draws, (0.5, 0.9)) if n else (None, None)
        quantities.append(
            QuantityInterim(
                quantity=name,
                n=n,
                mean_pit=float(np.mean(u)) if n else None,
                coverage_50=covered[0],
                coverage_90=covered[1],
                log_e=float(e_values.quantity[-1, column]) if len(e_values.quantity) else 0.0,
                log_e_peak=float(e_values.peak[column]),
                p=p,
                shape=Shape.UNIFORM if p is None else shape(u, p, rules.alpha / len(ledger.quantities)),
            )
        )
    failing = detected_quantities(e_values, ledger.quantities, rules)
    return InterimReport(
        planned=planned,
        done=len(ledger),
        contiguous=len(e_values.overall),
        failures=len(ledger) - len(rows),
        quantities=tuple(quantities),
        log_e_overall=float(e_values.overall[-1]) if len(e_values.overall) else 0.0,
        log_e_overall_peak=e_values.overall_peak,
        detected=bool(failing),
        failing=failing,
    )


def detected_quantities(e_values: Evidence, quantities: tuple[str, ...], rules: VerdictRules) -> tuple[str, ...]:
    """Return the quantities that the e-process fails: none until the average over quantities has crossed 1 / alpha_e.

    Then those beyond P / alpha_e, whose crossing alone lifts the average over its threshold; or, where the average
    crossed without any of them, the quantity with the most evidence.
    """
    if e_values.overall_peak < rules.log_threshold:
        return ()
    beyond = np.flatnonzero(e_values.peak >= rules.log_quantity_threshold(len(quantities)))
    if not len(beyond):
        beyond = np.array([int(np.argmax(e_values.peak))])
    return tuple(quantities[column] for column in beyond)
