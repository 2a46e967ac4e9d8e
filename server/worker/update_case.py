"""What the update of a belief follows from: belief, curve, figures and experiments, as they are stored."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.curve import EvidenceCurve
from engine.conflict.experiment import Experiment
from engine.priors.distribution import Distribution
from persistence import tables
from persistence.tables import ClientPrior, ConflictEvidence, FitDraws
from server.wire import from_json, quantity_name
from server.worker.convert import belief_law
from server.worker.fits import curve_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One belief with everything that its update follows from.

    `figures` are those of the analysis, `experiments` those of the request about its quantity by their places there.
    """

    belief: elicitation_pb2.Belief
    before: Distribution
    curve: EvidenceCurve
    figures: conflict_pb2.BeliefConflict
    experiments: Mapping[int, Experiment]

    @property
    def reliable(self) -> bool:
        """Whether the figures can be relied on."""
        return self.figures.status != conflict_pb2.CONFLICT_STATUS_UNRELIABLE

    @property
    def experiment(self) -> Experiment | None:
        """All experiments as one."""
        return Experiment.pooled(list(self.experiments.values())) if self.experiments else None


async def beliefs_with_curves(
    session: AsyncSession, conflict_pk: uuid.UUID
) -> list[tuple[ClientPrior, tables.EvidenceCurve]]:
    """The beliefs of an analysis with their curves, in the order of the session."""
    statement = (
        select(ClientPrior, tables.EvidenceCurve)
        .join(ConflictEvidence, ConflictEvidence.prior_pk == ClientPrior.pk)
        .join(tables.EvidenceCurve, tables.EvidenceCurve.pk == ConflictEvidence.curve_pk)
        .where(ConflictEvidence.conflict_pk == conflict_pk)
        .order_by(ClientPrior.ordinal)
    )
    return [(row[0], row[1]) for row in (await session.execute(statement)).all()]


def cases_of(
    pairs: Sequence[tuple[ClientPrior, tables.EvidenceCurve]],
    analysis: conflict_pb2.ConflictAnalysis,
    experiments: Sequence[common_pb2.Experiment],
) -> list[Case]:
    """What the updates of an analysis's beliefs follow from."""
    found = {belief.belief_id: belief for belief in analysis.beliefs}
    cases = []
    for row, curve_row in pairs:
        belief, curve = from_json(row.belief, elicitation_pb2.Belief()), curve_of(curve_row)
        own = {
            index: Experiment(one.estimate, one.standard_error)
            for index, one in enumerate(experiments)
            if one.estimand == belief.estimand
        }
        before = belief_law(belief, curve.reference, f"beliefs[{row.belief_id}].compiled")
        cases.append(Case(belief, before, curve, found[row.belief_id], own))
    return cases


async def joint_draws(
    session: AsyncSession, pairs: Sequence[tuple[ClientPrior, tables.EvidenceCurve]], cases: Sequence[Case]
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
