"""Recommends an action for a case: fills the engine's `Situation` from stored figures and what the strategy did.

Experiments that come with the request are judged here, together with the data, before the situation is filled.
"""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2, conflict_pb2
from scipy import special

from engine.conflict.analysis import ConflictRule, Finding, analyse_belief
from engine.conflict.causes import Blame
from engine.conflict.experiment import distance, place_of, with_experiment
from engine.conflict.overlay import Overlay
from engine.conflict.reliability import Status
from engine.conflict.severity import Severity
from engine.rules.compromises import Lies, lies
from engine.updates.recommendation import Recommendation, Situation, recommend
from engine.updates.update import PriorUpdate
from server.contract.wire import label
from server.texts.phrases import clashes_together, recentred
from server.worker.updates.cases import Case


def advice(
    case: Case, updated: PriorUpdate, analysis: conflict_pb2.ConflictAnalysis, belief_months: float
) -> tuple[Recommendation, float]:
    """What is recommended, and the recentred log Bayes factor against the belief: of data and experiments together.

    Of the data alone where the two together cannot be judged.
    """
    figures, experiment = case.figures, case.experiment
    alone = finding = Finding[label(conflict_pb2.Finding, figures.finding)]
    severity = _severity(figures.severity)
    heavy = _severity(figures.severity_if_heavy_tailed)
    p_value, log_bf = figures.p_value, recentred(figures)
    sensitivity = figures.sensitivity.prior if figures.HasField("sensitivity") else None
    apart = None
    if case.refusal:
        alone = finding = Finding.UNRELIABLE
    elif experiment is not None:
        rule = ConflictRule(
            confidence_threshold=analysis.confidence_threshold if analysis.HasField("confidence_threshold") else None
        )
        both = analyse_belief(case.before, with_experiment(case.curve, experiment), rule)
        # Far from the data an experiment leaves nothing to be said of both together, but what the data say still holds.
        if both.status is not Status.UNRELIABLE:
            finding, severity, heavy = both.finding, both.severity, both.severity_if_heavy_tailed
            p_value, log_bf = both.p.value, both.recentred.log_bf
            sensitivity = None if both.sensitivity is None else both.sensitivity.prior.value
        apart = distance(experiment, Overlay(case.before, case.curve).data_side)
    blame = label(conflict_pb2.ConflictAttribution, figures.attribution)
    situation = Situation(
        finding=finding,
        severity=severity,
        severity_if_heavy_tailed=heavy,
        blame=None if blame == "UNSPECIFIED" else Blame[blame],
        z=-float(special.ndtri(0.5 * max(p_value, 1e-300))),
        belief_months=belief_months,
        data_months=case.curve.months,
        prior_sensitivity=sensitivity,
        joint_conflict=clashes_together(analysis.joint, analysis.beliefs, figures.belief_id),
        incoherence_z=(
            analysis.joint.incoherence_z
            if analysis.joint.HasField("incoherence_z")
            and case.belief.estimand.quantity == common_pb2.QUANTITY_SHARE_OF_MEDIA
            else None
        ),
        experiment_z=apart,
        outcome=updated.action,
        data_finding=alone,
        between=updated.changed and _between(case, updated),
    )
    return recommend(situation), log_bf


def _between(case: Case, updated: PriorUpdate) -> bool:
    """Whether what the strategy made of the belief lies where neither belief nor data, with experiments, are."""
    curve = case.curve if case.experiment is None else with_experiment(case.curve, case.experiment)
    data = Overlay(case.before, curve).data_side
    return lies(*(place_of(law) for law in (case.before, data, updated.distribution))) is Lies.NEITHER


def _severity(value: conflict_pb2.Severity.ValueType) -> Severity | None:
    name = label(conflict_pb2.Severity, value)
    return None if name == "UNSPECIFIED" else Severity[name]
