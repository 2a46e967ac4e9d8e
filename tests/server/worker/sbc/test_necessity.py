"""Decisions on SBC in the store: what they are made of, and that they come out again."""

from __future__ import annotations

import asyncio
import datetime
import math
import uuid
from typing import Any, cast

import pytest
from liftos.bayes import usd
from liftos.bayes.v1 import common_pb2, conflict_pb2, sbc_pb2
from sqlalchemy import select

from engine.inference.batch import BatchedHmc
from engine.rules.sbc_policy import POLICY_V1, Decision, EvidenceTrigger, NecessityEvidence, NecessityInputs
from engine.rules.sbc_policy import check_necessity as decide
from persistence import jobs
from persistence.database import Database
from persistence.lookup import ensure_client
from persistence.tables import AuditEntry, ElicitedSession, Fit, Job, RecordedDecision, RegisteredModel
from server.contract.period import Period
from server.contract.wire import from_json, label, to_json
from server.records.certificates import Standing, reference_key
from server.records.policies import policy_in_force, thresholds_message
from server.worker.conflict.analyses import session_inputs
from server.worker.sbc.necessity import Calibration, check_necessity, fit_evidence, necessity_message, restored, stored
from server.worker.sbc.policy_creation import create_policy
from server.worker.sbc.replays import decided_again

NO_CONTEXT: Any = None
"""These handlers need nothing of their worker but the transaction they are given."""
PASSED = Standing(cast(Any, type("Run", (), {"verdict_kind": "PASS"})()), False, None)


def diagnostics(**changes: Any) -> common_pb2.FitDiagnostics:
    good: dict[str, Any] = {
        "max_r_hat": 1.004,
        "min_ess_bulk": 3000.0,
        "min_ess_tail": 2000.0,
        "converged": True,
        "inference": BatchedHmc.single().name,
    }
    return common_pb2.FitDiagnostics(**(good | changes))


def test_inputs_and_evidence_come_back_from_the_store_with_all_their_digits() -> None:
    inputs = NecessityInputs(
        n_parameters=15, log_bayes_factor=math.inf, business_impact_minor_units=0, client_confidence=0.1 + 0.2
    )
    assert restored(NecessityInputs, stored(inputs)) == inputs
    partial = NecessityInputs(log_bayes_factor=0.1, bayes_factor_partial=True)
    assert restored(NecessityInputs, stored(partial)) == partial
    evidence = NecessityEvidence(certified_pass=False, divergences=0, r_hat=1.0 + 1e-15, ess=math.inf)
    assert restored(NecessityEvidence, stored(evidence) | {"of a later version": 1}) == evidence
    assert math.isnan(cast(float, restored(NecessityEvidence, stored(NecessityEvidence(r_hat=math.nan))).r_hat))
    calibration = Calibration("r", "FAIL", "QUICK", 100, "2026-01-01T00:00:00+00:00", ("sigma", "a[b]"))
    assert restored(Calibration, stored(calibration)) == calibration


