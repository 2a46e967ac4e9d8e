"""A value that is added to an enumeration or a oneof of the contract has all its parts in store, engine and server."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Collection
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor
from liftos.bayes import rules
from liftos.bayes.v1 import (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    errors_pb2,
    model_pb2,
    options_pb2,
    prior_update_pb2,
    sbc_pb2,
    system_pb2,
)

from engine.conflict import analysis, bayes_factor, causes, marginal, reliability, severity
from engine.distributions import families as prior_families
from engine.distributions.distribution import Normal
from engine.distributions.support import UNIT_INTERVAL
from engine.elicitation import moments
from engine.errors import InvalidInput
from engine.models import additive_spec, protocol, saturation
from engine.rules import reasons
from engine.rules import sbc_policy as decision
from engine.rules import sbc_presets as presets
from engine.sbc import shape, shared_numbers, verdict
from engine.updates import update
from persistence.tables import conflicts, datasets, elicitation, jobs
from persistence.tables import decisions as necessity
from persistence.tables import sbc as runs
from server.command import calibration_runs as calibrate
from server.contract import errors, quantities, wire
from server.contract import stated_beliefs as statements_rules
from server.contract.families import registry
from server.records import outcomes
from server.texts import (
    advice,
    changed_models,
    communications,
    explanations,
    phrases,
    recovery_words,
    shared_number_notes,
)
from server.texts import policy_words as decisions
from server.worker.conversion import belief_law
from server.worker.elicitation import statements
from server.worker.fitting.families import additive_preparation, preparations
from server.worker.sbc import calibration, truths
from server.worker.sbc import necessity as necessity_jobs

FILES = (
    attribution_pb2,
    common_pb2,
    conflict_pb2,
    dataset_pb2,
    elicitation_pb2,
    errors_pb2,
    model_pb2,
    options_pb2,
    prior_update_pb2,
    sbc_pb2,
    system_pb2,
)

PAIRS: dict[type[enum.Enum], tuple[Any, set[str], set[str]]] = {
    additive_spec.Parameterisation: (model_pb2.Parameterisation, set(), set()),
    saturation.Saturation: (model_pb2.Saturation, set(), set()),
    prior_families.Family: (common_pb2.PriorFamily, set(), set()),
    moments.Meaning: (elicitation_pb2.PlusMinusMeaning, set(), set()),
    bayes_factor.Alternative: (conflict_pb2.BayesFactorAlternative, set(), set()),
    marginal.Estimator: (conflict_pb2.BayesFactorEstimator, set(), set()),
    severity.Severity: (conflict_pb2.Severity, set(), set()),
    reliability.Status: (conflict_pb2.ConflictStatus, set(), set()),
    analysis.Finding: (conflict_pb2.Finding, set(), set()),
    protocol.CauseKind: (conflict_pb2.CauseKind, set(), set()),
    causes.Blame: (conflict_pb2.ConflictAttribution, set(), set()),
    update.Strategy: (prior_update_pb2.UpdateStrategy, set(), set()),
    update.Action: (prior_update_pb2.UpdateAction, set(), set()),
    presets.Part: (sbc_pb2.SbcPart, set(), set()),
    shape.Shape: (sbc_pb2.RankShape, set(), set()),
    shared_numbers.Untested: (sbc_pb2.UntestedReason, set(), set()),
    verdict.Reason: (sbc_pb2.VerdictReason, set(), set()),
    verdict.Outcome: (sbc_pb2.VerdictKind, {"CANCELLED"}, set()),
    decision.Decision: (sbc_pb2.NecessityDecision, set(), set()),
    presets.ValidationType: (sbc_pb2.ValidationType, set(), {"NONE"}),
}
"""Enumerations that engine and contract share by name: what only the contract has, and what only the engine."""

STORED: list[tuple[Any, Collection[str]]] = [
    (conflict_pb2.Severity, conflicts.SEVERITIES),
    (conflict_pb2.ConflictStatus, conflicts.CONFLICT_STATUSES),
    (conflict_pb2.Finding, conflicts.FINDINGS),
    (conflict_pb2.OutcomeSide, conflicts.OUTCOME_SIDES),
    (prior_update_pb2.UpdateState, conflicts.UPDATE_STATES),
    (prior_update_pb2.UpdateStrategy, conflicts.UPDATE_STRATEGIES),
    (dataset_pb2.TimeGrain, datasets.TIME_GRAINS),
    (elicitation_pb2.SessionState, elicitation.SESSION_STATES),
    (common_pb2.JobState, jobs.JOB_STATES),
    (sbc_pb2.NecessityDecision, necessity.NECESSITY_DECISIONS),
    (sbc_pb2.DecisionSource, necessity.DECISION_SOURCES),
    (sbc_pb2.ValidationType, runs.VALIDATION_TYPES),
    (sbc_pb2.VerdictKind, runs.VERDICT_KINDS),
    (sbc_pb2.SbcPart, runs.SBC_PARTS),
    (sbc_pb2.InferenceMethod, runs.INFERENCE_METHODS),
]
"""Enumerations of which the store keeps the names."""

TABLES: list[tuple[Any, Collection[Any]]] = [
    (common_pb2.ElementType, wire._DTYPES),
    (common_pb2.Quantity, quantities.QUANTITIES),
    (conflict_pb2.CauseKind, changed_models._CHANGES),
    (conflict_pb2.Finding, communications._BY_FINDING),
    (conflict_pb2.Finding, explanations._FINDINGS),
    (conflict_pb2.Severity, outcomes.SEVERITIES),
    (elicitation_pb2.PoolMethod, statements.POOLS),
    (errors_pb2.ErrorReason, {errors_pb2.ErrorReason.Value(f"ERROR_REASON_{name}") for name in errors.Reason}),
    (model_pb2.Parameterisation, additive_preparation.PARAMETERISATIONS),
    (model_pb2.Saturation, additive_preparation.SATURATIONS),
    (options_pb2.Format, rules._FORMATS),
    (prior_update_pb2.UpdateAction, advice._ADVICE),
    (sbc_pb2.ConflictSeverity, necessity_jobs.LABELLED),
    (sbc_pb2.ValidationType, {wire.value_of(sbc_pb2.ValidationType, kind.value) for kind in presets.SIMULATIONS}),
    (sbc_pb2.VerdictKind, calibrate.EXIT_STATUS),
    (sbc_pb2.OtherTruths, truths.OTHERS),
    (sbc_pb2.OtherTruths, recovery_words._TAKEN),
    (sbc_pb2.UntestedReason, shared_number_notes._UNTESTED),
]
"""Tables with an entry for every value but that for "not given"."""

SHOWN = {
    # The server alone sets them, one value at each place, and readers get the name.
    common_pb2.CommunicationTemplate,
    sbc_pb2.CostBasis,
    # Compared value by value: an RPC without a scope, and a column that is in the wrong place, are refused.
    options_pb2.Scope,
    dataset_pb2.ColumnRole,
}


def given(contract: Any) -> set[str]:
    """Names of the values without prefix, all but that for "not given"."""
    return {wire.label(contract, number) for number in contract.values() if number}


def _named(rows: list[tuple[Any, Collection[Any]]]) -> list[Any]:
    return [pytest.param(*row, id=row[0].DESCRIPTOR.name) for row in rows]


@pytest.mark.parametrize("own", PAIRS, ids=lambda own: f"{own.__module__}.{own.__name__}")
def test_engine_and_contract_have_the_same_names(own: type[enum.Enum]) -> None:
    contract, only_contract, only_engine = PAIRS[own]
    assert given(contract) - only_contract == {member.name for member in own} - only_engine


@pytest.mark.parametrize(
    "own",
    [presets.Part, shape.Shape, shared_numbers.Untested, verdict.Reason, decision.Decision, presets.ValidationType],
)
def test_a_value_that_goes_over_the_border_is_the_name(own: type[enum.Enum]) -> None:
    assert [member.value for member in own] == [member.name for member in own]


@pytest.mark.parametrize(("contract", "names"), _named(STORED))
def test_the_store_keeps_every_name(contract: Any, names: Collection[str]) -> None:
    assert set(names) == given(contract)


@pytest.mark.parametrize(("contract", "table"), _named(TABLES))
def test_a_table_has_an_entry_for_every_value(contract: Any, table: Collection[Any]) -> None:
    assert {number for number in contract.values() if number} == set(table) - {0}


@pytest.mark.parametrize("role", elicitation_pb2.BeliefRole.values())
def test_a_belief_has_a_law_in_every_role(role: elicitation_pb2.BeliefRole.ValueType) -> None:
    normal = common_pb2.Distribution(normal=common_pb2.Normal(mean=0.0, sd=1.0))
    assert belief_law(elicitation_pb2.Belief(compiled=normal, role=role), Normal(0.0, 1.0), "belief").sd <= 1.0


@pytest.mark.parametrize("attribution", conflict_pb2.ConflictAttribution.values())
def test_there_are_words_for_every_attribution(attribution: conflict_pb2.ConflictAttribution.ValueType) -> None:
    said = phrases.named_causes(conflict_pb2.BeliefConflict(attribution=attribution))
    assert bool(said) == bool(attribution)


@pytest.mark.parametrize("kind", sbc_pb2.VerdictKind.values())
def test_there_are_words_for_every_verdict(kind: sbc_pb2.VerdictKind.ValueType) -> None:
    assert explanations.certificate_sentence(attribution_pb2.BayesianValidation(certificate_verdict=kind))


@pytest.mark.parametrize("finding", [number for number in conflict_pb2.Finding.values() if number])
def test_there_are_words_for_every_finding(finding: conflict_pb2.Finding.ValueType) -> None:
    assert explanations.explain_conflict(conflict_pb2.BeliefConflict(finding=finding))


@pytest.mark.parametrize("method", sorted(given(sbc_pb2.InferenceMethod)))
def test_there_is_an_inference_of_every_method(method: str) -> None:
    assert calibration.backend_of(method, 15)


@pytest.mark.parametrize("kind", presets.SIMULATIONS)
def test_a_run_of_every_type_but_recovery_has_a_part_that_decides(kind: presets.ValidationType) -> None:
    parts = presets.parts_of(kind, 100, canaries=False, carry_over=True)
    assert any(part.decides for part, _ in parts) != (kind is presets.ValidationType.RECOVERY)


def test_every_form_of_a_statement_is_checked_by_service_and_worker() -> None:
    for field in elicitation_pb2.BeliefStatement.DESCRIPTOR.oneofs_by_name["form"].fields:
        statement = elicitation_pb2.BeliefStatement()
        getattr(statement, field.name).SetInParent()
        # An empty statement is none, but it is refused for what it says, not for its form.
        with contextlib.suppress(errors.ServiceError):
            statements_rules.check_statement("statement", statement)
        with contextlib.suppress(InvalidInput):
            statements.check_range(statement, UNIT_INTERVAL)


def test_every_family_of_models_but_a_custom_one_is_registered_and_built() -> None:
    names = {field.name for field in model_pb2.ModelSpec.DESCRIPTOR.oneofs_by_name["family"].fields}
    assert names - {"custom"} == {family.member for family in registry.FAMILIES.values()}
    assert set(preparations.PREPARATIONS) == set(registry.FAMILIES)


def test_every_decision_of_the_policy_has_words_of_its_own() -> None:
    needed = decision.check_necessity(decision.NecessityInputs())
    said = {
        decisions.explain_decision(dataclasses.replace(needed, decision=each), decision.POLICY_V1)
        for each in decision.Decision
    }
    assert len(said) == len(decision.Decision)


@pytest.mark.parametrize("remedy", reasons.Remedy)
def test_there_are_words_for_every_remedy(remedy: reasons.Remedy) -> None:
    cause = conflict_pb2.Cause(kind=conflict_pb2.CAUSE_KIND_COLUMN_ADDED, subject="price")
    assert changed_models.explain_remedy(remedy, cause, (), "tv", 0.95)


def test_there_are_words_for_every_ground_of_a_recommendation() -> None:
    assert set(advice._GROUNDS) == set(reasons.Ground)


def test_every_sign_and_every_rule_of_the_policy_has_words_for_a_client() -> None:
    signs = {sign.value for sign in decision.EvidenceTrigger} - {"NO_CERTIFIED_PASS"}
    assert set(decisions._SIGNS) == signs
    assert set(decisions._RULES) == set(decision.INPUTS.values())


def test_every_enumeration_of_the_contract_is_one_of_these() -> None:
    known = {contract.DESCRIPTOR for contract, _, _ in PAIRS.values()}
    known |= {contract.DESCRIPTOR for contract, _ in STORED + TABLES} | {contract.DESCRIPTOR for contract in SHOWN}
    known.add(elicitation_pb2.BeliefRole.DESCRIPTOR)
    files: list[FileDescriptor] = [file.DESCRIPTOR for file in FILES]
    assert {each.full_name for file in files for each in file.enum_types_by_name.values()} == {
        each.full_name for each in known
    }
    assert not [each for file in files for each in file.message_types_by_name.values() if each.enum_types]
