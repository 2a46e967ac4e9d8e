"""Elicitation sessions as they are stored: their beliefs, groups, correlation, and what can be the prior of a fit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from liftos.bayes.v1 import (
    common_pb2,
    elicitation_pb2,
    model_pb2,
)
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from persistence.tables import (
    ClientPrior,
    ElicitedSession,
    RegisteredModel,
)
from server.contract.errors import Reason, ServiceError, unimplemented
from server.contract.families.registry import registered
from server.contract.quantities import quantity_words
from server.contract.wire import from_json, timestamp
from server.records.lookups import owned


async def confirmed_session(
    session: AsyncSession, client_id: str, session_id: str, field: str = "session_id"
) -> ElicitedSession:
    """The client's session, which must be CONFIRMED."""
    elicited = await owned(session, ElicitedSession, client_id, session_id, field=field)
    if elicited.state != "CONFIRMED":
        raise ServiceError(
            Reason.INVALID_STATE,
            f"session {session_id!r} is {elicited.state}; confirm it before it is analysed",
            metadata={"state": elicited.state},
        )
    return elicited


async def beliefs_of(session: AsyncSession, session_pk: uuid.UUID) -> Sequence[ClientPrior]:
    """The beliefs of a session in the order they were added."""
    statement = select(ClientPrior).where(ClientPrior.session_pk == session_pk).order_by(ClientPrior.ordinal)
    return (await session.scalars(statement)).all()


def correlation_of(row: ElicitedSession, belief_ids: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """Correlation [k, k] of the beliefs of a session, in this order, on their unconstrained scales; None without any.

    Beliefs that were added beside the adopted ones are independent of them.
    """
    if row.correlation is None:
        return None
    known = {belief_id: index for index, belief_id in enumerate(row.correlation["belief_ids"])}
    own = [index for index, belief_id in enumerate(belief_ids) if belief_id in known]
    theirs = [known[belief_ids[index]] for index in own]
    matrix = np.eye(len(belief_ids))
    matrix[np.ix_(own, own)] = np.asarray(row.correlation["matrix"])[np.ix_(theirs, theirs)]
    return matrix


def correlated_beliefs(row: ElicitedSession) -> frozenset[str]:
    """The beliefs of a session whose correlation is known."""
    return frozenset(row.correlation["belief_ids"]) if row.correlation is not None else frozenset()


def share_groups(row: ElicitedSession) -> list[elicitation_pb2.ShareGroup]:
    """The groups of shares that were stated together."""
    return [from_json(group, elicitation_pb2.ShareGroup()) for group in row.share_groups]


def forget_correlation(row: ElicitedSession, belief_id: str) -> None:
    """Drop a belief from the correlation of its session; what is left of one belief is none."""
    if row.correlation is None or belief_id not in row.correlation["belief_ids"]:
        return
    left = [index for index, other in enumerate(row.correlation["belief_ids"]) if other != belief_id]
    row.correlation = (
        {
            "belief_ids": [row.correlation["belief_ids"][index] for index in left],
            "matrix": [[row.correlation["matrix"][i][j] for j in left] for i in left],
        }
        if len(left) > 1
        else None
    )


def check_priors(model: RegisteredModel, rows: Iterable[ClientPrior], field: str) -> None:
    """Refuse, before anything is computed, a fit under beliefs of a session that cannot be priors of the model."""
    for row in rows:
        estimand = belief_message(row).estimand
        if not can_be_prior(model, estimand):
            what = quantity_words(estimand.quantity)
            raise unimplemented(
                f"a fit with belief {row.belief_id!r}, which is about a {what}, as its prior "
                "(leave the session out, or confirm one without this belief)",
                field,
            )


def can_be_prior(model: RegisteredModel, estimand: common_pb2.Estimand) -> bool:
    """Whether a belief about it can be the prior of a fit of a registered model."""
    return registered(model.family).can_be_prior(spec_of(model), estimand)


def channels_of(model: RegisteredModel) -> list[str]:
    """Names of a registered model's channels; none for a summary."""
    return registered(model.family).channels(spec_of(model))


def spec_of(model: RegisteredModel) -> model_pb2.ModelSpec:
    """The specification of a registered model."""
    return from_json(model.spec, model_pb2.ModelSpec())


def belief_message(row: ClientPrior) -> elicitation_pb2.Belief:
    """A stored belief."""
    belief = from_json(row.belief, elicitation_pb2.Belief())
    belief.create_time.CopyFrom(timestamp(row.create_time))
    return belief
