"""How conflicts were resolved in the end: in whose favour, and how often the data were right."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from liftos.bayes.v1 import common_pb2, conflict_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.tables import ClientPrior, Conflict, ConflictEvidence, ConflictOutcome, Job
from server.contract.beyond_rules import check_estimate
from server.contract.errors import invalid_field
from server.contract.wire import from_json, label, timestamp, value_of
from server.texts.track_record import explain_record

LEVEL = 0.95
"""Level of the interval of a hit rate."""
NEAR = 1.0
"""Joint standard deviations within which an experiment agrees with a side."""
SEVERITIES = (
    conflict_pb2.SEVERITY_WEAK,
    conflict_pb2.SEVERITY_MODERATE,
    conflict_pb2.SEVERITY_STRONG,
    conflict_pb2.SEVERITY_VERY_STRONG,
)


def side_of(
    request: conflict_pb2.RecordConflictOutcomeRequest, belief: conflict_pb2.BeliefConflict
) -> conflict_pb2.OutcomeSide.ValueType:
    """In whose favour: the side that is stated, else the one that the experiment points to.

    ServiceError INVALID_FIELD if the experiment is about another quantity, and naming `side` where it cannot be told.
    """
    given = request.HasField("experiment")
    if given and request.experiment.estimand != belief.estimand:
        raise invalid_field("experiment.estimand", "must be the quantity of the belief")
    if given:
        check_estimate("experiment.estimate", request.experiment)
    if request.side != conflict_pb2.OUTCOME_SIDE_UNSPECIFIED:
        return request.side
    if not given:
        raise invalid_field("side", "is required without an experiment")
    pointed = points_to(request.experiment, belief)
    if isinstance(pointed, str):
        raise invalid_field("side", f"is required: {pointed}")
    return pointed


def points_to(
    experiment: common_pb2.Experiment, belief: conflict_pb2.BeliefConflict
) -> conflict_pb2.OutcomeSide.ValueType | str:
    """The side that an experiment about the belief's quantity is nearer to; in words, why it tells none.

    Near is z = |estimate - mean| / sqrt(standard_error² + sd²). An experiment within one of both sides tells neither.
    """
    if belief.status == conflict_pb2.CONFLICT_STATUS_UNRELIABLE:
        return "the figures of the analysis are unreliable"
    client, data = _distance(experiment, belief.client), _distance(experiment, belief.data_side)
    if client is None or data is None:
        return "a side of the analysis has no mean and standard deviation"
    if max(client, data) <= NEAR:
        return f"the experiment is within {NEAR:g} joint standard deviation of both sides, so it tells nothing"
    if math.isclose(client, data, rel_tol=1e-9):
        return "the experiment is equally near to both sides"
    return conflict_pb2.OUTCOME_SIDE_CLIENT if client < data else conflict_pb2.OUTCOME_SIDE_DATA


def by_experiment(outcome: conflict_pb2.ConflictOutcome, belief: conflict_pb2.BeliefConflict | None) -> bool:
    """Whether an experiment says the same as an outcome; what a person has stated against it is no experiment's."""
    return (
        belief is not None and outcome.HasField("experiment") and points_to(outcome.experiment, belief) == outcome.side
    )


def _distance(experiment: common_pb2.Experiment, side: common_pb2.Estimate) -> float | None:
    if not (side.HasField("mean") and side.HasField("sd")):
        return None
    return abs(experiment.estimate - side.mean) / math.hypot(experiment.standard_error, side.sd)


def hit_rate(hits: int, resolved: int) -> tuple[float, float, float]:
    """Share of hits with its central 95 % interval by Jeffreys' prior, Beta(1/2, 1/2); resolved >= 1.

    The interval ends at 0 without a hit and at 1 without a miss (Brown, Cai and DasGupta 2001, §3.1.2).
    """
    from scipy import special  # a third of a second, which no server needs to start

    tail = (1.0 - LEVEL) / 2.0
    a, b = hits + 0.5, resolved - hits + 0.5
    lower = 0.0 if hits == 0 else float(special.betaincinv(a, b, tail))
    upper = 1.0 if hits == resolved else float(special.betaincinv(a, b, 1.0 - tail))
    return hits / resolved, lower, upper


async def latest_of(session: AsyncSession, prior_pk: uuid.UUID) -> uuid.UUID | None:
    """The outcome of a belief that counts: the latest one of an analysis that counted no data twice."""
    statement = (
        select(ConflictOutcome.pk)
        .join(Conflict, Conflict.pk == ConflictOutcome.conflict_pk)
        .where(ConflictOutcome.prior_pk == prior_pk, ~Conflict.exploratory)
        .order_by(ConflictOutcome.create_time.desc(), ConflictOutcome.pk.desc())
        .limit(1)
    )
    return await session.scalar(statement)


