"""The cases of an update: each belief of an analysis with its law, curve, figures and the experiments about it.

Read from the store once, before anything is computed; with what all cases share, their joint draws and correlation.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.arrays import Floats
from engine.conflict.curve import EvidenceCurve
from engine.conflict.experiment import Experiment
from engine.conflict.joint import client_moments, data_moments
from engine.conflict.reliability import MIN_EFFECTIVE
from engine.distributions.distribution import Distribution
from engine.errors import InvalidInput
from engine.updates.correlation import BeliefUncertainty, is_independent, posterior_correlation
from engine.updates.update import PriorUpdate, Strategy, UpdateRule
from persistence.tables import ClientPrior, ConflictEvidence, ElicitedSession, FitDraws, StoredCurve
from server.contract.wire import from_json, quantity_name
from server.texts.analysis_notes import Uncorrelated, few_effective_draws, no_correlation
from server.texts.standing import missed_by
from server.worker.conflict.dependence import prior_correlation, whole_shares
from server.worker.conversion import belief_law
from server.worker.fitting.fits import curve_of


@dataclass(frozen=True)
class Case:
    """One belief with everything that its update follows from.

    `figures` are those of the analysis, `experiments` those of the request about its quantity by their places there.
    `refusal` says why the figures must not be relied on; it is empty where they may be.
    """

    belief: elicitation_pb2.Belief
    before: Distribution
    curve: EvidenceCurve
    figures: conflict_pb2.BeliefConflict
    experiments: Mapping[int, Experiment]
    refusal: str = ""

    @property
    def experiment(self) -> Experiment | None:
        """All experiments as one."""
        return Experiment.pooled(list(self.experiments.values())) if self.experiments else None


async def beliefs_with_curves(session: AsyncSession, conflict_pk: uuid.UUID) -> list[tuple[ClientPrior, StoredCurve]]:
    """The beliefs of an analysis with their curves, in the order of the session."""
    statement = (
        select(ClientPrior, StoredCurve)
        .join(ConflictEvidence, ConflictEvidence.prior_pk == ClientPrior.pk)
        .join(StoredCurve, StoredCurve.pk == ConflictEvidence.curve_pk)
        .where(ConflictEvidence.conflict_pk == conflict_pk)
        .order_by(ClientPrior.ordinal)
    )
    return [(row[0], row[1]) for row in (await session.execute(statement)).all()]


def cases_of(
    pairs: Sequence[tuple[ClientPrior, StoredCurve]],
    analysis: conflict_pb2.ConflictAnalysis,
    experiments: Sequence[common_pb2.Experiment],
) -> list[Case]:
    """What the updates of an analysis's beliefs follow from."""
    figures = {belief.belief_id: belief for belief in analysis.beliefs}
    # An analysis of an earlier version did not count the fit's thresholds among what its figures need.
    missed = missed_by(analysis)
    cases = []
    for row, curve_row in pairs:
        belief, curve = from_json(row.belief, elicitation_pb2.Belief()), curve_of(curve_row)
        own = {
            index: Experiment(experiment.estimate, experiment.standard_error)
            for index, experiment in enumerate(experiments)
            if experiment.estimand == belief.estimand
        }
        before = belief_law(belief, curve.reference, f"beliefs[{row.belief_id}].compiled")
        found = figures[row.belief_id]
        unreliable = found.status == conflict_pb2.CONFLICT_STATUS_UNRELIABLE
        cases.append(Case(belief, before, curve, found, own, found.status_reason if unreliable else missed))
    return cases


async def joint_draws(
    session: AsyncSession, pairs: Sequence[tuple[ClientPrior, StoredCurve]], cases: Sequence[Case]
) -> Floats | None:
    """Draws [k, n] of the beliefs' quantities under the reference posterior; None for one belief or without draws."""
    if len(pairs) < 2:
        return None
    rows = []
    for (_, curve), case in zip(pairs, cases, strict=True):
        name = quantity_name(case.belief.estimand)
        statement = select(FitDraws).where(FitDraws.fit_pk == curve.fit_pk, FitDraws.quantity == name)
        stored = (await session.scalars(statement)).one_or_none()
        if stored is None:
            return None
        rows.append(np.frombuffer(stored.data, "<f8"))
    return np.stack(rows)


def updated_correlation(
    elicited: ElicitedSession,
    cases: Sequence[Case],
    updated: Sequence[PriorUpdate],
    draws: Floats | None,
    rule: UpdateRule,
) -> Floats | str | None:
    """Correlation [k, k] of the updated priors on their unconstrained scales (methods/conflict.md §12).

    Strategies that keep the belief's shape keep its correlation; those that take the likelihood in take its coupling
    in. None for one belief and where they are independent; in words why it cannot be had.
    """
    if len(cases) < 2:
        return None
    prior = prior_correlation(elicited, [case.belief.belief_id for case in cases])
    if prior is not None and not np.all(np.isfinite(prior)):
        return no_correlation(Uncorrelated.BELIEFS_UNKNOWN)
    kept = None if prior is None or is_independent(prior) else prior
    if rule.strategy in {Strategy.EVIDENCE_WEIGHTED, Strategy.ROBUST_MIXTURE, Strategy.CONSERVATIVE}:
        return kept
    if not any(change.changed for change in updated):
        return kept
    if not all(change.changed for change in updated):
        return no_correlation(Uncorrelated.PARTLY_UPDATED)
    if draws is None:
        return no_correlation(Uncorrelated.NO_JOINT_DRAWS)
    try:
        data = data_moments(
            [case.curve for case in cases], draws, whole_shares([case.belief.estimand for case in cases], draws)
        )
        if data.effective_draws < MIN_EFFECTIVE:
            return no_correlation(few_effective_draws(data.effective_draws, MIN_EFFECTIVE))
        spread = [client_moments(case.before, case.curve)[1] for case in cases]
        correlation = posterior_correlation(
            BeliefUncertainty.of(spread, prior),
            data.cov,
            likelihood_power=rule.power if rule.strategy is Strategy.POWER_PRIOR else 1.0,
            belief_power=[1.0 if change.expected_power is None else change.expected_power for change in updated],
            experiment_precision=[
                _precision(case, change.distribution) for case, change in zip(cases, updated, strict=True)
            ],
        )
    except (InvalidInput, np.linalg.LinAlgError) as error:
        return no_correlation(str(error))
    if not np.all(np.isfinite(correlation)):
        return no_correlation(Uncorrelated.UNSETTLED)
    return None if is_independent(correlation) else correlation


def _precision(case: Case, after: Distribution) -> float:
    """Precision of the experiments on the unconstrained scale of the quantity, at the median of the updated prior."""
    if case.experiment is None:
        return 0.0
    at = case.curve.support.to_unconstrained(after.ppf(0.5))
    return float(np.exp(case.curve.support.log_jacobian(at)) / case.experiment.standard_error) ** 2
