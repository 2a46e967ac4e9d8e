"""Attribution: contribution, shares and ROI of every channel from three sides, with the checks behind them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from liftos.bayes.v1 import attribution_pb2, common_pb2, prior_update_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.arrays import Floats
from engine.conflict.analysis import ConflictRule
from engine.conflict.causes import COLLINEAR
from engine.conflict.channel_groups import inseparable
from engine.conflict.collinearity import collinearity
from engine.conflict.induced import prior_draws
from engine.errors import UnsupportedQuantity
from engine.models.protocol import Attributes, Regresses
from persistence.tables import (
    ClientPrior,
    Conflict,
    ElicitedSession,
    Job,
    RecommendedUpdate,
    RegisteredModel,
    StoredAttribution,
)
from server.contract.errors import unimplemented
from server.contract.period import Period
from server.contract.quantities import ATTRIBUTED
from server.contract.wire import from_json, quantity_name, to_json, value_of
from server.records.certificates import finished_run, reference_certificate
from server.records.lineage import already_used, overlaps_of, window_of
from server.records.messages import attribution_message
from server.records.runs import MAX_SIMULATIONS, open_run, plan_run, start_run
from server.records.sessions import beliefs_of
from server.texts.analysis_notes import geos_left_out
from server.texts.cautions import explain_caution
from server.texts.explanations import Told, explain_attribution, explain_started, explain_validation
from server.worker.conflict.analyses import compared_jointly, session_inputs
from server.worker.conflict.comparison import examine
from server.worker.conflict.conflict_messages import belief_conflict_message
from server.worker.context import Commit, WorkerContext
from server.worker.conversion import estimate_of_draws, estimate_of_law
from server.worker.fitting.fits import StoredFit, stored_fit
from server.worker.fitting.gate import Gate
from server.worker.fitting.registration import total_cautions
from server.worker.sbc.necessity import Question, decided

MAX_GEO_CELLS = 8_000
"""Geos times channels of an answer at most: some 360 bytes each, of 4 MiB."""
PRIOR_DRAWS = 20_000
"""Draws behind the prior of a quantity without a closed form; its limits come out to a few hundredths of its sd."""
FEWEST_PRIOR_DRAWS = 2_000
PRIOR_CELLS = 40_000_000
"""Rows times prior draws at most: a second for a marginal ROI. With more rows there are fewer draws."""


async def analyze_attribution(context: WorkerContext, job: Job) -> Commit:
    """Attribute the outcome of the request's window."""
    request = attribution_pb2.AnalyzeAttributionRequest.FromString(job.request)
    async with context.database.session() as session:
        row = (await session.scalars(select(StoredAttribution).where(StoredAttribution.job_pk == job.pk))).one()
        model_row = await session.get_one(RegisteredModel, row.model_pk)
        period = Period.of(row)
        elicited = await session.get_one(ElicitedSession, row.session_pk) if row.session_pk else None
        beliefs = await beliefs_of(session, elicited.pk) if elicited else []
        accepted = await _accepted(session, elicited) if elicited else {}
        overlaps = await overlaps_of(session, await window_of(session, model_row, period), beliefs) if beliefs else []
        if overlaps and not request.exploratory:
            raise already_used(overlaps, exploratory=True)
        model = await context.models.prepared(session, model_row, period)
    if not isinstance(model, Attributes):
        raise unimplemented(f"attribution of {model.family}", "model_id")
    reference = await stored_fit(context, model_row, period)
    believed = await stored_fit(context, model_row, period, beliefs) if beliefs else None
    sides = Sides(reference, believed, accepted)
    message = await asyncio.to_thread(attributed, model, sides)
    message.overlaps.extend(overlaps)
    message.summary.extend(await asyncio.to_thread(_prior_remarks, reference))
    message.summary.extend(explain_attribution(message, await asyncio.to_thread(told_of, model, sides)))
    if request.include_bayesian_validation:
        message.validation.CopyFrom(await _examined(context, period, elicited, beliefs, reference))

    async def commit(session: AsyncSession) -> attribution_pb2.AnalyzeAttributionResponse:
        stored = await session.get_one(StoredAttribution, row.pk)
        stored.exploratory = bool(overlaps)
        if request.include_bayesian_validation:
            validation = message.validation
            impact = request.business_impact.minor_units if request.HasField("business_impact") else None
            joint = validation.joint if validation.HasField("joint") else None
            inputs = session_inputs(model_row, elicited, impact, validation.conflicts, joint)
            question = Question(
                row.client_id, "ATTRIBUTION", str(row.pk), model_row, period, inputs, reference.diagnostics
            )
            validation.sbc_necessity.CopyFrom(await decided(session, question))
            certified = await reference_certificate(session, model_row, period)
            if certified is not None:
                validation.certificate_run_id = str(certified.pk)
                validation.certificate_verdict = value_of(sbc_pb2.VerdictKind, certified.verdict_kind)
            validation.summary.extend(explain_validation(validation, reference.diagnostics))
            if request.start_sbc:
                await _calibrated(session, context.settings.shard_size, model_row, period, job.pk, validation)
        stored.result = to_json(message)
        await session.flush()
        response = await attribution_message(session, stored)
        response.state = common_pb2.JOB_STATE_SUCCEEDED
        return attribution_pb2.AnalyzeAttributionResponse(attribution=response)

    return commit


