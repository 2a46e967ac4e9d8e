"""The figures of a conflict analysis as messages of the contract and as rows of the store."""

from __future__ import annotations

import math
from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2

from engine.conflict.analysis import ConflictRule
from engine.conflict.bayes_factor import BayesFactor
from engine.conflict.joint import JointBeliefs
from engine.conflict.reliability import MIN_EFFECTIVE, Status
from engine.conflict.replication import ReplicatedPValue
from engine.conflict.severity import Severity
from persistence.tables import Conflict, ConflictEvidence
from server.contract.wire import label, value_of
from server.texts.analysis_notes import few_effective_draws, figures_unreliable
from server.texts.explanations import direction, explain_conflict
from server.texts.phrases import rule_in_force
from server.worker.conflict.comparison import Examined
from server.worker.conversion import estimate_of_law


def belief_message(one: Examined) -> conflict_pb2.BeliefConflict:
    """The figures of one belief as a message, with their sentence still to come: `explain_conflict`."""
    found = one.figures
    factors = [found.recentred, found.widened, found.reference, found.point_mle]
    message = conflict_pb2.BeliefConflict(
        belief_id=one.belief.belief_id,
        estimand=one.belief.estimand,
        prior=one.belief.compiled,
        role=one.belief.role or elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT,
        bayes_factors=[_factor(factor) for factor in (*factors, found.expert) if factor is not None],
        severity=severity_value(found.severity),
        severity_probability=found.severity_probability,
        severity_if_heavy_tailed=severity_value(found.severity_if_heavy_tailed),
        null_rate=found.null_rate or 0.0,
        conflict=found.conflict,
        conflict_rule=_rule_in_force(found.rule),
        confirms=found.confirms,
        p_value=found.p.value,
        p_value_se=found.p.se,
        kl_divergence_nats=found.kl.value,
        kl_divergence_mcse=found.kl.mcse,
        information_gain_nats=found.information_gain.value,
        information_gain_mcse=found.information_gain.mcse,
        wasserstein_1=found.wasserstein.w1,
        wasserstein_1_mcse=found.wasserstein.w1_mcse,
        wasserstein_2=found.wasserstein.w2,
        wasserstein_2_mcse=found.wasserstein.w2_mcse,
        wasserstein_1_floor=found.wasserstein.w1_floor,
        wasserstein_scaled=found.wasserstein.w1_scaled,
        contraction=found.contraction,
        client=one.belief.summary,
        data_side=estimate_of_law(found.data_side),
        client_posterior=estimate_of_law(found.client_posterior),
        status=value_of(conflict_pb2.ConflictStatus, found.status.name),
        status_reason="; ".join(found.reasons),
        finding=value_of(conflict_pb2.Finding, found.finding.name),
        curve_id=str(one.curve_row.pk),
        p_value_holm=one.p_holm,
        flagged_by_e_bh=one.flagged,
    )
    if math.isfinite(found.prior_ess_months):
        message.prior_ess_months = found.prior_ess_months
    if (scaling := found.sensitivity) is not None:
        message.sensitivity.prior, message.sensitivity.prior_mcse = scaling.prior.value, scaling.prior.mcse
        likelihood = scaling.likelihood
        message.sensitivity.likelihood, message.sensitivity.likelihood_mcse = likelihood.value, likelihood.mcse
    message.explanation = explain_conflict(message)
    return message


def _rule_in_force(rule: ConflictRule) -> str:
    return rule_in_force(rule.conflict_threshold, rule.confidence_threshold, rule.null_rate)


def severity_value(severity: Severity | None) -> conflict_pb2.Severity.ValueType:
    """The contract's value of a label; UNSPECIFIED without one."""
    return value_of(conflict_pb2.Severity, severity.name if severity else None)  # type: ignore[no-any-return]


def _factor(factor: BayesFactor) -> conflict_pb2.BayesFactor:
    message = conflict_pb2.BayesFactor(
        alternative=value_of(conflict_pb2.BayesFactorAlternative, factor.alternative.name),
        log_bayes_factor=factor.log_bf,
        mcse=factor.mcse,
        estimator=value_of(conflict_pb2.BayesFactorEstimator, factor.estimator.name),
        log_bayes_factor_heavy_tails=factor.tail_bracket,
    )
    if factor.khat is not None and math.isfinite(factor.khat):
        message.pareto_k = factor.khat
    return message


def replicated_message(found: ReplicatedPValue) -> conflict_pb2.ReplicatedPValue:
    """A replicated-data p-value as a message."""
    return conflict_pb2.ReplicatedPValue(
        p_value=found.value, se=found.se, replicates=found.replicates, failed_fits=found.failed_fits
    )


def joint_message(
    examined: Sequence[Examined], found: JointBeliefs | str | None, rule: ConflictRule
) -> conflict_pb2.JointConflict | None:
    """All beliefs together as a message; None where there is nothing to say together."""
    if found is None:
        return None
    if isinstance(found, str):
        return conflict_pb2.JointConflict(status=conflict_pb2.CONFLICT_STATUS_UNRELIABLE, status_reason=found)
    conflict = found.conflict
    message = conflict_pb2.JointConflict(
        d_squared=conflict.d2,
        degrees_of_freedom=conflict.df,
        p_value=conflict.p,
        log_calibrated_bayes_factor=conflict.log_bf_cal,
        incoherence_z=found.incoherence_z,
        status=conflict_pb2.CONFLICT_STATUS_OK,
    )
    for one, weight, without in zip(examined, conflict.worst_direction, found.without, strict=True):
        part = message.parts.add(belief_id=one.row.belief_id, direction=weight)
        if without is not None:
            part.d_squared_without, part.p_value_without = without.d2, without.p
    reasons = [figures_unreliable(one.row.belief_id) for one in examined if one.figures.status is Status.UNRELIABLE]
    if found.effective_draws < MIN_EFFECTIVE:
        reasons.append(few_effective_draws(found.effective_draws, MIN_EFFECTIVE))
    if reasons:
        message.status, message.status_reason = conflict_pb2.CONFLICT_STATUS_UNRELIABLE, "; ".join(reasons)
    else:
        message.severity = severity_value(conflict.severity)
        message.conflict = rule.declares(conflict.log_bf_cal, conflict.p)
    estimands: list[common_pb2.Estimand] = [one.belief.estimand for one in examined]
    message.worst_direction = direction(estimands, conflict.worst_direction)
    return message


def evidence_row(row: Conflict, one: Examined, message: conflict_pb2.BeliefConflict) -> ConflictEvidence:
    """The figures of one belief in columns, for the store's own queries."""
    found = one.figures
    severity = label(conflict_pb2.Severity, message.severity)
    return ConflictEvidence(
        conflict_pk=row.pk,
        prior_pk=one.row.pk,
        curve_pk=one.curve_row.pk,
        log_bf_recentred=_finite(found.recentred.log_bf),
        log_bf_widened=_finite(found.widened.log_bf),
        log_bf_reference=_finite(found.reference.log_bf),
        log_bf_point=_finite(found.point_mle.log_bf),
        mcse=_finite(found.recentred.mcse),
        p_value=found.p.value,
        # Infinite when the belief excludes values that the data side does not; a column holds numbers only.
        kl_nats=_finite(found.kl.value),
        wasserstein_1=_finite(found.wasserstein.w1),
        wasserstein_2=_finite(found.wasserstein.w2),
        severity=None if severity == "UNSPECIFIED" else severity,
        status=label(conflict_pb2.ConflictStatus, message.status),
        finding=label(conflict_pb2.Finding, message.finding),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
