"""Versions of the policy behind the decision on SBC: what is stored and told of them, and which is in force.

How a policy decides, and the version that everybody has who has put none in force, is in engine.rules.sbc_policy.
"""

from __future__ import annotations

import dataclasses

from liftos.bayes.v1 import common_pb2, sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.rules.sbc_policy import POLICY_V1, NecessityPolicy
from persistence.tables import AdoptedPolicy
from server.contract.errors import invalid_field
from server.contract.wire import timestamp


def thresholds_message(
    model_complexity: int, bayes_factor: float, impact_minor_units: int, client_confidence: float
) -> sbc_pb2.NecessityThresholds:
    """The four thresholds; the impact in cents."""
    return sbc_pb2.NecessityThresholds(
        model_complexity=model_complexity,
        bayes_factor=bayes_factor,
        business_impact=common_pb2.Money(minor_units=impact_minor_units, currency=POLICY_V1.currency),
        client_confidence=client_confidence,
    )


BUILT_IN = sbc_pb2.NecessityPolicy(
    version=POLICY_V1.version,
    thresholds=thresholds_message(
        POLICY_V1.max_parameters,
        POLICY_V1.max_bayes_factor,
        POLICY_V1.max_impact_minor_units,
        POLICY_V1.min_confidence,
    ),
    policy_hash=POLICY_V1.hash,
    reason="Built in.",
)
"""The version of everybody who has put none in force."""


def policy_message(row: AdoptedPolicy) -> sbc_pb2.NecessityPolicy:
    """A stored version."""
    return sbc_pb2.NecessityPolicy(
        version=row.version,
        thresholds=thresholds_message(
            row.max_parameters, row.max_bayes_factor, row.max_impact_minor, row.min_confidence
        ),
        policy_hash=row.policy_hash,
        adopted_by=row.adopted_by,
        reason=row.reason,
        create_time=timestamp(row.create_time),
    )


def to_policy(thresholds: sbc_pb2.NecessityThresholds, version: int) -> NecessityPolicy:
    """The engine's policy with these thresholds; what they do not say is as in the built-in version."""
    return dataclasses.replace(
        POLICY_V1,
        version=version,
        max_parameters=thresholds.model_complexity,
        max_bayes_factor=thresholds.bayes_factor,
        max_impact_minor_units=thresholds.business_impact.minor_units,
        min_confidence=thresholds.client_confidence,
    )


async def policy_in_force(session: AsyncSession, client_id: str, version: int | None = None) -> NecessityPolicy:
    """The client's newest version, or the one asked for; ServiceError INVALID_FIELD if there is no such version."""
    if version == POLICY_V1.version:
        return POLICY_V1
    table = AdoptedPolicy
    statement = select(table).where(table.client_id == client_id).order_by(table.version.desc()).limit(1)
    row = await session.scalar(statement if version is None else statement.where(table.version == version))
    if row is not None:
        return to_policy(policy_message(row).thresholds, row.version)
    if version is None:
        return POLICY_V1
    raise invalid_field("policy_version", f"there is no version {version} of the policy of client {client_id!r}")
