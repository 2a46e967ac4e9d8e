"""What the comparison of beliefs with data has given, as messages of the contract and as rows of the store.

Figures that cannot be relied on are told with their status, those that are infinite are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2

from engine.conflict.analysis import ConflictRule
from engine.conflict.bayes_factor import BayesFactor
from engine.conflict.joint import JointBeliefs
from engine.conflict.overlay import MAX_EXTRAPOLATED
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


def belief_conflict_message(compared: Examined) -> conflict_pb2.BeliefConflict:
    """The figures of one belief as a message, with its sentence; causes and collinearity are still to come."""
    figures = compared.figures
    # As the strategy FULL_BAYESIAN, whose answer this is, refuses it.
    extrapolated = figures.extrapolated_share > MAX_EXTRAPOLATED
    factors = [figures.recentred, figures.widened, figures.reference, figures.point_mle]
    message = conflict_pb2.BeliefConflict(
        belief_id=compared.belief.belief_id,
        estimand=compared.belief.estimand,
        prior=compared.belief.compiled,
        role=compared.belief.role or elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT,
        bayes_factors=[_factor(factor) for factor in (*factors, figures.expert) if factor is not None],
        severity=severity_value(figures.severity),
        severity_probability=figures.severity_probability,
        severity_if_heavy_tailed=severity_value(figures.severity_if_heavy_tailed),
        null_rate=figures.null_rate or 0.0,
        conflict=figures.conflict,
        conflict_rule=_rule_in_force(figures.rule),
        confirms=figures.confirms,
        p_value=figures.p.value,
        p_value_se=figures.p.se,
        kl_divergence_nats=figures.kl.value,
        kl_divergence_mcse=figures.kl.mcse,
        information_gain_nats=figures.information_gain.value,
        information_gain_mcse=figures.information_gain.mcse,
        wasserstein_1=figures.wasserstein.w1,
        wasserstein_1_mcse=figures.wasserstein.w1_mcse,
        wasserstein_2=figures.wasserstein.w2,
        wasserstein_2_mcse=figures.wasserstein.w2_mcse,
        wasserstein_1_floor=figures.wasserstein.w1_floor,
        wasserstein_scaled=figures.wasserstein.w1_scaled,
        contraction=figures.contraction,
        client=compared.belief.summary,
        data_side=estimate_of_law(figures.data_side),
        client_posterior=None if extrapolated else estimate_of_law(figures.client_posterior),
        status=value_of(conflict_pb2.ConflictStatus, figures.status.name),
        status_reason="; ".join(figures.reasons),
        finding=value_of(conflict_pb2.Finding, figures.finding.name),
        curve_id=str(compared.curve_row.pk),
        p_value_holm=compared.p_holm,
        flagged_by_e_bh=compared.flagged,
    )
    if math.isfinite(figures.prior_ess_months):
        message.prior_ess_months = figures.prior_ess_months
    if (scaling := figures.sensitivity) is not None:
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


def replicated_message(replicated: ReplicatedPValue) -> conflict_pb2.ReplicatedPValue:
    """A replicated-data p-value as a message."""
    return conflict_pb2.ReplicatedPValue(
        p_value=replicated.value, se=replicated.se, replicates=replicated.replicates, failed_fits=replicated.failed_fits
    )


def joint_message(
    examined: Sequence[Examined], together: JointBeliefs | str | None, rule: ConflictRule
) -> conflict_pb2.JointConflict | None:
    """All beliefs together as a message; None where there is nothing to say together."""
    if together is None:
        return None
    if isinstance(together, str):
        return conflict_pb2.JointConflict(status=conflict_pb2.CONFLICT_STATUS_UNRELIABLE, status_reason=together)
    conflict = together.conflict
    message = conflict_pb2.JointConflict(
        d_squared=conflict.d2,
        degrees_of_freedom=conflict.df,
        p_value=conflict.p,
        log_calibrated_bayes_factor=conflict.log_bf_cal,
        incoherence_z=together.incoherence_z,
        status=conflict_pb2.CONFLICT_STATUS_OK,
    )
    for compared, weight, without in zip(examined, conflict.worst_direction, together.without, strict=True):
        part = message.parts.add(belief_id=compared.row.belief_id, direction=weight)
        if without is not None:
            part.d_squared_without, part.p_value_without = without.d2, without.p
    reasons = [
        figures_unreliable(compared.row.belief_id)
        for compared in examined
        if compared.figures.status is Status.UNRELIABLE
    ]
    if together.effective_draws < MIN_EFFECTIVE:
        reasons.append(few_effective_draws(together.effective_draws, MIN_EFFECTIVE))
    if reasons:
        message.status, message.status_reason = conflict_pb2.CONFLICT_STATUS_UNRELIABLE, "; ".join(reasons)
    else:
        message.severity = severity_value(conflict.severity)
        message.conflict = rule.declares(conflict.log_bf_cal, conflict.p)
    estimands: list[common_pb2.Estimand] = [compared.belief.estimand for compared in examined]
    message.worst_direction = direction(estimands, conflict.worst_direction)
    return message


def evidence_row(row: Conflict, compared: Examined, message: conflict_pb2.BeliefConflict) -> ConflictEvidence:
    """The figures of one belief in columns, for the store's own queries."""
    figures = compared.figures
    severity = label(conflict_pb2.Severity, message.severity)
    return ConflictEvidence(
        conflict_pk=row.pk,
        prior_pk=compared.row.pk,
        curve_pk=compared.curve_row.pk,
        log_bf_recentred=_finite(figures.recentred.log_bf),
        log_bf_widened=_finite(figures.widened.log_bf),
        log_bf_reference=_finite(figures.reference.log_bf),
        log_bf_point=_finite(figures.point_mle.log_bf),
        mcse=_finite(figures.recentred.mcse),
        p_value=figures.p.value,
        # Infinite when the belief excludes values that the data side does not; a column holds numbers only.
        kl_nats=_finite(figures.kl.value),
        wasserstein_1=_finite(figures.wasserstein.w1),
        wasserstein_2=_finite(figures.wasserstein.w2),
        severity=None if severity == "UNSPECIFIED" else severity,
        status=label(conflict_pb2.ConflictStatus, message.status),
        finding=label(conflict_pb2.Finding, message.finding),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
