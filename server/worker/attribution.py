"""Attribution: contribution, shares and ROI of every channel from three sides, with the checks behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from liftos.bayes.v1 import attribution_pb2, common_pb2, model_pb2, prior_update_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.analysis import ConflictRule
from engine.errors import UnsupportedQuantity
from persistence.tables import Attribution, Conflict, Job, Model, PriorUpdate, Session
from server.certificates import reference_certificate
from server.lineage import already_used, overlaps_of, window_of
from server.period import Period
from server.resources import attribution_message, beliefs_of
from server.services.conflicts import quantity_name
from server.wire import from_json, to_json, value_of
from server.worker.calls import Commit, WorkerContext
from server.worker.conflict import session_inputs
from server.worker.convert import estimate_of_draws, estimate_of_law
from server.worker.examination import examine
from server.worker.findings import belief_message
from server.worker.fits import Floats, StoredFit, stored_fit
from server.worker.necessity import Question, decided
from server.worker.words import explain_attribution, explain_validation

QUANTITIES = (
    common_pb2.QUANTITY_SHARE_OF_OUTCOME,
    common_pb2.QUANTITY_INCREMENTAL_OUTCOME,
    common_pb2.QUANTITY_SHARE_OF_MEDIA,
    common_pb2.QUANTITY_ROI,
)


async def analyze_attribution(context: WorkerContext, job: Job) -> Commit:
    """Attribute the outcome of the request's window."""
    request = attribution_pb2.AnalyzeAttributionRequest.FromString(job.request)
    impact = request.business_impact.minor_units if request.HasField("business_impact") else None
    async with context.database.session() as session:
        row = (await session.scalars(select(Attribution).where(Attribution.job_pk == job.pk))).one()
        model_row = await session.get_one(Model, row.model_pk)
        period = Period.of(row)
        elicited = await session.get_one(Session, row.session_pk) if row.session_pk else None
        beliefs = await beliefs_of(session, elicited.pk) if elicited else []
        accepted = await _accepted(session, elicited) if elicited else {}
        threshold = await _threshold(session, elicited, period)
        overlaps = await overlaps_of(session, await window_of(session, model_row, period), beliefs) if beliefs else []
        if overlaps and not request.exploratory:
            raise already_used(overlaps, exploratory=True)
    reference = await stored_fit(context, model_row, period)
    believed = await stored_fit(context, model_row, period, beliefs) if beliefs else None
    spec = from_json(model_row.spec, model_pb2.ModelSpec()).additive_mmm
    message = attribution_pb2.Attribution(
        channels=[_channel(channel.name, reference, believed, accepted) for channel in spec.channels],
        total_outcome=float(reference.row.facts["total_outcome"]),
        total_media_share=estimate_of_draws(total_share(reference.draws, [channel.name for channel in spec.channels])),
        diagnostics=reference.diagnostics,
        provenance=_provenance(reference, believed),
        overlaps=overlaps,
    )
    message.summary.extend(explain_attribution(message))
    if request.include_bayesian_validation:
        examined = await examine(context, reference, beliefs, ConflictRule(confidence_threshold=threshold))
        message.validation.conflicts.extend(belief_message(one) for one in examined)

    async def commit(session: AsyncSession) -> attribution_pb2.AnalyzeAttributionResponse:
        stored = await session.get_one(Attribution, row.pk)
        stored.exploratory = bool(overlaps)
        if request.include_bayesian_validation:
            validation = message.validation
            inputs = session_inputs(model_row, elicited, impact, validation.conflicts)
            question = Question(
                row.client_id, "ATTRIBUTION", str(row.pk), model_row, period, inputs, reference.diagnostics
            )
            validation.sbc_necessity.CopyFrom(await decided(session, question))
            certified = await reference_certificate(session, model_row, period)
            if certified is not None:
                validation.certificate_run_id = str(certified.pk)
                validation.certificate_verdict = value_of(sbc_pb2.VerdictKind, certified.verdict_kind)
            validation.summary.extend(explain_validation(validation))
        stored.result = to_json(message)
        await session.flush()
        response = await attribution_message(session, stored)
        response.state = common_pb2.JOB_STATE_SUCCEEDED
        return attribution_pb2.AnalyzeAttributionResponse(attribution=response)

    return commit


def total_share(draws: Mapping[str, Floats], channels: Sequence[str]) -> Floats:
    """Draws of the share of outcome of all channels together, for any number of channels."""
    shares = [common_pb2.Estimand(quantity=common_pb2.QUANTITY_SHARE_OF_OUTCOME, channel=name) for name in channels]
    return np.asarray(np.sum([draws[quantity_name(share)] for share in shares], axis=0))


def _provenance(reference: StoredFit, believed: StoredFit | None) -> common_pb2.Provenance:
    """What the reference fit was computed from, and the seconds that both fits spent on compiling."""
    provenance = reference.provenance
    if believed is not None and believed.compile_seconds:
        provenance.compile_seconds += believed.compile_seconds
    return provenance


async def _threshold(session: AsyncSession, elicited: Session | None, period: Period) -> float | None:
    """The confidence threshold of the session's latest analysis of this window: one belief gets one verdict."""
    if elicited is None:
        return None
    statement = (
        select(Conflict.confidence_threshold)
        .join(Job, Job.pk == Conflict.job_pk)
        .where(
            Conflict.session_pk == elicited.pk,
            Conflict.data_period_months == period.months,
            Conflict.hold_out_months == period.hold_out,
            Job.state == "SUCCEEDED",
        )
        .order_by(Conflict.create_time.desc())
        .limit(1)
    )
    return await session.scalar(statement)


async def _accepted(session: AsyncSession, elicited: Session) -> Mapping[str, common_pb2.Estimate]:
    """Summaries of the session's latest accepted update by quantity name."""
    statement = (
        select(PriorUpdate)
        .where(PriorUpdate.session_pk == elicited.pk, PriorUpdate.state == "ACCEPTED")
        .order_by(PriorUpdate.decide_time.desc())
        .limit(1)
    )
    row = (await session.scalars(statement)).one_or_none()
    if row is None or row.result is None:
        return {}
    update = from_json(row.result, prior_update_pb2.PriorUpdate())
    return {quantity_name(belief.estimand): belief.after_summary for belief in update.beliefs}


def _channel(
    name: str,
    reference: StoredFit,
    believed: StoredFit | None,
    accepted: Mapping[str, common_pb2.Estimate],
) -> attribution_pb2.ChannelAttribution:
    channel = attribution_pb2.ChannelAttribution(channel=name)
    spend = reference.row.facts.get("spend", {}).get(name)
    if spend is not None:
        channel.spend = spend
    for quantity in QUANTITIES:
        key = quantity_name(common_pb2.Estimand(quantity=quantity, channel=name))
        if key not in reference.draws:
            continue
        entry = channel.quantities.add(quantity=quantity, data_side=estimate_of_draws(reference.draws[key]))
        # The prior of a channel with a belief is the belief, in whatever linked quantity it is shown.
        prior = _prior(believed or reference, key)
        if prior is not None:
            entry.prior.CopyFrom(prior)
        if believed is not None:
            entry.client_posterior.CopyFrom(estimate_of_draws(believed.draws[key]))
        if key in accepted:
            entry.updated_prior.CopyFrom(accepted[key])
    return channel


def _prior(fit: StoredFit, quantity: str) -> common_pb2.Estimate | None:
    try:
        return estimate_of_law(fit.model.prior_of(quantity))
    except UnsupportedQuantity:
        return None