@pytest.mark.parametrize(
    ("changes", "trigger"),
    [
        ({}, None),
        ({"divergences": 1}, EvidenceTrigger.DIVERGENCES),
        ({"max_r_hat": 1.011}, EvidenceTrigger.R_HAT),
        ({"min_ess_tail": 399.0}, EvidenceTrigger.LOW_ESS),
        ({"inference": "svi_mean_field"}, EvidenceTrigger.APPROXIMATE_INFERENCE),
        # A closed form has no sampler to doubt, whatever stands in the fields of one.
        ({"inference": "exact", "max_r_hat": 9.0}, None),
    ],
)
async def test_a_check_reads_the_diagnostics_of_the_stored_fit(
    database: Database, changes: dict[str, Any], trigger: EvidenceTrigger | None
) -> None:
    model_id, request = uuid.uuid4().hex, sbc_pb2.CheckSbcNecessityRequest(client_id="acme", bayes_factor=1.0)
    request.model_id = model_id
    async with database.session() as session:
        await ensure_client(session, "acme")
        model = RegisteredModel(
            client_id="acme", model_id=model_id, family="conjugate_normal/1", spec={}, parameter_count=3, model_hash="h"
        )
        session.add(model)
        await session.flush()
        session.add(
            Fit(
                client_id="acme",
                model_pk=model.pk,
                fit_key=await reference_key(session, model, Period()),
                diagnostics=to_json(diagnostics(**changes)),
                provenance={},
            )
        )
        job = await jobs.create(session, "acme", "CHECK_NECESSITY", request.SerializeToString())
        found = cast(Any, await (await check_necessity(NO_CONTEXT, job))(session)).necessity
        wanted = ["NO_CERTIFIED_PASS"] + ([trigger.value] if trigger else [])
        assert list(found.evidence) == wanted
        # A summary has one fit, whatever window is asked for.
        request.data_period_months = 12
        job = await jobs.create(session, "acme", "CHECK_NECESSITY", request.SerializeToString())
        found = cast(Any, await (await check_necessity(NO_CONTEXT, job))(session)).necessity
        assert list(found.evidence) == wanted


def test_a_quick_run_that_failed_is_answered_by_one_that_can_pass() -> None:
    calibration = Calibration("r", "FAIL", "QUICK", 100, "2026-01-01T00:00:00+00:00", ("sigma",))
    now = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    found = necessity_message(NecessityInputs(n_parameters=5), NecessityEvidence(), calibration, POLICY_V1, now)
    assert found.recommended_validation_type == sbc_pb2.VALIDATION_TYPE_STANDARD
    assert found.recommended_simulations == 200
    assert "STANDARD with more than 100 simulations" in found.explanation
    assert found.satisfied_by_run_id == ""


def test_the_age_of_a_pass_is_told_in_days() -> None:
    passed = Calibration("r", "PASS", "STANDARD", 500, "2026-01-01T00:00:00+00:00")
    for hours, words in ((23, "within the last 24 hours"), (47, "yesterday"), (49, "2 days ago")):
        now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=hours)
        found = necessity_message(NecessityInputs(), NecessityEvidence(), passed, POLICY_V1, now)
        assert f"SBC run r passed {words} with 500 simulations." in found.explanation


def test_a_certified_fit_with_good_diagnostics_triggers_nothing() -> None:
    evidence = fit_evidence(diagnostics(), PASSED)
    assert (evidence.certified_pass, evidence.stale_pass, evidence.approximate_inference) == (True, False, False)


@pytest.mark.parametrize("confidence", [0.7, 0.5, None])
async def test_a_stored_decision_is_made_again_under_its_own_version_word_for_word(
    database: Database, confidence: float | None
) -> None:
    request = sbc_pb2.CheckSbcNecessityRequest(
        client_id="acme", model_complexity=9, log_bayes_factor=2.2, business_impact=usd(5), client_confidence=confidence
    )
    async with database.session() as session:
        await ensure_client(session, "acme")
        job = await jobs.create(session, "acme", "CHECK_NECESSITY", request.SerializeToString())
        answered = cast(Any, await (await check_necessity(NO_CONTEXT, job))(session)).necessity
        row = (await session.scalars(select(RecordedDecision))).one()
        again = decided_again(row, await policy_in_force(session, "acme", row.policy_version))
        was = from_json(row.result, sbc_pb2.SbcNecessity())
        assert answered.decision_id == str(row.pk)
        was.ClearField("cost")
        assert again == was


