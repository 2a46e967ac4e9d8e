"""Past decisions of a client under changed thresholds: what a new version of the policy would have done."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message
from liftos.bayes.v1 import sbc_pb2
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from engine.rules.sbc_policy import Decision, NecessityEvidence, NecessityInputs, NecessityPolicy
from engine.rules.sbc_policy import check_necessity as decide
from persistence.paging import MAX_PAGE_SIZE, list_page
from persistence.tables import Job, RecordedDecision, RegisteredModel, SbcValidation
from server.records.certificates import PRODUCTION
from server.records.messages import stored_decision_message
from server.records.policies import to_policy
from server.texts.policy_words import Replayed, explain_replay
from server.worker.context import Commit, WorkerContext
from server.worker.sbc.necessity import Calibration, necessity_message, restored

SHOWN = 200
"""Most changed decisions in an answer, the newest."""
ON_TRIAL = 0
"""Version of a policy that is only tried."""


@dataclass
class Tally:
    """What a replay has found so far; `lost_by` and `kept_by`: models of decisions that lose or have ESSENTIAL."""

    replayed: int = 0
    was: int = 0
    would_be: int = 0
    differ: int = 0
    gained: int = 0
    lost: int = 0
    lost_by: set[str] = field(default_factory=set)
    kept_by: set[str] = field(default_factory=set)

    @property
    def dropped(self) -> set[str]:
        """Models that had to be calibrated and by no decision, of whatever window, would have to be any longer."""
        return self.lost_by - self.kept_by


async def replay_policy(context: WorkerContext, job: Job) -> Commit:
    """Decide every stored decision again from its inputs and evidence; writes nothing."""
    request = sbc_pb2.ReplayNecessityPolicyRequest.FromString(job.request)
    policy = to_policy(request.thresholds, ON_TRIAL)
    async with context.database.session() as session:
        response = await _replayed(session, request.client_id, policy)

    async def commit(_: AsyncSession) -> Message:
        return response

    return commit


async def _replayed(
    session: AsyncSession, client_id: str, policy: NecessityPolicy
) -> sbc_pb2.ReplayNecessityPolicyResponse:
    tally, changed, token = Tally(), list[RecordedDecision](), ""
    while True:
        rows, token = await list_page(
            session,
            RecordedDecision,
            RecordedDecision.client_id == client_id,
            page_size=MAX_PAGE_SIZE,
            page_token=token,
            filter_key=client_id,
        )
        for row in rows:
            decision = decide(restored(NecessityInputs, row.inputs), policy=policy).decision
            _count(tally, row, decision)
            if decision.value != row.decision and len(changed) < SHOWN:
                changed.append(row)
        session.expunge_all()  # a client may have asked often
        if not token:
            break
    failed = await failed_runs(session, client_id, tally.dropped | {row.model_id for row in changed})
    return sbc_pb2.ReplayNecessityPolicyResponse(
        replayed=tally.replayed,
        essential_was=tally.was,
        essential_would_be=tally.would_be,
        changed=[
            sbc_pb2.ChangedDecision(
                was=stored_decision_message(row),
                would_be=decided_again(row, policy),
                failed_run_ids=[str(pk) for pk in failed.get(row.model_id, ())],
            )
            for row in changed
        ],
        summary=summary(tally, failed),
    )


def decided_again(row: RecordedDecision, policy: NecessityPolicy) -> sbc_pb2.SbcNecessity:
    """A stored decision under a policy: all but id and cost, which belong to what was asked then."""
    return necessity_message(
        restored(NecessityInputs, row.inputs),
        restored(NecessityEvidence, row.evidence["fit"]),
        restored(Calibration, row.evidence["calibration"]),
        policy,
        row.create_time.astimezone(datetime.UTC),
    )


def _count(tally: Tally, row: RecordedDecision, decision: Decision) -> None:
    was, would_be = row.decision == Decision.ESSENTIAL.value, decision is Decision.ESSENTIAL
    tally.replayed += 1
    tally.was += was
    tally.would_be += would_be
    tally.differ += decision.value != row.decision
    tally.gained += would_be and not was
    tally.lost += was and not would_be
    if would_be:
        tally.kept_by.add(row.model_id)
    elif was and row.model_id:
        tally.lost_by.add(row.model_id)


def summary(tally: Tally, failed: Mapping[str, Sequence[uuid.UUID]]) -> Sequence[str]:
    """The replay in sentences; `failed` has the failed runs of every model that has a finished one."""
    bad = sum(bool(failed.get(model)) for model in tally.dropped)
    unknown = sum(model not in failed for model in tally.dropped)
    return explain_replay(
        Replayed(
            replayed=tally.replayed,
            was=tally.was,
            would_be=tally.would_be,
            gained=tally.gained,
            lost=tally.lost,
            differ=tally.differ,
            listed=SHOWN,
            failed=bad,
            finished=len(tally.dropped) - bad - unknown,
            unknown=unknown,
        )
    )


async def failed_runs(session: AsyncSession, client_id: str, model_ids: set[str]) -> dict[str, list[uuid.UUID]]:
    """Runs of production inference that ended with FAIL, newest first, by model; none where others have finished.

    Models without a finished run are left out.
    """
    statement = (
        select(RegisteredModel.model_id, SbcValidation.pk, SbcValidation.verdict_kind)
        .join(SbcValidation, SbcValidation.model_pk == RegisteredModel.pk)
        .where(
            RegisteredModel.client_id == client_id,
            RegisteredModel.model_id.in_(model_ids),
            SbcValidation.inference_method == PRODUCTION,
            SbcValidation.verdict_kind.in_(("PASS", "FAIL", "INCONCLUSIVE")),
        )
        .order_by(SbcValidation.create_time.desc(), SbcValidation.pk.desc())
    )
    by_model: dict[str, list[uuid.UUID]] = {}
    for model_id, pk, verdict in await session.execute(statement):
        runs = by_model.setdefault(model_id, [])
        if verdict == "FAIL":
            runs.append(pk)
    return by_model