async def outcome_message(session: AsyncSession, row: ConflictOutcome) -> conflict_pb2.ConflictOutcome:
    """A stored outcome, and whether a later one of the same belief has taken its place."""
    prior = await session.get_one(ClientPrior, row.prior_pk)
    return conflict_pb2.ConflictOutcome(
        outcome_id=str(row.pk),
        analysis_id=str(row.conflict_pk),
        belief_id=prior.belief_id,
        side=value_of(conflict_pb2.OutcomeSide, row.side),
        experiment=from_json(row.experiment, common_pb2.Experiment()) if row.experiment is not None else None,
        reason=row.reason,
        recorded_by=row.recorded_by,
        severity=value_of(conflict_pb2.Severity, row.severity),
        conflict=row.conflict,
        superseded=await latest_of(session, row.prior_pk) != row.pk,
        create_time=timestamp(row.create_time),
    )


@dataclass(frozen=True)
class Resolved:
    """A belief that was analysed, and how it was resolved; severity None: the figures were unreliable.

    by_experiment: an experiment points to `side`
    """

    severity: str | None
    side: str | None = None
    by_experiment: bool = False


async def resolved_beliefs(session: AsyncSession, client_id: str) -> list[Resolved]:
    """Every belief of a client with a successful analysis that counted no data twice.

    Its severity is that of the latest such analysis, of a resolved belief that of the analysis which the outcome was
    recorded for: an answer is not judged by what a later one said.
    """
    analysed = (
        select(ConflictEvidence.prior_pk, ConflictEvidence.severity)
        .join(Conflict, Conflict.pk == ConflictEvidence.conflict_pk)
        .join(Job, Job.pk == Conflict.job_pk)
        .where(Conflict.client_id == client_id, Job.state == "SUCCEEDED", ~Conflict.exploratory)
        .order_by(ConflictEvidence.prior_pk, Conflict.create_time.desc(), Conflict.pk.desc())
        .distinct(ConflictEvidence.prior_pk)
    )
    resolved = {pk: Resolved(severity) for pk, severity in await session.execute(analysed)}
    outcomes = (
        select(ConflictOutcome)
        .join(Conflict, Conflict.pk == ConflictOutcome.conflict_pk)
        .where(ConflictOutcome.client_id == client_id, ~Conflict.exploratory)
        .order_by(ConflictOutcome.prior_pk, ConflictOutcome.create_time.desc(), ConflictOutcome.pk.desc())
        .distinct(ConflictOutcome.prior_pk)
    )
    for row in (await session.scalars(outcomes)).all():
        outcome = await outcome_message(session, row)
        belief = await _analysed(session, row, outcome.belief_id) if outcome.HasField("experiment") else None
        resolved[row.prior_pk] = Resolved(row.severity, row.side, by_experiment(outcome, belief))
    return list(resolved.values())


async def _analysed(session: AsyncSession, row: ConflictOutcome, belief_id: str) -> conflict_pb2.BeliefConflict | None:
    """What the analysis that an outcome was recorded for says of the belief."""
    conflict = await session.get_one(Conflict, row.conflict_pk)
    analysis = from_json(conflict.result or {}, conflict_pb2.ConflictAnalysis())
    return next((belief for belief in analysis.beliefs if belief.belief_id == belief_id), None)


def report_message(beliefs: Sequence[Resolved]) -> conflict_pb2.GetOutcomeReportResponse:
    """How often the data were right, by severity."""
    report = conflict_pb2.GetOutcomeReportResponse()
    for severity in SEVERITIES:
        of = [belief for belief in beliefs if belief.severity == label(conflict_pb2.Severity, severity)]
        resolved = [belief for belief in of if belief.side is not None]
        record = report.severities.add(
            severity=severity,
            analysed=len(of),
            resolved=len(resolved),
            for_data=sum(belief.side == "DATA" for belief in resolved),
            for_client=sum(belief.side == "CLIENT" for belief in resolved),
            by_experiment=sum(belief.by_experiment for belief in resolved),
        )
        if resolved:
            record.hit_rate, record.hit_rate_lower, record.hit_rate_upper = hit_rate(record.for_data, len(resolved))
    unreliable = sum(belief.severity is None for belief in beliefs)
    report.summary.extend(explain_record(report, unreliable))
    return report