async def test_of_versions_that_are_created_at_once_each_gets_its_own_number(database: Database) -> None:
    async with database.session() as session:
        await ensure_client(session, "acme")
        await ensure_client(session, "other")

    async def create(name: str) -> int:
        request = sbc_pb2.CreateNecessityPolicyRequest(
            client_id="acme", thresholds=thresholds_message(20, 10.0, 5, 0.6), adopted_by=name, reason="trial"
        )
        commit = await create_policy(NO_CONTEXT, Job(request=request.SerializeToString()))
        async with database.session() as session:
            return int(cast(Any, await commit(session)).policy.version)

    assert sorted(await asyncio.gather(*(create(f"person {number}") for number in range(4)))) == [2, 3, 4, 5]
    async with database.session() as session:
        newest = await policy_in_force(session, "acme")
        assert (newest.version, newest.max_parameters, newest.max_impact_minor_units) == (5, 20, 5)
        assert await policy_in_force(session, "acme", 1) == await policy_in_force(session, "other") == POLICY_V1
        entries = list(await session.scalars(select(AuditEntry).where(AuditEntry.action == "CreateNecessityPolicy")))
        assert {entry.resource_id for entry in entries} == {"2", "3", "4", "5"}


@pytest.mark.parametrize(
    ("severity", "decision", "told"),
    [
        (sbc_pb2.CONFLICT_SEVERITY_STRONG, "ESSENTIAL", "is STRONG (10 to 100), taken as above 10 (more than 10)"),
        (sbc_pb2.CONFLICT_SEVERITY_VERY_STRONG, "ESSENTIAL", "is VERY_STRONG (above 100), taken as above 100"),
        (
            sbc_pb2.CONFLICT_SEVERITY_MODERATE,
            "UNDETERMINED",
            "but model_complexity, business_impact, client_confidence",
        ),
    ],
)
async def test_a_label_is_told_as_a_label_and_what_is_missing_by_its_name_in_the_contract(
    database: Database, severity: Any, decision: str, told: str
) -> None:
    request = sbc_pb2.CheckSbcNecessityRequest(client_id="acme", conflict_severity=severity)
    async with database.session() as session:
        await ensure_client(session, "acme")
        job = await jobs.create(session, "acme", "CHECK_NECESSITY", request.SerializeToString())
        answered = cast(Any, await (await check_necessity(NO_CONTEXT, job))(session)).necessity
        assert label(sbc_pb2.NecessityDecision, answered.decision) == decision
        assert told in answered.explanation
        row = (await session.scalars(select(RecordedDecision))).one()
        assert decided_again(row, POLICY_V1).explanation == answered.explanation


def conflict_of(log_factor: float, status: conflict_pb2.ConflictStatus.ValueType) -> conflict_pb2.BeliefConflict:
    message = conflict_pb2.BeliefConflict(status=status)
    message.bayes_factors.add(alternative=conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED, log_bayes_factor=log_factor)
    return message


def test_a_factor_that_is_not_known_is_not_a_small_one() -> None:
    small, large = (conflict_of(log, conflict_pb2.CONFLICT_STATUS_OK) for log in (0.3, 5.0))
    unknown = conflict_of(0.1, conflict_pb2.CONFLICT_STATUS_UNRELIABLE)
    model, elicited = RegisteredModel(parameter_count=8), ElicitedSession(client_confidence=0.9)

    def outcome(beliefs: list[conflict_pb2.BeliefConflict], joint: conflict_pb2.JointConflict | None = None) -> object:
        return decide(session_inputs(model, elicited, 100, beliefs, joint)).decision

    assert outcome([small]) is Decision.NOT_REQUIRED_BY_POLICY
    assert outcome([small, unknown]) is Decision.UNDETERMINED
    assert decide(session_inputs(model, elicited, 100, [small, unknown])).missing == ("bayes_factor",)
    assert outcome([large, unknown]) is Decision.ESSENTIAL
    joint = conflict_pb2.JointConflict(status=conflict_pb2.CONFLICT_STATUS_OK, log_calibrated_bayes_factor=4.0)
    assert outcome([small], joint) is Decision.ESSENTIAL
    joint.status = conflict_pb2.CONFLICT_STATUS_UNRELIABLE
    assert outcome([small], joint) is Decision.NOT_REQUIRED_BY_POLICY
