"""As what the figures of a fit may be told: as findings, or with the reason why they are none."""

from __future__ import annotations

import math
from dataclasses import dataclass

from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2

_MISSED = "the sampler did not meet its thresholds"


@dataclass(frozen=True)
class Standing:
    """As what a figure of one quantity may be told; a finding unless something is set.

    Fields:
        refusals: why it must not be relied on, each without a full stop.
        held_back: whether the reference prior decides where the posterior ends; one of the refusals then says so.
        silent: whether the data left the reference prior where it was.
    """

    refusals: tuple[str, ...] = ()
    held_back: bool = False
    silent: bool = False


def missed_thresholds(diagnostics: common_pb2.FitDiagnostics) -> str:
    """Why nothing of a fit may be told as a finding, without a full stop; empty for one that met its thresholds."""
    if diagnostics.converged:
        return ""
    seen = []
    if math.isfinite(diagnostics.max_r_hat) and diagnostics.max_r_hat > 0.0:
        seen.append(f"R-hat {diagnostics.max_r_hat:.4f}")
        seen.append(f"{min(diagnostics.min_ess_bulk, diagnostics.min_ess_tail):.0f} effective draws")
    if diagnostics.divergences:
        seen.append(f"{diagnostics.divergences} divergent transitions")
    return f"{_MISSED} ({', '.join(seen)})" if seen else _MISSED


def missed_by(answer: conflict_pb2.ConflictAnalysis | attribution_pb2.Attribution) -> str:
    """The same of a stored answer, whose own words may be those of an earlier version; empty without diagnostics."""
    return missed_thresholds(answer.diagnostics) if answer.HasField("diagnostics") else ""


def not_relied_on(diagnostics: common_pb2.FitDiagnostics) -> list[str]:
    """The sentence that stands before all others about a fit that missed its thresholds; none about another."""
    if not (reason := missed_thresholds(diagnostics)):
        return []
    return [f"{reason[0].upper()}{reason[1:]}; these figures must not be relied on."]


def together_not_told(diagnostics: common_pb2.FitDiagnostics) -> list[str]:
    """That what beliefs and data say together is not told, since the fit under the beliefs missed its thresholds."""
    if not (reason := missed_thresholds(diagnostics)):
        return []
    return [f"What the client's beliefs and the data say together is not told: in that fit {reason}."]
