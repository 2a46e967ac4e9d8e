"""What the beliefs of a session imply together, worked out before they meet the data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import common_pb2, elicitation_pb2
from scipy import special
from sqlalchemy.ext.asyncio import AsyncSession

from engine.conflict.preposterior import expected_errors, thresholds
from engine.distributions.distribution import Distribution
from engine.errors import UnsupportedQuantity
from engine.inference.fit import Purpose, Seed
from engine.models.protocol import Attributes, Model, Predicts, Summary
from persistence.tables import ClientPrior, ElicitedSession, Job, RegisteredModel
from server.contract.period import Period
from server.contract.quantities import WHOLES
from server.contract.wire import quantity_name
from server.records.certificates import fit_key
from server.records.lookups import dataset_of, owned
from server.records.rows import check_period
from server.records.sessions import belief_message, beliefs_of, can_be_prior, correlation_of, share_groups
from server.texts.expectations import (
    ALL_MEDIA,
    PREDICTIONS,
    SUMMARY_PREDICTS_NOTHING,
    about_thresholds,
    explain_threshold,
    left_over,
    no_predictions,
    no_threshold,
    nothing_predicted,
    stated_total,
)
from server.worker.context import Commit, WorkerContext
from server.worker.conversion import belief_law, estimate_of_draws, to_law
from server.worker.fitting.fits import seed_of
from server.worker.fitting.prepared import belief_support, natural_support

Floats = npt.NDArray[np.float64]

SIMULATIONS = 500
TOTAL_DRAWS = 20_000
TOTAL = "total_media_share_of_outcome"


@dataclass(frozen=True)
class _Stated:
    """The beliefs of a session and the models that they are about: without them, and under those that can be priors."""

    beliefs: Sequence[elicitation_pb2.Belief]
    groups: Sequence[elicitation_pb2.ShareGroup]
    correlation: Floats | None
    """[k, k] of the beliefs on their unconstrained scales, where the session has one."""
    reference: Model
    believed: Model
    others: Sequence[str]
    """Beliefs that cannot be the prior of a fit."""
    seed: Seed


async def elicitation_feedback(context: WorkerContext, job: Job) -> Commit:
    """Work out the feedback of a session; nothing is stored."""
    request = elicitation_pb2.GetElicitationFeedbackRequest.FromString(job.request)
    period = Period.asked(request)
    async with context.database.session() as session:
        row = await owned(session, ElicitedSession, request.client_id, request.session_id)
        model_row = await session.get_one(RegisteredModel, row.model_pk)
        check_period(model_row, await dataset_of(session, model_row), period)
        rows = await beliefs_of(session, row.pk)
        reference = await context.models.prepared(session, model_row, period)
        priors: list[ClientPrior] = []
        others: list[ClientPrior] = []
        for prior in rows:
            fits = can_be_prior(model_row, belief_message(prior).estimand)
            try:
                if fits:
                    await context.models.prepared(session, model_row, period, [prior])
            except UnsupportedQuantity:  # a belief about a control that is not normal
                fits = False
            (priors if fits else others).append(prior)
        believed = await context.models.prepared(session, model_row, period, priors)
        key = fit_key(model_row, await dataset_of(session, model_row), period, rows)
        beliefs = [belief_message(prior) for prior in rows]
        names = [prior.belief_id for prior in others]
        between = correlation_of(row, [prior.belief_id for prior in rows])
        seed = seed_of(key).derived("feedback")
        stated = _Stated(beliefs, share_groups(row), between, reference, believed, names, seed)
    feedback = await asyncio.to_thread(_feedback, stated, period)

    async def commit(session: AsyncSession) -> elicitation_pb2.GetElicitationFeedbackResponse:
        return elicitation_pb2.GetElicitationFeedbackResponse(feedback=feedback)

    return commit


def _feedback(stated: _Stated, period: Period) -> elicitation_pb2.ElicitationFeedback:
    feedback = elicitation_pb2.ElicitationFeedback(thresholds=_thresholds(stated), totals=_stated_totals(stated))
    if isinstance(stated.reference, Summary):
        feedback.notes.append(SUMMARY_PREDICTS_NOTHING)
        return feedback
    feedback.notes.append(about_thresholds(str(period)))
    if stated.others:
        feedback.notes.append(nothing_predicted(stated.others))
        return feedback
    sample = stated.believed.sample_prior(stated.seed.derived("predictive"), np.arange(SIMULATIONS))
    if isinstance(stated.believed, Attributes):
        feedback.totals.extend(_model_totals(stated.believed.channel_names, sample.quantities))
    if not isinstance(stated.believed, Predicts):
        feedback.notes.append(no_predictions(stated.believed.family))
        return feedback
    predicted = stated.believed.outcome_of(sample.y)
    feedback.predictive.CopyFrom(_predictive(predicted, sample.y, stated.believed.observed))
    feedback.notes.append(PREDICTIONS)
    return feedback


# -- thresholds ------------------------------------------------------------------------------------------------------


def _thresholds(stated: _Stated) -> list[elicitation_pb2.BeliefThreshold]:
    if not stated.beliefs:
        return []
    names = [quantity_name(belief.estimand) for belief in stated.beliefs]
    supports = {
        name: belief_support(stated.reference, belief.estimand)
        for name, belief in zip(names, stated.beliefs, strict=True)
    }
    errors: Mapping[str, float | None]
    if isinstance(stated.reference, Summary):
        errors = dict.fromkeys(names, stated.reference.standard_error)
    else:
        errors = expected_errors(stated.reference, stated.believed, supports, stated.seed.derived("data sets"))
    return [
        _threshold(belief, _law(stated, belief, name), errors[name], stated.reference)
        for name, belief in zip(names, stated.beliefs, strict=True)
    ]


def _law(stated: _Stated, belief: elicitation_pb2.Belief, name: str) -> Distribution:
    """The law that is held against the data: with an extra factor the product with the reference prior."""
    if belief.role != elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR:
        return to_law(belief.compiled, "compiled")
    try:
        return belief_law(belief, stated.reference.prior_of(name), "compiled")
    except UnsupportedQuantity:
        return to_law(belief.compiled, "compiled")


def _threshold(
    belief: elicitation_pb2.Belief, law: Distribution, error: float | None, model: Model
) -> elicitation_pb2.BeliefThreshold:
    message = elicitation_pb2.BeliefThreshold(belief_id=belief.belief_id)
    if error is None:
        message.explanation = no_threshold(belief.estimand)
        return message
    limits = thresholds(law, belief_support(model, belief.estimand), error)
    message.expected_standard_error = limits.standard_error
    natural = natural_support(model, belief.estimand)
    if limits.lower > natural.lower:
        message.lower = limits.lower
    if limits.upper < natural.upper:
        message.upper = limits.upper
    message.explanation = explain_threshold(message, belief.estimand)
    return message


# -- totals ----------------------------------------------------------------------------------------------------------


def _stated_totals(stated: _Stated) -> list[elicitation_pb2.ImpliedTotal]:
    """Sums of the stated shares: of outcome, with what they leave for the rest, and of media."""
    totals = []
    for quantity in WHOLES:
        places = [place for place, belief in enumerate(stated.beliefs) if belief.estimand.quantity == quantity]
        if len(places) < 2:
            continue
        members = [stated.beliefs[place] for place in places]
        between = None if stated.correlation is None else stated.correlation[np.ix_(places, places)]
        draws = joint_draws(members, stated.groups, between, stated.seed.derived("totals"))
        total = draws.sum(axis=0)
        channels = [belief.estimand.channel for belief in members]
        # Rounding must not make a sum that is one by construction exceed it.
        above = float(np.mean(total > 1.0 + 1e-9))
        totals.append(
            elicitation_pb2.ImpliedTotal(
                what=stated_total(quantity, channels), total=estimate_of_draws(total), impossible=above
            )
        )
        if quantity == common_pb2.QUANTITY_SHARE_OF_OUTCOME:
            totals.append(
                elicitation_pb2.ImpliedTotal(
                    what=left_over(channels),
                    total=estimate_of_draws(1.0 - total),
                    impossible=above,
                )
            )
    return totals


def joint_draws(
    beliefs: Sequence[elicitation_pb2.Belief],
    groups: Sequence[elicitation_pb2.ShareGroup],
    correlation: Floats | None,
    seed: Seed,
) -> Floats:
    """Draws [k, TOTAL_DRAWS] of stated shares: those of a group together, the others independent or as correlated.

    `correlation` [k, k] is on the unconstrained scales, where the draws have it by a Gaussian copula.
    """
    rng = seed.generator(0, Purpose.PRIOR)
    draws: dict[str, Floats] = {}
    for group in groups:
        drawn = rng.dirichlet(list(group.alpha), TOTAL_DRAWS).T
        draws |= dict(zip(group.belief_ids, drawn, strict=False))  # the rest has no belief
    if correlation is not None:
        values, vectors = np.linalg.eigh(correlation)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        scores = root @ rng.standard_normal((len(beliefs), TOTAL_DRAWS))
    for place, belief in enumerate(beliefs):
        if belief.belief_id in draws:
            continue
        law = to_law(belief.compiled, "compiled")
        if correlation is None:
            draws[belief.belief_id] = law.sample(rng, TOTAL_DRAWS)
        else:
            draws[belief.belief_id] = law.ppf(special.ndtr(scores[place]))
    return np.stack([draws[belief.belief_id] for belief in beliefs])


def _model_totals(channels: Sequence[str], quantities: Mapping[str, Floats]) -> list[elicitation_pb2.ImpliedTotal]:
    """Share of outcome of all media under the beliefs, and under the model's own priors where there is none."""
    only = f"share_of_outcome[{channels[0]}]"
    total = quantities[TOTAL if TOTAL in quantities else only]
    return [
        elicitation_pb2.ImpliedTotal(
            what=ALL_MEDIA,
            total=estimate_of_draws(total),
            impossible=float(np.mean(total > 1.0)),
        )
    ]


# -- predictions -----------------------------------------------------------------------------------------------------


def _predictive(totals: Floats, y: Floats, observed: Floats) -> elicitation_pb2.PriorPredictive:
    """Outcome of the window [S] and KPI of a row in simulated data sets y [N, S]; of the data [N] the range alone."""
    lower, upper = np.quantile(y, [0.025, 0.975])
    return elicitation_pb2.PriorPredictive(
        total=estimate_of_draws(totals),
        row=common_pb2.Interval(level=0.95, lower=float(lower), upper=float(upper)),
        observed_lowest=float(observed.min()),
        observed_highest=float(observed.max()),
        simulations=y.shape[1],
    )
