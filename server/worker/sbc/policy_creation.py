"""Versions of a client's policy on SBC: which is in force, and putting a new one in force."""

from __future__ import annotations

from liftos.bayes.v1 import sbc_pb2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.rules.policy import POLICY_V1, NecessityPolicy
from persistence.tables import AdoptedPolicy, Client, Job
from server.contract.errors import invalid_field
from server.records.audit_trail import audited
from server.records.policies import policy_message
from server.worker.context import Commit, WorkerContext
from server.worker.conversion import to_policy


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


async def create_policy(context: WorkerContext, job: Job) -> Commit:
    """Put a new version in force: for the decisions that are made from now on, not for those that are stored."""
    request = sbc_pb2.CreateNecessityPolicyRequest.FromString(job.request)

    async def commit(session: AsyncSession) -> sbc_pb2.CreateNecessityPolicyResponse:
        # Of two at once the second waits here and sees the version of the first; foreign keys are not held up.
        await session.execute(
            select(Client.client_id).where(Client.client_id == request.client_id).with_for_update(key_share=True)
        )
        before = await policy_in_force(session, request.client_id)
        policy = to_policy(request.thresholds, before.version + 1)
        row = AdoptedPolicy(
            client_id=request.client_id,
            version=policy.version,
            max_parameters=policy.max_parameters,
            max_bayes_factor=policy.max_bayes_factor,
            max_impact_minor=policy.max_impact_minor_units,
            min_confidence=policy.min_confidence,
            policy_hash=policy.hash,
            adopted_by=request.adopted_by,
            reason=request.reason,
            # That of the transaction is from before the wait, and lists are in the order of their times.
            create_time=func.clock_timestamp(),
        )
        session.add(row)
        await session.flush()
        await session.refresh(row)
        session.add(
            audited(
                request,
                request.adopted_by,
                ("necessity_policy", str(policy.version)),
                policy_hash=policy.hash,
                before=before.version,
            )
        )
        return sbc_pb2.CreateNecessityPolicyResponse(policy=policy_message(row))

    return commit