@dataclass(frozen=True)
class Sides:
    """What an attribution is made of: the fit under the reference priors, that under the beliefs, accepted updates."""

    reference: StoredFit
    believed: StoredFit | None = None
    accepted: Mapping[str, common_pb2.Estimate] | None = None


def attributed(model: Attributes, sides: Sides) -> attribution_pb2.Attribution:
    """The figures of an attribution to the channels of the reference fit's model, without words and checks."""
    channels = model.channel_names
    reference, priors = sides.reference, _Priors(sides.believed or sides.reference)
    outcome = float(reference.row.facts["total_outcome"])
    media = total_share(reference.draws, channels)
    message = attribution_pb2.Attribution(
        channels=[_channel(name, sides, priors) for name in channels],
        total_outcome=outcome,
        total_media_share=estimate_of_draws(media),
        baseline_share=estimate_of_draws(1.0 - media),
        baseline_outcome=estimate_of_draws(outcome * (1.0 - media)),
        diagnostics=reference.diagnostics,
        provenance=_provenance(reference, sides.believed),
    )
    shares = {name: reference.draws[quantity_name(share_of(name))] for name in channels}
    for group in inseparable(shares):
        together = np.sum([shares[name] for name in group], axis=0)
        message.inseparable.add(channels=group, share_of_outcome=estimate_of_draws(together))
    geos = len(model.geos.names)
    if geos * len(channels) <= MAX_GEO_CELLS:
        message.geos.extend(geos_of(model, reference.parameters))
    else:
        message.summary.append(geos_left_out(geos, len(channels)))
    return message


def _prior_remarks(reference: StoredFit) -> list[str]:
    """What to mind about what the reference priors put on all media together, as registration says of the data set."""
    return [explain_caution(caution) for caution in total_cautions(reference.model, reference.seed)]


def told_of(model: Attributes, sides: Sides) -> Told:
    """As what the shares of an attribution may be told: every channel's goes through the gate, and their sum."""
    gate = Gate(sides.reference)
    about = {name: share_of(name) for name in model.channel_names}
    total = common_pb2.Estimand(quantity=common_pb2.QUANTITY_TOTAL_MEDIA_SHARE_OF_OUTCOME)
    if len(about) == 1:
        (total,) = about.values()
    return Told(
        shares={name: gate.standing(share) for name, share in about.items()},
        total=gate.standing(total),
        believed=None if sides.believed is None else sides.believed.diagnostics,
        collinear=_collinear(model),
    )


def _collinear(model: Attributes) -> dict[str, float]:
    """R² of the channels whose exposure the rest of the model says almost in full."""
    if not isinstance(model, Regresses):
        return {}
    found = {name: collinearity(model, name) for name in model.channel_names}
    return {name: r_squared for name, r_squared in found.items() if r_squared > COLLINEAR}


def share_of(channel: str) -> common_pb2.Estimand:
    """The share of outcome of a channel."""
    return common_pb2.Estimand(quantity=common_pb2.QUANTITY_SHARE_OF_OUTCOME, channel=channel)


def total_share(draws: Mapping[str, Floats], channels: Sequence[str]) -> Floats:
    """Draws of the share of outcome of all channels together, for any number of channels."""
    return np.asarray(np.sum([draws[quantity_name(share_of(name))] for name in channels], axis=0))


def geos_of(model: Attributes, parameters: Mapping[str, Floats]) -> list[attribution_pb2.GeoAttribution]:
    """What each channel brought in each geo of a panel by draws [S] of the parameters; nothing for national data."""
    totals = model.geos
    geos = [
        attribution_pb2.GeoAttribution(geo=name, outcome=float(outcome))
        for name, outcome in zip(totals.names, totals.outcome, strict=True)
    ]
    if not geos:
        return []
    media = np.zeros((len(geos), next(iter(parameters.values())).size))
    for index, name in enumerate(model.channel_names):
        # One channel at a time: all of them would be geos times channels times draws.
        incremental = model.incremental_by_geo(name, parameters)
        media += incremental
        for geo, brought, spend in zip(geos, incremental, totals.spend[:, index], strict=True):
            entry = geo.channels.add(channel=name, incremental_outcome=_in_brief(brought))
            if geo.outcome > 0.0:
                entry.share_of_outcome.CopyFrom(_in_brief(brought / geo.outcome))
            if np.isfinite(spend):
                entry.spend = spend
            if spend > 0.0:
                entry.roi.CopyFrom(_in_brief(brought / spend))
    for geo, brought in zip(geos, media, strict=True):
        if geo.outcome > 0.0:
            geo.baseline_share.CopyFrom(_in_brief(1.0 - brought / geo.outcome))
    return geos


def _in_brief(draws: Floats) -> common_pb2.Estimate:
    """One interval only: there are geos times channels of these in a message."""
    return estimate_of_draws(draws, (0.95,))


class _Priors:
    """Priors of the quantities of a model under its own priors; draws of the parameters are made once, at need."""

    def __init__(self, fit: StoredFit) -> None:
        self.fit = fit
        self._draws: Mapping[str, Floats] | None = None

    def of(self, quantity: str) -> common_pb2.Estimate | None:
        """The prior in closed form, else that which the model's priors induce; None where no law of it is known."""
        model = self.fit.model
        try:
            return estimate_of_law(model.prior_of(quantity))
        except UnsupportedQuantity:
            if quantity not in model.derived_names:
                return None
        if self._draws is None:
            number = int(np.clip(PRIOR_CELLS // model.n_observations, FEWEST_PRIOR_DRAWS, PRIOR_DRAWS))
            self._draws = prior_draws(model, self.fit.seed.derived("priors of an attribution"), number)
        return estimate_of_draws(model.derive(quantity, self._draws))


def _channel(name: str, sides: Sides, priors: _Priors) -> attribution_pb2.ChannelAttribution:
    channel = attribution_pb2.ChannelAttribution(channel=name)
    reference, believed = sides.reference, sides.believed
    spend = reference.row.facts.get("spend", {}).get(name)
    if spend is not None:
        channel.spend = spend
    for quantity in ATTRIBUTED:
        key = quantity_name(common_pb2.Estimand(quantity=quantity, channel=name))
        if key not in reference.draws and (quantity != common_pb2.QUANTITY_MARGINAL_ROI or spend is None):
            continue
        entry = channel.quantities.add(quantity=quantity, data_side=estimate_of_draws(reference.draws_of(key)))
        # The prior of a channel with a belief is the belief, in whatever linked quantity it is shown.
        if (prior := priors.of(key)) is not None:
            entry.prior.CopyFrom(prior)
        if believed is not None:
            entry.client_posterior.CopyFrom(estimate_of_draws(believed.draws_of(key)))
        if sides.accepted and key in sides.accepted:
            entry.updated_prior.CopyFrom(sides.accepted[key])
    return channel


def _provenance(reference: StoredFit, believed: StoredFit | None) -> common_pb2.Provenance:
    """What the reference fit was computed from, and the seconds that both fits spent on compiling."""
    provenance = reference.provenance
    if believed is not None and believed.compile_seconds:
        provenance.compile_seconds += believed.compile_seconds
    return provenance


async def _examined(
    context: WorkerContext,
    period: Period,
    elicited: ElicitedSession | None,
    beliefs: Sequence[ClientPrior],
    fit: StoredFit,
) -> attribution_pb2.BayesianValidation:
    """The conflict of each belief of a session with the data, and of all together; nothing without a session."""
    if elicited is None:
        return attribution_pb2.BayesianValidation()
    async with context.database.session() as session:
        rule = await _rule(session, elicited, period)
    examined = await examine(context, fit, beliefs, rule)
    return attribution_pb2.BayesianValidation(
        conflicts=[belief_conflict_message(compared) for compared in examined],
        joint=await compared_jointly(fit, elicited, examined, rule),
    )


async def _calibrated(
    session: AsyncSession,
    shard_size: int,
    model: RegisteredModel,
    period: Period,
    job_pk: uuid.UUID,
    validation: attribution_pb2.BayesianValidation,
) -> None:
    """Start the recommended run of an uncalibrated model, or find the one that answers, and say so in the checks.

    In the transaction that ends the attribution's job: a job that is tried again starts nothing twice.
    """
    necessity = validation.sbc_necessity
    verdict, answered = None, False
    if needs_run(validation):
        # Two attributions at once: the second waits here and finds the run of the first.
        await session.get_one(RegisteredModel, model.pk, with_for_update={"key_share": True})
        request = sbc_pb2.StartSbcRunRequest(
            request_id=str(uuid.uuid5(job_pk, "start_sbc")),
            client_id=model.client_id,
            spec=sbc_pb2.SbcRunSpec(
                model_id=model.model_id,
                validation_type=necessity.recommended_validation_type,
                num_simulations=min(necessity.recommended_simulations, MAX_SIMULATIONS),
                data_period_months=period.months,
                hold_out_months=period.hold_out,
            ),
        )
        run = await plan_run(session, model.client_id, request.spec, shard_size)
        answer = await open_run(session, run) or await finished_run(session, run, seed=None)
        if answer is None:
            await start_run(session, run, request)
        else:
            run, verdict, answered = answer, answer.verdict_kind, True
        validation.started_run_id = str(run.pk)
    validation.summary.append(explain_started(validation, verdict, started_before=answered))


def needs_run(validation: attribution_pb2.BayesianValidation) -> bool:
    """Whether a calibration run is essential, or a failed one stands, and none has passed."""
    necessity = validation.sbc_necessity
    wanted = necessity.decision == sbc_pb2.NECESSITY_DECISION_ESSENTIAL or "STANDING_FAIL" in necessity.evidence
    return wanted and not necessity.satisfied_by_run_id


async def _rule(session: AsyncSession, elicited: ElicitedSession, period: Period) -> ConflictRule:
    """The rule of the session's latest analysis of this window: one belief gets one verdict."""
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
    return ConflictRule(confidence_threshold=await session.scalar(statement))


async def _accepted(session: AsyncSession, elicited: ElicitedSession) -> Mapping[str, common_pb2.Estimate]:
    """Summaries of the session's latest accepted update by quantity name."""
    statement = (
        select(RecommendedUpdate)
        .where(RecommendedUpdate.session_pk == elicited.pk, RecommendedUpdate.state == "ACCEPTED")
        .order_by(RecommendedUpdate.decide_time.desc())
        .limit(1)
    )
    row = (await session.scalars(statement)).one_or_none()
    if row is None or row.result is None:
        return {}
    update = from_json(row.result, prior_update_pb2.PriorUpdate())
    return {quantity_name(belief.estimand): belief.after_summary for belief in update.beliefs}
